"""How many rows of narrow weights come in a word of the stream, and how many are taken at once, as suits one network.

Both cost area: what widens them, and registers in which the rows lag (``SystolicArray``).  So each doubling must earn
it.  The array's and the bus's cycles of each layer tell: no memory is laid out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import log2

from ..quant.graph import Conv, Graph
from ..quant.graph.errors import ConfigurationError
from .compiler.engine_layer import EngineLayer
from .compiler.limits import weight_bytes
from .compiler.order import array_cycles, vector_cycles
from .compiler.planner import prepared
from .isa.parameters import PACKINGS, Parameters

WORTH = 0.01
"""Share of the cycles that twice as many rows in a word must save, and twice as many at once."""

Option = tuple[int, int]
"""Most rows in a word, and parts of the rows."""


def packed(
    graph: Graph,
    p: Parameters,
    batch: int,
    given: Mapping[str, int],
    fits: Callable[[Parameters], bool],
) -> tuple[Parameters, tuple[str, ...]]:
    """``p`` with the ``packing`` and ``row_parts`` that suit ``graph``, but for what is ``given``, and why.

    No reason where no weights are narrow enough.  Raises ConfigurationError where a layer cannot fit.
    """
    options = {(p.packing, p.row_parts): p, **_others(p, given, fits)}
    widths = [layer.weight_bits for layer in graph.layers if isinstance(layer, Conv)]
    if all(other.packing_of(width) == 1 for other in options.values() for width in widths) or len(options) == 1:
        return p, ()
    _, layers = prepared(graph, p, batch)
    paces = {option: _pace(layers, other) for option, other in options.items()}
    chosen = min(paces, key=lambda option: paces[option] * (1 + WORTH * log2(option[0] * option[1])))
    return options[chosen], (_reason(chosen, paces),)


def _others(p: Parameters, given: Mapping[str, int], fits: Callable[[Parameters], bool]) -> dict[Option, Parameters]:
    found = {}
    for packing in PACKINGS:
        for parts in PACKINGS:
            if given.get("packing", packing) != packing or given.get("row_parts", parts) != parts:
                continue
            try:
                other = replace(p, packing=packing, row_parts=parts)
            except ConfigurationError:  # more parts than rows in a word, or more rows than the sizes allow
                continue
            if packing == 1 or fits(other):
                found[packing, parts] = other
    return found


def _pace(layers: Sequence[EngineLayer], p: Parameters) -> float:
    """Cycles of the array's layers, about: each takes as many as the busiest of array, weights' bus and vector unit."""
    on_array = [layer for layer in layers if layer.on_array]
    return sum(
        max(array_cycles(layer, p), weight_bytes(layer, p) / p.bus_bytes, vector_cycles(layer, p)) for layer in on_array
    )


def _reason(chosen: Option, paces: Mapping[Option, float]) -> str:
    packing, parts = chosen
    plain, fastest = min(paces), min(paces, key=lambda option: (paces[option], option))
    said = f"packing: {packing}, row parts: {parts}"
    if chosen != plain:
        said += f", about {1 - paces[chosen] / paces[plain]:.1%} fewer cycles than with {plain[0]} and {plain[1]}"
    saved = 1 - paces[fastest] / paces[chosen]
    return said + (f"; {fastest[0]} and {fastest[1]} would save {saved:.1%}" if saved >= 0.0005 else "")
