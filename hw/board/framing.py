"""Frames on a line of octets, as SLIP marks them (RFC 1055): a delimiter ends a frame, and is escaped inside one."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE = 0xC0, 0xDB, 0xDC, 0xDD

ITEM = data.StructLayout({"octet": 8, "delimiter": 1})


class Deframer(wiring.Component):
    """What a line's octets say.  Latency 1; one a cycle; has no back-pressure.

    Members:    octets : In(stream), always ready
                content : Out(stream), always ready, the frame's octets
                ended : Out, a cycle: a delimiter;  broken : Out, a cycle: an escape of nothing
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "octets": In(stream.Signature(8, always_ready=True)),
                "content": Out(stream.Signature(8, always_ready=True)),
                "ended": Out(1),
                "broken": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        octet, content = self.octets.payload, self.content
        escaped = Signal()
        m.d.sync += [content.valid.eq(0), self.ended.eq(0), self.broken.eq(0)]
        with m.If(self.octets.valid):
            m.d.sync += [escaped.eq(0), content.payload.eq(octet)]
            with m.If(octet == END):
                m.d.sync += self.ended.eq(1)
            with m.Elif(escaped):
                is_end = octet == ESCAPED_END
                with m.If(is_end | (octet == ESCAPED_ESCAPE)):
                    m.d.sync += content.valid.eq(1)
                    with m.If(is_end):
                        m.d.sync += content.payload.eq(END)
                    with m.Else():
                        m.d.sync += content.payload.eq(ESCAPE)
                with m.Else():
                    m.d.sync += self.broken.eq(1)
            with m.Elif(octet == ESCAPE):
                m.d.sync += escaped.eq(1)
            with m.Else():
                m.d.sync += content.valid.eq(1)
        return m


class Framer(wiring.Component):
    """The line's octets for a frame's, and its delimiters.  Latency 0; one a cycle, two for what is escaped.

    Members:    items : In(stream), an octet, or a delimiter;  octets : Out(stream)
    """

    def __init__(self) -> None:
        super().__init__({"items": In(stream.Signature(ITEM)), "octets": Out(stream.Signature(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        items, octets = self.items, self.octets
        second = Signal()  # the escape is out, what it stands before is not
        octet = items.payload.octet
        special = ~items.payload.delimiter & ((octet == END) | (octet == ESCAPE))
        m.d.comb += [
            octets.valid.eq(items.valid),
            octets.payload.eq(octet),
            items.ready.eq(octets.ready & (second | ~special)),
        ]
        with m.If(items.payload.delimiter):
            m.d.comb += octets.payload.eq(END)
        with m.Elif(special & ~second):
            m.d.comb += octets.payload.eq(ESCAPE)
        with m.Elif(special & (octet == END)):
            m.d.comb += octets.payload.eq(ESCAPED_END)
        with m.Elif(special):
            m.d.comb += octets.payload.eq(ESCAPED_ESCAPE)
        with m.If(items.valid & octets.ready):
            m.d.sync += second.eq(special & ~second)
        return m
