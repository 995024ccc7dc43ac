"""Max, Mean, Min and Sum of any number of tensors as nodes of two."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

OPERATORS = ("Max", "Mean", "Min", "Sum")


def of_two(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """``node``, or what makes the same of its inputs two by two, from the first on."""
    count = len(node.input)
    if node.op_type not in OPERATORS or not node.input or (count == 2 and node.op_type != "Mean"):
        yield node
        return
    operator = "Sum" if node.op_type == "Mean" else node.op_type
    current = node.input[0]
    for number, name in enumerate(node.input[1:], start=1):
        last = number == count - 1 and node.op_type != "Mean"
        made = node.output[0] if last else f"{node.output[0]}.part{number}"
        yield onnx.helper.make_node(operator, [current, name], [made], node.name if last else _numbered(node, number))
        current = made
    if node.op_type == "Mean":
        share = f"{node.output[0]}.share"
        yield onnx.helper.make_node("Constant", [], [share], _numbered(node, 0), value_float=1 / count)
        yield onnx.helper.make_node("Mul", [current, share], [node.output[0]], node.name)
    elif count == 1:
        yield onnx.helper.make_node("Identity", [current], [node.output[0]], node.name)


def _numbered(node: onnx.NodeProto, number: int) -> str:
    return f"{node.name}.part{number}" if node.name else ""
