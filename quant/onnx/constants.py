"""Fold constant sub-graphs: nodes that compute weights or shapes from constants only are evaluated at import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil, prod

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from ..graph.errors import ModelError
from .budget import Budget
from .file import Array, Attributes, array, describe, integer_list, known, refuse
from .foreign import foreign

# Evaluated by onnx's reference implementation when every input is constant; anything else must be a layer.
RESHAPING = ("Flatten", "Identity", "Reshape", "Shape", "Size", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
REDUCING = tuple(f"Reduce{how}" for how in ("L1", "L2", "LogSum", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"))
OF_ONE = (
    *(
        "Abs",
        "Cast",
        "Ceil",
        "Clip",
        "Cos",
        "CumSum",
        "Exp",
        "Floor",
        "LeakyRelu",
        "Log",
        "Neg",
        "Not",
        "Reciprocal",
        "Relu",
    ),
    *("Round", "Sigmoid", "Sign", "Sin", "Softmax", "Softplus", "Sqrt", "Tanh", "Trilu"),
)
BROADCASTING = (
    *("Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod"),
    *("Mul", "Or", "Pow", "Sub", "Sum", "Where", "Xor"),
)
GROWING = ("Concat", "ConstantOfShape", "Expand", "EyeLike", "Gather", "Gemm", "MatMul", "Pad", "Range", "Tile")
SCATTERING = ("ScatterElements", "ScatterND")
FOLDABLE = frozenset((*RESHAPING, *REDUCING, *OF_ONE, *BROADCASTING, *GROWING, *SCATTERING))

PRODUCTS = 64  # multiplications that cost as much as a value
SCATTERED = 256  # what an index costs, in values: the reference takes them one by one


class Constants(Mapping[str, Array]):
    """Tensors that do not depend on the image, by name: those stored in ``model``, and those computed since."""

    def __init__(self, model: onnx.ModelProto, opset: int) -> None:
        self.opset = opset
        self.budget = Budget()
        self._values: dict[str, Array] = {}
        if model.graph.sparse_initializer:
            raise ModelError("sparse initializers are not supported; store the weights as dense tensors")
        self.store(model.graph.initializer)

    def __getitem__(self, name: str) -> Array:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def store(self, tensors: Iterable[onnx.TensorProto]) -> None:
        """Add ``tensors``, which the file holds."""
        for tensor in tensors:
            self._values[tensor.name] = array(tensor)
            self.budget.stored += self[tensor.name].nbytes

    def add(self, node: onnx.NodeProto, value: Array) -> None:
        """Add what ``node`` makes.  Raises ModelError if it is beyond the budget."""
        self.budget.spend(describe(node), value.size)
        self._values[node.output[0]] = value

    def fold(self, node: onnx.NodeProto) -> bool:
        """Compute ``node`` and return True if all that it reads is constant, else False.

        Raises ModelError if its inputs do not fit it, or its outputs, before they are computed, the budget.
        """
        if node.op_type == "Constant":
            value = self._values[node.output[0]] = constant_value(node)
            self.budget.stored += value.nbytes
            return True
        if node.op_type not in FOLDABLE or any(name and name not in self for name in node.input):
            return False
        if node.op_type == "Cast" and Attributes(node).integer("to", 0) == onnx.TensorProto.STRING:
            raise refuse(node, "makes text of constants; only numbers work")
        _check_axes(node, [self[name] for name in node.input if name])
        feeds = {name: self[name] for name in node.input if name}
        what = f"{describe(node)}: cannot be computed from its constant inputs"
        with foreign(what):
            size = largest_size(node, [self[name] for name in node.input if name])
        self.budget.spend(describe(node), size)
        with foreign(what):
            values = ReferenceEvaluator(_model_of(node, self.opset)).run(None, feeds)
            made = dict(zip(filter(None, node.output), map(known, values), strict=True))
        self._values.update(made)
        return True


def constant_value(node: onnx.NodeProto) -> Array:
    """The value of a Constant node, whichever of its attributes holds it.  Raises ModelError for text."""
    attributes = Attributes(node)
    name = node.attribute[0].name if len(node.attribute) == 1 else ""
    if name not in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        raise refuse(node, "only one numeric value is supported")
    value = attributes.raw(name, None)
    if isinstance(value, onnx.TensorProto):
        return array(value)
    with foreign(f"{describe(node)}: its {name} is no number"):
        return np.array(value, np.float32 if "float" in name else np.int64)


def _check_axes(node: onnx.NodeProto, inputs: Sequence[Array]) -> None:
    """Raises ModelError if an axis of ``node`` is no integer of 32 bits."""
    attributes = Attributes(node)
    attributes.integer("axis", 0)
    attributes.listed("axes")
    if node.op_type in (*REDUCING, "Squeeze", "Unsqueeze") and len(inputs) > 1:
        integer_list(node, "axes", inputs[1])


def largest_size(node: onnx.NodeProto, inputs: Sequence[Array]) -> int:
    """The most values that a foldable ``node`` can make of ``inputs``, or that take its time, without computing it."""
    operator, first = node.op_type, inputs[0]
    if operator in BROADCASTING:
        return extent(np.broadcast_shapes(*(value.shape for value in inputs)))
    if operator == "Concat":
        return sum(extent(value.shape) for value in inputs)
    if operator == "ConstantOfShape":
        return extent(first.tolist())
    if operator == "Expand":
        return extent(np.broadcast_shapes(first.shape, tuple(inputs[1].tolist())))
    if operator == "Gather":
        left = list(first.shape)
        left.pop(Attributes(node).integer("axis", 0))
        return inputs[1].size * extent(left)
    if operator in ("Gemm", "MatMul"):
        return _products(node, inputs)
    if operator == "Pad":
        amounts = Attributes(node).listed("pads") or inputs[1].tolist()
        around = sum(abs(amount) for amount in amounts)  # on each axis: which ones, it may say in a further input
        return extent([size + around for size in first.shape])
    if operator == "Tile":
        return extent([size * times for size, times in zip(first.shape, inputs[1].tolist(), strict=True)])
    if operator == "ScatterElements":
        return extent(first.shape) + SCATTERED * extent(inputs[1].shape)
    if operator == "ScatterND":
        *several, depth = inputs[1].shape
        return extent(first.shape) + extent(several) * (SCATTERED + extent(first.shape[depth:]))
    if operator == "Range":
        start, limit, step = (value.item() for value in inputs)
        return int(max(0, ceil((limit - start) / step)))
    return extent(first.shape)


def _products(node: onnx.NodeProto, inputs: Sequence[Array]) -> int:
    first, second = (value.shape for value in inputs[:2])
    attributes = Attributes(node)
    if node.op_type == "Gemm":
        first = first[::-1] if attributes.integer("transA", 0) else first
        second = second[::-1] if attributes.integer("transB", 0) else second
    rows = first[-2:-1] if len(first) > 1 else ()
    columns = second[-1:] if len(second) > 1 else ()
    made = extent((*np.broadcast_shapes(first[:-2], second[:-2]), *rows, *columns))
    return max(made, made * int(first[-1]) // PRODUCTS)


def extent(shape: Sequence[int]) -> int:
    """Values of an array of ``shape``, a size of 0 counting as 1: the next operator may leave it out."""
    return prod(max(1, size) for size in shape)


def _model_of(node: onnx.NodeProto, opset: int) -> onnx.ModelProto:
    """A model of ``node`` alone."""
    inputs, outputs = (
        [onnx.helper.make_empty_tensor_value_info(name) for name in dict.fromkeys(names) if name]
        for names in (node.input, node.output)
    )
    graph = onnx.helper.make_graph([node], "constant", inputs, outputs)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
