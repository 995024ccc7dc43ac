"""Reading a model: one place that names nodes, finds attributes and turns tensors into arrays, or says why not."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Container
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from ..graph.errors import ModelError
from .budget import INT32, MAP_BYTES, check_dimensions
from .foreign import foreign, shortened

Array = NDArray[Any]
TYPES = onnx.TensorProto
STANDARD_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7
"""Builders know none before; ``old_opsets`` says what older nodes are in it."""

FLOATS = {TYPES.FLOAT, TYPES.FLOAT16, TYPES.BFLOAT16, TYPES.DOUBLE}
"""Types whose values become float32: the network is the same, and all that is written is float32."""

MOST_PARTS = 1024
"""Layers that do one thing each, for the pixels of a block or for slices, that a node may become."""

KINDS = onnx.AttributeProto
FIELDS = {
    KINDS.FLOAT: "f",
    KINDS.INT: "i",
    KINDS.STRING: "s",
    KINDS.TENSOR: "t",
    KINDS.GRAPH: "g",
    KINDS.FLOATS: "floats",
    KINDS.INTS: "ints",
}
"""Where an attribute keeps its value, by its type; no supported operator has any other."""


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators that ``model`` uses.  Raises ModelError below 1, and beyond what onnx knows."""
    version = max((entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS), default=1)
    if version < 1:
        raise ModelError(f"the model uses opset {version}; 1 or newer works, so export it again")
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise ModelError(f"the model uses opset {version}; up to {newest} are known, so export it again")
    return version


def array(tensor: onnx.TensorProto) -> Array:
    """The values of ``tensor``.  Raises ModelError if its data are missing, do not fit its shape, or are no numbers."""
    what = f"tensor '{tensor.name}'"
    if any(size not in INT32 or size < 0 for size in tensor.dims):
        raise ModelError(f"{what}: has shape {shown(list(tensor.dims))}; sizes must be 0 or more, in 32 bits")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(f"{what}: holds text; only numbers work")
    if onnx.external_data_helper.uses_external_data(tensor):
        raise ModelError(f"{what}: its values are in another file; give the model's path, so that it can be found")
    with foreign(f"{what}: its values cannot be read"):
        return known(onnx.numpy_helper.to_array(tensor))


def known(values: Any) -> Array:
    """``values`` as an array of a type that NumPy itself computes with: bfloat16 becomes float32, exactly."""
    found = np.asarray(values)
    return found.astype(np.float32) if found.dtype.name == "bfloat16" else found


def describe(node: onnx.NodeProto) -> str:
    """``node 'name' (Operator)``; a nameless node is called by what it makes."""
    name = f"'{node.name}'" if node.name else f"that makes '{node.output[0] if node.output else ''}'"
    domain = f"{node.domain}." if node.domain not in STANDARD_DOMAINS else ""
    return f"node {name} ({domain}{node.op_type})"


def node_name(node: onnx.NodeProto) -> str:
    """The node's own name, or one made of its operator and output."""
    return node.name or f"{node.op_type}_{node.output[0]}"


def refuse(node: onnx.NodeProto, reason: str) -> ModelError:
    """The error that names ``node`` and says what was found and what would work; of a long list both ends."""
    return ModelError(f"{describe(node)}: {shortened(reason)}")


def attribute_value(node: onnx.NodeProto, item: onnx.AttributeProto) -> Any:
    """What ``item``, an attribute of ``node``, holds: a number, bytes, a list of numbers, a TensorProto or GraphProto.

    Raises ModelError if it holds nothing of the type that it claims.
    """
    filled = {field.name for field, _ in item.ListFields()} - {"name", "type", "doc_string"}
    if item.type not in FIELDS or filled - {FIELDS[item.type]}:
        raise refuse(
            node, f"attribute '{item.name}' is of type {item.type} and holds {', '.join(sorted(filled)) or 'nothing'}"
        )
    value = getattr(item, FIELDS[item.type])
    return list(value) if item.type in (KINDS.FLOATS, KINDS.INTS) else value


def check_parts(node: onnx.NodeProto, count: int) -> None:
    """Raises ModelError if ``node`` would become more than MOST_PARTS layers."""
    if count > MOST_PARTS:
        raise refuse(node, f"would become {count:,} layers; at most {MOST_PARTS:,} work")


def shown(value: Any) -> str:
    """A value of an attribute, or its type, on one line and not too long."""
    return reprlib.repr(value) if isinstance(value, int | float | bytes | list) else f"a {type(value).__name__}"


