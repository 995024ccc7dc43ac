"""A serial line of 8 data bits, no parity, one stop bit, the lowest bit first."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from ..isa.ranges import check_range

DIVISORS = 4, 1 << 16


class Receiver(wiring.Component):
    """Octets from a line, each sampled in the middle of its bits.  Has no back-pressure: the line has none.

    An octet whose stop bit is low is no octet: ``broken`` says so for a cycle, and the line must rise before another.

    Parameters: divisor : int, clock cycles a bit, 4 to 65536
    Members:    line : In, idle high;  octets : Out(stream), always ready;  broken : Out, a cycle
    """

    def __init__(self, *, divisor: int) -> None:
        check_range("divisor", divisor, *DIVISORS)
        self._divisor = divisor
        super().__init__(
            {"line": In(1, init=1), "octets": Out(stream.Signature(8, always_ready=True)), "broken": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, line, init=1)
        left = Signal(range(self._divisor))  # cycles to the next sample
        bits = Signal(4)
        shifted = Signal(8)
        m.d.comb += self.octets.payload.eq(shifted)
        m.d.sync += [self.octets.valid.eq(0), self.broken.eq(0), left.eq(left - 1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [left.eq(self._divisor // 2 - 1), bits.eq(0)]
                with m.If(~line):
                    m.next = "START"
            with m.State("START"), m.If(left == 0):
                m.d.sync += left.eq(self._divisor - 1)
                with m.If(line):  # it was a glitch
                    m.next = "IDLE"
                with m.Else():
                    m.next = "DATA"
            with m.State("DATA"), m.If(left == 0):
                m.d.sync += [left.eq(self._divisor - 1), shifted.eq(Cat(shifted[1:], line)), bits.eq(bits + 1)]
                with m.If(bits == 7):
                    m.next = "STOP"
            with m.State("STOP"), m.If(left == 0):
                m.d.sync += [self.octets.valid.eq(line), self.broken.eq(~line)]
                with m.If(line):
                    m.next = "IDLE"
                with m.Else():
                    m.next = "LOW"
            with m.State("LOW"), m.If(line):
                m.next = "IDLE"
        return m


class Transmitter(wiring.Component):
    """Octets onto a line, one each ten bits; honours back-pressure in taking one only when the one before is out.

    Parameters: divisor : int, clock cycles a bit, 4 to 65536
    Members:    octets : In(stream);  line : Out, idle high
    """

    def __init__(self, *, divisor: int) -> None:
        check_range("divisor", divisor, *DIVISORS)
        self._divisor = divisor
        super().__init__({"octets": In(stream.Signature(8)), "line": Out(1, init=1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        left = Signal(range(self._divisor))
        shifted = Signal(9, init=0x1FF)
        bits = Signal(range(11))
        m.d.comb += self.octets.ready.eq(bits == 0)
        with m.If(self.octets.ready), m.If(self.octets.valid):
            m.d.sync += [
                self.line.eq(0),
                shifted.eq(Cat(self.octets.payload, Const(1, 1))),
                bits.eq(10),
                left.eq(self._divisor - 1),
            ]
        with m.Elif(left == 0):
            m.d.sync += [
                self.line.eq(shifted[0]),
                shifted.eq(Cat(shifted[1:], Const(1, 1))),
                bits.eq(bits - 1),
                left.eq(self._divisor - 1),
            ]
        with m.Else():
            m.d.sync += left.eq(left - 1)
        return m
