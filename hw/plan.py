"""The plan: where everything lies in DRAM and on chip, and the program that runs it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..quant.errors import ConfigurationError
from ..quant.graph import FeatureMap, Graph, Pair, weight_width
from .batch import batched
from .fetch import Fetch
from .image import table_bytes, weight_stream
from .lowering import EngineLayer, lower, needed_sum_bits
from .order import ordered
from .parameters import Parameters
from .program import Operation
from .residency import Layout, Placement, lay_out, lifetimes, meet
from .sync import Instruction, synchronize
from .tiling import channel_tiles
from .unfold import Unfolding, unfolded

LARGEST_BATCH = 256
"""Images in one run."""

ALIGNMENT = 4096
"""Of every region of DRAM, bytes: a page, and the boundary that no burst crosses."""


@dataclass(frozen=True)
class Region:
    """Bytes of DRAM, relative to BASE."""

    address: int
    bytes: int


@dataclass(frozen=True)
class Drained:
    """What one channel tile of one spatial tile writes, in the order of the vector unit's writes.

    layer : index in Plan.layers;  rows, columns, channels : (first, count) of that layer's output tensor
    group : channels in one write
    """

    layer: int
    rows: Pair
    columns: Pair
    channels: Pair
    group: int


@dataclass(eq=False)
class Plan:
    """A program for one accelerator and one graph, whose tensors are those of all ``batch`` images of a run.

    single : the graph of one image;  unfolding : how its input is written, None for as it is
    maps : DRAM region of each tensor that passes through DRAM, input and output among them; dead ones' are used again
    streams, tables : of each layer, its weight stream and its tables among the constants
    regions : program, constants, input, output, scratch
    """

    graph: Graph
    parameters: Parameters
    batch: int
    single: Graph
    layers: tuple[EngineLayer, ...]
    layout: Layout
    program: list[Instruction] = field(default_factory=list)
    drained: list[Drained] = field(default_factory=list)
    maps: dict[str, Region] = field(default_factory=dict)
    streams: list[Region] = field(default_factory=list)
    tables: list[Region] = field(default_factory=list)
    constants: bytes = b""
    regions: dict[str, Region] = field(default_factory=dict)
    unfolding: Unfolding | None = None

    @property
    def placements(self) -> list[Placement]:
        return self.layout.placements

    @property
    def memory_bytes(self) -> int:
        return max(r.address + r.bytes for r in self.regions.values())

    def program_bytes(self) -> bytes:
        """The program as the engine fetches it, with what it prefetches behind END."""
        end = Instruction(Operation.END, -1, {})
        return b"".join(i.encode() for i in [*self.program, *[end] * (1 + Fetch.PREFETCH)])


def plan(graph: Graph, parameters: Parameters, batch: int = 1, unfold_input: bool = False) -> Plan:
    """Plan ``graph`` for the accelerator with ``parameters``, for ``batch`` images a run.

    unfold_input : the host writes the input with the rows of the first convolution's windows side by side

    Raises ConfigurationError naming the layer, the memory and the size that would do where something cannot fit.
    """
    from .weave import Weaver  # it extends a plan

    p = parameters
    graph, unfolding = unfolded(graph) if unfold_input else (graph, None)
    layers = lower(graph, p.activation_bits)
    for layer in layers:
        _check(layer, p)
    if not 1 <= batch <= LARGEST_BATCH:
        raise ConfigurationError(f"batch must be 1 to {LARGEST_BATCH} images, not {batch}")
    single = graph
    graph, layers = batched(single, ordered(layers, p), batch)
    result = Plan(graph, p, batch, single, layers, lay_out(layers, graph, p), unfolding=unfolding)
    _lay_out_dram(result)
    result.program.append(Instruction(Operation.BEGIN, -1, {"fingerprint": p.fingerprint}))
    Weaver(result).weave()
    synchronize(result.program)
    address = max(r.address + r.bytes for r in result.regions.values())
    result.regions["program"] = Region(_aligned(address), len(result.program_bytes()))
    return result


def _check(layer: EngineLayer, p: Parameters) -> None:
    where = f"layer '{layer.name}'"
    width = weight_width(layer.weights)
    if width > p.weight_bits:
        raise ConfigurationError(f"{where} has {width}-bit weights; generate with at least as many weight bits")
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


def _aligned(address: int) -> int:
    return -(-address // ALIGNMENT) * ALIGNMENT


def map_bytes(graph: Graph, name: str, p: Parameters) -> int:
    """Bytes that a tensor takes in DRAM: dense NHWC, elements of 1 or 2 bytes, sums of 4."""
    tensor = graph.tensors[name]
    channels, rows, columns = tensor.shape
    each = p.element_bytes if isinstance(tensor, FeatureMap) else 4
    return channels * rows * columns * each


def _lay_out_dram(result: Plan) -> None:
    """Constants, input, output, then the maps that pass through DRAM, over others that are dead."""
    p, graph = result.parameters, result.graph
    pieces: list[bytes] = []
    address = 0
    for layer, placement in zip(result.layers, result.placements, strict=True):
        stream = b""
        if layer.on_array:
            tiles = [t for series in channel_tiles(layer, p) for t in series]
            stream = weight_stream(layer, tiles, list(placement.tiling.parts), p)
        tables = table_bytes(layer, p)
        result.streams.append(Region(address, len(stream)))
        result.tables.append(Region(address + len(stream), len(tables)))
        pieces += [stream, tables]
        address += len(stream) + len(tables)
    result.constants = b"".join(pieces)
    result.regions["constants"] = Region(0, address)
    for name, tensor in (("input", graph.input), ("output", graph.output)):
        region = Region(_aligned(address), map_bytes(graph, tensor, p))
        result.regions[name] = result.maps[tensor] = region
        address = region.address + region.bytes
    first = end = _aligned(address)
    lives = lifetimes(result.layers, result.layout.windows)
    for name in sorted(lives, key=lambda n: (-map_bytes(graph, n, p), n)):
        if name in result.maps or name in result.layout.resident:
            continue
        size = map_bytes(graph, name, p)
        where = _free(first, size, [result.maps[n] for n in result.maps if n in lives and meet(lives[n], lives[name])])
        result.maps[name] = Region(where, size)
        end = max(end, where + size)
    result.regions["scratch"] = Region(first, end - first)


def _free(first: int, size: int, taken: Sequence[Region]) -> int:
    """The lowest aligned address from ``first`` on where ``size`` bytes meet none of ``taken``."""
    address = first
    for region in sorted(taken, key=lambda r: r.address):
        if address + size <= region.address:
            break
        address = max(address, _aligned(region.address + region.bytes))
    return address
