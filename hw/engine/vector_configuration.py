"""What one vector unit is, and what its stages hand to each other."""

from dataclasses import dataclass

from amaranth.lib import data
from amaranth.utils import ceil_log2

from ...quant.graph.errors import ConfigurationError
from ..isa.parameters import MOST_SLIDING, parameter_rows, window_bits
from ..isa.program import TABLE_ENTRIES, settings_layout, vector_bits
from ..isa.ranges import check_range
from .accumulators import Accumulators
from .activations import ActivationMemory
from .lane import LaneConfiguration
from .memory_format import MemoryFormat

SOURCE = ActivationMemory.OPERAND_LATENCY + 1
"""Cycles from a step to its vector: the operand port, and the subtraction of a map's zero point."""

ASKED = ActivationMemory.OPERAND_LATENCY - Accumulators.DRAIN_LATENCY
"""Cycles from a step to its accumulators' address, so that they answer together with the operand port."""


@dataclass(frozen=True, kw_only=True)
class VectorConfiguration:
    """Sizes of a vector unit.

    columns : values in a vector, C
    lanes : values that are rescaled in one cycle
    lane : what each lane can do
    operands : it reads feature maps too, not accumulators alone
    sliding : columns of the widest window whose total slides, 0 for none
    accumulator_depth : vectors in each half of the accumulators
    word_bits : of a channel's parameters, what one word of weights carries
    memory : where the feature maps lie
    """

    columns: int
    lanes: int
    lane: LaneConfiguration
    operands: bool
    sliding: int = 0
    accumulator_depth: int
    word_bits: int
    memory: MemoryFormat

    def __post_init__(self) -> None:
        check_range("columns", self.columns, 1, 128)
        check_range("lanes", self.lanes, 1, self.columns)
        check_range("accumulator depth", self.accumulator_depth, 4, 1 << 24)
        check_range("word bits", self.word_bits, 2, 32)
        if self.lane.element_bits != self.memory.element_bits:
            raise ConfigurationError(
                f"element bits of the lanes and of the memory must be equal, not {self.lane.element_bits} and"
                f" {self.memory.element_bits}"
            )
        check_range(
            "port elements", self.memory.port_elements, max(self.columns, self.lanes * self.sum_elements), 1 << 24
        )
        if self.lane.tables and not self.operands:
            raise ConfigurationError("tables need operands: they are read like feature maps")
        if self.lane.products and not self.operands:
            raise ConfigurationError("products need operands: they are of feature maps")
        if self.lane.affine and not self.operands:
            raise ConfigurationError("affine channels need operands: they are a feature map's")
        if self.lane.tables and 4 * self.lane.table_entries > self.columns:
            raise ConfigurationError(
                f"table entries must be at most a quarter of the columns, {self.columns // 4}, not"
                f" {self.lane.table_entries}"
            )
        if self.sliding:
            check_range("sliding", self.sliding, 2, MOST_SLIDING)
            if not self.operands:
                raise ConfigurationError("totals that slide need operands: they are of feature maps")
        check_range("normalization", self.lane.normalization, 0, self.columns)

    @property
    def settings_layout(self) -> data.StructLayout:
        """SETUP as it looks at it."""
        return settings_layout(self.sliding > 0)

    @property
    def instruction_bits(self) -> int:
        """Width of its instructions, VECTOR and SETUP."""
        return vector_bits(self.sliding > 0)

    @property
    def groups(self) -> int:
        """Cycles that the lanes need for one value of every column."""
        return -(-self.columns // self.lanes)

    @property
    def window_bits(self) -> int:
        """Width of a window's total that slides."""
        return min(self.lane.sum_bits, window_bits(self.lane.activation_bits))

    @property
    def source_bits(self) -> int:
        """Width of an address of what windows lie in: accumulators or activation memory."""
        return max(self.memory.address_bits, (self.accumulator_depth - 1).bit_length())

    @property
    def sum_elements(self) -> int:
        """Elements that one raw int32 sum takes in memory."""
        return 32 // self.memory.element_bits

    @property
    def parameter_rows(self) -> int:
        """Words of weights that carry one channel tile's requantization parameters."""
        return parameter_rows(self.word_bits)

    @property
    def written_cycles(self) -> int:
        """Cycles from the last vector's leaving the hold registers to its being readable in activation memory."""
        return self.lane.latency + 2 + ActivationMemory.WRITE_LATENCY

    @property
    def step_layout(self) -> data.StructLayout:
        """One vector read of a window, and, with the window's last one, where the result goes.

        ``operand``: the vector to add, which ends a window.  ``parameters``: of the channels.  Where totals slide,
        ``begins`` says a channel tile's first vector, ``ends`` a map column's last.  Columns ``first <= c < end`` hold
        the map's own channels.
        """
        return data.StructLayout(
            {
                "valid": 1,
                "inside": 1,
                "operand": 1,
                "last": 1,
                "tile_last": 1,
                "chip": self.memory.address_bits,
                "table": 1,
                "table_row": ceil_log2(TABLE_ENTRIES),
                **({"parameters": 1} if self.lane.affine else {}),
                **({"first": 4, "end": range(self.columns + 1)} if self.lane.normalization else {}),
                **({"begins": 1, "ends": 1} if self.sliding else {}),
            }
        )
