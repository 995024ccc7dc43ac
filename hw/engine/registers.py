"""AXI4-Lite registers: identify, start, watch."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import INSTRUCTION_BYTES
from ..isa.ranges import check_range
from ..isa.register_map import IDENTITY, PAGE_BITS, REGISTERS, STALLS
from .axi import axi4_lite
from .counters import Counters
from .guard import WINDOW

PROGRAM_BITS = ceil_log2(INSTRUCTION_BYTES)
"""Low bits of PROGRAM, which are 0."""


class Registers(wiring.Component):
    """An AXI4-Lite slave, one access at a time, that never answers with an error; unknown offsets read 0.

    Parameters: fingerprint, features : int, 32 bits each, what these registers read
    Members:    bus : In(axi4_lite)
                start, clear, reset : Out, pulses, all but reset only while not busy
                program : Out, byte address;  base, pages : Out, see Guard;  watchdog, interrupt_enable : Out
                busy, done, error, cause : In;  array_busy : In
                waits, waits_shown : In, a bit for each of STALLS: what is counted, and what WAITS reads
    """

    def __init__(self, *, fingerprint: int, features: int) -> None:
        check_range("fingerprint", fingerprint, 0, (1 << 32) - 1)
        check_range("features", features, 0, (1 << 32) - 1)
        self._constants = {"ID": IDENTITY, "FINGERPRINT": fingerprint, "FEATURES": features}
        super().__init__(
            {
                "bus": In(axi4_lite(address_bits=8)),
                "start": Out(1),
                "clear": Out(1),
                "reset": Out(1),
                "program": Out(32),
                "base": Out(WINDOW["base"].width),
                "pages": Out(WINDOW["pages"].width),
                "watchdog": Out(32),
                "interrupt_enable": Out(1),
                "busy": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(8),
                "waits": In(len(STALLS)),
                "waits_shown": In(len(STALLS)),
                "array_busy": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bus = self.bus
        # address and data of a write come in either order and are held: ready never depends on valid
        address_held, data_held, writing = Signal(), Signal(), Signal()
        address, wdata, wstrb = Signal(8), Signal(32), Signal(4)
        m.d.comb += [
            bus.awready.eq(~address_held),
            bus.wready.eq(~data_held),
            writing.eq(address_held & data_held & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [address_held.eq(1), address.eq(bus.awaddr)]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [data_held.eq(1), wdata.eq(bus.wdata), wstrb.eq(bus.wstrb)]
        with m.If(writing):
            m.d.sync += [address_held.eq(0), data_held.eq(0)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(writing):
            m.d.sync += bus.bvalid.eq(1)

        program = Signal(32 - PROGRAM_BITS)
        m.d.comb += self.program.eq(program << PROGRAM_BITS)
        low = 32 - PAGE_BITS
        writable = {  # and how far up it begins
            "PROGRAM": (program, PROGRAM_BITS),
            "BASE": (self.base[:low], PAGE_BITS),
            "BASE_HIGH": (self.base[low:], 0),
            "LIMIT": (self.pages, PAGE_BITS),
            "WATCHDOG": (self.watchdog, 0),
            "INTERRUPT_ENABLE": (self.interrupt_enable, 0),
        }
        busy = self.busy | self.start  # the pulses are registers: they reach the whole engine
        m.d.sync += [self.start.eq(0), self.clear.eq(0), self.reset.eq(0)]
        with m.If(writing), m.Switch(address[2:]):
            with m.Case(REGISTERS["CONTROL"][0] >> 2):
                m.d.sync += [
                    self.start.eq(wdata[0] & wstrb[0] & ~wdata[2] & ~busy),
                    self.clear.eq(wdata[1] & wstrb[0] & ~busy),
                    self.reset.eq(wdata[2] & wstrb[0]),
                ]
            for name, (target, first) in writable.items():
                with m.Case(REGISTERS[name][0] >> 2):
                    for byte in range(first // 8, 4):
                        bits = slice(max(8 * byte, first), min(8 * byte + 8, first + len(target)))
                        if bits.start < bits.stop:
                            with m.If(wstrb[byte]):
                                m.d.sync += target[bits.start - first : bits.stop - first].eq(wdata[bits])

        events = {"CYCLES": Const(0), "CYCLES_HIGH": Const(0), "ARRAY_BUSY": self.array_busy}
        events |= {f"STALL_{name}": self.waits[n] for n, (name, _) in enumerate(STALLS)}
        places = {name: REGISTERS[name][0] >> 2 for name in events}
        lowest = min(places.values())
        m.submodules.counters = counters = Counters(words=max(places.values()) - lowest + 1)
        m.d.comb += [counters.busy.eq(self.busy), counters.clear.eq(self.start)]
        m.d.comb += [counters.events[places[name] - lowest].eq(event) for name, event in events.items()]

        readable = {
            **self._constants,
            **{name: Cat(Const(0, first), target) for name, (target, first) in writable.items()},
            "STATUS": Cat(busy, self.done, self.error, Const(0, 5), self.cause),
            "WAITS": self.waits_shown,
            **dict.fromkeys(events, counters.value),
        }
        reading, place, counted = Signal(), Signal(6), Signal()
        m.d.comb += [
            bus.arready.eq(~reading & ~bus.rvalid),
            counters.reading.eq(reading & counted),
            counters.wanted.eq(place - lowest),
        ]
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [reading.eq(1), place.eq(bus.araddr[2:])]
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.Switch(place), m.Case(*places.values()):
            m.d.comb += counted.eq(1)
        with m.If(reading & (counters.found | ~counted)):
            m.d.sync += [reading.eq(0), bus.rvalid.eq(1), bus.rdata.eq(0)]
            with m.Switch(place):
                for name, value in readable.items():
                    with m.Case(REGISTERS[name][0] >> 2):
                        m.d.sync += bus.rdata.eq(value)
        return m
