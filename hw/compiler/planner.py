"""From the quantized graph to a plan: lowering, order, residency, DRAM, weaving, synchronization."""

from dataclasses import replace

from ...quant.graph import Graph
from ...quant.graph.errors import ConfigurationError
from ...quant.graph.progress import Progress, quiet
from ..isa.parameters import Parameters
from .batch import batched
from .dram import lay_out_dram
from .engine_layer import EngineLayer
from .lowering import lower
from .needs import check_needs
from .order import ordered
from .plan import Plan
from .residency import lay_out
from .stamping import stamped
from .sync import synchronize
from .thin import thinned
from .unfold import unfolded
from .weave import weave

LARGEST_BATCH = 256
"""Images in one run."""


def plan(
    graph: Graph, parameters: Parameters, batch: int = 1, unfold_input: bool = False, progress: Progress = quiet
) -> Plan:
    """Plan ``graph`` for the accelerator with ``parameters``, for ``batch`` images a run.

    unfold_input : the host writes the input with the rows of the first convolution's windows side by side
    progress : stages "layout" and "weave"

    Raises ConfigurationError naming the layer, the memory and the size that would do where something cannot fit.
    """
    p = parameters
    single, unfolding = unfolded(graph) if unfold_input else (graph, None)
    whole, layers = prepared(single, p, batch)
    progress("layout", 0, 1)
    layout = lay_out(layers, whole, p)
    bare = Plan(whole, p, batch, single, layers, layout, lay_out_dram(whole, p, layers, layout), unfolding)
    progress("layout", 1, 1)
    woven = weave(bare, lambda done: progress("weave", done, len(layers)))
    return stamped(replace(bare, program=synchronize(woven)))


def prepared(graph: Graph, p: Parameters, batch: int) -> tuple[Graph, tuple[EngineLayer, ...]]:
    """``graph`` of all ``batch`` images of a run, and its layers in the order in which the engine runs them.

    Raises ConfigurationError for what the accelerator with ``p`` lacks, or no accelerator has.
    """
    wider, lowered = thinned(lower(graph, p.activation_bits), graph, p)
    for layer in lowered:
        _check(layer)
    check_needs(lowered, p)
    if not 1 <= batch <= LARGEST_BATCH:
        raise ConfigurationError(f"batch must be 1 to {LARGEST_BATCH} images, not {batch}")
    return batched(wider, ordered(lowered, p), batch)


def _check(layer: EngineLayer) -> None:
    """Raise ConfigurationError for what no accelerator counts to."""
    where = f"layer '{layer.name}'"
    limits = {
        "kernel rows": (layer.kernel[0], 256),
        "kernel columns": (layer.kernel[1], 256),
        "row stride": (layer.strides[0], 255),
        "row dilation": (layer.dilations[0], 255),
        "values in a column stride": (layer.strides[1] * layer.source[0], (1 << 22) - 1),
        "values in a column dilation": (layer.dilations[1] * layer.source[0], (1 << 22) - 1),
        "rows": (layer.source[1], 32767),
        "values in a row": (layer.source[0] * layer.source[2], (1 << 22) - 1),
        "pooling window": (max(layer.pool.kernel) if layer.pool else 1, 256),
        "pooling stride": (max(layer.pool.strides) if layer.pool else 1, 255),
    }
    for name, (value, limit) in limits.items():
        if value > limit:
            raise ConfigurationError(f"{where}: {name} of {value}; the engine counts to {limit}")
