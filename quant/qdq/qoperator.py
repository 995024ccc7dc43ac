"""ONNX Runtime's integer operators (QOperator format) as the float operator between DQs and a Q."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import helper

from ..onnx.constants import Constants
from ..onnx.file import Array, refuse

ALONE = {
    "QLinearAveragePool": "AveragePool",
    "QLinearGlobalAveragePool": "GlobalAveragePool",
    "QLinearLeakyRelu": "LeakyRelu",
    "QLinearReduceMean": "ReduceMean",
    "QLinearSigmoid": "Sigmoid",
    "QLinearSoftmax": "Softmax",
}
PAIRS = {"QLinearAdd": "Add", "QLinearMul": "Mul"}
WITH_WEIGHTS = {"QLinearConv": "Conv", "QLinearMatMul": "MatMul", "QGemm": "Gemm"}
IN_LAST_INPUTS = {"QLinearConv": 8, "QLinearMatMul": 8, "QGemm": 6}


def spelled(node: onnx.NodeProto, constants: Constants) -> Iterator[onnx.NodeProto]:
    """``node`` itself, or if it is an operator on integers, what it computes, in QDQ form."""
    if node.op_type in ALONE:
        yield from _Spelling(node, constants).between([0], ALONE[node.op_type], 3)
    elif node.op_type in PAIRS:
        yield from _Spelling(node, constants).between([0, 3], PAIRS[node.op_type], 6)
    elif node.op_type == "QLinearConcat":
        yield from _Spelling(node, constants).between(list(range(2, len(node.input), 3)), "Concat", 0)
    elif node.op_type in WITH_WEIGHTS:
        yield from _Spelling(node, constants).weighted()
    else:
        yield node


class _Spelling:
    """Makes the nodes that stand for one node on integers."""

    def __init__(self, node: onnx.NodeProto, constants: Constants) -> None:
        self.node = node
        self.constants = constants
        self.output = node.output[0] if node.output else ""
        self.name = node.name or f"{node.op_type}_{self.output}"

    def between(self, inputs: list[int], operator: str, scale: int) -> Iterator[onnx.NodeProto]:
        """``operator`` on dequantized ``inputs``, each with its scale and zero point after it; ``scale`` is its Q's."""
        names = []
        for index in inputs:
            made = self._dequantize(index)
            names.append(made.output[0])
            yield made
        yield from self._operator(operator, names, scale)

    def weighted(self) -> Iterator[onnx.NodeProto]:
        """QLinearConv and QLinearMatMul (x, w, y, bias), QGemm (x, w, bias, y), y's scale left out if that is float."""
        operator = WITH_WEIGHTS[self.node.op_type]
        x, w = self._dequantize(0), self._dequantize(3, axis=self._outputs_axis())
        yield x
        yield w
        names = [x.output[0], w.output[0]]
        index = IN_LAST_INPUTS[self.node.op_type]
        if self._given(index):
            if self.node.op_type == "QLinearMatMul":
                raise refuse(self.node, f"has {len(self.node.input)} inputs; it takes 8")
            scale = self._stored("bias_scale", np.asarray(self._scale(1) * self._scale(4), np.float32))
            bias = f"{self.output}_bias"
            yield helper.make_node(
                "DequantizeLinear", [self.node.input[index], scale], [bias], f"{self.name}_bias", axis=0
            )
            names.append(bias)
        yield from self._operator(operator, names, 7 if operator == "Gemm" else 6)

    def _operator(self, operator: str, names: list[str], scale: int) -> Iterator[onnx.NodeProto]:
        """The node itself, with its attributes, and its Q."""
        node = self.node
        real = f"{self.output}_real" if self._given(scale) else self.output
        made = helper.make_node(operator, names, [real], node.name or self.name)
        for item in node.attribute:
            if item.name == "channels_last":
                if item.i:
                    raise refuse(node, "channels_last is 1; only channels first, 0, works")
            elif operator == "Softmax" and item.name == "opset":
                continue
            elif operator == "ReduceMean" and item.name == "axes" and self.constants.opset >= 18:
                made.input.append(self._stored("axes", np.array(item.ints, np.int64)))
            else:
                made.attribute.append(item)
        yield made
        if self._given(scale):
            inputs = [real, *self._grid(scale)]
            yield helper.make_node("QuantizeLinear", inputs, [self.output], f"{self.name}_quantize")

    def _dequantize(self, index: int, axis: int = 1) -> onnx.NodeProto:
        """The DQ of input ``index``, whose scale and zero point follow."""
        if not self._given(index):
            raise refuse(self.node, f"its input {index + 1} is missing")
        inputs = [self.node.input[index], *self._grid(index + 1)]
        made = f"{self.output}_input{index}"
        return helper.make_node("DequantizeLinear", inputs, [made], f"{self.name}_input{index}", axis=axis)

    def _grid(self, index: int) -> list[str]:
        """Names of the scale and the zero point, inputs ``index`` and the next."""
        if not (self._given(index) and self._given(index + 1)):
            raise refuse(self.node, f"its inputs {index + 1} and {index + 2}, a scale and a zero point, must be given")
        return list(self.node.input[index : index + 2])

    def _outputs_axis(self) -> int:
        """Along which axis of the weights the outputs lie."""
        if self.node.op_type == "QLinearConv":
            return 0
        transposed = any(item.name == "transB" and item.i for item in self.node.attribute)
        return 0 if transposed else 1

    def _scale(self, index: int) -> Array:
        found = self.constants.get(self.node.input[index])
        if found is None or found.dtype != np.float32:
            raise refuse(self.node, f"its scale '{self.node.input[index]}' must be constant and float32")
        return found

    def _stored(self, role: str, values: Array) -> str:
        name = f"{self.output}_{role}"
        self.constants.add(helper.make_node("Constant", [], [name], f"{self.name}_{role}"), values)
        return name

    def _given(self, index: int) -> bool:
        return index < len(self.node.input) and bool(self.node.input[index])
