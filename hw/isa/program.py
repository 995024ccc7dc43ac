"""The instruction set: one description of every field, used by the planner to encode and by the engine to decode.

An instruction is 64 bytes, little endian: an 8-bit operation, then the fields of its unit, and in the last four bytes
a check (check.py).  The units run their own queues in program order; ``wait`` and ``post`` name the units (by bit, see
``UNITS``) whose token an instruction takes before it starts, and to whom it gives one when it is complete.
docs/program.md has the prose.
"""

from enum import IntEnum
from functools import cache

from amaranth.lib import data

from .parameters import INSTRUCTION_BYTES, PARAMETER_BITS

UNITS = ("loader", "array", "vector", "storer")
"""Units that exchange tokens; their index is the bit in ``wait`` and ``post``."""

TOKEN_BITS = 6
"""Width of the counter of tokens between two units."""

QUEUE = 8
"""Instructions that can wait at each unit.  Dispatch is in order, so one that waits long must not hold up the rest."""

PREFETCH = 4
"""Instructions that the engine fetches ahead, behind END too: the program's memory must hold them."""


class Operation(IntEnum):
    """0 is none, so that erased memory is no program."""

    BEGIN = 1
    LOAD = 2
    WEIGHTS = 3
    ARRAY = 4
    VECTOR = 5
    STORE = 6
    SETUP = 7
    END = 8
    IMAGE = 9


def _struct(**fields: object) -> data.StructLayout:
    return data.StructLayout({"operation": 8, **fields})


TRANSFER = _struct(
    wait=4,
    post=4,
    rows=16,  # spans, less one
    bytes=24,  # of one span, less one
    dram=32,  # byte address of the first span
    dram_step=32,  # bytes from span to span
    chip=24,  # element address of the first span
    chip_step=24,
)
"""LOAD: spans of DRAM into activation memory.  STORE: the reverse."""

STREAM = _struct(dram=32, beats=32)
"""WEIGHTS: a contiguous, bus-aligned stream for the array; ``beats`` of the bus, less one."""

PACKED_PASSES = _struct(
    wait=4,
    post=4,
    first=1,  # these passes begin their sums (else they add to the accumulators)
    last=1,  # these passes complete their sums: hand them to the vector unit
    parameters=1,  # each channel tile's weights are preceded by its requantization parameters
    flush=1,  # the stream of weights ends with this instruction
    tiles=16,  # channel tiles, less one
    passes=24,  # weight tiles in a channel tile, less one: kernel rows x kernel columns x chunks
    kernel_rows=8,  # all counts less one
    kernel_columns=8,
    chunks=16,
    rows=16,
    columns=16,
    padding=16,  # what pixels outside the map read as (two's complement)
    column=24,  # first column coordinate, in elements from the map's row start (two's complement)
    column_step=24,  # per output column
    kernel_column_step=24,
    tile_step=24,  # per channel tile (grouped convolutions)
    row=24,  # address of coordinate 0 of the first window row (wraps)
    row_step=24,  # per output row
    kernel_row_step=24,
    line=16,  # first window row's coordinate in the map (two's complement)
    line_step=8,
    kernel_line_step=8,
    lines=16,  # rows in the map
    row_elements=24,  # elements in a row of the map
    depthwise=1,  # each column has a channel of its own
    delay=16,  # cycles from a line of the line buffer to the next, less its memory's own
    skip=8,  # rows of windows before the first that gives results
    row_stride=8,  # rows of windows from one with results to the next, less one
    column_stride=8,  # windows from one with a result to the next, less one
    tail=8,  # windows at the end of a row that give no result
    packing=2,  # log2 of the rows of weights that a word of the stream carries
)
"""ARRAY: for tile, kernel row, kernel column, chunk: load weights; for row, column: multiply and accumulate."""

PASSES = data.StructLayout({name: field.shape for name, field in PACKED_PASSES if name != "packing"})
"""ARRAY, for accelerators whose words have a row each, and as the sequencer takes it."""

DRAIN = _struct(
    wait=4,
    post=4,
    tiles=16,  # all counts less one
    rows=16,
    columns=16,
    first_row=16,  # row and column of the first window in the source tile (two's complement: padding)
    first_column=16,
    map_rows=16,  # the source tile's size
    map_columns=16,
    source=24,  # address of the first window's corner: accumulators or elements (wraps)
    source_row_step=24,  # addresses per output row
    window_row_step=24,  # addresses per window row
    chip=24,  # element address of the first output vector
    row_step=24,
    operand=24,  # element address of the first vector to add
    operand_row_step=24,
    channels=8,  # valid channels in each tile but the last
    last_channels=8,
)
"""VECTOR: for tile, row, column: reduce a window, requantize, combine, write to activation memory."""

