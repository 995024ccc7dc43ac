"""A cable between a driver and a simulated board's pins: it drops, flips and doubles octets, and can be pulled."""

from __future__ import annotations

import os
import pty
import select
import socket
import threading
import tty
from contextlib import suppress

import numpy as np


class Cable:
    """A pseudo-terminal, ``port``, whose other end is ``board``, a socket.

    rate : of octets that are damaged, each way;  seed : of which, and how
    pulled_after : octets towards the board after which the cable is pulled
    """

    def __init__(
        self, board: socket.socket, *, rate: float = 0.0, seed: int = 0, pulled_after: int | None = None
    ) -> None:
        self._board, self._rate, self._left = board, rate, pulled_after
        self._random = [np.random.default_rng((seed, way)) for way in range(2)]
        self._terminal, user = pty.openpty()
        tty.setraw(user)
        self.port = os.ttyname(user)
        self._user: int | None = user
        self.damaged = self.carried = 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._carry, args=(way,)) for way in range(2)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._pull()

    def _pull(self) -> None:
        """Both ends of the terminal go, as a port does whose plug is drawn."""
        self._stop.set()
        if self._user is not None:
            os.close(self._user)
            os.close(self._terminal)
            self._user = None

    def _carry(self, way: int) -> None:
        """Towards the board, or from it."""
        source = self._terminal if way == 0 else self._board.fileno()
        while not self._stop.is_set():
            with suppress(OSError, ValueError):
                if not select.select([source], [], [], 0.02)[0]:
                    continue
                octets = os.read(source, 4096)
                if way == 0 and self._left is not None:
                    octets = octets[: self._left]
                    self._left -= len(octets)
                os.write(self._board.fileno() if way == 0 else self._terminal, self._worn(octets, self._random[way]))
                if self._left == 0:
                    self._pull()

    def _worn(self, octets: bytes, random: np.random.Generator) -> bytes:
        self.carried += len(octets)
        made = bytearray()
        for octet, hit, how in zip(octets, random.random(len(octets)), random.integers(0, 3, len(octets)), strict=True):
            if hit >= self._rate:
                made.append(octet)
                continue
            self.damaged += 1
            if how == 1:
                made.append(octet ^ 1 << int(random.integers(0, 8)))
            elif how == 2:
                made += bytes([octet, octet])
        return bytes(made)
