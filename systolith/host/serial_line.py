"""The carrier of a board without DRAM: a serial line, on which each request is repeated until it is answered."""

from __future__ import annotations

import importlib
import random
import struct
import time
from typing import Any

from ..quant.graph.errors import HostError
from .frames import (
    DAMAGED,
    DATA_WORDS,
    END,
    NO_SESSION,
    OKAY,
    READ_MEMORY,
    READ_REGISTERS,
    SYNC,
    VERSION,
    WRITE_MEMORY,
    WRITE_REGISTERS,
    Frame,
)

WORD = 4
BITS = 10
"""Of an octet on the line."""
SILENCES = 6
"""Attempts at a request that nothing answers, after which the host gives up."""
LONGEST = 8
"""Times the patience, that an answer is waited for at most."""


class SerialLine:
    """The serial port ``port`` at ``baud`` bits a second, which must be the board's.  Needs pyserial.

    patience : seconds without an answer after which a request is sent again, at first;  attempts : how often, at most
    repeated : requests that were sent again, so far

    Raises HostError if the port cannot be opened, or no board with a link of ours answers.
    """

    interrupts = False

    def __init__(self, port: str, *, baud: int = 1_000_000, patience: float = 0.25, attempts: int = 20) -> None:
        try:
            serial = importlib.import_module("serial")
        except ImportError as error:
            raise HostError("pyserial is not installed; get it with `pip install pyserial`") from error
        self._name, self._baud, self._patience, self._attempts = port, baud, patience, attempts
        self._broken: tuple[type[BaseException], ...] = (serial.SerialException, OSError)
        try:
            self._port: Any = serial.Serial(port, baud, timeout=0, write_timeout=5, exclusive=True)
        except (*self._broken, ValueError) as error:
            raise HostError(f"cannot open the serial port '{port}': {error}") from error
        self.repeated = 0
        self._sequence = 0
        self._in_step = False  # board and host know what was done last
        self._came = b""  # since the last delimiter
        self._answers: list[Frame] = []
        self._waits = patience  # seconds, beside the time on the line
        try:
            size = self._synchronize()
        except BaseException:
            self.close()
            raise
        self.registers = _Registers(self)
        self.memory = _Memory(self, size)

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def close(self) -> None:
        self._port.close()

    def ask(self, command: int, address: int, data: bytes = b"", count: int = 0) -> bytes:
        """Have the board do one request, once: the words that it reads.

        data : words to write;  count : of words to read
        """
        if not self._in_step:
            self._synchronize()
        self._sequence = (self._sequence + 1) % 256
        answer = self._exchange(Frame(self._sequence, command, len(data) // WORD or count, address, data))
        if answer.kind == NO_SESSION:
            raise HostError(f"the board at '{self._name}' was reset; open it again")
        if answer.kind != OKAY:
            raise HostError(
                f"the board at '{self._name}' refuses request {command} of {len(data) // WORD or count} words at "
                f"0x{address:x}, with status {answer.kind}; does another program use the line?"
            )
        return answer.data

    def _synchronize(self) -> int:
        """Begin a session: the board forgets what it did last.  Bytes of its memory."""
        self._port.reset_input_buffer()
        marker = random.SystemRandom().getrandbits(32)  # tells this answer from that to an earlier session
        answer = self._exchange(Frame(self._sequence, SYNC, 0, marker))
        version, size = struct.unpack("<II", answer.data) if len(answer.data) == 2 * WORD else (0, 0)
        if answer.kind != OKAY or version != VERSION:
            raise HostError(f"the board at '{self._name}' speaks another version of the link, 0x{version:08x}")
        self._in_step = True
        return int(size)

    def _exchange(self, request: Frame) -> Frame:
        """The answer to ``request``, which is repeated until there is one.

        A board that is slower than thought is waited for longer each time, and in what follows: else copies of
        requests would come faster than it takes them.
        """
        self._in_step, before = False, self._in_step
        octets = request.to_octets()
        on_the_line = 2 * BITS * (len(octets) + 2 * WORD * max(DATA_WORDS, request.count)) / self._baud
        silences = 0
        try:
            for attempt in range(self._attempts):
                self.repeated += attempt > 0
                self._port.write(octets)
                answer = self._answer_to(request, self._waits + on_the_line)
                if answer is None:
                    self._waits = min(2 * self._waits, LONGEST * self._patience)
                    silences += 1
                    if silences == SILENCES:
                        break
                elif answer.kind != DAMAGED:
                    if not attempt:
                        self._waits = max(0.75 * self._waits, self._patience)
                    self._in_step = before
                    return answer
        except self._broken as error:
            raise HostError(f"the serial line '{self._name}' broke: {error}; is the cable in?") from error
        raise HostError(
            f"no answer from a board at '{self._name}', {self._baud:,} baud, to {self._attempts} attempts or "
            f"{SILENCES} without a word; are port and baud rate right, and is the FPGA configured?"
        )

    def _answer_to(self, request: Frame, seconds: float) -> Frame | None:
        """The answer to ``request``, or what says that one of both came damaged; None if neither comes in time."""
        end = time.monotonic() + seconds
        while (answer := self._next(end)) is not None:
            if answer.kind == DAMAGED or (answer.sequence, answer.address) == (request.sequence, request.address):
                return answer
        return None

    def _next(self, end: float) -> Frame | None:
        """The next frame, DAMAGED if it is; None if none comes before ``end``."""
        while not self._answers:
            left = end - time.monotonic()
            if left <= 0:
                return None
            self._port.timeout = left
            came = self._port.read(max(1, self._port.in_waiting))
            *whole, self._came = (self._came + came).split(END)
            self._answers += [Frame.from_octets(octets) or Frame(0, DAMAGED, 0, 0) for octets in whole if octets]
        return self._answers.pop(0)


class _Registers:
    def __init__(self, line: SerialLine) -> None:
        self._line = line

    def read(self, offset: int) -> int:
        return int.from_bytes(self._line.ask(READ_REGISTERS, offset, count=1), "little")

    def write(self, offset: int, value: int) -> None:
        self._line.ask(WRITE_REGISTERS, offset, value.to_bytes(WORD, "little"))


class _Memory:
    """Block RAM, from address 0 on; what is answered is done."""

    address = 0
    checked = True

    def __init__(self, line: SerialLine, size: int) -> None:
        self._line = line
        self.size = size

    def write(self, offset: int, data: bytes) -> None:
        first, last = offset // WORD * WORD, -(-(offset + len(data)) // WORD) * WORD
        if first < offset:  # the words of the ends are written whole
            data = self.read(first, offset - first) + data
        if rest := last - first - len(data):
            data += self.read(first + len(data), rest)
        for at in range(0, len(data), WORD * DATA_WORDS):
            self._line.ask(WRITE_MEMORY, first + at, data[at : at + WORD * DATA_WORDS])

    def read(self, offset: int, count: int) -> bytes:
        first, last = offset // WORD * WORD, -(-(offset + count) // WORD) * WORD
        steps = range(first, last, WORD * DATA_WORDS)
        parts = [self._line.ask(READ_MEMORY, at, count=min(DATA_WORDS, (last - at) // WORD)) for at in steps]
        return b"".join(parts)[offset - first :][:count]

    def flush(self, offset: int, count: int) -> None:
        """Nothing to do."""

    def invalidate(self, offset: int, count: int) -> None:
        """Nothing to do."""
