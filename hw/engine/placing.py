"""What is written to the activation memory: turned to its places in the banks, beats beside vectors."""

from typing import NamedTuple

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .delay import delayed
from .memory_format import Lines, MemoryFormat


def rotate_back(ring: list[Value], amount: Value) -> list[Value]:
    """A logarithmic shifter: result[i] = ring[(i - amount) % size]."""
    size = len(ring)
    for bit in range(ceil_log2(size)):
        ring = [Mux(amount[bit], ring[(i - (1 << bit)) % size], ring[i]) for i in range(size)]
    return ring


class _Turned(NamedTuple):
    """Elements at their places in a ring of a power of two, the marks of those that count in that of all banks, and the
    lines' addresses.
    """

    elements: list[Value]
    marks: list[Value]
    addresses: list[Value]


class Placing(wiring.Component):
    """Vectors and beats to the banks' write ports, ``LATENCY`` cycles later.

    ``write`` is always accepted.  ``load`` is taken with ``load_ready``.  Both share one rotator, but a beat that
    begins at a multiple of its length lies in one line as it is: it goes beside a write that does not touch its bank.

    Parameters: memory : MemoryFormat;  lines : Lines;  bus_elements : int, of a beat, at most a line's
    Members:    write, load : In, see MemoryFormat.write_layout;  load_ready : Out
                banks : Out, for each ``valid``, ``address`` of the line, ``enable`` and ``elements``
    """

    LATENCY = 2

    def __init__(self, *, memory: MemoryFormat, lines: Lines, bus_elements: int) -> None:
        self._memory, self._lines, self._bus_elements = memory, lines, bus_elements
        bank = data.StructLayout(
            {
                "valid": 1,
                "address": lines.depth_bits,
                "enable": lines.line,
                "elements": data.ArrayLayout(memory.element_bits, lines.line),
            }
        )
        super().__init__(
            {
                "write": In(memory.write_layout),
                "load": In(memory.write_layout),
                "load_ready": Out(1),
                "banks": Out(data.ArrayLayout(bank, lines.banks)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        write, load, lines = self.write, self.load, self._lines
        piece_bits = ceil_log2(self._bus_elements)
        whole = load.address[:piece_bits] == 0
        m.d.comb += self.load_ready.eq(~write.valid | (whole & ~self._touches(load.address)))
        beside, behind = Signal(), Signal()
        m.d.comb += [
            beside.eq(load.valid & self.load_ready & whole),
            behind.eq(load.valid & self.load_ready & ~whole),
        ]
        turned = self._turned(m, Mux(write.valid, write.as_value(), load.as_value()), write.valid | behind)

        # a beat that lies in one line: its place there, and the marks of its elements
        beat = delayed(m, load.as_value(), 1, name="beat")
        beat = data.View(self._memory.write_layout, beat)
        coming = delayed(m, beside, 1, name="coming", init=0)
        counts = Cat((beat.low <= i) & (beat.high > i) for i in range(self._bus_elements))
        pieces = lines.line // self._bus_elements
        for b in range(lines.banks):
            mine = Signal(name=f"mine_{b}")
            m.d.comb += mine.eq(coming & (lines.bank(beat.address) == b))
            inside = beat.address[piece_bits : lines.line_bits]
            placed = Cat(counts & (mine & (inside == piece)).replicate(self._bus_elements) for piece in range(pieces))
            marks = Cat(turned.marks[b * lines.line : (b + 1) * lines.line])
            bank = self.banks[b]
            address = Mux(mine, lines.within(beat.address), turned.addresses[b])
            m.d.comb += [
                bank.valid.eq(delayed(m, mine | marks.any(), 1, name=f"touched_{b}", init=0)),
                bank.enable.eq(delayed(m, marks | placed, 1, name=f"enable_{b}", init=0)),
                bank.address.eq(delayed(m, address, 1, name=f"address_{b}")),
            ]
            for i in range(lines.line):
                element = turned.elements[(b * lines.line + i) % len(turned.elements)]
                element = Mux(mine, beat.data[i % self._bus_elements], element)
                m.d.comb += bank.elements[i].eq(delayed(m, element, 1, name=f"element_{b}_{i}"))
        return m

    def _touches(self, address: Value) -> Value:
        """Whether ``write`` may touch the bank of the line at ``address``."""
        write, lines = self.write, self._lines
        more = (write.address[: lines.line_bits] + write.high - 1) >> lines.line_bits  # lines behind its first
        return (lines.bank(address) - lines.bank(write.address))[: lines.bank_bits] <= more

    def _turned(self, m: Module, word: Value, valid: Value) -> _Turned:
        """In one cycle the elements are turned to their places, in the next the marks of those that count."""
        write, width = data.View(self._memory.write_layout, word), self._memory.port_elements
        size = 1 << ceil_log2(width)
        source = [write.data[i] for i in range(width)] + [Const(0)] * (size - width)
        turned = [delayed(m, v, 1, name=f"turned_{i}") for i, v in enumerate(rotate_back(source, write.address))]
        marks = [
            delayed(m, valid & (write.low <= i) & (write.high > i), 1, name=f"mark_{i}", init=0) for i in range(width)
        ]
        address = delayed(m, write.address, 1, name="write_address")
        counting = rotate_back(marks + [Const(0)] * (self._lines.ring - width), address)
        return _Turned(turned, counting, self._lines.addresses(address))
