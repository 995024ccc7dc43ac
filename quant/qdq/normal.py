"""Other quantizers' nodes as Q, float operators and DQ: what the reader knows."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import onnx

from ..onnx.constants import Constants
from ..onnx.file import STANDARD_DOMAINS, Array
from . import qonnx, qoperator
from .oblong import joined

LINEAR = ("QuantizeLinear", "DequantizeLinear")


def normal_form(graph: onnx.GraphProto, constants: Constants) -> list[onnx.NodeProto]:
    """The nodes of ``graph``, QOperator's and QONNX's spelled out in QDQ.

    Those that compute constants are left out; ``constants`` has what they make.
    """
    nodes = [node for node in graph.node if node.domain not in STANDARD_DOMAINS or not constants.fold(node)]
    nodes = [made for node in nodes for made in qoperator.spelled(node, constants)]
    nodes = [made for node in nodes for made in qonnx.spelled(node, constants)]
    return joined(nodes, constants)


def merged(
    nodes: Iterable[onnx.NodeProto], constants: Mapping[str, Array], outputs: Container[str]
) -> list[onnx.NodeProto]:
    """``nodes`` with each tensor quantized once to each grid, and dequantized once: what is not, reads the first.

    outputs : of the graph, which keep their names
    """
    first: dict[tuple[object, ...], str] = {}
    names: dict[str, str] = {}
    found = []
    for node in nodes:
        if any(name in names for name in node.input):
            node = _copy(node, [names.get(name, name) for name in node.input])
        if node.op_type in LINEAR and node.input[0] not in constants and node.output[0] not in outputs:
            values = (constants.get(name) for name in node.input[1:])
            grid = tuple(None if value is None else (value.dtype.name, value.tobytes()) for value in values)
            attributes = tuple(sorted(item.SerializeToString(deterministic=True) for item in node.attribute))
            same = first.setdefault((node.op_type, node.input[0], grid, attributes), node.output[0])
            if same != node.output[0]:
                names[node.output[0]] = same
                continue
        found.append(node)
    return found


def _copy(node: onnx.NodeProto, inputs: list[str]) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    del copied.input[:]
    copied.input.extend(inputs)
    return copied
