"""Golden max pooling against naive loops."""

import numpy as np
import pytest

from systolith import golden

from .graphs import integers, pool_graph

WINDOWS = {
    "2x2": ((3, 6, 7), (2, 2), (2, 2), (0, 0, 0, 0)),
    "overlapping": ((2, 7, 6), (3, 3), (2, 2), (0, 0, 0, 0)),
    "padded": ((2, 6, 7), (3, 3), (2, 2), (1, 1, 1, 1)),
    "asymmetric": ((2, 5, 9), (3, 2), (1, 3), (0, 1, 2, 0)),
    "stride above kernel": ((1, 9, 9), (2, 1), (3, 4), (0, 0, 0, 0)),
    "1x1": ((2, 4, 4), (1, 1), (1, 1), (0, 0, 0, 0)),
    "whole map": ((2, 4, 5), (4, 5), (1, 1), (0, 0, 0, 0)),
}


@pytest.mark.parametrize("bounds", [(0, 255, 0), (-128, 127, 5), (0, 65535, 9), (3, 9, 5)], ids=str)
@pytest.mark.parametrize("name", WINDOWS)
def test_pooling_equals_naive_loops(name, bounds):
    graph = pool_graph(*WINDOWS[name], bounds)
    layer = graph.layers[0]
    values = integers(graph, 3, seed=9).astype(golden.storage(graph.map_of("x")))
    values[0] = bounds[0]  # nothing but the lowest: what lies outside must not win, nor lose to anything
    found = golden.max_pool(layer, values)
    channels, rows, columns = graph.tensors["y"].shape
    assert found.dtype == values.dtype
    assert found.shape == (3, channels, rows, columns)
    for n, c, y, x in np.ndindex(found.shape):
        top, left = y * layer.strides[0] - layer.pads[0], x * layer.strides[1] - layer.pads[1]
        window = values[n, c, max(top, 0) : top + layer.kernel[0], max(left, 0) : left + layer.kernel[1]]
        assert found[n, c, y, x] == window.max()
