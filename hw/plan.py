"""The plan: where every map lives, how every layer is cut, and the program that runs it."""

from dataclasses import dataclass, field

from ..quant.errors import ConfigurationError
from ..quant.graph import FeatureMap, Graph, Pair, weight_width
from .fetch import Fetch
from .image import weight_stream
from .lowering import EngineLayer, lower, needed_sum_bits
from .parameters import Parameters
from .program import Operation
from .residency import Placement, place
from .sync import Instruction, synchronize
from .tiling import (
    ChannelTile,
    Part,
    SpatialTile,
    channel_tiles,
    size,
    source_elements,
    source_rows,
)

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

    layer : index in Plan.layers;  rows, columns, channels : (first, count) of that layer's output
    group : channels in one write
    """

    layer: int
    rows: Pair
    columns: Pair
    channels: Pair
    group: int


@dataclass(eq=False)
class Plan:
    """A program for one accelerator and one graph.

    maps : DRAM region of each tensor that passes through DRAM, input and output among them
    constants : the weight streams, one for each layer;  regions : program, constants, input, output, scratch
    """

    graph: Graph
    parameters: Parameters
    layers: tuple[EngineLayer, ...]
    placements: tuple[Placement, ...]
    program: list[Instruction] = field(default_factory=list)
    drained: list[Drained] = field(default_factory=list)
    maps: dict[str, Region] = field(default_factory=dict)
    streams: list[Region] = field(default_factory=list)
    constants: bytes = b""
    regions: dict[str, Region] = field(default_factory=dict)

    @property
    def memory_bytes(self) -> int:
        return max(r.address + r.bytes for r in self.regions.values())

    def program_bytes(self) -> bytes:
        """The program as the engine fetches it, with what it prefetches behind END."""
        end = Instruction(Operation.END, -1, {})
        return b"".join(i.encode() for i in [*self.program, *[end] * (1 + Fetch.PREFETCH)])


def plan(graph: Graph, parameters: Parameters) -> Plan:
    """Plan ``graph`` for the accelerator with ``parameters``.

    Raises ConfigurationError naming the layer, the memory and the size that would do where something cannot fit.
    """
    p = parameters
    layers = lower(graph, p.activation_bits)
    for layer in layers:
        _check(layer, p)
    result = Plan(graph, p, layers, tuple(place(layers, p)))
    _lay_out(result)
    builder = _Builder(result)
    result.program.append(Instruction(Operation.BEGIN, -1, {"fingerprint": p.fingerprint}))
    for number in range(len(layers)):
        builder.layer(number)
    synchronize(result.program)
    address = max(r.address + r.bytes for r in result.regions.values())
    result.regions["program"] = Region(_aligned(address), len(result.program_bytes()))
    return result


def _check(layer: EngineLayer, p: Parameters) -> None:
    where = f"layer '{layer.name}'"
    width = weight_width(layer.weights)
    if width > p.weight_bits:
        raise ConfigurationError(
            f"{where} has {width}-bit weights; generate with at least as many weight bits"
        )
    bits = needed_sum_bits(layer, p.activation_bits)
    if bits > p.sum_bits:
        raise ConfigurationError(f"{where} needs sums of {bits} bits, the accumulators have {p.sum_bits}")
    if not p.multiplier and layer.mantissas is not None and (layer.mantissas != 1 << 23).any():
        raise ConfigurationError(
            f"{where} has scales that are not powers of two; generate with multiplier, or quantize with --scales pow2"
        )
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


def _lay_out(result: Plan) -> None:
    """Constants, input, output, then the maps that pass through DRAM."""
    p = result.parameters
    streams = []
    address = 0
    for layer, placement in zip(result.layers, result.placements, strict=True):
        tiles = [t for series in channel_tiles(layer, p) for t in series]
        data = weight_stream(layer, tiles, list(placement.tiling.parts), p)
        result.streams.append(Region(address, len(data)))
        streams.append(data)
        address += len(data)
    result.constants = b"".join(streams)
    result.regions["constants"] = Region(0, address)
    for name, tensor in (("input", result.graph.input), ("output", result.graph.output)):
        region = Region(_aligned(address), map_bytes(result.graph, tensor, p))
        result.regions[name] = result.maps[tensor] = region
        address = region.address + region.bytes
    first = address = _aligned(address)
    for layer, placement in zip(result.layers, result.placements, strict=True):
        if placement.output_resident is None and layer.output not in result.maps:
            region = Region(_aligned(address), map_bytes(result.graph, layer.output, p))
            result.maps[layer.output] = region
            address = region.address + region.bytes
    result.regions["scratch"] = Region(first, address - first)


class _Builder:
    """Emits the instructions of one layer after the other."""

    def __init__(self, result: Plan) -> None:
        self.plan = result
        self.loads = self.stores = 0

    def emit(
        self,
        operation: Operation,
        fields: dict[str, int],
        *,
        chip_reads: Pair = (0, 0),
        chip_writes: Pair = (0, 0),
        dram_reads: Pair = (0, 0),
        dram_writes: Pair = (0, 0),
        tensor: str = "",
    ) -> None:
        self.plan.program.append(
            Instruction(operation, self.number, fields, chip_reads, chip_writes, dram_reads, dram_writes, tensor)
        )

    def layer(self, number: int) -> None:
        self.number = number
        self.placement = self.plan.placements[number]
        self.it = self.plan.layers[number]
        series = channel_tiles(self.it, self.plan.parameters)
        parts = self.placement.tiling.parts
        for tile in self.placement.tiling.tiles:
            if len(parts) == 1:
                self._load(tile, parts[0], (series[0][0].input, series[-1][-1].input))
            self._weights()
            for group in series:
                self._vector(tile, group)
                last_group = group is series[-1]
                if len(parts) == 1:
                    self._array(tile, group, parts[0], first=True, last=True, flush=last_group)
                    continue
                for channel_tile in group:
                    for part in parts:
                        first, last = part is parts[0], part is parts[-1]
                        self._load(tile, part, (channel_tile.input, channel_tile.input))
                        done = last_group and channel_tile is group[-1] and last
                        self._array(tile, [channel_tile], part, first=first, last=last, flush=done)
            if self.placement.output_resident is None:
                self._store(tile)
                self.stores += 1

    def _load(self, tile: SpatialTile, part: Part, channels: Pair) -> None:
        """Bring the part's piece of the source into the next slot, unless the source is resident."""
        depth, _, width = self.it.source
        place = self.placement
        if place.input_resident is not None:
            self.rows, self.elements = (0, self.it.source[1]), (0, depth * width)
            self.base = place.input_resident
            return
        each = self.plan.parameters.element_bytes
        self.rows = source_rows(self.it, tile, part)
        self.elements = source_elements(self.it, tile, part, channels)
        slots = 1 if len(place.tiling.tiles) * len(place.tiling.parts) == 1 else 2
        self.base = place.input_slots + (self.loads % slots) * place.tiling.input_slot
        self.loads += 1
        count, pitch = size(self.rows), size(self.elements)
        source = self.plan.maps[self.it.input].address
        start = source + (self.rows[0] * width * depth + self.elements[0]) * each
        step = width * depth * each
        spans = {"rows": count - 1, "bytes": pitch * each}
        if pitch == width * depth:
            spans = {"rows": 0, "bytes": count * pitch * each}
        self.emit(
            Operation.LOAD,
            {**spans, "dram": start, "dram_step": step, "chip": self.base, "chip_step": pitch},
            dram_reads=(start, start + (count - 1) * step + pitch * each),
            chip_writes=(self.base, self.base + count * pitch),
            tensor=self.it.input,
        )

    def _weights(self) -> None:
        stream = self.plan.streams[self.number]
        address = self.plan.regions["constants"].address + stream.address
        beats = stream.bytes // self.plan.parameters.bus_bytes
        self.emit(Operation.WEIGHTS, {"dram": address, "beats": beats})

    def _array(
        self, tile: SpatialTile, group: list[ChannelTile], part: Part, *, first: bool, last: bool, flush: bool
    ) -> None:
        it, p = self.it, self.plan.parameters
        depth, height, width = it.source
        rows, columns = tile.convolved_rows, tile.convolved_columns
        pitch = size(self.elements)
        line = rows[0] * it.strides[0] - it.pads[0] + part.kernel_rows[0] * it.dilations[0]
        column = columns[0] * it.strides[1] - it.pads[1] + part.kernel_columns[0] * it.dilations[1]
        chunks = -(-size(part.run) // p.rows)
        kernel_rows, kernel_columns = size(part.kernel_rows), size(part.kernel_columns)
        used = source_rows(it, tile, part)
        self.emit(
            Operation.ARRAY,
            {
                "first": first,
                "last": last,
                "parameters": first,
                "flush": flush,
                "tiles": len(group) - 1,
                "passes": kernel_rows * kernel_columns * chunks - 1,
                "kernel_rows": kernel_rows - 1,
                "kernel_columns": kernel_columns - 1,
                "chunks": chunks - 1,
                "rows": size(rows) - 1,
                "columns": size(columns) - 1,
                "padding": it.padding,
                "column": column * depth + part.run[0] + group[0].input,
                "column_step": it.strides[1] * depth,
                "kernel_column_step": it.dilations[1] * depth,
                "tile_step": group[1].input - group[0].input if len(group) > 1 else 0,
                "row": (self.base + (line - self.rows[0]) * pitch - self.elements[0]) % (1 << 24),
                "row_step": it.strides[0] * pitch,
                "kernel_row_step": it.dilations[0] * pitch,
                "line": line,
                "line_step": it.strides[0],
                "kernel_line_step": it.dilations[0],
                "lines": height,
                "row_elements": width * depth,
            },
            chip_reads=(self.base + (used[0] - self.rows[0]) * pitch, self.base + (used[1] - self.rows[0]) * pitch),
        )

    def _output(self, tile: SpatialTile) -> tuple[int, int, int]:
        """(chip address of the tile's first element, elements from row to row, elements of each sum or activation)."""
        it, p, place = self.it, self.plan.parameters, self.placement
        channels, _, width = it.target
        each = p.sum_elements if it.raw else 1
        if place.output_resident is not None:
            return place.output_resident + (tile.rows[0] * width + tile.columns[0]) * channels, width * channels, 1
        start, _ = self._output_dram(tile)
        slots = 1 if len(place.tiling.tiles) == 1 else 2
        base = place.output_slots + (self.stores % slots) * place.tiling.output_slot
        pitch = size(tile.columns) * channels * each
        if size(tile.columns) < width:
            # every row must start in the same place of a bus beat as in DRAM
            pitch += (width * channels * each - pitch) % p.bus_elements
        return base + start // p.element_bytes % p.bus_elements, pitch, each

    def _output_dram(self, tile: SpatialTile) -> tuple[int, int]:
        """(byte address of the tile's first element, bytes from row to row)."""
        it, p = self.it, self.plan.parameters
        channels, _, width = it.target
        each = 4 if it.raw else p.element_bytes
        start = self.plan.maps[it.output].address
        return start + (tile.rows[0] * width + tile.columns[0]) * channels * each, width * channels * each

    def _vector(self, tile: SpatialTile, group: list[ChannelTile]) -> None:
        it, p = self.it, self.plan.parameters
        channels = it.target[0]
        chip, pitch, each = self._output(tile)
        kernel, strides, pads = (
            ((1, 1), (1, 1), (0, 0)) if it.pool is None else (it.pool.kernel, it.pool.strides, it.pool.pads[:2])
        )
        first_row = tile.rows[0] * strides[0] - pads[0] - tile.convolved_rows[0]
        first_column = tile.columns[0] * strides[1] - pads[1] - tile.convolved_columns[0]
        across = size(tile.convolved_columns)
        form = {} if it.format is None else {n: getattr(it.format, n) for n in ("zero_point", "low", "high")}
        self.emit(
            Operation.VECTOR,
            {
                "raw": it.raw,
                "tiles": len(group) - 1,
                "rows": size(tile.rows) - 1,
                "columns": size(tile.columns) - 1,
                "window_rows": kernel[0] - 1,
                "window_columns": kernel[1] - 1,
                "stride_rows": strides[0],
                "stride_columns": strides[1],
                "first_row": first_row,
                "first_column": first_column,
                "map_rows": size(tile.convolved_rows),
                "map_columns": across,
                "first_address": (first_row * across) % (1 << 24),
                "stride_address": strides[0] * across,
                "chip": chip + group[0].output * each,
                "row_step": pitch,
                "column_step": channels * each,
                "tile_step": group[0].channels * each,
                "channels": group[0].channels,
                "last_channels": group[-1].channels,
                **form,
            },
            chip_writes=(chip, chip + (size(tile.rows) - 1) * pitch + size(tile.columns) * channels * each),
        )
        for channel_tile in group:
            self.plan.drained.append(
                Drained(
                    self.number,
                    (tile.rows[0], size(tile.rows)),
                    (tile.columns[0], size(tile.columns)),
                    (channel_tile.output, channel_tile.channels),
                    p.lanes if it.raw else p.columns,
                )
            )

    def _store(self, tile: SpatialTile) -> None:
        it, p = self.it, self.plan.parameters
        chip, pitch, _ = self._output(tile)
        start, step = self._output_dram(tile)
        each = 4 if it.raw else p.element_bytes
        rows, row_bytes = size(tile.rows), size(tile.columns) * it.target[0] * each
        spans = {"rows": rows - 1, "bytes": row_bytes}
        if row_bytes == step:
            spans = {"rows": 0, "bytes": rows * row_bytes}
        last = (rows - 1) * pitch + row_bytes // p.element_bytes
        self.emit(
            Operation.STORE,
            {**spans, "dram": start, "dram_step": step, "chip": chip, "chip_step": pitch},
            chip_reads=(chip, chip + last),
            dram_writes=(start, start + (rows - 1) * step + row_bytes),
            tensor=it.output,
        )
