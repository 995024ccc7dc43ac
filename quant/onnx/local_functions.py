"""Functions that a model defines itself: each node that calls one becomes the nodes of its body.

Exporters make them of modules (PyTorch's dynamo, onnxscript).  What a file asks for is measured before it is done:
thirty functions that each call the next one twice would be a billion nodes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import onnx
from onnx.inliner import inline_local_functions

from ..graph.errors import ModelError
from .foreign import foreign

MOST_NODES = 100_000
MOST_BYTES = 2**26  # of nodes and small constants: weights are not in functions
MOST_CALLS = 50  # one inside the other

Key = tuple[str, str, str]


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` without functions of its own.

    Raises ModelError if one calls itself, or the calls would become more than MOST_NODES or MOST_BYTES.
    """
    bodies = {(body.domain, body.name, body.overload): body.node for body in model.functions}
    nodes, size = _extent(model.graph.node, bodies, {}, 0)
    if nodes > MOST_NODES or size > MOST_BYTES:
        raise ModelError(
            f"the model's functions would become {nodes:,} nodes of {size:,} bytes; {MOST_NODES:,} nodes and"
            f" {MOST_BYTES:,} bytes are the most"
        )
    # The inliner copies a model several times, so weights stay behind.
    bare = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    bare.graph.CopyFrom(onnx.GraphProto(name=graph.name, node=graph.node, input=graph.input, output=graph.output))
    with foreign("the model's functions cannot be put where they are called"):
        made: onnx.ModelProto = inline_local_functions(bare)
    made.graph.initializer.extend(graph.initializer)
    made.graph.sparse_initializer.extend(graph.sparse_initializer)
    return made


def _extent(
    nodes: Sequence[onnx.NodeProto],
    bodies: dict[Key, Sequence[onnx.NodeProto]],
    known: dict[Key, tuple[int, int]],
    depth: int,
) -> tuple[int, int]:
    """Nodes, and bytes, that ``nodes`` become; ``known`` has those of each body that was measured before."""
    if depth > MOST_CALLS:
        raise ModelError(f"the model's functions call each other more than {MOST_CALLS} deep, or themselves")
    count = size = 0
    for node in nodes:
        key = node.domain, node.op_type, node.overload
        if key in bodies:
            if key not in known:
                known[key] = _extent(bodies[key], bodies, known, depth + 1)
            count, size = count + known[key][0], size + known[key][1]
        else:
            inner = [_extent(graph.node, bodies, known, depth + 1) for graph in _graphs(node)]
            count += 1 + sum(one[0] for one in inner)
            size += node.ByteSize() + sum(one[1] for one in inner)
    return count, size


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for item in node.attribute:
        if item.HasField("g"):
            yield item.g
        yield from item.graphs
