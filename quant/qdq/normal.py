"""Other quantizers' nodes as Q, float operators and DQ: what the reader knows."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import onnx

from ..onnx.constants import Constants
from ..onnx.file import STANDARD_DOMAINS, Array
from . import qonnx, qoperator
from .oblong import with_depth_to_space

LINEAR = ("QuantizeLinear", "DequantizeLinear")


def normal_form(graph: onnx.GraphProto, constants: Constants) -> list[onnx.NodeProto]:
    """The nodes of ``graph``, QOperator's and QONNX's spelled out in QDQ.

    Those that compute constants are left out; ``constants`` has what they make.
    """
    nodes = [node for node in graph.node if node.domain not in STANDARD_DOMAINS or not constants.fold(node)]
    nodes = [made for node in nodes for made in qoperator.spelled(node, constants)]
    nodes = [made for node in nodes for made in qonnx.spelled(node, constants)]
    return with_depth_to_space(_without_last_grid(nodes, {value.name for value in graph.output}), constants)


def _without_last_grid(nodes: list[onnx.NodeProto], outputs: Container[str]) -> list[onnx.NodeProto]:
    """``nodes`` without the Q and the DQ of a last Softmax, which is the host's and float."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found, dropped = [], set()
    for node in nodes:
        name, after = node.output[0], []
        while node.op_type in ("Softmax", "LogSoftmax") and name not in outputs:
            following = readers.get(name, [])
            if len(following) != 1 or following[0].op_type not in LINEAR:
                break
            after.append(following[0])
            name = following[0].output[0]
        if after and name in outputs:
            dropped |= {id(other) for other in after}
            node = _copy(node, list(node.input))
            node.output[0] = name
        found.append(node)
    return [node for node in found if id(node) not in dropped]


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
