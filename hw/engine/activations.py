"""The activation memory: banks of lines, so that consecutive values are one read wherever they start."""

from typing import NamedTuple

from amaranth import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ...quant.graph.errors import ConfigurationError
from ..isa.ranges import check_power_of_two, check_range
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT
from .memory_format import MemoryFormat


def rotate(ring: list[Value], amount: Value, count: int) -> list[Value]:
    """A logarithmic shifter: result[i] = ring[(i + amount) % size] for i < count, of the ``size`` in ``ring``.

    Each step keeps only what the lower bits of ``amount`` can still reach.
    """
    size = len(ring)
    for bit in reversed(range(ceil_log2(size))):
        step = 1 << bit
        ring = [Mux(amount[bit], ring[(i + step) % size], ring[i]) for i in range(min(size, count + step - 1))]
    return ring


def rotate_back(ring: list[Value], amount: Value) -> list[Value]:
    """The other way: result[i] = ring[(i - amount) % size]."""
    size = len(ring)
    for bit in range(ceil_log2(size)):
        ring = [Mux(amount[bit], ring[(i - (1 << bit)) % size], ring[i]) for i in range(size)]
    return ring


class _Write(NamedTuple):
    """What is written to one bank."""

    valid: Value
    address: Value
    enable: Value
    elements: list[Value]


