"""The manifest of a build as one record: what ``generate`` writes as manifest.json, and everybody else reads.

All sizes in bytes, times in cycles, addresses in bytes relative to the BASE register.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Annotated, ClassVar, Final, Literal, NamedTuple, get_args

from pydantic import (
    AfterValidator,
    Field,
    StringConstraints,
    model_validator,
)

from .compiler.dram import Region
from .compiler.spread import Rearranged
from .compiler.unfold import Unfolding
from .isa.parameters import Parameters
from .sealed import Record, Sealed, Sha256

NAME = "manifest.json"
Content = Literal["systolith.v", "program.bin", "memory.bin", "systolith.h", "model.onnx"]
CONTENTS: tuple[Content, ...] = get_args(Content)
"""The other files of a build."""
FORMAT: Final = 5
LATENCY = 30
"""Memory latency that predictions assume, in cycles."""

Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Number = Annotated[int, Field(ge=1, lt=1 << 31)]
Address = Annotated[int, Field(ge=0, lt=1 << 32)]
Integer = Annotated[int, Field(ge=-(1 << 31), lt=1 << 31)]
Scale = Annotated[float, Field(gt=0)]
Shape = tuple[Number, Number, Number]
Code = Annotated[str, StringConstraints(pattern=r"^\d{1,3}$")]


def _inside_32_bits(region: Region) -> Region:
    if region.address < 0 or region.bytes < 0 or region.end > 1 << 32:
        raise ValueError(f"{region.bytes} bytes at {region.address} are no part of a 32-bit memory")
    return region


def _sensible(how: Unfolding) -> Unfolding:
    sizes = (*how.shape, how.rows, how.kernel_rows, how.stride, how.dilation)
    if min(sizes) < 1 or how.top < 0 or max(*sizes, how.top) >= 1 << 16:
        raise ValueError("a size of it is below 1 or above 65535")
    return how


Place = Annotated[Region, AfterValidator(_inside_32_bits)]


class Register(Record):
    """One register: byte offset, and what a host finds there."""

    offset: Annotated[int, Field(ge=0, lt=1 << 12, multiple_of=4)]
    description: str


class Regions(Record):
    """The parts of DRAM."""

    constants: Place
    input: Place
    output: Place
    scratch: Place
    program: Place


class Memory(Record):
    """DRAM from BASE on.  Regions do not meet, and the last one ends it."""

    bytes: Count
    regions: Regions

    @model_validator(mode="after")
    def _laid_out(self) -> Memory:
        used = sorted(((region, name) for name, region in self.regions if region.bytes), key=lambda u: u[0].address)
        for (one, name), (other, next_name) in pairwise(used):
            if one.end > other.address:
                raise ValueError(f"regions '{name}' and '{next_name}' overlap")
        if self.bytes != (end := max(region.end for _, region in self.regions)):
            raise ValueError(f"bytes is {self.bytes}, but the regions end at {end}")
        return self


class Step(Record):
    """What the host does to an array whose first axis is the batch, as the ONNX operator that it is."""

    operator: Literal["Reshape", "Transpose", "Softmax", "LogSoftmax", "ArgMax"]
    attributes: dict[str, int | tuple[int, ...]]


class Array(Record):
    """An input or output as the model has it: its name, its ``shape`` without the batch, and the steps in between.

    An input's steps make (N, channels, rows, columns) of it, an output's make it of that.
    """

    name: str
    shape: tuple[Number, ...]
    steps: tuple[Step, ...]


class Tensor(Record):
    """Where an input or output of the network lies; ``shape``, (channels, rows, columns), is one image's.

    array : the model's;  host : the same steps in words
    """

    tensor: str
    address: Address
    bytes: Count
    images: Number
    shape: Shape
    layout: Literal["NHWC"]
    array: Array
    host: tuple[str, ...]

    @property
    def region(self) -> Region:
        return Region(self.address, self.bytes)


class MapTensor(Tensor):
    """A feature map: memory holds ``q - offset``, and the real value is ``scale * (q - zero_point)``."""

    kind: Literal["map"]
    element_bytes: Literal[1, 2]
    offset: Integer
    scale: Scale
    zero_point: Integer
    low: Integer
    high: Integer


class InputTensor(MapTensor):
    """``unfolding`` : how the host writes an image; None for as it is."""

    unfolding: Annotated[Unfolding, AfterValidator(_sensible)] | None


class SumsTensor(Tensor):
    """Raw sums of 32 bits, with one scale for each channel, and perhaps a real that is added to what they stand for."""

    kind: Literal["sums"]
    element_bytes: Literal[4]
    offset: Literal[0]
    scales: tuple[Scale, ...]
    shifts: tuple[float, ...] | None


OutputTensor = Annotated[MapTensor | SumsTensor, Field(discriminator="kind")]


class Layer(Record):
    """One layer of the program.

    output, shape, element_bytes, offset : the tensor that it writes, and how memory holds it
    first, row_step, column_step : elements of it, where the layer's results begin, and from one to the next
    image : of the run's images, None for all;  address : of its part of the output, None if that stays on chip
    bytes_read, bytes_written : DRAM traffic, weights among it, the program not
    tile_positions : windows of its largest tile, 0 without a convolution
    neighbours : pixels of ``output``, side by side in a row, that each of its results is
    rearranged : how the tensor of ``shape`` that it writes holds ``output``; None if it is that tensor
    """

    name: str
    operator: str
    output: str
    first: Count
    row_step: Count
    column_step: Count
    image: Count | None
    address: Address | None
    element_bytes: Literal[1, 2, 4]
    offset: Integer
    shape: Shape
    macs: Count
    weight_bytes: Count
    limit_cycles: Count
    predicted_cycles: Count
    bytes_read: Count
    bytes_written: Count
    spatial_tiles: Count
    reduction_parts: Count
    tile_positions: Count
    neighbours: Number = 1
    rearranged: Rearranged | None = None


class Write(NamedTuple):
    """What a channel tile writes of ``layer``'s results: first and count of each axis, ``group`` channels at once."""

    layer: Count
    row: Count
    rows: Number
    column: Count
    columns: Number
    channel: Count
    channels: Number
    group: Number


