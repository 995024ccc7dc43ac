"""DepthToSpace with a block that is not square: ONNX has none, so the file spells it Reshape, Transpose, Reshape.

The first splits the channels into (block rows, block columns, channels), the second brings each beside its axis, the
third joins them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import onnx
from onnx import helper

from ..graph import Pair, Shape
from ..onnx.file import Array

ORDER = (0, 3, 4, 1, 5, 2)
"""(N, block rows, block columns, C, rows, columns) as (N, C, rows, block rows, columns, block columns)."""

BLOCK = "block"
"""Attribute of a DepthToSpace node that stands for the three, as ``with_depth_to_space`` makes it."""


def apart(source: Shape, block: Pair) -> list[int]:
    """The first Reshape's shape for a map of shape ``source``."""
    channels, rows, columns = source
    return [0, *block, channels // (block[0] * block[1]), rows, columns]


def together(source: Shape, block: Pair) -> list[int]:
    """The last Reshape's."""
    _, _, _, channels, rows, columns = apart(source, block)
    return [0, channels, rows * block[0], columns * block[1]]


def with_depth_to_space(nodes: Iterable[onnx.NodeProto], constants: Mapping[str, Array]) -> list[onnx.NodeProto]:
    """``nodes`` with a DepthToSpace, its block an attribute, in place of each three that spell one."""
    given = list(nodes)
    readers = Counter(name for node in given for name in node.input)
    following = {name: node for node in given for name in node.input if readers[name] == 1}
    found: dict[int, onnx.NodeProto] = {}
    dropped: set[int] = set()
    for first in given:
        three = [first]
        while len(three) < 3 and three[-1].output and three[-1].output[0] in following:
            three.append(following[three[-1].output[0]])
        block = _block(three, constants)
        if block is not None:
            node = helper.make_node("DepthToSpace", first.input[:1], three[2].output[:1], first.name)
            node.attribute.append(helper.make_attribute(BLOCK, block))
            found[id(three[2])] = node
            dropped |= {id(node) for node in three[:2]}
    return [found.get(id(node), node) for node in given if id(node) not in dropped]


def _block(three: Sequence[onnx.NodeProto], constants: Mapping[str, Array]) -> list[int] | None:
    if [node.op_type for node in three] != ["Reshape", "Transpose", "Reshape"]:
        return None
    given = [constants[name] for node in three[::2] for name in node.input[1:] if name in constants]
    shapes = [shape.reshape(-1).tolist() for shape in given if shape.dtype.kind in "iu"]
    order = next((tuple(item.ints) for item in three[1].attribute if item.name == "perm"), ())
    if len(shapes) != 2 or len(shapes[0]) != 6 or order != ORDER:
        return None
    _, high, wide, channels, rows, columns = shapes[0]
    if min(high, wide) < 1:
        return None
    return [high, wide] if shapes[1] == together((high * wide * channels, rows, columns), (high, wide)) else None
