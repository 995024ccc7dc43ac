"""The activation memory: banks of lines, so that consecutive values are one read wherever they start."""

from amaranth import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from .delay import delayed


def rotate(ring, amount, count, *, steps, size):
    """Some steps of a logarithmic shifter: in all, result[i] = ring[(i + amount) % size] for i < count.

    ``steps`` are the bits of ``amount`` to apply, highest first; each step keeps only what the lower bits can
    still reach, so a pipeline register may stand between two calls.
    """
    for bit in steps:
        keep = min(size, count + (1 << bit) - 1)
        ring = [Mux(amount[bit], ring[(i + (1 << bit)) % size], ring[i]) for i in range(keep)]
    return ring


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

    Addresses wrap at the end of the memory's power of two; the planner stays inside ``activation_elements``.
    """

    WINDOW_LATENCY = 3
    WRITE_LATENCY = 3
    READ_LATENCY = 2
    OPERAND_LATENCY = 3
    PATIENCE = 3
    """Reads of the storer that the operand port may put off in a row."""

    def __init__(self, parameters):
        self._parameters = p = parameters
        element = 8 * p.element_bytes
        address = p.address_bits
        super().__init__(
            {
                "window_address": In(address),
                "window_low": In(range(p.rows + 1)),
                "window_high": In(range(p.rows + 1)),
                "padding": In(signed(p.activation_bits)),
                "pixels": Out(data.ArrayLayout(signed(p.activation_bits), p.rows)),
                "write": In(write_layout(p)),
                "read_address": In(address),
                "read_valid": In(1),
                "read_ready": Out(1),
                "read_data": Out(8 * p.bus_bytes),
                "operand_address": In(address),
                "operand_valid": In(1),
                "operand_ready": Out(1),
                "operand_data": Out(data.ArrayLayout(signed(element), p.columns)),
            }
        )
        self._element = element

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        line_bits, bank_bits = ceil_log2(p.line), ceil_log2(p.banks)
        ring = p.banks * p.line
        ring_bits = line_bits + bank_bits

        banks = []
        for number in range(p.banks):
            m.submodules[f"bank_{number}"] = memory = Memory(
                shape=data.ArrayLayout(self._element, p.line), depth=p.activation_elements // ring, init=[]
            )
            banks.append((memory.read_port(), memory.write_port(granularity=1), memory.read_port()))
        depth_bits = banks[0][0].addr.shape().width

        def bank_addresses(address):
            """In each bank, the line that is the first from the address's own line on."""
            line = address[line_bits:]
            return [((line + (p.banks - 1 - b)) >> bank_bits)[:depth_bits] for b in range(p.banks)]

        def in_front(port, address, count, name):
            """``count`` elements from ``address`` on: read, then rotate in two steps, a register between them."""
            offset = delayed(m, address[:ring_bits], 1, name=f"{name}_offset")
            elements = [banks[i // p.line][port].data[i % p.line] for i in range(ring)]
            coarse_bits = ring_bits // 2
            steps = range(ring_bits - 1, -1, -1)
            coarse = rotate(elements, offset, count, steps=steps[:coarse_bits], size=ring)
            staged = [Signal(self._element, name=f"{name}_coarse_{i}", reset_less=True) for i in range(len(coarse))]
            m.d.sync += [s.eq(v) for s, v in zip(staged, coarse, strict=True)]
            fine_offset = delayed(m, offset, 1, name=f"{name}_fine_offset")
            return rotate(staged, fine_offset, count, steps=steps[coarse_bits:], size=ring)

        # window: read, rotate, mask
        for (reader, _, _), address in zip(banks, bank_addresses(self.window_address), strict=True):
            m.d.comb += reader.addr.eq(address)
        fine = in_front(0, self.window_address, p.rows, "window")
        low = delayed(m, self.window_low, 2, name="window_low")
        high = delayed(m, self.window_high, 2, name="window_high")
        padding = delayed(m, self.padding, 2, name="padding")
        for i, value in enumerate(fine):
            pixel = Signal(signed(p.activation_bits), name=f"pixel_{i}", reset_less=True)
            m.d.sync += pixel.eq(Mux((low <= i) & (high > i), value[: p.activation_bits].as_signed(), padding))
            m.d.comb += self.pixels[i].eq(pixel)

        # write: rotate the other way in two steps, then place the elements that count
        write = self.write
        size = 1 << ceil_log2(p.port_elements)
        source = [write.data[i] for i in range(p.port_elements)] + [0] * (size - p.port_elements)
        turn = Signal(ring_bits)
        m.d.comb += turn.eq(-write.address[:ring_bits])
        turned = rotate(source, turn, size, steps=range(ceil_log2(size) - 1, -1, -1), size=size)
        rotated = [Signal(self._element, name=f"rotated_{i}", reset_less=True) for i in range(size)]
        m.d.sync += [s.eq(v) for s, v in zip(rotated, turned, strict=True)]
        one = write_layout(p)(delayed(m, write.as_value(), 1, name="write", init=0))
        start = one.address[:ring_bits]
        enables, touched = [], []
        for b in range(p.banks):
            counting = Signal(p.line, name=f"counting_{b}")
            for i in range(p.line):
                index = Signal(ring_bits, name=f"index_{b}_{i}")
                m.d.comb += index.eq(b * p.line + i - start)
                m.d.comb += counting[i].eq(one.valid & (index >= one.low) & (index < one.high))
            enables.append(delayed(m, counting, 1, name=f"enable_{b}", init=0))
            touched.append(delayed(m, counting.any(), 1, name=f"touched_{b}", init=0))
        placed = [delayed(m, value, 1, name=f"placed_{i}") for i, value in enumerate(rotated)]
        write_addresses = bank_addresses(delayed(m, one.address, 1, name="write_address"))

        # who reads in which bank, where nothing is written
        written, wanted, stored = Cat(touched), Signal(p.banks, name="wanted"), Signal(p.banks, name="stored")
        m.d.comb += stored.eq(1 << self.read_address[line_bits:ring_bits])
        if p.operands:
            mine = 1 << self.operand_address[line_bits:ring_bits]
            beyond = self.operand_address[:line_bits] > p.line - p.columns
            following = Cat(mine[p.banks - 1], mine[: p.banks - 1]) & beyond.replicate(p.banks)
            m.d.comb += wanted.eq((mine[: p.banks] | following) & self.operand_valid.replicate(p.banks))
        patience = Signal(range(self.PATIENCE + 1), init=self.PATIENCE)
        operand_free, storer_free = ~(wanted & written).any(), ~(stored & written).any()
        meet = self.read_valid & (wanted & stored).any()
        operand_first = patience != 0
        m.d.comb += [
            self.operand_ready.eq(operand_free & ~(meet & ~operand_first & storer_free)),
            self.read_ready.eq(storer_free & ~(meet & operand_first & operand_free)),
        ]
        with m.If(self.read_valid & self.read_ready):
            m.d.sync += patience.eq(self.PATIENCE)
        with m.Elif(meet & self.operand_ready):
            m.d.sync += patience.eq(patience - 1)
        addresses = zip(
            write_addresses, bank_addresses(self.operand_address), bank_addresses(self.read_address), strict=True
        )
        for b, (write_address, operand_address, read_address) in enumerate(addresses):
            _, writer, reader = banks[b]
            address = Mux(touched[b], write_address, Mux(wanted[b] & self.operand_ready, operand_address, read_address))
            m.d.comb += [writer.addr.eq(address), reader.addr.eq(address)]
            for i in range(p.line):
                m.d.comb += [writer.data[i].eq(placed[(b * p.line + i) % size]), writer.en[i].eq(enables[b][i])]

        # storer: one aligned piece of the line that was read
        where = delayed(m, self.read_address[:ring_bits], 1, name="read_offset")
        pieces = [
            Cat(*(banks[b][2].data[i] for i in range(first, first + p.bus_elements)))
            for b in range(p.banks)
            for first in range(0, p.line, p.bus_elements)
        ]
        piece = Signal(8 * p.bus_bytes, reset_less=True)
        m.d.sync += piece.eq(Array(pieces)[where[ceil_log2(p.bus_elements) :]])
        m.d.comb += self.read_data.eq(piece)

        if p.operands:
            for i, value in enumerate(in_front(2, self.operand_address, p.columns, "operand")):
                element = Signal(signed(self._element), name=f"operand_{i}", reset_less=True)
                m.d.sync += element.eq(value)
                m.d.comb += self.operand_data[i].eq(element)
        return m


def write_layout(parameters):
    """Elements ``low <= i < high`` of ``data`` go to ``address + i``."""
    p = parameters
    width = p.port_elements
    return data.StructLayout(
        {
            "valid": 1,
            "address": p.address_bits,
            "low": range(width + 1),
            "high": range(width + 1),
            "data": data.ArrayLayout(8 * p.element_bytes, width),
        }
    )
