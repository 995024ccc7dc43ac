"""Which max poolings stand apart from the convolution before them.

As a part of it a pooling costs the vector unit one read of sums a window, and the map before it is never written.  But
where its windows overlap, the rows and columns that two spatial tiles share are convolved twice.  Apart, the pooling is
woven between the convolution's channel tiles: if array and vector unit have the time, nothing is convolved twice.
"""

from ...quant.graph import Graph
from ..isa.parameters import Parameters
from .cost import Traffic
from .engine_layer import EngineLayer
from .needs import reads_maps_as_they_are
from .order import SPARE, vector_cycles
from .tiling import Tilings

GAIN = 0.98
"""Of the cycles of both together, what they may take apart at most: estimates are that good."""

ROOM = 0.75
"""Of the activation memory, what a pooling that is woven leaves to the convolution's slots, about."""


def pools_apart(before: EngineLayer, pooled: EngineLayer, graph: Graph, p: Parameters) -> bool:
    """Whether ``pooled``, the convolution ``before`` with a max pooling behind it, is faster as two layers.

    The second reads a map, which not every accelerator does.
    """
    pool = pooled.pool
    if pool is None or before.raw or not reads_maps_as_they_are(p):
        return False
    if all(k <= s for k, s in zip(pool.kernel, pool.strides, strict=True)):
        return False
    alone = vector_cycles(pooled, p) + pooled.target[0] * pooled.target[1] * pooled.target[2] // p.columns
    work = vector_cycles(before, p) + alone
    begins = before.input in graph.inputs
    capacity = p.activation_elements
    both = Tilings(pooled.geometry, p, Traffic(True, False, True, pooled.spread.steps, 0.0, begins)).best(capacity)
    traffic = Traffic(True, False, True, before.spread.steps, float(alone), begins)
    first = Tilings(before.geometry, p, traffic).best(int(capacity * ROOM))
    if both is None or first is None or work > SPARE * first.array:
        return False
    return first.cost < GAIN * both.cost
