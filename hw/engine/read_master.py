"""AXI4 reads shared by several users: bursts in, beats out, in order."""

from amaranth import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ..isa.parameters import BUS_BYTES
from ..isa.ranges import check_choice, check_range
from .axi import STANDARD, Attributes, axi4_read
from .counted_fifo import CountedFifo
from .credits import Credits
from .dma import BURST, beat_layout
from .guard import WINDOW, Guard
from .register_slice import RegisterSlice


class ReadMaster(wiring.Component):
    """AXI4 read channels for several users, bursts round robin, data in the order of the bursts.

    A user asks only for what it can take soon: a beat that nobody takes would hold up those behind it.

    Parameters: bus_bytes : int, bytes a beat;  users : int, 2 to 8;  attributes : of every access
    Members:    requests : In(stream) of BURST, one a user;  beats : Out(stream), one a user, last of a final burst
                beat_error : Out, the beat that is offered came with an error;  errors : Out, pulse, a bit a user
                window, closed : In, outside : Out, see Guard;  bus : Out(axi4_read)
                quiet : Out, while closed: nothing is asked for that has not arrived
    While ``closed`` what arrives is dropped, from the second cycle on.
    """

    OUTSTANDING = 16
    """Bursts that have been asked for and have not arrived, at most."""
    LATENCY = RegisterSlice.LATENCY + Guard.LATENCY
    """Cycles from a request to its address on the bus."""

    def __init__(self, *, bus_bytes: int, users: int, attributes: Attributes = STANDARD) -> None:
        check_choice("bus bytes", bus_bytes, BUS_BYTES)
        check_range("users", users, 2, 8)
        self._bus_bytes, self._users = bus_bytes, users
        super().__init__(
            {
                "requests": In(stream.Signature(BURST)).array(users),
                "beats": Out(stream.Signature(beat_layout(bus_bytes))).array(users),
                "beat_error": Out(1),
                "errors": Out(users),
                "window": In(WINDOW),
                "closed": In(1),
                "outside": Out(1),
                "bus": Out(axi4_read(bus_bytes, attributes)),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        users = range(self._users)
        requests, beats, bus = self.requests, self.beats, self.bus
        tag = data.StructLayout({"user": self._users, "final": 1})  # a bit for each user
        m.submodules.tags = tags = CountedFifo(shape=tag, depth=self.OUTSTANDING)
        places = Credits(self.OUTSTANDING, init=self.OUTSTANDING, name="places")
        returning = tags.outgoing.payload

        # round robin: the user after the last one served goes first
        valid = Cat(request.valid for request in requests)
        turn, granted = Signal(self._users), Signal(self._users)
        last = Signal(range(self._users))
        with m.Switch(last):
            for n in users:
                with m.Case(n):
                    order = [(n + distance) % self._users for distance in range(1, self._users + 1)]
                    for place, user in enumerate(order):
                        m.d.comb += turn[user].eq(~Cat(valid[before] for before in order[:place]).any())
        m.submodules.picked = picked = RegisterSlice(shape=BURST)
        m.submodules.guard = guard = Guard()
        free = picked.incoming.ready & places.some
        m.d.comb += granted.eq(valid & turn & free.replicate(self._users))
        for n, request in enumerate(requests):
            m.d.comb += request.ready.eq(turn[n] & free)
            with m.If((valid[n] & turn[n]) if n else 1):  # where none asks, any will do
                m.d.comb += picked.incoming.payload.eq(request.payload)
            with m.If(granted[n]):
                m.d.sync += last.eq(n)
        wiring.connect(m, picked.outgoing, guard.bursts)
        m.d.comb += [
            picked.incoming.valid.eq(granted.any()),
            tags.incoming.valid.eq(granted.any()),
            tags.incoming.payload.user.eq(granted),
            tags.incoming.payload.final.eq(picked.incoming.payload.final),
            guard.window.eq(self.window),
            guard.closed.eq(self.closed),
            self.outside.eq(guard.outside),
            bus.arvalid.eq(guard.passed.valid),
            bus.araddr.eq(guard.passed.payload.address),
            bus.arlen.eq(guard.passed.payload.length),
            guard.passed.ready.eq(bus.arready),
        ]

        # the bus ends at registers: no path from its valid to its ready, none from its data into the engine
        answer = data.StructLayout({"data": 8 * self._bus_bytes, "resp": 2, "last": 1})
        m.submodules.answers = slice_ = RegisterSlice(shape=answer)
        arriving = slice_.outgoing
        m.d.comb += [
            slice_.incoming.valid.eq(bus.rvalid),
            slice_.incoming.payload.data.eq(bus.rdata),
            slice_.incoming.payload.resp.eq(bus.rresp),
            slice_.incoming.payload.last.eq(bus.rlast),
            bus.rready.eq(slice_.incoming.ready),
        ]
        for n, beat in enumerate(beats):
            mine = tags.outgoing.valid & returning.user[n]
            m.d.comb += [
                beat.valid.eq(arriving.valid & mine),
                beat.payload.data.eq(arriving.payload.data),
                beat.payload.last.eq(arriving.payload.last & returning.final),
            ]
            with m.If(mine):
                m.d.comb += arriving.ready.eq(beat.ready)
        taken = arriving.valid & arriving.ready
        ended = taken & arriving.payload.last
        failed = taken & arriving.payload.resp[1]
        m.d.comb += [
            tags.outgoing.ready.eq(ended),
            self.beat_error.eq(arriving.payload.resp[1]),
            self.errors.eq(returning.user & failed.replicate(self._users)),
        ]
        places.change(m, ended, granted.any())

        unanswered = Credits(self.OUTSTANDING, init=0, name="unanswered")
        unanswered.change(m, bus.arvalid & bus.arready, ended)
        m.d.comb += self.quiet.eq(~bus.arvalid & ~unanswered.some)
        dropping = Signal()  # a register here: the one outside stands by the control of the run
        m.d.sync += dropping.eq(self.closed)
        with m.If(dropping):
            m.d.comb += arriving.ready.eq(1)
        return m
