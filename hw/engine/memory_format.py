"""How the activation memory's users see it."""

from dataclasses import dataclass

from amaranth import Value
from amaranth.lib import data

from ...quant.graph.errors import ConfigurationError
from ..isa.ranges import check_choice, check_power_of_two, check_range


@dataclass(frozen=True, kw_only=True)
class MemoryFormat:
    """Elements at element addresses, some of them written at once.

    element_bits : 8 or 16
    elements : capacity
    port_elements : the most that one write places
    """

    element_bits: int
    elements: int
    port_elements: int

    def __post_init__(self) -> None:
        check_choice("element bits", self.element_bits, (8, 16))
        check_range("elements", self.elements, 2, 1 << 24)
        check_range("port elements", self.port_elements, 1, self.elements)

    @property
    def address_bits(self) -> int:
        """Width of an element address."""
        return (self.elements - 1).bit_length()

    @property
    def span_bits(self) -> int:
        """Width of a count of consecutive bytes, less one: no more than there are."""
        return (self.elements * self.element_bits // 8 - 1).bit_length()

    @property
    def write_layout(self) -> data.StructLayout:
        """Elements ``low <= i < high`` of ``data`` go to ``address + i``."""
        width = self.port_elements
        return data.StructLayout(
            {
                "valid": 1,
                "address": self.address_bits,
                "low": range(width + 1),
                "high": range(width + 1),
                "data": data.ArrayLayout(self.element_bits, width),
            }
        )


@dataclass(frozen=True, kw_only=True)
class Lines:
    """How elements lie in banks: one line after the other in one bank after the other.

    elements : capacity;  banks, line : banks, and elements in a line, powers of two
    """

    elements: int
    banks: int
    line: int

    def __post_init__(self) -> None:
        check_power_of_two("banks", self.banks, 2, 1 << 12)
        check_power_of_two("line", self.line, 1, 1 << 12)
        if self.elements % self.ring or self.elements < 2 * self.ring:
            raise ConfigurationError(
                f"elements must be at least two lines of each of {self.banks} banks, a multiple of {self.ring}, "
                f"not {self.elements}"
            )

    @property
    def ring(self) -> int:
        """Elements of a line of each bank."""
        return self.banks * self.line

    @property
    def depth(self) -> int:
        """Lines of a bank."""
        return self.elements // self.ring

    @property
    def line_bits(self) -> int:
        """Of an address, those inside a line."""
        return self.line.bit_length() - 1

    @property
    def bank_bits(self) -> int:
        """Above them, those of the bank."""
        return self.banks.bit_length() - 1

    @property
    def ring_bits(self) -> int:
        """Both."""
        return self.line_bits + self.bank_bits

    @property
    def depth_bits(self) -> int:
        """Width of a line's address in its bank."""
        return (self.depth - 1).bit_length()

    def bank(self, address: Value) -> Value:
        """The bank of the element at ``address``."""
        return address[self.line_bits : self.ring_bits]

    def within(self, address: Value) -> Value:
        """The line of the element at ``address``, in its bank."""
        return address[self.ring_bits :][: self.depth_bits]

    def addresses(self, address: Value) -> list[Value]:
        """In each bank, the line that is the first from the address's own line on."""
        line = address[self.line_bits :]
        return [((line + (self.banks - 1 - b)) >> self.bank_bits)[: self.depth_bits] for b in range(self.banks)]
