"""AXI4-Lite registers: identify, start, watch."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa.register_map import IDENTITY, REGISTERS, STALLS


class Registers(wiring.Component):
    """An AXI4-Lite slave, one access at a time, that never answers with an error; unknown offsets read 0.

    Members: aw*, w*, b*, ar*, r* : the AXI4-Lite channels
             start : Out, pulse;  clear : Out, pulse;  program, base : Out;  interrupt_enable : Out
             busy, done, error : In;  cause : In;  waits : In, a bit for each of STALLS;  array_busy : In
    """

    def __init__(self, *, fingerprint, features):
        self._constants = {"ID": IDENTITY, "FINGERPRINT": fingerprint, "FEATURES": features}
        super().__init__(
            {
                "awaddr": In(8),
                "awvalid": In(1),
                "awready": Out(1),
                "wdata": In(32),
                "wstrb": In(4),
                "wvalid": In(1),
                "wready": Out(1),
                "bresp": Out(2),
                "bvalid": Out(1),
                "bready": In(1),
                "araddr": In(8),
                "arvalid": In(1),
                "arready": Out(1),
                "rdata": Out(32),
                "rresp": Out(2),
                "rvalid": Out(1),
                "rready": In(1),
                "start": Out(1),
                "clear": Out(1),
                "program": Out(32),
                "base": Out(32),
                "interrupt_enable": Out(1),
                "busy": In(1),
                "done": In(1),
                "error": In(1),
                "cause": In(8),
                "waits": In(len(STALLS)),
                "array_busy": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # address and data of a write come in either order and are held: ready never depends on valid
        address_held, data_held, writing = Signal(), Signal(), Signal()
        address, wdata, wstrb = Signal(8), Signal(32), Signal(4)
        m.d.comb += [
            self.awready.eq(~address_held),
            self.wready.eq(~data_held),
            writing.eq(address_held & data_held & ~self.bvalid),
            self.arready.eq(~self.rvalid),
        ]
        with m.If(self.awvalid & self.awready):
            m.d.sync += [address_held.eq(1), address.eq(self.awaddr)]
        with m.If(self.wvalid & self.wready):
            m.d.sync += [data_held.eq(1), wdata.eq(self.wdata), wstrb.eq(self.wstrb)]
        with m.If(writing):
            m.d.sync += [address_held.eq(0), data_held.eq(0)]
        with m.If(self.bready):
            m.d.sync += self.bvalid.eq(0)
        with m.If(writing):
            m.d.sync += self.bvalid.eq(1)

        writable = {
            "PROGRAM": self.program,
            "BASE": self.base,
            "INTERRUPT_ENABLE": self.interrupt_enable,
        }
        strobed = Cat(*(s.replicate(8) for s in wstrb))
        with m.If(writing), m.Switch(address[2:]):
            with m.Case(REGISTERS["CONTROL"][0] >> 2):
                m.d.comb += [
                    self.start.eq(wdata[0] & wstrb[0] & ~self.busy),
                    self.clear.eq(wdata[1] & wstrb[0]),
                ]
            for name, target in writable.items():
                with m.Case(REGISTERS[name][0] >> 2):
                    m.d.sync += target.eq((wdata & strobed) | (target & ~strobed))

        cycles = Signal(64)
        counters = {"ARRAY_BUSY": (Signal(32, name="array_busy_cycles"), self.array_busy)}
        for n, (name, _) in enumerate(STALLS):
            counters[f"STALL_{name}"] = (Signal(32, name=f"stall_{name.lower()}"), self.waits[n])
        with m.If(self.start):
            m.d.sync += [cycles.eq(0), *(counter.eq(0) for counter, _ in counters.values())]
        with m.Elif(self.busy):
            m.d.sync += [cycles.eq(cycles + 1), *(c.eq(c + event) for c, event in counters.values())]

        readable = {
            **self._constants,
            **writable,
            "STATUS": Cat(self.busy, self.done, self.error, Const(0, 5), self.cause),
            "CYCLES": cycles[:32],
            "CYCLES_HIGH": cycles[32:],
            "WAITS": self.waits,
            **{name: counter for name, (counter, _) in counters.items()},
        }
        with m.If(self.rready):
            m.d.sync += self.rvalid.eq(0)
        with m.If(self.arvalid & self.arready):
            m.d.sync += [self.rvalid.eq(1), self.rdata.eq(0)]
            with m.Switch(self.araddr[2:]):
                for name, value in readable.items():
                    with m.Case(REGISTERS[name][0] >> 2):
                        m.d.sync += self.rdata.eq(value)
        return m
