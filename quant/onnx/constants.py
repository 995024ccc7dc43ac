"""Fold constant sub-graphs: nodes that compute weights or shapes from constants only are evaluated at import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from .file import (
    Array,
    array,
    first_line,
    refuse,
)

# Evaluated by onnx's reference implementation when every input is constant; anything else must be a layer.
FOLDABLE = frozenset(
    [
        "Add",
        "Cast",
        "Ceil",
        "Concat",
        "ConstantOfShape",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Floor",
        "Gather",
        "Identity",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pow",
        "Range",
        "ReduceProd",
        "Reciprocal",
        "Reshape",
        "Shape",
        "Slice",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)


def constant_value(node: onnx.NodeProto) -> Array:
    """The value of a Constant node, whichever of its attributes holds it.  Raises ModelError for text."""
    item = node.attribute[0] if len(node.attribute) == 1 else None
    if item is None or item.name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise refuse(node, "only one numeric value is supported")
    value: Any = onnx.helper.get_attribute_value(item)
    if isinstance(value, onnx.TensorProto):
        return array(value)
    return np.array(value, np.float32 if "float" in item.name else np.int64)


def fold(node: onnx.NodeProto, constants: Mapping[str, Array], opset: int) -> dict[str, Array] | None:
    """Outputs of ``node`` by name if all that it reads is constant, else None."""
    if node.op_type == "Constant":
        return {node.output[0]: constant_value(node)}
    if node.op_type not in FOLDABLE or any(name and name not in constants for name in node.input):
        return None
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [node],
            "constant",
            [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(node.input) if name],
            [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name],
        ),
        opset_imports=[onnx.helper.make_opsetid("", opset)],
    )
    feeds = {name: constants[name] for name in node.input if name}
    try:
        values = ReferenceEvaluator(model).run(None, feeds)
    except (TypeError, ValueError, IndexError, KeyError, RuntimeError, NotImplementedError) as error:
        raise refuse(node, f"cannot be computed from its constant inputs: {first_line(error)}") from error
    return dict(zip((name for name in node.output if name), (np.asarray(value) for value in values), strict=True))
