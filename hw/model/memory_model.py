"""The cycle model's memories: the bus that reads DRAM, and who holds up whom at the activation memory's ports."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd

from ..engine.activations import ActivationMemory
from ..engine.loader import Loader
from ..engine.read_master import ReadMaster
from ..engine.register_slice import RegisterSlice
from ..isa.parameters import Parameters
from .clockwork import Channel, Clockwork, Process

FETCH, LOADER, WEIGHTS = range(3)
"""The read master's users."""

Arrived = Callable[[tuple[int, int]], None]
NEVER = 1 << 62


@dataclass(frozen=True)
class Written:
    """A vector unit's writes of one channel tile: in which cycles, and where the first ``elements`` of each lie."""

    times: range
    start: int
    elements: int
    columns: int
    row_step: int
    column_step: int

    def first(self, number: int) -> int:
        """The first element of the write of this ``number``."""
        row, column = divmod(number, self.columns)
        return self.start + row * self.row_step + column * self.column_step

    def at(self, cycle: int) -> range:
        """The elements that are written in ``cycle``, one of ``times``."""
        first = self.first(self.times.index(cycle))
        return range(first, first + self.elements)


class MemoryPorts:
    """The ports that vector unit, loader and storer share.

    writes : what the vector unit writes, a tile each, as far as beats may meet it;  written : the same, for the storer
    reading_until : the vector unit reads maps up to this cycle, as far as is known
    reading_share : of these cycles, those in which another finds its bank taken
    placed : the loader's bursts: first and last cycle, beats
    settings : the vector unit's last SETUP
    """

    def __init__(self, clock: Clockwork, p: Parameters) -> None:
        self.clock, self.p = clock, p
        self.writes: deque[Written] = deque()
        self.written: deque[Written] = deque()
        self.reading_until = 0
        self.reading_share = 0.0
        self.placed: deque[tuple[int, int, int]] = deque()
        self.settings: Mapping[str, int] = {}

    def place(self, first: int, last: int, element: int) -> int:
        """When the last beat of a burst for the loader is placed that arrives in ``first .. last`` if nobody waits.

        element : where its first beat begins
        """
        beats = last - first + 1
        last += self._writes_until(first, last, element)
        # each read that a beat puts off costs the loader a cycle, too
        last += self.put_off(first, last - first + 1)
        self.placed.append((first, last, beats))
        return last

    def write(self, f: Mapping[str, int], tile: int, times: range, row: int = 0) -> None:
        """The vector unit writes channel tile ``tile`` of instruction ``f`` in ``times``, from a row of results on."""
        s = self.settings
        channels = self.p.columns if s["raw"] else f["channels"] if tile < f["tiles"] else f["last_channels"]
        start = f["chip"] + tile * s["tile_step"] + row * f["row_step"]
        written = Written(times, start, channels, f["columns"] + 1, f["row_step"], s["column_step"])
        self.writes.append(written)
        self.written.append(written)

    def readable(self, element: int, cycle: int) -> int:
        """The first cycle from ``cycle`` on in which no write keeps the storer from the bank of ``element``."""
        line, banks, reached = self.p.line, self.p.banks, ActivationMemory.WRITE_LATENCY - 1
        bank = element // line % banks
        while self.written and self.written[0].times[-1] + reached < cycle:
            self.written.popleft()
        for written in self.written:
            while cycle - reached in written.times:
                taken = written.at(cycle - reached)
                if bank not in ((taken[0] // line) % banks, (taken[-1] // line) % banks):
                    break
                cycle += 1
        return cycle

    def put_off(self, first: int, beats: int) -> int:
        """Cycles that ``beats`` from ``first`` on wait for the vector unit's reads."""
        return int(max(0, min(beats, self.reading_until - first)) * self.reading_share)

    def _writes_until(self, first: int, last: int, element: int) -> int:
        """Cycles that beats due in ``first .. last`` wait for the vector unit's writes; each wait puts off the rest.

        A beat that begins at a multiple of its length waits for its own bank's alone.
        """
        while self.writes and self.writes[0].times[-1] < first:
            self.writes.popleft()
        line, banks, beat = self.p.line, self.p.banks, self.p.bus_elements
        waits, whole = 0, element % beat == 0
        for write in self.writes:
            times = write.times
            position = bisect_left(times, first)
            while position < len(times) and (cycle := times[position]) <= last + waits:
                if whole:
                    low = write.first(position)
                    away = (element + (cycle - first - waits) * beat) // line - low // line
                    waits += away % banks <= (low + write.elements - 1) // line - low // line
                else:
                    waits += 1
                position += 1
        return waits

    def own_writes(self, f: Mapping[str, int]) -> float:
        """The share of the vector unit's writes that find its own reads in their bank."""
        p, s = self.p, self.settings
        reads = [s["window_column_step"], f["window_row_step"], s["source_column_step"], f["source_row_step"]]
        writes = [s["column_step"], f["row_step"]]
        channels = p.columns if s["raw"] else f["channels"] if f["tiles"] else f["last_channels"]
        if any(step % (p.banks * p.line) for step in [*reads, *writes, s["source_tile_step"] - s["tile_step"]]):
            # each finds every bank alike, and may lie in two
            read = self._lines(p.columns, f["source"], reads)
            written = self._lines(channels, f["chip"], writes)
            return min(1.0, read * written / p.banks)
        first, second = (
            {line % p.banks for line in range(start // p.line, (start + p.columns - 1) // p.line + 1)}
            for start in (f["source"], f["chip"])
        )
        return float(bool(first & second))

    def _lines(self, elements: int, start: int, steps: Sequence[int]) -> float:
        """Lines that ``elements`` lie in, on average over where in a line ``start`` and ``steps`` bring them."""
        grid = gcd(self.p.line, *steps)
        places = range(start % grid, self.p.line, grid)
        return sum(1 + (place + elements - 1) // self.p.line for place in places) / len(places)

    def read(self, cycles: int, share: float) -> Process:
        """The vector unit reads maps for ``cycles`` cycles, and waits where the loader writes to its bank.

        share : of these cycles, those in which a read that waits puts off all that follow
        """
        clock = self.clock
        start, end, lost = clock.now, clock.now + cycles, 0
        self.reading_share = share = share / self.p.banks
        while clock.now < end:
            self.reading_until = end
            yield end
            before, lost = lost, int(self._taken(self.placed, start, end) * share)
            end += lost - before

    @staticmethod
    def _taken(spans: deque[tuple[int, int, int]], start: int, end: int) -> int:
        """Beats that fall into ``start .. end``; what came before is forgotten."""
        while spans and spans[0][1] < start:
            spans.popleft()
        beats = 0
        for first, last, count in spans:
            inside = min(last, end - 1) - max(first, start) + 1
            beats += count * inside // (last - first + 1) if inside > 0 else 0
        return beats


class ReadBus:
    """AXI4 reads: bursts of FETCH, LOADER and WEIGHTS, an address a cycle, round robin, and their data in order.

    Its processes must be started last: so they see all that happens in a cycle.
    """

    def __init__(self, clock: Clockwork, latency: int, ports: MemoryPorts) -> None:
        self.clock, self.latency, self.ports = clock, latency, ports
        self.asked = [NEVER, NEVER, NEVER]  # when each user asked for a burst
        # its beats, where the first goes on chip, and whom to tell
        self.requests: list[tuple[int, int, Arrived | None]] = [(0, 0, None)] * 3
        self.granted = [Channel(clock), Channel(clock), Channel(clock)]  # the cycle behind the grant
        self.next_grant = 0  # when there can be another
        self.looks_again = NEVER  # the arbiter
        self.unanswered: deque[tuple[int, int, int, int, Arrived | None]] = deque()  # (address, user, *request)
        self.answered = deque([0] * ReadMaster.OUTSTANDING)  # when another burst may be outstanding
        self.next_data = 0

    def start(self) -> None:
        self.memory = self.clock.start(self._memory())
        self.arbiter = self.clock.start(self._arbiter())

    def burst(
        self, user: int, beats: int, now: int, arrived: Arrived | None, element: int = 0
    ) -> Generator[Channel, None, int]:
        """Ask for a burst in cycle ``now``; the cycle behind that in which it is granted.

        ``arrived`` is called with the cycles of its first and last beat, as soon as they are known.
        ``element`` is where the first beat goes on chip, if it is the loader's.
        """
        self.asked[user], self.requests[user] = now, (beats, element, arrived)
        self._call_arbiter()
        granted = self.granted[user]
        if not granted:
            yield granted
        now = granted.popleft()
        return now

    def _due(self) -> int:
        """When the next burst can be granted, as far as is known."""
        return max(min(self.asked), self.next_grant, self.answered[0] if self.answered else NEVER)

    def _call_arbiter(self) -> None:
        due = self._due()
        if due < self.looks_again:
            self.looks_again = due
            self.clock.wake(self.arbiter, due)

    def _arbiter(self) -> Process:
        clock, asked, last = self.clock, self.asked, 0
        while True:
            yield None
            if clock.now < self.looks_again:
                continue  # called for what has been granted since
            self.looks_again = NEVER
            if self._due() <= clock.now:
                last = user = next(u for u in ((last + 1) % 3, (last + 2) % 3, last) if asked[u] <= clock.now)
                asked[user] = NEVER
                self.next_grant = clock.now + 1
                self.answered.popleft()
                self.unanswered.append((clock.now + ReadMaster.LATENCY, user, *self.requests[user]))
                if len(self.unanswered) == 1:
                    self._answer()
                self.granted[user].put(self.next_grant)
            self._call_arbiter()

    def _memory(self) -> Process:
        while True:
            yield None
            self._answer()
            self._call_arbiter()

    def _answer(self) -> None:
        """A beat a cycle, and those behind a beat that the loader cannot place wait with it.

        Who else is at the memory's ports is known only when the loader's beats are there.
        """
        while self.unanswered:
            address, user, beats, element, arrived = self.unanswered[0]
            start = max(address + self.latency, self.next_data)
            first = start + RegisterSlice.LATENCY
            last = first + beats - 1
            if user == LOADER:
                if start > self.clock.now:
                    self.clock.wake(self.memory, start)
                    break
                last = self.ports.place(first + Loader.LATENCY, last + Loader.LATENCY, element) - Loader.LATENCY
            self.unanswered.popleft()
            self.next_data = last - RegisterSlice.LATENCY + 1
            if arrived is not None:
                arrived((first, last))
            self.answered.append(self.next_data)
