"""The accelerator's parameters, validated once, and every size that follows from them."""

import hashlib
import json
from dataclasses import asdict, dataclass

from ...quant.graph.errors import ConfigurationError
from .ranges import check_choice, check_power_of_two, check_range
from .sharing import MOST_COLUMNS, Sharing, sharing
from .target import TARGETS, Target

BUS_BYTES = (4, 8, 16, 32, 64)
"""Widths of the AXI4 bus, bytes a beat."""

BURST_BEATS = 16
"""Longest AXI burst, in beats: 16 x 64 bytes stays inside the 4 KiB that a burst may not cross."""

ACCUMULATOR_HAZARD = 4
"""Cycles from one part of a sum to the next at the earliest: read, register, add, write."""

LINE_LATENCY = 2
"""Cycles from a place of the line buffer to what it holds: read, register."""

PACKINGS = (1, 2, 4)
"""Rows of weights that a word of the stream may carry."""

SHIFT_MOST = 60
"""The greatest shift of a scale, see ``program.CHANNEL``: with it any int32 becomes 0."""

VERSION = 5
"""Of the program format and the registers."""
INSTRUCTION_BYTES = 64
LATER = {"word_bits": 0, "packing": 1, "row_parts": 1, "affine": False, "sliding": 0}
"""Parameters that came after others' fingerprints, and what they are where they are not used."""
NOT_ALWAYS = ("target", "columns_per_multiplier", *LATER)
"""Parameters that programs need not know of, or not always."""

MOST_SLIDING = 16
"""Columns of the widest window whose total can slide: what most families' smallest memories hold."""

SLIDING_ELEMENTS = 64
"""Elements of the largest such window."""

LONGEST_LINE = 1 << 16
"""Pixels in a line of the largest line buffer."""

MAXIMUM_KIB = 8192
"""Largest activation memory and accumulators, KiB."""
PARAMETER_BITS = 64
"""Requantization parameters of one output channel: bias, mantissa, shift (see ``program.CHANNEL``)."""

FACTOR_BITS = 8
"""Of what a channel of a map is multiplied by, two's complement."""


