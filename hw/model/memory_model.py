"""The cycle model's memories: the bus that reads DRAM, and who holds up whom at the activation memory's ports."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..engine.dma import ReadMaster
from ..engine.register_slice import RegisterSlice
from ..isa.parameters import Parameters
from .clockwork import Clockwork, Process, Signal

FETCH, LOADER, WEIGHTS = range(3)
"""The read master's users."""


class MemoryPorts:
    """The ports that vector unit, loader and storer share.

    writes : cycles in which the vector unit writes, a tile each
    reading_until : the vector unit reads maps up to this cycle, as far as is known
    reading_share : of these cycles, those in which another finds its bank taken
    placed : the loader's bursts: first and last cycle, beats
    settings : the vector unit's last SETUP
    """

    def __init__(self, clock: Clockwork, p: Parameters) -> None:
        self.clock, self.p = clock, p
        self.writes: deque[range] = deque()
        self.reading_until = 0
        self.reading_share = 0.0
        self.placed: deque[tuple[int, int, int]] = deque()
        self.settings: Mapping[str, int] = {}

    def place(self, first: int, last: int) -> int:
        """When the last beat of a burst for the loader is placed that arrives in ``first .. last`` if nobody waits."""
        beats = last - first + 1
        last += self._writes_until(first, last)
        # each read that a beat puts off costs the loader a cycle, too
        last += self.put_off(first, last - first + 1)
        self.placed.append((first, last, beats))
        return last

    def put_off(self, first: int, beats: int) -> int:
        """Cycles that ``beats`` from ``first`` on wait for the vector unit's reads."""
        return int(max(0, min(beats, self.reading_until - first)) * self.reading_share)

    def _writes_until(self, first: int, last: int) -> int:
        """Cycles that beats due in ``first .. last`` wait for the vector unit's writes; each wait puts off the rest."""
        while self.writes and self.writes[0][-1] < first:
            self.writes.popleft()
        waits = 0
        for write in self.writes:
            position = bisect_left(write, first)
            while position < len(write) and write[position] <= last + waits:
                waits += 1
                position += 1
        return waits

    def own_writes(self, f: Mapping[str, int]) -> float:
        """The share of the vector unit's writes that find its own reads in their bank."""
        p, s = self.p, self.settings
        read = [
            f["source"],
            s["window_column_step"],
            f["window_row_step"],
            s["source_column_step"],
            f["source_row_step"],
        ]
        written = [f["chip"], s["column_step"], f["row_step"]]
        steps = [*read[1:], *written[1:], s["source_tile_step"] - s["tile_step"]]
        if any(step % (p.banks * p.line) for step in steps):
            # each finds every bank alike, and may lie in two
            across = [1 + (p.columns - 1) / p.line * any(a % p.line for a in places) for places in (read, written)]
            return min(1.0, across[0] * across[1] / p.banks)
        first, second = (
            {line % p.banks for line in range(start // p.line, (start + p.columns - 1) // p.line + 1)}
            for start in (f["source"], f["chip"])
        )
        return float(bool(first & second))

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


@dataclass(eq=False)
class _Burst:
    """A request for ``beats``; ``handshake`` is the cycle of its address, 0 before that."""

    user: int
    beats: int
    arrived: Callable[[int, int], None]
    granted: Signal
    handshake: int = 0


class ReadBus:
    """AXI4 reads: bursts of FETCH, LOADER and WEIGHTS, their data in order."""

    def __init__(self, clock: Clockwork, latency: int, ports: MemoryPorts) -> None:
        self.clock, self.latency, self.ports = clock, latency, ports
        self.requests: list[deque[_Burst]] = [deque(), deque(), deque()]
        self.requested = Signal()
        self.outstanding: deque[_Burst] = deque()
        self.issued = Signal()

    def burst(self, user: int, beats: int, arrived: Callable[[int, int], None]) -> Process:
        """Until a burst's address has gone out; ``arrived`` is called with the cycles of its first and last beat."""
        granted = Signal()
        burst = _Burst(user, beats, arrived, granted)
        self.requests[user].append(burst)
        self.clock.notify(self.requested)
        while not burst.handshake:
            yield granted

    def arbiter(self) -> Process:
        """One address a cycle, round robin, as long as not too many bursts are unanswered."""
        clock, last = self.clock, 0
        while True:
            while not any(self.requests) or len(self.outstanding) >= ReadMaster.OUTSTANDING:
                yield self.requested
            user = next(u for u in ((last + d) % 3 for d in (1, 2, 3)) if self.requests[u])
            last = user
            burst = self.requests[user].popleft()
            burst.handshake = clock.now + 1
            self.outstanding.append(burst)
            clock.notify(burst.granted)
            clock.notify(self.issued)
            yield clock.now + 1

    def memory(self) -> Process:
        """A beat a cycle, and those behind a beat that the loader cannot place wait with it."""
        clock = self.clock
        while True:
            while not self.outstanding:
                yield self.issued
            burst = self.outstanding[0]
            yield burst.handshake + self.latency
            first = clock.now + RegisterSlice.LATENCY
            last = first + burst.beats - 1
            if burst.user == LOADER:
                last = self.ports.place(first, last)
            burst.arrived(first, last)
            yield last - RegisterSlice.LATENCY + 1
            self.outstanding.popleft()
            clock.notify(self.requested)
