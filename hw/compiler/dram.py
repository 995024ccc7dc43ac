"""Where everything lies in DRAM: constants, input, output, and the maps that pass through it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...quant.graph import FeatureMap, Graph
from ..isa.parameters import INSTRUCTION_BYTES, Parameters
from .cutting import channel_tiles
from .engine_layer import EngineLayer
from .image import vector_constants, weight_stream
from .placement import Layout
from .relay import streams as relay_streams
from .windows import lifetimes, meet

ALIGNMENT = 4096
"""Of every region of DRAM, bytes: a page, and the boundary that no burst crosses."""


@dataclass(frozen=True)
class Region:
    """Bytes of DRAM, relative to BASE."""

    address: int
    bytes: int

    @property
    def end(self) -> int:
        """Behind its last byte."""
        return self.address + self.bytes


@dataclass(frozen=True, eq=False)
class Dram:
    """The layout of DRAM, but for the program.

    maps : region of each tensor that passes through DRAM, input and output among them; dead ones' are used again
    streams, tables : of each layer, its weight stream, and its tables or channels' parameters, among the constants
    relayed : of each relay, by its first layer, the streams of both: see relay.Streams
    constants : their bytes, 64 left for the stamp (see stamping);  regions : constants, input, output, scratch
    """

    maps: Mapping[str, Region]
    streams: tuple[Region, ...]
    tables: tuple[Region, ...]
    constants: bytes
    regions: Mapping[str, Region]
    relayed: Mapping[int, tuple[Region, Region, Region]]

    def behind(self, size: int) -> Region:
        """The next free region of ``size`` bytes."""
        return Region(_aligned(max(region.end for region in self.regions.values())), size)


def lay_out_dram(graph: Graph, p: Parameters, layers: Sequence[EngineLayer], layout: Layout) -> Dram:
    """Constants, inputs, outputs, then the maps that pass through DRAM, over others that are dead."""
    constants = _Constants()
    streams: list[Region] = []
    tables: list[Region] = []
    relayed: dict[int, tuple[Region, Region, Region]] = {}
    for number, (layer, placement) in enumerate(zip(layers, layout.placements, strict=True)):
        stream = b""
        if placement.hands_on:
            count = placement.tiling.pieces, layout.placements[number + 1].tiling.pieces
            found = relay_streams(layer, layers[number + 1], count, p)
            relayed[number] = (
                constants.add(weight_stream(found.begin, p)),
                constants.add(weight_stream(found.between, p)),
                constants.add(weight_stream(found.end, p)),
            )
        elif layer.on_array and not layout.takes(number):
            tiles = [t for series in channel_tiles(layer.geometry, p) for t in series]
            stream = weight_stream([(layer, tile, placement.tiling.parts) for tile in tiles], p)
        streams.append(constants.add(stream))
        tables.append(constants.add(vector_constants(layer, p)))
    maps: dict[str, Region] = {}
    address = constants.bytes
    regions = {"constants": Region(0, address)}
    for what, names in (("input", graph.inputs), ("output", graph.outputs)):
        start = address = _aligned(address)
        for name in names:
            maps[name] = Region(_aligned(address), map_bytes(graph, name, p))
            address = maps[name].end
        regions[what] = Region(start, address - start)
    first = end = _aligned(address)
    lives = lifetimes(layers, layout.windows)
    handed = {layer.output for layer, placement in zip(layers, layout.placements, strict=True) if placement.hands_on}
    for name in sorted(lives, key=lambda n: (-map_bytes(graph, n, p), n)):
        if name in maps or name in layout.resident or name in handed:
            continue
        size = map_bytes(graph, name, p)
        taken = [maps[n] for n in maps if n in lives and meet(lives[n], lives[name])]
        maps[name] = Region(_free(first, size, taken), size)
        end = max(end, maps[name].end)
    regions["scratch"] = Region(first, end - first)
    return Dram(maps, tuple(streams), tuple(tables), b"".join(constants.pieces), regions, relayed)


class _Constants:
    """What layers read, behind the stamp: what several of them read is there once."""

    def __init__(self) -> None:
        self.pieces = [bytes(INSTRUCTION_BYTES)]
        self.bytes = INSTRUCTION_BYTES
        self._known = {b"": Region(INSTRUCTION_BYTES, 0)}

    def add(self, content: bytes) -> Region:
        if content not in self._known:
            self._known[content] = Region(self.bytes, len(content))
            self.pieces.append(content)
            self.bytes += len(content)
        return self._known[content]


def map_bytes(graph: Graph, name: str, p: Parameters) -> int:
    """Bytes that a tensor takes in DRAM: dense NHWC, elements of 1 or 2 bytes, sums of 4."""
    tensor = graph.tensors[name]
    channels, rows, columns = tensor.shape
    each = p.element_bytes if isinstance(tensor, FeatureMap) else 4
    return channels * rows * columns * each


def _free(first: int, size: int, taken: Sequence[Region]) -> int:
    """The lowest aligned address from ``first`` on where ``size`` bytes meet none of ``taken``."""
    address = first
    for region in sorted(taken, key=lambda r: r.address):
        if address + size <= region.address:
            break
        address = max(address, _aligned(region.end))
    return address


def _aligned(address: int) -> int:
    return -(-address // ALIGNMENT) * ALIGNMENT