class Attributes:
    """The attributes of one node, read by name; any that nobody asked for is refused by ``finish``."""

    def __init__(self, node: onnx.NodeProto) -> None:
        self.node = node
        self._values: dict[str, Any] = {}
        for item in node.attribute:
            if item.name in self._values:
                raise refuse(node, f"attribute '{item.name}' is given twice")
            self._values[item.name] = attribute_value(node, item)
        self._asked: set[str] = set()

    def raw(self, name: str, default: Any) -> Any:
        self._asked.add(name)
        return self._values.get(name, default)

    def integer(self, name: str, default: int) -> int:
        value = self.raw(name, default)
        if not isinstance(value, int) or value not in INT32:
            raise refuse(self.node, f"{name} is {shown(value)}; it must be an integer of 32 bits")
        return value

    def real(self, name: str, default: float) -> float:
        value = self.raw(name, default)
        if not isinstance(value, int | float) or math.isnan(value) or (isinstance(value, int) and value not in INT32):
            raise refuse(self.node, f"{name} is {shown(value)}; it must be a number")
        return float(value)

    def text(self, name: str, *choices: str) -> str:
        """One of ``choices``, of which the first is the default."""
        value = self.raw(name, choices[0].encode())
        found = value.decode(errors="replace") if isinstance(value, bytes) else shown(value)
        if found not in choices:
            raise refuse(self.node, f"{name} is '{found}'; it must be {' or '.join(choices)}")
        return found

    def integers(self, name: str, default: tuple[int, ...], least: int) -> tuple[int, ...]:
        """As many integers as ``default`` has, none below ``least``."""
        found = self.listed(name)
        if found is None:
            return default
        if len(found) != len(default) or min(found, default=least) < least:
            raise refuse(self.node, f"{name} is {shown(found)}; it must be {len(default)} values of at least {least}")
        return tuple(found)

    def listed(self, name: str) -> list[int] | None:
        """Any number of integers, None if they are left out."""
        found = self.raw(name, None)
        return None if found is None else integer_list(self.node, name, found)

    def finish(self) -> None:
        """Raises ModelError if the node has an attribute that was not asked for."""
        for name in self._values:
            if name not in self._asked:
                raise refuse(self.node, f"attribute '{name}' is not supported; remove it")


def integer_list(node: onnx.NodeProto, name: str, found: Any) -> list[int]:
    """``found``, an attribute or an array, as integers.  Raises ModelError, naming ``node``, if they are none."""
    values = found.reshape(-1).tolist() if isinstance(found, np.ndarray) and found.dtype.kind in "iu" else found
    if not isinstance(values, list) or not all(isinstance(value, int) and value in INT32 for value in values):
        raise refuse(node, f"{name} is {shown(values)}; it must be integers of 32 bits")
    return values


def inputs_of(
    model: onnx.ModelProto, constants: Container[str], kinds: Container[int] = (TYPES.FLOAT,)
) -> dict[str, tuple[int, ...]]:
    """Dimensions, N first, of each input that is not a constant, by name.

    Raises ModelError if the model has no input or no output, or an input is none of ``kinds`` or of no fixed size.
    """
    graph = model.graph
    found = [value for value in graph.input if value.name not in constants]
    if not found or not graph.output:
        raise ModelError(
            f"the model has {len(found)} inputs and {len(graph.output)} outputs; it must have at least one of each"
        )
    for value in found:
        kind = value.type.tensor_type.elem_type
        if kind not in kinds:
            type_name = next((name for name, other in TYPES.DataType.items() if other == kind), str(kind))
            raise ModelError(f"input '{value.name}' has type {type_name}; it must be FLOAT")
    return {value.name: image_dimensions(value) for value in found}


def image_dimensions(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    """Dimensions (N, C, H, W), (N, C, D, H, W), (N, C, L) or (N, K) of an input, with N 1 if it is symbolic."""
    dimensions = [
        int(d.dim_value) if d.HasField("dim_value") and d.dim_value > 0 else (d.dim_param or "?")
        for d in value.type.tensor_type.shape.dim
    ]
    sizes = [d for d in dimensions[1:] if isinstance(d, int)]
    if len(dimensions) not in (2, 3, 4, 5) or len(sizes) != len(dimensions) - 1:
        shown = "x".join(str(d) for d in dimensions[:8]) or "unknown"
        raise ModelError(
            f"input '{value.name}' has shape {shown}; it must be NxCxHxW, NxCxDxHxW, NxCxL or NxK, all but N fixed"
        )
    batch = dimensions[0] if isinstance(dimensions[0], int) else 1
    check_dimensions(f"input '{value.name}'", (batch, *sizes), MAP_BYTES)
    return batch, *sizes
