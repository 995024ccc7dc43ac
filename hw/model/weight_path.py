"""Weights on their way: from DRAM through the FIFO to the array's shadow registers, and the passes that they serve."""

from collections.abc import Generator

from ..engine.dma import Bursts, WeightStream
from ..engine.weights import Gearbox, WeightWriter
from ..isa.parameters import BURST_BEATS
from ..isa.program import Operation
from .clockwork import Channel, Process
from .memory_model import WEIGHTS
from .run import Run
from .transfers import cut


def weight_requests(run: Run) -> Process:
    """A burst is asked for a cycle after the FIFO has room for the longest, and
    WeightStream.EVERY after the one before at best."""
    queue, bus, drawn = run.queues[Operation.WEIGHTS], run.p.bus_bytes, run.drawn
    ahead = run.p.weight_fifo_beats - BURST_BEATS
    now = asked = 0
    first = last = begin = cycles = end = 0  # beats drawn from the FIFO, and when
    while True:
        instruction, now = yield from run.begin(queue, now)
        now += Bursts.LATENCY
        for beats in cut(instruction.fields["dram"] // bus, instruction.fields["beats"] + 1):
            gone = asked - ahead
            while last < gone:
                if not drawn:
                    yield drawn
                first, last, begin, cycles, end = drawn.popleft()
            room = end if gone == last else min(begin + cycles * (gone - first) // (last - first + 1), end)
            now = max(now, room + 1)
            now = WeightStream.EVERY - 1 + (yield from run.bus.burst(WEIGHTS, beats, now, run.arrivals.put))
            asked += beats


class _Weights:
    """The FIFO's far end: what the weight writer draws, in bits of a stream."""

    def __init__(self, run: Run) -> None:
        self.run, self.beat_bits = run, 8 * run.p.bus_bytes
        self.base = self.bits = 0  # written of this stream, which begins behind beat ``base`` of all
        self.left = 0  # words of this stream to be written, as far as they are known
        self.drawn = 0  # beats that have left the FIFO
        self.arrived = self.last = 0  # beats up to and with the burst in hand, and the cycle of its last

    def words(self, count: int, cycles: int, now: int) -> Generator[Channel, None, int]:
        """The first cycle after ``count`` words have been written, from ``now`` on, in ``cycles`` at least."""
        run, beat_bits = self.run, self.beat_bits
        arrivals, arrived = run.arrivals, self.arrived
        first, out = self.base + self.bits // beat_bits + 1, self.base + -(-self.bits // beat_bits)
        self.bits += count * run.p.weight_row_bits
        self.left -= count
        beat = self.base + -(-self.bits // beat_bits)
        begin = now
        for needed in (first, beat):
            while arrived < needed:
                if not arrivals:
                    yield arrivals
                burst, self.last = arrivals.popleft()
                arrived += self.last - burst + 1
            there = self.last - (arrived - needed) + WeightStream.LATENCY + Gearbox.LATENCY
            if needed == first:
                begin = max(begin, there)
        self.arrived = arrived
        # a word a cycle at most, and out of the FIFO a beat a cycle; one that is cut is out already
        cycles = max(cycles, beat - out)
        end = max(begin + cycles - 1, there)
        # while it waits for the array, the gearbox fills with rows behind these
        drawn = self.base - (-(self.bits + min(self.left, Gearbox.HELD) * run.p.weight_row_bits) // beat_bits)
        if drawn > self.drawn:
            run.drawn.put((self.drawn + 1, drawn, begin, cycles, end))
            self.drawn = drawn
        return end + 1

    def flush(self) -> None:
        """The rest of the last beat is dropped: the next stream begins."""
        self.base, self.bits = self.base + -(-self.bits // self.beat_bits), 0


def weight_writer(run: Run) -> Process:
    """Writes each weight tile as soon as the one before was swapped in.

    It times a channel tile's passes itself, but for the last swap: once the sequencer has begun, nothing else matters.
    """
    p, weights = run.p, _Weights(run)
    now = 0
    while True:
        visible, order = yield from run.orders.items.take()
        now, f = max(now, visible + WeightWriter.LATENCY), order.fields
        positions = (f["rows"] + 1) * (f["columns"] + 1)
        packing = 1 << f.get("packing", 0)
        words, cycles = p.rows // packing, p.tile_cycles(packing)
        parameter_rows = p.parameter_rows if f["parameters"] else 0
        weights.left = (f["tiles"] + 1) * (parameter_rows + (f["passes"] + 1) * words)
        if not f["flush"]:
            weights.left += Gearbox.HELD  # the stream goes on
        for _ in range(f["tiles"] + 1):
            if parameter_rows:
                slot = yield from run.slots.take()
                now = yield from weights.words(parameter_rows, parameter_rows, max(now, slot))
            swapped = yield from run.swapped.take()
            now = yield from weights.words(words, cycles, max(now, swapped))
            following = 0
            if f["passes"]:
                following = yield from run.begun.take()
            for _ in range(f["passes"]):
                run.wait(order, "weights", now - following - 1)
                swapped = max(following, now)
                following = swapped + positions
                now = yield from weights.words(words, cycles, max(now, swapped))
            if f["passes"]:
                run.wait(order, "weights", now - following - 1)
            run.loaded.put(max(following, now))
        run.orders.room.put(now + 1)  # it leaves in the cycle after its last row
        if f["flush"]:
            weights.flush()
        now += 2 + max(WeightWriter.LATENCY, Gearbox.LATENCY - 1)  # as long as a flushed gearbox takes