class Work(NamedTuple):
    """A unit is on ``layer`` from cycle ``start`` to cycle ``end``, and works in ``work`` of these cycles."""

    layer: Count
    start: Count
    end: Count
    work: Count


class Timeline(Record):
    """When each unit works."""

    loader: tuple[Work, ...]
    array: tuple[Work, ...]
    vector: tuple[Work, ...]
    storer: tuple[Work, ...]


Slots = Literal["input", "operand", "output"]


class Block(NamedTuple):
    """Bytes ``address .. address + bytes`` of the activation memory, taken from layer ``first`` to layer ``last``.

    what : a map, slots of a layer's input, operand or output, or its tables;  name : the map's or the layer's
    """

    what: Slots | Literal["map", "tables"]
    name: str
    first: Count
    last: Count
    address: Count
    bytes: Number


class Hardware(Sealed):
    """What is known of an accelerator without a program, as `generate --general` makes it.

    files : SHA-256 of each other file of the folder
    causes : texts by error code;  waits : texts of the WAITS register's bits
    """

    contents: ClassVar[tuple[Content, ...]] = ("systolith.v",)

    format: Literal[5]
    top: Literal["systolith"]
    files: dict[Content, Sha256]
    parameters: Parameters
    registers: dict[str, Register]
    causes: dict[Code, str]
    waits: tuple[str, ...]

    @model_validator(mode="after")
    def _names_its_files(self) -> Hardware:
        if absent := sorted(set(self.contents) - set(self.files)):
            raise ValueError(f"files has no '{absent[0]}'")
        if strange := sorted(set(self.files) - set(self.contents)):
            raise ValueError(f"files has '{strange[0]}', but there is no program")
        return self


def _check_ports(what: str, tensors: Sequence[MapTensor | SumsTensor], region: Region, batch: int) -> None:
    """Raises ValueError unless ``tensors``, the inputs or the outputs, lie in order in ``region`` and fill it."""
    address = region.address
    for tensor in tensors:
        if not address <= tensor.address or tensor.region.end > region.end:
            raise ValueError(f"{what} '{tensor.tensor}' lies outside memory's region '{what}', or over another")
        if tensor.images != batch:
            raise ValueError(f"{what} '{tensor.tensor}' has {tensor.images} images, but batch is {batch}")
        if tensor.bytes != (size := batch * prod(tensor.shape) * tensor.element_bytes):
            raise ValueError(f"{what} '{tensor.tensor}' has {tensor.bytes} bytes, but its shape needs {size}")
        address = tensor.region.end
    if tensors[0].address != region.address or address != region.end:
        raise ValueError(f"the {what}s do not fill memory's region '{what}'")


class Manifest(Hardware):
    """Everything that a host or a simulation needs to know about a build.

    batch : images in one run;  shared : its Verilog was there before, for other networks too
    chosen : why lanes and the layout of the input are as they are; a line for each that was not given
    instructions, tokens : how many the program has of each;  timeline : as predicted
    writes : what the vector unit writes, in time order;  activations : what lies in the activation memory when
    predicted_cycles : of a run, at a memory latency of LATENCY cycles;  limit_cycles : that no schedule can beat
    """

    contents: ClassVar[tuple[Content, ...]] = CONTENTS

    memory: Memory
    batch: Number
    shared: bool
    chosen: tuple[str, ...]
    inputs: Annotated[tuple[InputTensor, ...], Field(min_length=1)]
    outputs: Annotated[tuple[OutputTensor, ...], Field(min_length=1)]
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    macs: Count
    predicted_cycles: Count
    limit_cycles: Count
    instructions: dict[str, Count]
    tokens: dict[str, Count]
    timeline: Timeline
    writes: tuple[Write, ...]
    activations: tuple[Block, ...]

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Manifest:
        _check_ports("input", self.inputs, self.memory.regions.input, self.batch)
        _check_ports("output", self.outputs, self.memory.regions.output, self.batch)
        for source in self.inputs:
            if source.unfolding and source.unfolding.unfolded_shape != source.shape:
                raise ValueError(f"input has shape {source.shape}, unfolded {source.unfolding.unfolded_shape}")
        for total in ("macs", "limit_cycles"):
            if getattr(self, total) != (found := sum(getattr(layer, total) for layer in self.layers)):
                raise ValueError(f"{total} is {getattr(self, total)}, but the layers have {found}")
        for number, layer in enumerate(self.layers):
            if layer.image is not None and layer.image >= self.batch:
                raise ValueError(f"layers.{number}.image is {layer.image} of a batch of {self.batch}")
        for name, entries in (("writes", self.writes), *((f"timeline.{unit}", work) for unit, work in self.timeline)):
            if entries and (last := max(entry.layer for entry in entries)) >= len(self.layers):
                raise ValueError(f"{name} names layer {last} of {len(self.layers)}")
        for block in self.activations:
            if not block.first <= block.last < len(self.layers):
                raise ValueError(f"activations names layers {block.first} to {block.last} of {len(self.layers)}")
            if block.address + block.bytes > (size := 1024 * self.parameters.activation_kib):
                raise ValueError(f"activations has {block.bytes} bytes at {block.address} of {size}")
        return self