class ActivationMemory(wiring.Component):
    """Elements of 8 or 16 bits at element addresses, four users.

    Consecutive lines lie in consecutive banks.  Each bank is a memory of two ports: one for the window, one for all
    others, who meet only where they want the same bank.

    *Window port*: every cycle ``rows`` consecutive elements from ``window_address`` on; they follow
    ``WINDOW_LATENCY`` cycles later, masked: ``window_low <= i < window_high`` else ``padding``.
    *Write port*: ``write`` places elements ``low <= i < high`` of ``data`` at ``address + i``; always accepted,
    committed after ``WRITE_LATENCY`` cycles.
    *Read port* of the storer: the aligned ``bus_elements`` that ``read_address`` is in, ``READ_LATENCY`` cycles
    after ``read_valid & read_ready``.
    *Operand port* of the vector unit (with ``operands``): ``columns`` consecutive elements from ``operand_address`` on,
    ``OPERAND_LATENCY`` cycles after ``operand_valid & operand_ready``.

    In a bank, writes go first, then the operand port, then the storer, who gets every fourth turn.

    Addresses wrap at the end of the memory's power of two; the planner stays inside its elements.

    Parameters: memory : MemoryFormat;  banks, line : int, banks, and elements in a line of each, powers of two
                rows, columns : int, elements of a window and of a vector, at most a line's
                bus_elements : int, elements of a beat, a power of two, at most a line's
                activation_bits : int, of an element's bits those that the window shows;  operands : bool
    Members:    window_address, window_low, window_high, padding : In;  pixels : Out, (rows,) signed
                write : In, see MemoryFormat.write_layout
                read_address, read_valid : In;  read_ready, read_data : Out
                operand_address, operand_valid : In;  operand_ready, operand_data : Out, (columns,) signed
    """

    WINDOW_LATENCY = 3
    WRITE_LATENCY = 3
    READ_LATENCY = 3
    OPERAND_LATENCY = 3
    PATIENCE = 3
    """Reads of the storer that the operand port may put off in a row."""

    def __init__(
        self,
        *,
        memory: MemoryFormat,
        banks: int,
        line: int,
        rows: int,
        columns: int,
        bus_elements: int,
        activation_bits: int,
        operands: bool,
    ) -> None:
        check_power_of_two("banks", banks, 2, 1 << 12)
        check_power_of_two("line", line, 1, 1 << 12)
        check_range("rows", rows, 1, line)
        check_range("columns", columns, 1, line)
        check_power_of_two("bus elements", bus_elements, 1, line)
        check_range("activation bits", activation_bits, 2, memory.element_bits)
        check_range("port elements", memory.port_elements, 1, (banks - 1) * line + 1)
        ring = banks * line
        if memory.elements % ring or memory.elements < 2 * ring:
            raise ConfigurationError(
                f"elements must be at least two lines of each of {banks} banks, a multiple of {ring}, "
                f"not {memory.elements}"
            )
        self._memory, self._banks, self._line, self._ring = memory, banks, line, ring
        self._rows, self._columns, self._bus_elements = rows, columns, bus_elements
        self._line_bits, self._ring_bits = ceil_log2(line), ceil_log2(ring)
        self._activation_bits, self._operands = activation_bits, operands
        super().__init__(
            {
                "window_address": In(memory.address_bits),
                "window_low": In(range(rows + 1)),
                "window_high": In(range(rows + 1)),
                "padding": In(signed(activation_bits)),
                "pixels": Out(data.ArrayLayout(signed(activation_bits), rows)),
                "write": In(memory.write_layout),
                "read_address": In(memory.address_bits),
                "read_valid": In(1),
                "read_ready": Out(1),
                "read_data": Out(memory.element_bits * bus_elements),
                "operand_address": In(memory.address_bits),
                "operand_valid": In(1),
                "operand_ready": Out(1),
                "operand_data": Out(data.ArrayLayout(signed(memory.element_bits), columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        windows, writers, readers = [], [], []
        for number in range(self._banks):
            m.submodules[f"bank_{number}"] = memory = Memory(
                shape=data.ArrayLayout(self._memory.element_bits, self._line),
                depth=self._memory.elements // self._ring,
                init=[],
                attrs=COLLISIONS_NEVER_COUNT,
            )
            windows.append(memory.read_port())
            writers.append(memory.write_port(granularity=1))
            readers.append(memory.read_port())

        for port, address in zip(windows, self._bank_addresses(self.window_address), strict=True):
            m.d.comb += port.addr.eq(address)
        self._show_window(m, self._read(m, windows, "window"))
        writes = self._place(m)
        wanted = self._arbitrate(m, Cat(write.valid for write in writes))
        operand_addresses = self._bank_addresses(self.operand_address)
        read_address = self.read_address[self._ring_bits :]  # a piece lies in one line: other banks read something
        for b, (write, writer, reader) in enumerate(zip(writes, writers, readers, strict=True)):
            served = Mux(wanted[b], operand_addresses[b], read_address)
            address = Mux(write.valid, write.address, served)
            m.d.comb += [writer.addr.eq(address), reader.addr.eq(address)]
            for i in range(self._line):
                m.d.comb += [writer.data[i].eq(write.elements[i]), writer.en[i].eq(write.enable[i])]
        elements = self._read(m, readers, "read")
        self._show_piece(m, elements)
        if self._operands:
            self._show_operand(m, elements)
        return m

    def _read(self, m: Module, ports: list, name: str) -> list[Value]:
        """All elements of the lines that were read, in a register: a block RAM takes most of a cycle."""
        elements = [port.data[i] for port in ports for i in range(self._line)]
        return [delayed(m, element, 1, name=f"{name}_raw_{i}") for i, element in enumerate(elements)]

    def _bank_addresses(self, address: Value) -> list[Value]:
        """In each bank, the line that is the first from the address's own line on."""
        line = address[self._line_bits :]
        bank_bits, depth_bits = ceil_log2(self._banks), ceil_log2(self._memory.elements // self._ring)
        return [((line + (self._banks - 1 - b)) >> bank_bits)[:depth_bits] for b in range(self._banks)]

    def _in_front(self, m: Module, elements: list[Value], address: Value, count: int, name: str) -> list[Value]:
        """``count`` elements from ``address`` on, of the lines that were read."""
        offset = delayed(m, address[: self._ring_bits], 2, name=f"{name}_offset")
        return rotate(elements, offset, count)

    def _show_window(self, m: Module, elements: list[Value]) -> None:
        """Read, then rotate and mask."""
        low = delayed(m, self.window_low, 1, name="window_low")
        high = delayed(m, self.window_high, 1, name="window_high")
        padding = delayed(m, self.padding, 2, name="padding")
        for i, value in enumerate(self._in_front(m, elements, self.window_address, self._rows, "window")):
            counts = delayed(m, (low <= i) & (high > i), 1, name=f"counts_{i}")
            pixel = Signal(signed(self._activation_bits), name=f"pixel_{i}", reset_less=True)
            m.d.sync += pixel.eq(Mux(counts, value[: self._activation_bits].as_signed(), padding))
            m.d.comb += self.pixels[i].eq(pixel)

    def _place(self, m: Module) -> list[_Write]:
        """For each bank, what is written: in one cycle the elements are turned to their places, in the next the marks
        of those that count.
        """
        write, width = self.write, self._memory.port_elements
        size = 1 << ceil_log2(width)
        source = [write.data[i] for i in range(width)] + [Const(0)] * (size - width)
        turned = [delayed(m, v, 2, name=f"placed_{i}") for i, v in enumerate(rotate_back(source, write.address))]
        marks = [
            delayed(m, write.valid & (write.low <= i) & (write.high > i), 1, name=f"mark_{i}", init=0)
            for i in range(width)
        ]
        address = delayed(m, write.address, 1, name="write_address")
        counting = rotate_back(marks + [Const(0)] * (self._ring - width), address)
        addresses = self._bank_addresses(delayed(m, address, 1, name="placed_address"))
        writes = []
        for b in range(self._banks):
            mine = Cat(counting[b * self._line : (b + 1) * self._line])
            touched = delayed(m, mine.any(), 1, name=f"touched_{b}", init=0)
            enable = delayed(m, mine, 1, name=f"enable_{b}", init=0)
            elements = [turned[(b * self._line + i) % size] for i in range(self._line)]
            writes.append(_Write(touched, addresses[b], enable, elements))
        return writes

    def _arbitrate(self, m: Module, written: Value) -> Signal:
        """Who reads where nothing is ``written``, a bit a bank.  Returns the banks that the operand port gets.

        Where both want a bank, the turn alone decides, whether or not a write holds up the one whose turn it is.
        """
        banks, line_bits, ring_bits = self._banks, self._line_bits, self._ring_bits
        wanted, stored = Signal(banks, name="wanted"), Signal(banks, name="stored")
        m.d.comb += stored.eq((1 << self.read_address[line_bits:ring_bits]) & self.read_valid.replicate(banks))
        if self._operands:
            mine = 1 << self.operand_address[line_bits:ring_bits]
            beyond = self.operand_address[:line_bits] > self._line - self._columns
            following = Cat(mine[banks - 1], mine[: banks - 1]) & beyond.replicate(banks)
            m.d.comb += wanted.eq((mine[:banks] | following) & self.operand_valid.replicate(banks))
        patience, storer_first = Signal(range(self.PATIENCE + 1), init=self.PATIENCE), Signal()
        meet = (wanted & stored).any()
        m.d.comb += [
            self.operand_ready.eq(~(wanted & written).any() & ~(meet & storer_first)),
            self.read_ready.eq(~(stored & written).any() & ~(meet & ~storer_first)),
        ]
        with m.If(self.read_valid & self.read_ready):
            m.d.sync += [patience.eq(self.PATIENCE), storer_first.eq(0)]
        with m.Elif(meet & self.operand_ready):
            m.d.sync += [patience.eq(patience - 1), storer_first.eq(patience == 1)]
        served = Signal(banks, name="served")
        m.d.comb += served.eq(wanted & ~(stored & storer_first.replicate(banks)))
        return served

    def _show_piece(self, m: Module, elements: list[Value]) -> None:
        """For the storer, one aligned piece of the line that was read."""
        where = delayed(m, self.read_address[: self._ring_bits], 2, name="read_offset")
        size = self._bus_elements
        pieces = [Cat(elements[first : first + size]) for first in range(0, self._ring, size)]
        m.d.comb += self.read_data.eq(delayed(m, Array(pieces)[where[ceil_log2(size) :]], 1, name="piece"))

    def _show_operand(self, m: Module, elements: list[Value]) -> None:
        """For the vector unit, consecutive elements."""
        for i, value in enumerate(self._in_front(m, elements, self.operand_address, self._columns, "operand")):
            m.d.comb += self.operand_data[i].eq(delayed(m, value.as_signed(), 1, name=f"operand_{i}"))
