"""How the activation memory's users see it."""

from dataclasses import dataclass

from amaranth.lib import data

from ..isa.ranges import check_choice, check_range


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
