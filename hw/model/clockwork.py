"""A small discrete-event kernel whose processes keep time themselves, and meet where they must.

What passes from one process to one other carries the cycle at which it counts, so a process may run ahead of the clock
as far as it knows what reaches it (Kahn 1974, with time stamps).  Only what several share, the bus and the memory's
ports, must be looked at in order of cycles: there a process sleeps until the clock has come to its own time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from heapq import heappop, heappush
from typing import Any


class Channel(deque[Any]):
    """What one process hands to one other, in order; each item is, or begins with, the cycle at which it counts."""

    def __init__(self, clock: Clockwork, items: Iterable[Any] = ()) -> None:
        super().__init__(items)
        self.clock = clock
        self.waiting: int | None = None

    def put(self, item: Any) -> None:
        self.append(item)
        if self.waiting is not None:
            self.clock.ready.append(self.waiting)
            self.waiting = None

    def take(self) -> Generator[Channel, None, Any]:
        """The next item, once there is one."""
        if not self:
            yield self
        return self.popleft()


Process = Generator["int | Channel | None", None, None]


class Clockwork:
    """Runs processes.  One yields the cycle to sleep until, a channel to wait for something in it, None to be woken.

    Of those that wake in the same cycle, the one that was started first runs first.
    """

    def __init__(self) -> None:
        self.now = 0
        self.ready: deque[int] = deque()
        self._processes: list[Process] = []
        self._asleep: list[tuple[int, int]] = []  # (cycle, process), a heap

    def start(self, process: Process) -> int:
        """Its number, to wake it by."""
        self.ready.append(len(self._processes))
        self._processes.append(process)
        return self.ready[-1]

    def wake(self, process: int, cycle: int) -> None:
        heappush(self._asleep, (max(cycle, self.now), process))

    def run(self) -> None:
        """Until nothing is left to happen."""
        ready, asleep, processes = self.ready, self._asleep, self._processes
        while ready or asleep:
            if ready:
                number = ready.popleft()
            else:
                self.now, number = heappop(asleep)
            waits_for = next(processes[number], None)
            if isinstance(waits_for, int):
                self.wake(number, waits_for)
            elif waits_for is not None:
                waits_for.waiting = number
