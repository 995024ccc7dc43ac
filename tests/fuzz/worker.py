"""A process that reads and computes files, apart from the one that counts."""

from __future__ import annotations

import multiprocessing
import resource
import signal
from multiprocessing.connection import Connection
from pathlib import Path

from .trial import Outcome, run

MEMORY, SECONDS = 2 * 10**9, 20  # of address space, of its processor
PATIENCE = 300  # seconds of the clock: for one that waits and computes nothing


class Worker:
    """A process that reads and computes files, with bounded memory; one that dies or takes too long is replaced."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, inside = context.Pipe()
        self.process = context.Process(target=serve, args=(inside,), daemon=True)
        self.process.start()
        inside.close()
        self.pipe.recv()

    def run(self, path: Path) -> Outcome:
        self.pipe.send(path)
        if self.pipe.poll(PATIENCE):
            try:
                return self.pipe.recv()
            except EOFError:
                self.process.join()
        else:
            self.process.kill()
            self.process.join()
        late = self.process.exitcode in (-signal.SIGPROF, -signal.SIGKILL)
        self._start()
        return Outcome("over time" if late else "died", "the process ended without an answer")

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def serve(pipe: Connection) -> None:
    """Answer each path with what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pipe.send("ready")
    while True:
        path = pipe.recv()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        pipe.send(run(path))
