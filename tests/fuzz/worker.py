"""A process that reads and computes files, apart from the one that counts."""

from __future__ import annotations

import multiprocessing
import resource
from multiprocessing.connection import Connection
from pathlib import Path

from .trial import Outcome, run

MEMORY, SECONDS = 2 * 10**9, 20


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
        if not self.pipe.poll(SECONDS):
            self.process.kill()
            outcome = Outcome("over time", f"more than {SECONDS} s")
        else:
            try:
                return self.pipe.recv()
            except EOFError:
                outcome = Outcome("died", "the process ended without an answer")
        self.process.join()
        self._start()
        return outcome

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def serve(pipe: Connection) -> None:
    """Answer each path with what came of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    pipe.send("ready")
    while True:
        pipe.send(run(pipe.recv()))
