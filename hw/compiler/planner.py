"""From the quantized graph to a plan: lowering, order, residency, DRAM, weaving, synchronization."""

from dataclasses import replace

from ...quant.graph import Graph
from ...quant.graph.errors import ConfigurationError
from ...quant.graph.progress import Progress, quiet
from ..isa.parameters import Parameters
from .affine import affine
from .apart import pools_apart
from .batch import batched
from .counters import beyond
from .dram import lay_out_dram
from .engine_layer import EngineLayer
from .lowering import lower
from .needs import check_needs
from .order import ordered
from .pace import pace
from .placement import Layout
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
    progress("layout", 0, 1)
    whole, layers, layout = _laid_out(single, p, batch)
    bare = Plan(whole, p, batch, single, layers, layout, lay_out_dram(whole, p, layers, layout), unfolding)
    progress("layout", 1, 1)
    woven = weave(bare, lambda done: progress("weave", done, len(layers)))
    return stamped(replace(bare, program=synchronize(woven)))


def _laid_out(graph: Graph, p: Parameters, batch: int) -> tuple[Graph, tuple[EngineLayer, ...], Layout]:
    """``prepared``, and where all of it lies.

    Layers that scale channels take room beside the array's: where memory is so small that this costs more than it
    saves, ``pace`` tells, they all stay on the array.
    """
    whole, layers = prepared(graph, p, batch)
    found = whole, layers, lay_out(layers, whole, p)
    if not any(layer.affine for layer in layers):
        return found
    other, plain = prepared(graph, p, batch, scales=False)
    alternative = other, plain, lay_out(plain, other, p)
    return min(found, alternative, key=lambda it: pace(it[1], it[2].tilings, it[2].windows, p.lanes, p))


def prepared(graph: Graph, p: Parameters, batch: int, *, scales: bool = True) -> tuple[Graph, tuple[EngineLayer, ...]]:
    """``graph`` of all ``batch`` images of a run, and its layers in the order in which the engine runs them.

    scales : the vector unit may scale channels, if it can

    Raises ConfigurationError for what the accelerator with ``p`` lacks, or no accelerator has.
    """
    engine = lower(graph, p.activation_bits, lambda before, pooled: pools_apart(before, pooled, graph, p))
    wider, lowered = thinned(affine(engine, p) if p.affine and scales else engine, graph, p)
    for layer in lowered:
        if (found := beyond(layer)) is not None:
            raise ConfigurationError(f"layer '{layer.name}': {found}")
    check_needs(lowered, p)
    if not 1 <= batch <= LARGEST_BATCH:
        raise ConfigurationError(f"batch must be 1 to {LARGEST_BATCH} images, not {batch}")
    return batched(wider, ordered(lowered, p), batch)
