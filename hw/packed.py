"""How many rows of narrow weights come in a word of the stream, and how many are taken at once, as suits one network.

All of it costs area: what widens them, registers in which the rows lag (``SystolicArray``), and longer words.  So each
doubling must earn it.  The array's and the bus's cycles of each layer tell: no memory is laid out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import log2, prod

from ..quant.graph import Conv, Graph
from ..quant.graph.errors import ConfigurationError
from .compiler.cutting import tile_count, whole
from .compiler.engine_layer import EngineLayer
from .compiler.order import array_cycles, vector_cycles
from .compiler.packing import tile_words
from .compiler.planner import prepared
from .isa.parameters import PACKINGS, Parameters

WORTH = 0.01
"""Share of the cycles that each doubling must save: of the rows in a word, of those at once, of the word's bits."""

LONGEST = 8
"""Bits of a column in a word that are chosen for weights of 2 or 4 bits.  What is longer, so that a bus wider than a
row of 8-bit weights brings several at once, is for who asks for it."""

UNEVEN = 16
"""Bits of a column in a word that whole rows of 3, 5, 6 or 7 bits fill stay below this: 12 for four of 3, two of 6."""

FIELDS = ("word_bits", "packing", "row_parts")
Option = tuple[int, int, int]
"""FIELDS of Parameters."""


def packed(
    graph: Graph,
    p: Parameters,
    batch: int,
    given: Mapping[str, int],
    fits: Callable[[Parameters], bool],
) -> tuple[Parameters, tuple[str, ...]]:
    """``p`` with the FIELDS that suit ``graph``, but for what is ``given``, and why.

    No reason where no weights are narrow enough.  Raises ConfigurationError where a layer cannot fit.
    """
    widths = [layer.weight_bits for layer in graph.layers if isinstance(layer, Conv)]
    options = {_option(p): p, **_others(p, widths, given, fits)}
    if all(other.packing_of(width) == 1 for other in options.values() for width in widths) or len(options) == 1:
        return p, ()
    _, layers = prepared(graph, p, batch)
    paces = {option: _pace(layers, other) for option, other in options.items()}
    least = prod(min(paces))
    chosen = min(paces, key=lambda option: paces[option] * (1 + WORTH * log2(prod(option) / least)))
    return options[chosen], (_reason(chosen, paces),)


def _option(p: Parameters) -> Option:
    return p.word_bits, p.packing, p.row_parts


def _others(
    p: Parameters, widths: Sequence[int], given: Mapping[str, int], fits: Callable[[Parameters], bool]
) -> dict[Option, Parameters]:
    """``widths``: bits of the layers' weights."""
    found = {}
    lengths = {p.weight_bits, *(n * p.weight_bits for n in PACKINGS if n * p.weight_bits <= LONGEST)}
    whole_rows = {n * bits for n in PACKINGS for bits in widths}
    lengths |= {bits for bits in whole_rows if max(p.weight_bits, LONGEST) < bits < UNEVEN}
    choices = product(sorted({given.get("word_bits", p.word_bits), *lengths}), PACKINGS, PACKINGS)
    for option in choices:
        if any(given.get(name, value) != value for name, value in zip(FIELDS, option, strict=True)):
            continue
        word_bits, packing, parts = option
        try:
            other = replace(p, word_bits=word_bits, packing=packing, row_parts=parts)
        except ConfigurationError:  # more parts than rows in a word, or more rows than the sizes allow
            continue
        if packing == 1 or fits(other):
            found[option] = other
    return found


def _pace(layers: Sequence[EngineLayer], p: Parameters) -> float:
    """Cycles of the array's layers, about: each takes as many as the busiest of array, weights' bus and vector unit."""
    return sum(
        max(array_cycles(layer, p), _stream_bytes(layer, p) / p.bus_bytes, vector_cycles(layer, p))
        for layer in layers
        if layer.on_array
    )


def _stream_bytes(layer: EngineLayer, p: Parameters) -> float:
    """Of its weights and parameters, each fetched once."""
    g = layer.geometry
    words = whole(g, p).passes(p) * tile_words(g, p) + p.parameter_rows
    return tile_count(g, p) * words * p.weight_row_bits / 8


def _reason(chosen: Option, paces: Mapping[Option, float]) -> str:
    plain, fastest = min(paces), min(paces, key=lambda option: (paces[option], option))
    said = f"packing: {_told(chosen)}"
    if chosen != plain:
        said += f", about {1 - paces[chosen] / paces[plain]:.1%} fewer cycles than with {_told(plain)}"
    saved = 1 - paces[fastest] / paces[chosen]
    return said + (f"; {_told(fastest)} would save {saved:.1%}" if saved >= 0.0005 else "")


def _told(option: Option) -> str:
    word_bits, packing, parts = option
    rows = "a row" if packing == 1 else f"{packing} rows"
    return f"{rows} in words of {word_bits} bits a column{f', {parts} at once' if packing > 1 else ''}"
