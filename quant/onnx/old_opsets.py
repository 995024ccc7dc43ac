"""Opsets 1 to 6, node by node, as opset 7 says it: what was an attribute of broadcasting, and marks that are gone.

``onnx.version_converter`` knows too few operators, wants a fixed batch, and gives PRelu another meaning.
Source: ONNX's Changelog.md, versions 1 to 7 of each operator
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import helper

from .file import Attributes, refuse, shown

BROADCASTING = ("Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor")


def modern(node: onnx.NodeProto, sizes: Mapping[str, Sequence[int]]) -> list[onnx.NodeProto]:
    """The nodes that ``node``, of an opset below 7, is in opset 7.

    sizes : shapes of the tensors known before it.  Raises ModelError, naming the node, where opset 7 cannot say it.
    """
    old = Attributes(node)
    ranks = [len(sizes.get(name, ())) for name in node.input]
    dropped, before = {"consumed_inputs"}, list[onnx.NodeProto]()
    added: dict[str, Any] = {}
    made = onnx.NodeProto()
    made.CopyFrom(node)
    if node.op_type in BROADCASTING:
        dropped |= {"broadcast", "axis"}
        if len(ranks) == 2 and old.raw("axis", None) is not None:
            before = _trailing(made, ranks[1], ranks[0] - ranks[1] - old.integer("axis", 0) % max(1, ranks[0]))
    elif node.op_type == "PRelu" and ranks[1:] == [1] and ranks[0] > 2:
        before = _trailing(made, 1, ranks[0] - 2)  # the slopes were the channels', on the second axis
    elif node.op_type == "BatchNormalization":
        dropped.add("is_test")
        if not old.integer("is_test", 0):
            raise refuse(node, "is_test is 0, which trains; export the model for inference")
    elif node.op_type == "Pad" and old.listed("paddings") is not None:
        dropped.add("paddings")
        added["pads"] = old.listed("paddings")
    elif node.op_type == "Upsample" and old.raw("height_scale", None) is not None:
        dropped |= {"height_scale", "width_scale"}
        added["scales"] = [1.0, 1.0, old.real("height_scale", 1.0), old.real("width_scale", 1.0)]
    elif node.op_type == "Cast" and isinstance(kind := old.raw("to", None), bytes):
        if kind.decode(errors="replace") not in dict(onnx.TensorProto.DataType.items()):
            raise refuse(node, f"to is {shown(kind)}, which is no type of ONNX")
        dropped.add("to")
        added["to"] = onnx.TensorProto.DataType.Value(kind.decode())
    del made.attribute[:]
    made.attribute.extend(item for item in node.attribute if item.name not in dropped)
    made.attribute.extend(helper.make_attribute(name, value) for name, value in added.items())
    return [*before, made]


def _trailing(node: onnx.NodeProto, rank: int, count: int) -> list[onnx.NodeProto]:
    """Makes ``node`` read its second input, of ``rank``, with ``count`` more axes of size 1: the nodes for it."""
    if count < 1:
        return []
    name = f"{node.input[1]} for {node.output[0]}"
    made = helper.make_node("Unsqueeze", [node.input[1]], [name], name, axes=list(range(rank, rank + count)))
    node.input[1] = name
    return [made]
