"""Which feature maps stay in the activation memory between two layers, and where everything lies in it."""

from dataclasses import dataclass

from .lowering import EngineLayer
from .parameters import Parameters
from .tiling import Tiling, best_tiling, refuse


@dataclass(frozen=True)
class Placement:
    """One layer's tiling and its addresses in the activation memory, in elements; None: not resident."""

    tiling: Tiling
    input_resident: int | None
    output_resident: int | None
    input_slots: int
    output_slots: int


def _size(shape: tuple[int, int, int]) -> int:
    return shape[0] * shape[1] * shape[2]


def place(layers: tuple[EngineLayer, ...], p: Parameters) -> list[Placement]:
    """The cheapest choice of resident maps, by dynamic programming along the chain.

    The network's input and output are in DRAM.  Raises ConfigurationError for a layer that no tiling fits.
    """
    Best = tuple[float, list[tuple[Tiling, bool, bool]]]
    reached: dict[bool, Best] = {False: (0.0, [])}
    for number, layer in enumerate(layers):
        following: dict[bool, Best] = {}
        for input_resident, (cost, choices) in reached.items():
            for output_resident in (False, True):
                if output_resident and number == len(layers) - 1:
                    continue
                space = p.activation_elements
                space -= _size(layer.source) if input_resident else 0
                space -= _size(layer.target) if output_resident else 0
                if space < 0:
                    continue
                tiling = best_tiling(layer, p, space, load=not input_resident, store=not output_resident)
                if tiling is None:
                    continue
                total = cost + tiling.cost
                if output_resident not in following or total < following[output_resident][0]:
                    following[output_resident] = (total, [*choices, (tiling, input_resident, output_resident)])
        if not following:
            raise refuse(layer, p)
        reached = following
    return _addresses(layers, reached[False][1], p)


def _addresses(
    layers: tuple[EngineLayer, ...], choices: list[tuple[Tiling, bool, bool]], p: Parameters
) -> list[Placement]:
    """Resident maps alternate between the memory's ends; slots lie between."""
    placements = []
    bottom = False  # the resident map that goes in lies at the bottom
    where: int | None = None
    for layer, (tiling, input_resident, output_resident) in zip(layers, choices, strict=True):
        low = _size(layer.source) if input_resident and bottom else 0
        out: int | None = None
        bottom = input_resident and not bottom  # of the map that comes out
        if output_resident and bottom:
            out, low = 0, _size(layer.target)
        elif output_resident:
            out = p.activation_elements - _size(layer.target)
        loads = 0 if input_resident else (2 if len(tiling.tiles) * len(tiling.parts) > 1 else 1)
        outputs = low + loads * tiling.input_slot
        outputs += -outputs % p.bus_elements
        placements.append(Placement(tiling, where, out, low, outputs))
        where = out
    return placements