def parameter_rows(word_bits: int) -> int:
    """Words of the weights' stream that carry the requantization parameters of one channel tile."""
    return -(-PARAMETER_BITS // word_bits)


def product_bits(activation_bits: int) -> int:
    """Width of the product of two activations less their zero points, two's complement."""
    return 2 * (activation_bits + 1)


def affine_bits(activation_bits: int) -> int:
    """Width of an activation, as it is stored, times its channel's factor, two's complement."""
    return activation_bits + FACTOR_BITS


def window_bits(activation_bits: int) -> int:
    """Width of the total of a window of SLIDING_ELEMENTS activations less their zero point, two's complement."""
    return activation_bits + 1 + (SLIDING_ELEMENTS - 1).bit_length()


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What one generated accelerator is.

    rows, columns : multipliers of the systolic array, R x C
    bus_bytes : AXI4 data width, bytes a cycle (4, 8, 16, 32 or 64)
    activation_kib : activation memory, KiB
    accumulator_kib : accumulators, KiB counted at four bytes a sum; half of it fills while half drains
    weight_fifo_kib : weights fetched ahead of the array, KiB
    activation_bits, weight_bits : operand widths, 2 to 16 bits, two's complement
    sum_bits : accumulator width, 8 to 32 bits
    total_bits : of a sum with its bias, two's complement, 8 to 32
    shift_low, shift_high : the least and the greatest shift of a requantization scale, see ``program.CHANNEL``
    lanes : requantizers shared by the columns, values a cycle; 0 means a quarter of the columns
    multiplier : False leaves out the requantizers' multiplier: power-of-two scales only
    operands : the vector unit reads feature maps: additions, averages, poolings that stand alone
    tables : lookup tables behind the requantizers: additions, other scales in a concatenation, unary functions
    extrema : the tables' entries may be compared, not added: the larger or the smaller of two maps
    products : the requantizers' values may be products of two maps
    affine : a map's channels may have factors, biases and scales of their own: normalizations before a convolution
    normalization : most channels that a local response normalization sums over, 0 to 16; 0 leaves it out
    sliding : columns of the widest window of an average whose total slides along its row, 2 to 16; 0 leaves it out
    axi_protection, axi_cache, axi_quality : AxPROT, AxCACHE and AxQOS of every access
    target : whose multipliers the array names, on an ecp5 the requantizers too
    columns_per_multiplier : neighbouring columns of the array that share a multiplier of the target, 1 to 4, see
    ``sharing``; 0 means as many as it has for operands of these widths without a condition, which is 2 of an ice40
    line_buffer : pixels in a line of the buffer that feeds depthwise convolutions, a power of two; 0 leaves it out
    word_bits : of a column in a word of the weights' stream, ``weight_bits`` to 32; 0 means ``weight_bits``
    packing : most rows of weights in one word, as narrow as that takes, 1, 2 or 4; 1 leaves out what widens them
    row_parts : parts of the array's rows that take a row of weights each in one cycle, 1, 2 or 4, at most ``packing``
    """

    rows: int
    columns: int
    bus_bytes: int = 8
    activation_kib: int = 64
    accumulator_kib: int = 32
    weight_fifo_kib: int = 4
    activation_bits: int = 8
    weight_bits: int = 8
    sum_bits: int = 32
    total_bits: int = 32
    shift_low: int = 0
    shift_high: int = SHIFT_MOST
    lanes: int = 0
    multiplier: bool = True
    operands: bool = False
    tables: bool = False
    extrema: bool = False
    products: bool = False
    normalization: int = 0
    sliding: int = 0
    axi_protection: int = 0b000
    axi_cache: int = 0b0011
    axi_quality: int = 0
    target: Target = "generic"
    columns_per_multiplier: int = 0
    line_buffer: int = 0
    word_bits: int = 0
    packing: int = 1
    row_parts: int = 1
    affine: bool = False

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 1, 128)
        check_range("columns", self.columns, 1, 128)
        check_choice("bus bytes", self.bus_bytes, BUS_BYTES)
        check_range("activation KiB", self.activation_kib, 1, MAXIMUM_KIB)
        check_range("accumulator KiB", self.accumulator_kib, 1, MAXIMUM_KIB)
        check_range("weight FIFO KiB", self.weight_fifo_kib, 1, 1024)
        check_range("activation bits", self.activation_bits, 2, 16)
        check_range("weight bits", self.weight_bits, 2, 16)
        check_range("sum bits", self.sum_bits, 8, 32)
        check_range("total bits", self.total_bits, 8, 32)
        check_range("lowest shift", self.shift_low, 0, SHIFT_MOST)
        check_range("highest shift", self.shift_high, self.shift_low, SHIFT_MOST)
        if self.lanes == 0:
            object.__setattr__(self, "lanes", -(-self.columns // 4))
        check_range("lanes", self.lanes, 1, self.columns)
        check_range("normalization", self.normalization, 0, 16)
        check_range("AXI protection", self.axi_protection, 0, 7)
        check_range("AXI cache", self.axi_cache, 0, 15)
        check_range("AXI quality", self.axi_quality, 0, 15)
        if self.line_buffer:
            check_power_of_two("line buffer", self.line_buffer, 16, LONGEST_LINE)
        self._check_packing()
        if self.target not in TARGETS:
            raise ConfigurationError(f"target must be {', '.join(TARGETS[:-1])} or {TARGETS[-1]}, not {self.target}")
        self._check_features()
        if self.accumulator_depth < 4:
            raise ConfigurationError(
                f"accumulator KiB must be at least {-(-self.columns * 32 // 1024)} for {self.columns} columns, "
                f"not {self.accumulator_kib}"
            )
        if self.weight_fifo_beats < 2 * BURST_BEATS:
            raise ConfigurationError(
                f"weight FIFO KiB must be at least {-(-2 * BURST_BEATS * self.bus_bytes // 1024)} "
                f"for a bus of {self.bus_bytes} bytes, not {self.weight_fifo_kib}"
            )
        if self.activation_elements < 2 * self.banks * self.line:
            raise ConfigurationError(
                f"activation KiB must be at least {-(-2 * self.banks * self.line * self.element_bytes // 1024)} "
                f"for {self.banks} banks of lines of {self.line} values, not {self.activation_kib}"
            )

    def _check_packing(self) -> None:
        check_choice("packing", self.packing, PACKINGS)
        check_choice("row parts", self.row_parts, tuple(n for n in PACKINGS if n <= self.packing))
        if self.rows % self.packing:
            raise ConfigurationError(f"packing of {self.packing} rows needs rows in multiples of it, not {self.rows}")
        if self.word_bits == 0:
            object.__setattr__(self, "word_bits", self.weight_bits)
        check_range("word bits", self.word_bits, self.weight_bits, 32)
        if self.word_bits > self.weight_bits and self.packing == 1:
            raise ConfigurationError(f"words of {self.word_bits} bits for {self.weight_bits} weight bits need packing")
        if self.word_bits < 2 * self.packing:
            raise ConfigurationError(
                f"packing of {self.packing} rows needs at least {2 * self.packing} word bits, not {self.word_bits}"
            )

    def _check_features(self) -> None:
        if self.tables and not (self.operands and self.activation_bits <= 8 and self.columns >= 4):
            raise ConfigurationError("tables need operands, at most 8 activation bits and at least 4 columns")
        if self.extrema and not self.tables:
            raise ConfigurationError("extrema need tables")
        if self.products and not (self.operands and self.activation_bits <= 8):
            raise ConfigurationError("products need operands and at most 8 activation bits")
        wide = product_bits(self.activation_bits)
        if self.products and min(self.sum_bits, self.total_bits) < wide:
            raise ConfigurationError(f"products of {self.activation_bits} bits need sums of {wide} bits")
        if self.affine and not (self.operands and self.activation_bits <= 8):
            raise ConfigurationError("affine channels need operands and at most 8 activation bits")
        least = affine_bits(self.activation_bits)
        if self.affine and min(self.sum_bits, self.total_bits) < least:
            raise ConfigurationError(f"affine channels of {self.activation_bits} bits need sums of {least} bits")
        if self.normalization and not (self.tables and self.multiplier and self.columns >= self.normalization):
            raise ConfigurationError(
                f"normalization over {self.normalization} channels needs tables, the multiplier and at least as many"
                f" columns, not {self.columns}"
            )
        if self.sliding:
            check_range("sliding", self.sliding, 2, MOST_SLIDING)
        if self.sliding and not self.operands:
            raise ConfigurationError("sliding needs operands")
        if self.operands and self.sum_bits < self.activation_bits + 2:
            raise ConfigurationError(
                f"sum bits must be at least {self.activation_bits + 2} to read maps of {self.activation_bits} bits"
            )
        self._check_sharing()

    def _check_sharing(self) -> None:
        if self.columns_per_multiplier == 0:
            found = self.shared(2)
            object.__setattr__(self, "columns_per_multiplier", 2 if found and found.lowest else 1)
        columns = self.columns_per_multiplier
        check_range("columns per multiplier", columns, 1, MOST_COLUMNS)
        if columns > 1 and self.target == "generic":
            raise ConfigurationError("columns that share multipliers need a target that has some, not generic")
        if columns > 1 and self.sharing is None:
            most = max([1, *(n for n in range(2, columns) if self.shared(n))])
            raise ConfigurationError(
                f"columns per multiplier must be at most {most} on {self.target} with {self.weight_bits} weight bits "
                f"and {self.activation_bits} activation bits, not {columns}"
            )

    def shared(self, columns: int) -> Sharing | None:
        """How so many columns, 2 or more, would share a multiplier; None if they cannot."""
        return sharing(self.target, columns, self.rows, self.activation_bits, self.weight_bits)

    @property
    def sharing(self) -> Sharing | None:
        """How columns share a multiplier; None if each has its own."""
        return self.shared(self.columns_per_multiplier) if self.columns_per_multiplier > 1 else None

    @property
    def element_bytes(self) -> int:
        """Bytes that one activation takes in memory: 1 up to 8 bits, else 2."""
        return 1 if self.activation_bits <= 8 else 2

    @property
    def bus_elements(self) -> int:
        return self.bus_bytes // self.element_bytes

    @property
    def sum_elements(self) -> int:
        """Activation elements that one raw int32 sum takes in memory."""
        return 4 // self.element_bytes

    @property
    def write_elements(self) -> int:
        """Elements that the vector unit writes at once: one a column, or the raw sums of all lanes."""
        return max(self.columns, self.lanes * self.sum_elements)

    @property
    def port_elements(self) -> int:
        """Elements that the activation memory's write port takes at once."""
        return max(self.write_elements, self.bus_elements)

    @property
    def line(self) -> int:
        """Elements in one line of each of the activation memory's banks, a power of two: a window, a vector, a beat."""
        return 1 << (max(self.rows, self.columns, self.bus_elements) - 1).bit_length()

    @property
    def banks(self) -> int:
        """Banks of the activation memory, a power of two: what is written at once lies in different ones."""
        return 2 << ((self.port_elements - 1) // self.line).bit_length()

    @property
    def activation_elements(self) -> int:
        """Capacity of the activation memory in elements, whole lines of all banks."""
        elements = self.activation_kib * 1024 // self.element_bytes
        return elements - elements % (self.banks * self.line)

    @property
    def address_bits(self) -> int:
        """Width of an element address in the activation memory."""
        return (self.activation_elements - 1).bit_length()

    @property
    def accumulator_depth(self) -> int:
        """Output positions that each half of the accumulators holds."""
        return self.accumulator_kib * 1024 // (2 * 4 * self.columns)

    @property
    def weight_fifo_beats(self) -> int:
        return self.weight_fifo_kib * 1024 // self.bus_bytes

    @property
    def weight_row_bits(self) -> int:
        """A word of weights, as it travels: a row of the array's, or several."""
        return self.columns * self.word_bits

    def packing_of(self, weight_bits: int) -> int:
        """Rows of weights of ``weight_bits`` that a word of the stream carries."""
        fitting = (n for n in PACKINGS if n <= self.packing and weight_bits <= self.word_bits // n)
        return max(fitting, default=1)

    def together(self, packing: int) -> int:
        """Rows of weights that the array takes in one cycle, of words that carry ``packing``."""
        return min(packing, self.row_parts)

    def tile_cycles(self, packing: int) -> int:
        """Fewest cycles from one weight tile to the next: to load it, or what an accumulator takes to settle."""
        return max(self.rows // self.together(packing), ACCUMULATOR_HAZARD)

    @property
    def parameter_rows(self) -> int:
        """Words that carry the requantization parameters of one channel tile."""
        return parameter_rows(self.word_bits)

    @property
    def lane_groups(self) -> int:
        """Cycles that the lanes need for one value of every column."""
        return -(-self.columns // self.lanes)

    @property
    def table_entries(self) -> int:
        """Table entries that one read of activation memory brings: C bytes hold so many, a power of two."""
        return 1 << (max(self.columns // 4, 1).bit_length() - 1)

    @property
    def kernel_lines(self) -> int:
        """Rows of a depthwise kernel that one column of the array computes at once."""
        return min(3, max(1, self.rows // 3))

    @property
    def line_taps(self) -> int:
        """Taps of each of them, side by side."""
        return self.rows // self.kernel_lines

    @property
    def depthwise_channels(self) -> int:
        """Channels that the array convolves at once, one in a column."""
        return min(self.rows, self.columns)

    @property
    def pass_cycles(self) -> int:
        """``tile_cycles`` of weights as wide as the array's."""
        return self.tile_cycles(1)

    @property
    def fingerprint(self) -> int:
        """32 bits that differ between accelerators whose programs are not interchangeable; any target runs them."""
        fields = {name: value for name, value in asdict(self).items() if name not in NOT_ALWAYS}
        without = LATER | {"word_bits": self.weight_bits}
        fields |= {name: getattr(self, name) for name in LATER if getattr(self, name) != without[name]}
        if self.sharing and (self.line_buffer or not self.sharing.lowest):  # else programs do not know of it
            fields["columns_per_multiplier"] = self.columns_per_multiplier
        text = json.dumps({**fields, "version": VERSION}, sort_keys=True)
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
