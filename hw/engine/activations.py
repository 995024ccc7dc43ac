"""The activation memory: banks of lines, so that consecutive values are one read wherever they start."""

from amaranth import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.ranges import check_power_of_two, check_range
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT
from .memory_format import Lines, MemoryFormat
from .placing import Placing


def rotate(ring: list[Value], amount: Value, count: int) -> list[Value]:
    """A logarithmic shifter: result[i] = ring[(i + amount) % size] for i < count, of the ``size`` in ``ring``.

    Each step keeps only what the lower bits of ``amount`` can still reach.
    """
    size = len(ring)
    for bit in reversed(range(ceil_log2(size))):
        step = 1 << bit
        ring = [Mux(amount[bit], ring[(i + step) % size], ring[i]) for i in range(min(size, count + step - 1))]
    return ring


class ActivationMemory(wiring.Component):
    """Elements of 8 or 16 bits at element addresses, four users.

    Consecutive lines lie in consecutive banks.  Each bank is a memory of two ports: one for the window, one for all
    others, who meet only where they want the same bank.

    *Window port*: every cycle ``rows`` consecutive elements from ``window_address`` on; they follow
    ``WINDOW_LATENCY`` cycles later, masked: ``window_low <= i < window_high`` else ``padding``.
    *Write port* of the vector unit: ``write`` places elements ``low <= i < high`` of ``data`` at ``address + i``;
    always accepted, committed after ``WRITE_LATENCY`` cycles.
    *Write port* of the loader: ``load``, the same for a beat, taken with ``load_ready``: if it begins at a multiple of
    a beat, where the vector unit does not write to its bank, else where that does not write at all.
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
                write, load : In, see MemoryFormat.write_layout;  load_ready : Out
                read_address, read_valid : In;  read_ready, read_data : Out
                operand_address, operand_valid : In;  operand_ready, operand_data : Out, (columns,) signed
    """

    WINDOW_LATENCY = 3
    WRITE_LATENCY = Placing.LATENCY + 1
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
        self._lines = lines = Lines(elements=memory.elements, banks=banks, line=line)
        check_range("rows", rows, 1, line)
        check_range("columns", columns, 1, line)
        check_power_of_two("bus elements", bus_elements, 1, line)
        check_range("activation bits", activation_bits, 2, memory.element_bits)
        check_range("port elements", memory.port_elements, 1, lines.ring - line + 1)
        self._memory = memory
        self._rows, self._columns, self._bus_elements = rows, columns, bus_elements
        self._activation_bits, self._operands = activation_bits, operands
        super().__init__(
            {
                "window_address": In(memory.address_bits),
                "window_low": In(range(rows + 1)),
                "window_high": In(range(rows + 1)),
                "padding": In(signed(activation_bits)),
                "pixels": Out(data.ArrayLayout(signed(activation_bits), rows)),
                "write": In(memory.write_layout),
                "load": In(memory.write_layout),
                "load_ready": Out(1),
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
        lines, windows, writers, readers = self._lines, [], [], []
        for number in range(lines.banks):
            m.submodules[f"bank_{number}"] = memory = Memory(
                shape=data.ArrayLayout(self._memory.element_bits, lines.line),
                depth=lines.depth,
                init=[],
                attrs=COLLISIONS_NEVER_COUNT,
            )
            windows.append(memory.read_port())
            writers.append(memory.write_port(granularity=1))
            readers.append(memory.read_port())

        for port, address in zip(windows, lines.addresses(self.window_address), strict=True):
            m.d.comb += port.addr.eq(address)
        self._show_window(m, self._read(m, windows, "window"))
        m.submodules.placing = placing = Placing(memory=self._memory, lines=lines, bus_elements=self._bus_elements)
        m.d.comb += [
            placing.write.eq(self.write),
            placing.load.eq(self.load),
            self.load_ready.eq(placing.load_ready),
        ]
        writes = [placing.banks[b] for b in range(lines.banks)]
        wanted = self._arbitrate(m, Cat(write.valid for write in writes))
        operand_addresses = lines.addresses(self.operand_address)
        read_address = lines.within(self.read_address)  # a piece lies in one line: other banks read something
        for b, (write, writer, reader) in enumerate(zip(writes, writers, readers, strict=True)):
            served = Mux(wanted[b], operand_addresses[b], read_address)
            address = Mux(write.valid, write.address, served)
            m.d.comb += [writer.addr.eq(address), reader.addr.eq(address)]
            for i in range(lines.line):
                m.d.comb += [writer.data[i].eq(write.elements[i]), writer.en[i].eq(write.enable[i])]
        elements = self._read(m, readers, "read")
        self._show_piece(m, elements)
        if self._operands:
            self._show_operand(m, elements)
        return m

    def _read(self, m: Module, ports: list, name: str) -> list[Value]:
        """All elements of the lines that were read, in a register: a block RAM takes most of a cycle."""
        elements = [port.data[i] for port in ports for i in range(self._lines.line)]
        return [delayed(m, element, 1, name=f"{name}_raw_{i}") for i, element in enumerate(elements)]

    def _in_front(self, m: Module, elements: list[Value], address: Value, count: int, name: str) -> list[Value]:
        """``count`` elements from ``address`` on, of the lines that were read."""
        offset = delayed(m, address[: self._lines.ring_bits], 2, name=f"{name}_offset")
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

    def _arbitrate(self, m: Module, written: Value) -> Signal:
        """Who reads where nothing is ``written``, a bit a bank.  Returns the banks that the operand port gets.

        Where both want a bank, the turn alone decides, whether or not a write holds up the one whose turn it is.
        """
        lines, banks = self._lines, self._lines.banks
        wanted, stored = Signal(banks, name="wanted"), Signal(banks, name="stored")
        m.d.comb += stored.eq((1 << lines.bank(self.read_address)) & self.read_valid.replicate(banks))
        if self._operands:
            mine = 1 << lines.bank(self.operand_address)
            beyond = self.operand_address[: lines.line_bits] > lines.line - self._columns
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
        where = delayed(m, self.read_address[: self._lines.ring_bits], 2, name="read_offset")
        size = self._bus_elements
        pieces = [Cat(elements[first : first + size]) for first in range(0, self._lines.ring, size)]
        m.d.comb += self.read_data.eq(delayed(m, Array(pieces)[where[ceil_log2(size) :]], 1, name="piece"))

    def _show_operand(self, m: Module, elements: list[Value]) -> None:
        """For the vector unit, consecutive elements."""
        for i, value in enumerate(self._in_front(m, elements, self.operand_address, self._columns, "operand")):
            m.d.comb += self.operand_data[i].eq(delayed(m, value.as_signed(), 1, name=f"operand_{i}"))
