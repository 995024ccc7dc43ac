"""A change to a model: a node more that moves, repeats or renames values."""

from __future__ import annotations

import numpy as np
import onnx

from .values import new_constant, pick, some_node, value_of


def arrange_before(model, random):
    """A node that moves, repeats or renames values, of arguments that often fit, between a node and what it reads."""
    node = some_node(model, random)
    if not node.input:
        return
    place, rank = int(random.integers(0, len(node.input))), int(random.integers(1, 6))
    few = [int(value) for value in random.integers(-1, 5, rank)]
    count = int(random.choice([1, 1, 2, 2**20, 2**31 - 1]))
    operator, constants, attributes = pick(
        random,
        [
            ("Reshape", [few], {}),
            ("Reshape", [[0] * rank + [-1]], {}),
            ("Unsqueeze", [few[:2]], {}),
            ("Squeeze", [few[:1]], {}),
            ("Transpose", [], {"perm": [int(axis) for axis in random.permutation(rank)]}),
            ("Expand", [[1] * (rank - 1) + [count]], {}),
            ("Tile", [[count] + [1] * (rank - 1)], {}),
            ("Slice", [few[:1], [count], [1]], {}),
            ("Gather", [few], {"axis": int(random.integers(-3, 4))}),
            ("Resize", [np.float32([]), np.float32([1] * rank), [1] * rank][: int(random.integers(1, 4))], {}),
            ("Pad", [[0] * rank + [count] + [0] * (rank - 1)], {"mode": str(pick(random, ["edge", "constant"]))}),
            ("ReduceMean", [few[:2]], {"keepdims": int(random.integers(0, 2))}),
            ("ReduceMax", [[-1, -2]], {}),
            ("MaxPool", [], {"kernel_shape": [abs(size) + 1 for size in few], "dilations": [1] * rank}),
            ("SpaceToDepth", [], {"blocksize": value_of(random)}),
            ("DepthToSpace", [], {"blocksize": value_of(random)}),
        ],
    )
    name = f"arranged{random.integers(0, 10**6)}"
    inputs = [node.input[place], *(new_constant(model, random, np.asarray(values)) for values in constants)]
    new = onnx.helper.make_node(operator, inputs, [f"{name}_out"], name, **attributes)
    nodes = list(model.graph.node)
    at = next(index for index, other in enumerate(nodes) if other == node)
    nodes[at].input[place] = new.output[0]
    nodes.insert(at, new)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
