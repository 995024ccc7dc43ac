"""The rows of a map above the one that enters, for columns that convolve a channel each."""

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..isa.parameters import LINE_LATENCY
from ..isa.ranges import check_power_of_two, check_range
from .delay import delayed
from .memory_attributes import COLLISIONS_NEVER_COUNT


class LineBuffer(wiring.Component):
    """``lines[k]`` are the pixels of ``(k + 1) * (delay + LATENCY)`` cycles ago, whatever enters in between.

    Another ``delay``, which comes with the first pixels that it is for, counts for ``lines[k]`` from (k + 2) * taps - 2
    cycles on: until then the array still adds what the pass before needs, which ended two cycles before it at least.

    Parameters: channels : int, of a pixel;  activation_bits : int;  count : int, lines, 0 or more
                depth : int, pixels that one holds, a power of two;  taps : int, rows of the array that see a line
    Members:    pixels : In, (channels,) signed;  delay : In, 1 to depth - 1;  lines : Out, (count, channels) signed
    """

    LATENCY = LINE_LATENCY

    def __init__(self, *, channels: int, activation_bits: int, count: int, depth: int, taps: int) -> None:
        check_range("channels", channels, 1, 128)
        check_range("activation bits", activation_bits, 2, 16)
        check_range("lines", count, 0, 2)
        check_power_of_two("line buffer", depth, 4, 1 << 16)
        check_range("taps", taps, 3 if count else 1, 128)
        self._count, self._depth, self._taps, self._bits = count, depth, taps, activation_bits * channels
        pixel = data.ArrayLayout(signed(activation_bits), channels)
        super().__init__({"pixels": In(pixel), "delay": In(range(depth)), "lines": Out(data.ArrayLayout(pixel, count))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = Signal(range(self._depth))
        m.d.sync += place.eq(place + 1)
        pixels = self.pixels.as_value()
        # from the register of a place to the lines it takes a cycle more than LATENCY
        delay = delayed(m, self.delay, self._taps - 3 - self.LATENCY + self._taps, name="delay")
        for line in range(self._count):
            m.submodules[f"line_{line}"] = memory = Memory(
                shape=self._bits, depth=self._depth, init=[], attrs=COLLISIONS_NEVER_COUNT
            )
            reader, writer = memory.read_port(), memory.write_port()
            before = Signal(range(self._depth), name=f"before_{line}", reset_less=True)
            m.d.sync += before.eq(place + 1 - delay)
            m.d.comb += [
                reader.addr.eq(before),
                writer.addr.eq(place),
                writer.data.eq(pixels),
                writer.en.eq(1),
            ]
            pixels = delayed(m, reader.data, 1, name=f"shown_{line}")
            m.d.comb += self.lines[line].as_value().eq(pixels)
            delay = delayed(m, delay, self._taps, name=f"delay_{line}")
        return m
