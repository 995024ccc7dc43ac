"""From the quantized graph to a plan: lowering, order, residency, DRAM, weaving, synchronization."""

from dataclasses import replace

from ...quant.graph import Graph, weight_width
from ...quant.graph.errors import ConfigurationError
from ...quant.graph.progress import Progress, quiet
from ..isa.parameters import Parameters
from .batch import batched
from .dram import lay_out_dram
from .engine_layer import EngineLayer
from .lowering import has_lowest_weight, lower, needed_sum_bits
from .order import ordered
from .plan import Plan
from .residency import lay_out
from .sync import synchronize
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
    lowered = lower(single, p.activation_bits)
    for layer in lowered:
        _check(layer, p)
    if not 1 <= batch <= LARGEST_BATCH:
        raise ConfigurationError(f"batch must be 1 to {LARGEST_BATCH} images, not {batch}")
    whole, layers = batched(single, ordered(lowered, p), batch)
    progress("layout", 0, 1)
    layout = lay_out(layers, whole, p)
    bare = Plan(whole, p, batch, single, layers, layout, lay_out_dram(whole, p, layers, layout), unfolding)
    progress("layout", 1, 1)
    woven = weave(bare, lambda done: progress("weave", done, len(layers)))
    return replace(bare, program=synchronize(woven))


def _check(layer: EngineLayer, p: Parameters) -> None:
    where = f"layer '{layer.name}'"
    width = weight_width(layer.weights)
    if width > p.weight_bits:
        raise ConfigurationError(f"{where} has {width}-bit weights; generate with at least as many weight bits")
    if p.paired and has_lowest_weight(layer, p.weight_bits):
        raise ConfigurationError(
            f"{where} has weights of {-(1 << p.weight_bits - 1)}, which paired columns cannot take; "
            "generate without paired"
        )
    bits = needed_sum_bits(layer, p.activation_bits)
    if bits > p.sum_bits:
        raise ConfigurationError(f"{where} needs sums of {bits} bits, the accumulators have {p.sum_bits}")
    if not p.multiplier and not layer.shifts_only:
        raise ConfigurationError(
            f"{where} has scales that are not powers of two; generate with multiplier, or quantize with --scales pow2"
        )
    for needed, there, what in (
        (layer.reads_maps, p.operands, "operands"),
        (layer.tables is not None, p.tables, "tables"),
        (
            bool(layer.normalization),
            layer.normalization and layer.normalization.size <= p.normalization,
            "normalization",
        ),
    ):
        if needed and not there:
            raise ConfigurationError(f"{where} needs an accelerator with {what}")
    limits = {
        "kernel rows": (layer.kernel[0], 256),
        "kernel columns": (layer.kernel[1], 256),
        "row stride": (layer.strides[0], 255),
        "row dilation": (layer.dilations[0], 255),
        "rows": (layer.source[1], 32767),
        "values in a row": (layer.source[0] * layer.source[2], (1 << 22) - 1),
        "pooling window": (max(layer.pool.kernel) if layer.pool else 1, 256),
        "pooling stride": (max(layer.pool.strides) if layer.pool else 1, 255),
    }
    for name, (value, limit) in limits.items():
        if value > limit:
            raise ConfigurationError(f"{where}: {name} of {value}; the engine counts to {limit}")
