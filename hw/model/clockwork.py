"""A small discrete-event kernel: processes are generators that wait for a cycle or for a signal."""

import heapq
from collections.abc import Generator
from itertools import count


class Signal:
    """Something that processes wait for; whoever changes it calls ``notify``."""

    def __init__(self) -> None:
        self.waiting: list[Process] = []


Process = Generator["int | Signal", None, None]


class Clockwork:
    """Runs processes in order of cycles.  A process yields the cycle to sleep until, or a Signal to wait for."""

    def __init__(self) -> None:
        self.now = 0
        self._heap: list[tuple[int, int, Process]] = []
        self._order = count()

    def start(self, process: Process) -> None:
        self._wake(process, self.now)

    def notify(self, signal: Signal) -> None:
        """Resume all who wait for ``signal``, in this cycle; they look again whether they may go on."""
        waiting, signal.waiting = signal.waiting, []
        for process in waiting:
            self._wake(process, self.now)

    def _wake(self, process: Process, cycle: int) -> None:
        heapq.heappush(self._heap, (cycle, next(self._order), process))

    def run(self) -> None:
        """Until nothing is left to happen."""
        while self._heap:
            self.now, _, process = heapq.heappop(self._heap)
            waits_for = next(process, None)
            if isinstance(waits_for, Signal):
                waits_for.waiting.append(process)
            elif waits_for is not None:
                self._wake(process, max(waits_for, self.now))
