"""How narrow weights lie in the words of the stream, and what a weight tile takes then."""

from amaranth.utils import exact_log2

from ..isa.parameters import Parameters
from .geometry import Geometry


def packing(g: Geometry, p: Parameters) -> int:
    """Rows of weights in a word: as many as their width, and the accelerator, let."""
    return p.packing_of(g.weight_bits)


def tile_words(g: Geometry, p: Parameters) -> int:
    """Words of a weight tile."""
    return p.rows // packing(g, p)


def pass_cycles(g: Geometry, p: Parameters) -> int:
    """Fewest cycles from one weight tile to the next."""
    return p.tile_cycles(packing(g, p))


def packing_fields(g: Geometry, p: Parameters) -> dict[str, int]:
    """Of PACKED_PASSES, what tells how many rows a word carries, if it is not one."""
    rows = packing(g, p)
    return {"packing": exact_log2(rows)} if rows > 1 else {}
