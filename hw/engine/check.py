"""The check of each instruction, as its beats arrive: the circuit beside isa/check.py."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa.check import CHECK_BYTES, SEED, crc
from ..isa.parameters import BUS_BYTES
from ..isa.ranges import check_choice
from .delay import delayed

SLICE_BYTES = 8
"""Bytes of a beat that are folded in one step: 32 sums of up to 32 bits each."""
STATE_BITS = 8 * CHECK_BYTES


class Check(wiring.Component):
    """Takes the beats of one instruction after the other, and says of each whether it is as it was sealed.

    A check is right if the register, begun with the check before, is 0 behind all 64 bytes.  So behind a right one
    nothing need clear it, and the check before is added to the next instruction's first bits; behind a wrong one
    whatever is said does not count, until ``begin``.  The register is added to a beat's first bits too: they take the
    same step.  What its other bits add is folded before, so that only that one step lies between two beats.
    A beat a cycle; has no back-pressure.

    Parameters: bus_bytes : int, bytes a beat
    Members:    valid, data, last, error : In, a beat, whether it ends its instruction, whether it came with an error
                restart : In, with the last beat: a new chain begins behind it;  begin : In, pulse, the same at rest
                judged : Out, pulse, ``latency`` cycles after the last beat;  damaged, unread : Out, with it
    """

    def __init__(self, *, bus_bytes: int) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        self._bus_bytes = bus_bytes
        super().__init__(
            {
                "valid": In(1),
                "data": In(8 * bus_bytes),
                "last": In(1),
                "error": In(1),
                "restart": In(1),
                "begin": In(1),
                "judged": Out(1),
                "damaged": Out(1),
                "unread": Out(1),
            }
        )

    @staticmethod
    def latency(bus_bytes: int) -> int:
        """Cycles from an instruction's last beat to ``judged``."""
        return 2 if bus_bytes <= SLICE_BYTES else 3

    def elaborate(self, platform: object) -> Module:
        m = Module()
        folded = self._folded(m)
        wait = self.latency(self._bus_bytes) - 1

        def beside(value: Value, name: str, init: int | None = None) -> Value:
            return delayed(m, value, wait, name=name, init=init)

        valid, last = beside(self.valid, "valid", 0), beside(self.last, "last")
        error, restart = beside(self.error, "error"), beside(self.restart, "restart")
        head, check = beside(self.data[:STATE_BITS], "head"), beside(self.data[-STATE_BITS:], "check")

        state = Signal(STATE_BITS, reset_less=True)
        before = Signal(STATE_BITS, reset_less=True)  # the check before, with an instruction's first beat
        behind = Signal(STATE_BITS)
        residue = Signal(STATE_BITS, reset_less=True)
        broken = Signal()  # by an earlier beat of this instruction
        step = [crc(1 << bit, bytes(self._bus_bytes)) for bit in range(STATE_BITS)]
        m.d.comb += [behind.eq(_product(step, head ^ state ^ before) ^ folded), self.damaged.eq(residue.any())]
        m.d.sync += [self.judged.eq(valid & last), residue.eq(behind), self.unread.eq(broken | error)]
        with m.If(valid):
            m.d.sync += [state.eq(behind), before.eq(Mux(last, check, 0)), broken.eq((broken | error) & ~last)]
        with m.If(self.begin | (valid & last & restart)):
            m.d.sync += [state.eq(SEED), before.eq(0)]
        return m

    def _folded(self, m: Module) -> Value:
        """What a beat adds behind its first bits, in one registered step for its slices and one for their sum."""
        parts = []
        for first in range(CHECK_BYTES, self._bus_bytes, SLICE_BYTES):
            size = min(SLICE_BYTES, self._bus_bytes - first)
            behind = bytes(self._bus_bytes - first - size)
            columns = [crc(0, (1 << bit).to_bytes(size, "little") + behind) for bit in range(8 * size)]
            part = Signal(STATE_BITS, name=f"part_{first}", reset_less=True)
            m.d.sync += part.eq(_product(columns, self.data[8 * first : 8 * (first + size)]))
            parts.append(part)
        if len(parts) < 2:
            return parts[0] if parts else Const(0, STATE_BITS)
        folded = Signal(STATE_BITS, reset_less=True)
        m.d.sync += folded.eq(Cat(*(Cat(*(part[bit] for part in parts)).xor() for bit in range(STATE_BITS))))
        return folded


def _product(columns: list[int], bits: Value) -> Value:
    """The sum modulo 2 of those ``columns`` whose bit is set."""
    return Cat(
        *(Cat(*(bits[n] for n, column in enumerate(columns) if column >> row & 1)).xor() for row in range(STATE_BITS))
    )