SLIDING_SETTINGS = _struct(
    wait=4,
    post=4,
    from_map=1,  # windows lie in activation memory (else in the accumulators)
    total=1,  # add a window's elements (else their maximum)
    raw=1,  # hand out int32 sums
    combine=3,  # see Combine
    normalize=1,  # scale by the tables at the sum of neighbouring channels' squares
    window_rows=8,  # less one
    window_columns=8,
    stride_columns=8,  # source columns per output column
    stride_rows=8,
    source_column_step=24,  # addresses per output column
    window_column_step=24,  # addresses per window column
    source_tile_step=24,
    column_step=24,
    tile_step=24,
    operand_column_step=24,
    operand_tile_step=24,
    source_zero=16,  # of a map, subtracted from its elements
    mantissa=24,  # scale of a map's windows, as CHANNEL's
    shift=8,
    zero_point=16,
    low=16,
    high=16,
    final_low=16,  # the clamp behind the tables
    final_high=16,
    load_tables=1,
    tables=24,  # element address of 2 x 256 entries of 32 bits
    size=4,  # channels that normalization sums over, less one
    before=4,  # of them before the channel itself
    drop=5,  # low bits of their sum that the tables do not see
    depth=16,  # the map's channels, and ``before``
    operand_zero=16,  # of a map that is multiplied, subtracted from its elements
    slides=1,  # totals are taken column by column of the map: each of a row takes what the one before did not
)
"""SETUP: how the vector unit runs the VECTOR instructions behind it."""

SETTINGS = data.StructLayout({name: field.shape for name, field in SLIDING_SETTINGS if name != "slides"})
"""SETUP, for accelerators without totals that slide."""


def settings_layout(sliding: bool) -> data.StructLayout:
    """SETUP as an accelerator looks at it."""
    return SLIDING_SETTINGS if sliding else SETTINGS


def vector_bits(sliding: bool) -> int:
    """Width of the vector unit's queue: it takes VECTOR and SETUP in order."""
    return max(int(DRAIN.size), int(settings_layout(sliding).size))


class Combine(IntEnum):
    """What is made with another map, or of an activation by the two tables A and B.

    Tables have 256 signed entries each, with TABLE_FRACTION fraction bits.
    """

    NONE = 0
    TABLE = 1
    """``rne(A[activation])``."""
    ADD = 2
    """``rne(A[activation] + B[operand])``; entries are indexed by the stored byte, unsigned."""
    MULTIPLY = 3
    """No tables: what is requantized is the map's value times ``operand - operand_zero``."""
    MAXIMUM = 4
    """``rne(max(A[activation], B[operand]))``."""
    MINIMUM = 5
    """``rne(min(A[activation], B[operand]))``."""
    AFFINE = 6
    """No tables: a map's value times its channel's factor, with its channel's bias and scale.  They lie in activation
    memory from ``operand`` on, AFFINE_ROWS vectors for each channel tile."""


TABLE_ENTRIES = 512
TABLE_FRACTION = 20
"""Fraction bits of a table's entry: 12 bits are left for the integer part."""

BEGIN = _struct(fingerprint=32, image=32)
"""BEGIN: refuse to run on another accelerator or with another memory image than this program was planned for."""

STAMP = _struct(image=32)
"""IMAGE: not of the program, but the memory image's first 64 bytes, which say whose it is."""

LAYOUTS = {
    Operation.BEGIN: BEGIN,
    Operation.LOAD: TRANSFER,
    Operation.STORE: TRANSFER,
    Operation.SETUP: SLIDING_SETTINGS,
    Operation.WEIGHTS: STREAM,
    Operation.ARRAY: PACKED_PASSES,
    Operation.VECTOR: DRAIN,
    Operation.IMAGE: STAMP,
}

BITS = max(layout.size for layout in LAYOUTS.values())
"""Width of the widest; the check lies behind it."""


def instruction_bits(packed: bool) -> int:
    """Width of the widest that an accelerator looks at, ``packed``: one whose words may carry several rows."""
    layouts = LAYOUTS if packed else {**LAYOUTS, Operation.ARRAY: PASSES}
    return max(int(layout.size) for layout in layouts.values())


CHANNEL = data.StructLayout({"bias": 32, "mantissa": 24, "shift": 8})
"""Requantization parameters of one channel: ``scale = mantissa * 2**-(shift + SHIFT_BASE)``."""

AFFINE_ROWS = PARAMETER_BITS // 8 + 1
"""Vectors that carry the channels' parameters for Combine.AFFINE: vector j has byte j of each CHANNEL, the last the
factors, 8 bits, two's complement."""

SHIFT_BASE = 20
"""The smallest exponent: scales stay below 2**(24 - SHIFT_BASE) = 16."""


@cache
def _places(operation: Operation) -> dict[str, tuple[int, int]]:
    """(offset, width) in bits of each field."""
    layout = LAYOUTS.get(operation)
    return {} if layout is None else {name: (field.offset, field.width) for name, field in layout}


def encode(operation: Operation, **fields: int) -> bytes:
    """One instruction as 64 bytes, without its check (``check.sealed`` adds it).

    Raises ValueError for an unknown field or a value that does not fit.
    """
    word, places = int(operation), _places(operation)
    unknown = set(fields) - set(places)
    if unknown:
        raise ValueError(f"{operation.name} has no field {sorted(unknown)}")
    for name, value in fields.items():
        offset, width = places[name]
        if not -(1 << (width - 1)) <= value < 1 << width:
            raise ValueError(f"{operation.name}.{name} = {value} does not fit {width} bits")
        word |= (value & ((1 << width) - 1)) << offset
    return word.to_bytes(INSTRUCTION_BYTES, "little")


def decode(instruction: bytes) -> tuple[Operation, dict[str, int]]:
    """The operation and its fields (unsigned) of 64 bytes: what ``encode`` was given."""
    word = int.from_bytes(instruction, "little")
    operation = Operation(word & 0xFF)
    places = _places(operation).items()
    return operation, {n: (word >> offset) & ((1 << width) - 1) for n, (offset, width) in places if n != "operation"}
