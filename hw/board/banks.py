"""Block RAM of any depth, in banks with a register behind each."""

from amaranth import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..engine.memory_attributes import COLLISIONS_NEVER_COUNT

DEEPEST = 1 << 14
"""Lines of a bank, at most: a DP16KD is 16,384 bits deep."""


class Banks(wiring.Component):
    """A reader and a writer of whole lines, or of bytes of one.  No back-pressure: each takes a line in every cycle.

    A block RAM gives what it read late in the cycle, and far from where it is wanted: each bank has a register of its
    own, and one is chosen of those.  What is written waits for a cycle in registers too, its bank decoded.

    Parameters: line_bytes : int;  depth : int, lines
    Members:    line : In, what to read;  data : Out, that, LATENCY cycles later
                write : In, ``line``, ``data`` and a bit of ``enable`` for each byte: a line that is read WRITE_LATENCY
                cycles later, or after that, has them
    """

    LATENCY = 2
    WRITE_LATENCY = 2

    def __init__(self, *, line_bytes: int, depth: int) -> None:
        self._line_bytes, self._depth = line_bytes, depth
        line = range(depth)
        write = data.StructLayout({"line": line, "data": unsigned(8 * line_bytes), "enable": unsigned(line_bytes)})
        super().__init__({"line": In(line), "data": Out(8 * line_bytes), "write": In(write)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        written = Signal.like(self.write)
        m.d.sync += [written.line.eq(self.write.line), written.data.eq(self.write.data)]
        chosen = None
        begin = 0
        for number, depth in enumerate(_depths(self._depth)):
            bits = ceil_log2(depth)
            m.submodules[f"bank_{number}"] = bank = Memory(
                shape=8 * self._line_bytes, depth=depth, init=[], attrs=COLLISIONS_NEVER_COUNT
            )
            reader, writer = bank.read_port(), bank.write_port(granularity=8)
            enable = Signal.like(writer.en, name=f"enable_{number}")
            found = Signal.like(reader.data, name=f"found_{number}", reset_less=True)
            here = Signal(name=f"here_{number}")  # of the line whose data is in ``found``
            there = Signal(name=f"there_{number}")
            m.d.comb += [
                reader.addr.eq(self.line),
                writer.addr.eq(written.line),
                writer.data.eq(written.data),
                writer.en.eq(enable),
            ]
            m.d.sync += [
                found.eq(reader.data),
                there.eq(self.line[bits:] == begin >> bits),
                here.eq(there),
                enable.eq(Mux(self.write.line[bits:] == begin >> bits, self.write.enable, 0)),
            ]
            chosen = found if chosen is None else Mux(here, found, chosen)
            begin += depth
        m.d.comb += self.data.eq(chosen)
        return m


def _depths(depth: int) -> list[int]:
    """Powers of two, none larger than one before it, that sum up to ``depth``: each begins at a multiple of its own."""
    depths = [DEEPEST] * (depth // DEEPEST)
    rest = depth % DEEPEST
    return depths + [1 << bit for bit in reversed(range(rest.bit_length())) if rest >> bit & 1]
