"""Lanes, the layout of the input and the weights' packing that suit one network: see packed; and the fewest lanes that
come near the fastest.

A lane costs area, an unfolded input the host's work and memory, so each must earn what it costs.  One layout of the
memories for each way to write the input tells of all lanes: see ``compiler.pace``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..quant.graph import Graph
from ..quant.graph.errors import ConfigurationError
from .area import area, measured
from .compiler.cutting import whole
from .compiler.engine_layer import EngineLayer
from .compiler.pace import pace
from .compiler.planner import prepared
from .compiler.residency import lay_out
from .compiler.unfold import unfolded
from .devices import DEVICES
from .isa.parameters import Parameters
from .packed import FIELDS, packed

WORTH = 0.01
"""Share of the cycles that lanes for another quarter of the columns must save, and that an unfolded input must.

A lane takes 4 multipliers of 18 bits and 420 LUTs, with tables 890 (synthesized alone for an ECP5), so a quarter of the
columns' are 6 to 12% of a 16x16 engine's LUTs: whom that is too much gives the lanes, or names a device."""

CHOSEN = ("lanes", *FIELDS)
"""Fields of Parameters that are chosen where they are not given."""

Option = tuple[int, bool]
"""Lanes, and whether the input is unfolded."""

Prepared = tuple[Graph, tuple[EngineLayer, ...]]
"""What ``prepared`` makes of a graph."""


@dataclass(frozen=True)
class Choice:
    """An accelerator for a network, and how its input is written; ``reasons``: a line for each that was not given."""

    parameters: Parameters
    unfold_input: bool
    reasons: tuple[str, ...] = ()


def choose(
    graph: Graph,
    parameters: Parameters,
    batch: int = 1,
    *,
    lanes: int | None = None,
    unfold_input: bool | None = None,
    word_bits: int | None = None,
    packing: int | None = None,
    row_parts: int | None = None,
    fits: Callable[[Parameters], bool] | None = None,
) -> Choice:
    """Choose for ``graph``, ``batch`` images a run, what is not given: None.

    parameters : of the accelerator, with as few lanes as may be chosen; what is given of packing is theirs
    fits : whether there is room for an accelerator; without it, whether any part of its family has

    Raises ConfigurationError where a layer cannot fit.
    """
    given = {"word_bits": word_bits, "packing": packing, "row_parts": row_parts}
    given_packing = {name: value for name, value in given.items() if value is not None}
    parameters, packed_for = packed(graph, parameters, batch, given_packing, fits or _fits_family)
    few = parameters.lanes if lanes is None else lanes
    known = {few: replace(parameters, lanes=few)}
    if lanes is None:
        known |= _more(parameters, fits or _fits_family)
    if len(known) == 1 and unfold_input is not None:
        paces = {(few, unfold_input): 1.0}  # nothing to compare
    else:
        paces = _paces(_ways(graph, known[few], batch, unfold_input), known)
    chosen = min(paces, key=lambda option: paces[option] * (1 + WORTH * _price(option, few)))
    reasons = [_lanes_reason(chosen, few, paces, max(known) < parameters.columns)] if lanes is None else []
    if (chosen[0], not chosen[1]) in paces:
        reasons.append(_input_reason(chosen, paces))
    return Choice(known[chosen[0]], chosen[1], (*reasons, *packed_for))


def _ways(graph: Graph, p: Parameters, batch: int, unfold_input: bool | None) -> dict[bool, Prepared]:
    """Ways to write the input worth comparing, by whether it is unfolded, which is one that saves passes."""
    if unfold_input:
        return {True: prepared(unfolded(graph)[0], p, batch)}
    plain = {False: prepared(graph, p, batch)}
    if unfold_input is not None or len(graph.inputs) > 1:
        return plain
    try:
        other = prepared(unfolded(graph)[0], p, batch)
    except ConfigurationError:
        return plain
    return plain | {True: other} if _passes(other, p) < _passes(plain[False], p) else plain


def _passes(made: Prepared, p: Parameters) -> int:
    """Of the first layer."""
    return whole(made[1][0].geometry, p).passes(p)


def _paces(ways: Mapping[bool, Prepared], known: Mapping[int, Parameters]) -> dict[Option, float]:
    """Cycles of each option, about; without those whose unfolded rows do not fit, if there is another way."""
    paces: dict[Option, float] = {}
    few = min(known)
    for way, (graph, layers) in ways.items():
        try:
            layout = lay_out(layers, graph, known[few], relays=False)
        except ConfigurationError:
            if way and len(ways) > 1:
                continue
            raise
        paces |= {(lanes, way): pace(layers, layout.tilings, layout.windows, few, p) for lanes, p in known.items()}
    return paces


def _more(p: Parameters, fits: Callable[[Parameters], bool]) -> dict[int, Parameters]:
    """Accelerators with lanes for half of the columns, and for all, if there is room."""
    found = {}
    for lanes in sorted({-(-p.columns // 2), p.columns}):
        try:
            more = replace(p, lanes=lanes)
        except ConfigurationError:  # more banks than its memory has lines
            continue
        if lanes > p.lanes and fits(more):
            found[lanes] = more
    return found


def _fits_family(p: Parameters) -> bool:
    """Whether a part holds it, of the family that it is for, if that is known."""
    if p.target not in measured():
        return True
    found = area(p)
    return any(found.fits(device) for device in DEVICES.values() if device.target == p.target)


def _price(option: Option, few: int) -> float:
    """In quarters of the columns' lanes."""
    lanes, unfold_input = option
    return (lanes - few) / few + unfold_input


def _saved(option: Option, other: Option, paces: Mapping[Option, float]) -> str:
    """What ``option`` saves of the cycles of ``other``."""
    share = round(1 - paces[option] / paces[other], 3)
    return f"{share + 0.0:.1%}"  # not -0.0


def _lanes_reason(chosen: Option, few: int, paces: Mapping[Option, float], full: bool) -> str:
    """``full``: the device has no room for as many lanes as columns."""
    lanes, way = chosen
    said = f"lanes: {lanes}"
    if lanes > few:
        said += f", about {_saved(chosen, (few, way), paces)} fewer cycles than with {few}"
    more = [n for n, other in paces if other == way and n > lanes]
    said += "".join(f"; {n} would save {_saved((n, way), chosen, paces)}" for n in more)
    return said + ("; there is no room for more" if full else "")


def _input_reason(chosen: Option, paces: Mapping[Option, float]) -> str:
    lanes, way = chosen
    other = lanes, not way
    if way:
        return f"input: unfolded by the host, about {_saved(chosen, other, paces)} fewer cycles than as it is"
    return f"input: as it is; unfolded by the host it would save {_saved(other, chosen, paces)} of the cycles"
