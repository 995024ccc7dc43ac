"""The driver: checks, loads, runs, and says what went wrong."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..quant.graph.errors import DataError, HostError
from ..quant.graph.ports import by_name
from .arrays import Port
from .build import PAGE, Build
from .carrier import Carrier
from .counters import Counters, Run

IDENTITY = 0x53595354
ADDRESS_BITS = 40
BUSY, DONE, ERROR = 1, 2, 4  # STATUS
START, CLEAR, RESET = 1, 2, 4  # CONTROL
NAP = 0.0005
"""Seconds between two looks at STATUS."""


class Accelerator:
    """A build on an accelerator, which ``carrier`` reaches.

    What does not fit is refused before anything is written: another accelerator, a region too small or where BASE
    cannot point.  Then what runs there is ended, and program and constants are written to memory; unless its writes are
    checked, they are read back.

    build : or its folder
    timeout : seconds that a run may take;  watchdog : cycles without progress after which the accelerator ends it

    Raises HostError, and closes the carrier then, and ConfigurationError for a folder that is no build.
    """

    def __init__(
        self, carrier: Carrier, build: Build | str | Path, *, timeout: float = 10, watchdog: int = 1_000_000
    ) -> None:
        if timeout <= 0 or not 0 < watchdog < 1 << 32:
            raise HostError(f"timeout and watchdog must be above 0, and fit 32 bits, not {timeout} and {watchdog}")
        self.build = build if isinstance(build, Build) else Build.load(build)
        self.carrier = carrier
        self._timeout, self._watchdog = timeout, watchdog
        try:
            self._check()
            self.reset()
            self._load()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the carrier."""
        self.carrier.close()

    def run(self, images: Any) -> Any:
        """What the model outputs for ``images``, (N, *shape of the model's input), any number of them.

        Where there are several inputs ``images`` holds an array for each by the model's names, and where there are
        several outputs the result is such a mapping.  Raises DataError for images that do not fit, and HostError.
        """
        reals = self.execute(images).reals
        return next(iter(reals.values())) if len(reals) == 1 else dict(reals)

    def execute(
        self,
        images: Any,
        *,
        arranged: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Run:
        """As ``run``, with the integers and what the accelerator counted.

        arranged : the host's steps before the inputs are done: images are maps, (N, channels, rows, columns)
        progress : gets images done, and in all
        """
        build = self.build
        given = by_name(images, [port.name for port in build.inputs])
        arrays = {port.name: port.checked(given[port.name], arranged) for port in build.inputs}
        count = len(arrays[build.inputs[0].name])
        if any(len(values) != count for values in arrays.values()):
            found = ", ".join(f"{len(values)} for '{name}'" for name, values in arrays.items())
            raise DataError(f"the numbers of images differ: {found}")
        outputs: dict[str, list[NDArray[np.int64]]] = {port.name: [] for port in build.outputs}
        counters = []
        for first in range(0, count, build.batch):
            taken = np.minimum(np.arange(first, first + build.batch), count - 1)  # the last one fills the last run
            for port in build.inputs:
                self._write(port, port.quantized(arrays[port.name][taken], arranged))
            counters.append(self._run_once())
            for port in build.outputs:
                outputs[port.name].append(self._read(port))
            progress(min(first + build.batch, count), count)
        integers = {name: np.concatenate(parts)[:count] for name, parts in outputs.items()}
        reals = {port.name: port.reals(integers[port.name]) for port in build.outputs}
        return Run(reals, integers, counters, build.batch, build.predicted_cycles)

    def reset(self) -> None:
        """End whatever runs, and forget how it ended.  Raises HostError if memory does not answer any more."""
        self._set("CONTROL", RESET)
        self._until(lambda status: not status & (BUSY | DONE | ERROR), "is busy after a reset")

    def waiting(self) -> list[str]:
        """Which unit waits for what, now, or when a run failed."""
        waits = self._get("WAITS")
        return [text for bit, text in enumerate(self.build.waits) if waits >> bit & 1]

    def _check(self) -> None:
        """Raises HostError unless accelerator and memory are those that the build needs; writes nothing."""
        build, memory = self.build, self.carrier.memory
        if (found := self._get("ID")) != IDENTITY:
            raise HostError(
                f"there is no accelerator at these registers: ID reads 0x{found:08x}, not 0x{IDENTITY:08x}; "
                "is the address right, and the FPGA configured?"
            )
        if (found := self._get("FINGERPRINT")) != build.fingerprint:
            raise HostError(
                f"the accelerator has fingerprint 0x{found:08x}, {build.folder} is for 0x{build.fingerprint:08x}; "
                "`systolith compile --for` makes a program for the accelerator that is there"
            )
        if memory.size < build.limit:
            whole = f" ({build.limit:,} in whole pages)" if memory.size >= build.memory_bytes else ""
            raise HostError(f"{build.folder} needs {build.memory_bytes:,} bytes{whole}, the region has {memory.size:,}")
        if memory.address % PAGE or not 0 <= memory.address <= (1 << ADDRESS_BITS) - build.limit:
            raise HostError(
                f"the region lies at 0x{memory.address:x}; it must begin at a multiple of {PAGE:,} bytes and end "
                f"below 2^{ADDRESS_BITS}"
            )

    def _load(self) -> None:
        """Write what stays as it is from run to run, and see that it is there."""
        memory = self.carrier.memory
        parts = (
            ("memory.bin", self.build.constants_address, self.build.constants),
            ("program.bin", self.build.program_address, self.build.program),
        )
        for _, address, data in parts:
            memory.write(address, data)
            memory.flush(address, len(data))
        for name, address, data in () if memory.checked else parts:
            memory.invalidate(address, len(data))
            found = memory.read(address, len(data))
            if found != data:
                differ = np.frombuffer(found, np.uint8) != np.frombuffer(data, np.uint8)
                raise HostError(
                    f"memory does not hold what was written: {int(differ.sum()):,} of {len(data):,} bytes of {name} "
                    f"differ, the first at 0x{memory.address + address + int(differ.argmax()):x}"
                )

    def _write(self, port: Port, integers: NDArray[np.int64]) -> None:
        data = port.encoded(integers)
        self.carrier.memory.write(port.address, data)
        self.carrier.memory.flush(port.address, len(data))

    def _read(self, port: Port) -> NDArray[np.int64]:
        self.carrier.memory.invalidate(port.address, port.size)
        return port.decoded(self.carrier.memory.read(port.address, port.size))

    def _run_once(self) -> Counters:
        base = self.carrier.memory.address
        self._set("BASE", base & 0xFFFF_FFFF)
        self._set("BASE_HIGH", base >> 32)
        self._set("LIMIT", self.build.limit)
        self._set("PROGRAM", self.build.program_address)
        self._set("WATCHDOG", self._watchdog)
        self._set("INTERRUPT_ENABLE", int(self.carrier.interrupts))
        self._set("CONTROL", START)
        status = self._until(lambda status: bool(status & (DONE | ERROR)) and not status & BUSY, "has not ended")
        if status & ERROR:
            cause = self.build.causes.get(status >> 8 & 255, f"unknown, {status >> 8 & 255}")
            waits = self._said()  # a clear keeps them, a start does not
            self.reset()
            raise HostError(f"the run failed: {cause}{waits}")
        counters = Counters(
            cycles=self._get("CYCLES") | self._get("CYCLES_HIGH") << 32,
            array_busy=self._get("ARRAY_BUSY"),
            stalls={n.lower(): self._get(n) for n in self.build.registers if n.startswith("STALL_")},
        )
        self._set("CONTROL", CLEAR)
        self._until(lambda status: not status & (BUSY | DONE | ERROR), "does not forget its last run")
        return counters

    def _until(self, wanted: Callable[[int], bool], what: str) -> int:
        """STATUS, as soon as it is ``wanted``.  Raises HostError, naming who waits for what, after the timeout."""
        end = time.monotonic() + self._timeout
        while not wanted(status := self._get("STATUS")):
            if time.monotonic() > end:
                raise HostError(f"the accelerator {what} after {self._timeout:g} s{self._given_up()}")
            self.carrier.wait(NAP)
        return status

    def _given_up(self) -> str:
        """Who waits for what; and the run is ended, if that is still possible."""
        said = self._said()
        self._set("CONTROL", RESET)
        self.carrier.wait(NAP)
        if self._get("STATUS") & BUSY:
            return f"{said}; memory does not answer its last accesses, so only a reset of the whole board helps"
        return said

    def _said(self) -> str:
        waits = self.waiting()
        return f"; {', '.join(waits)}" if waits else "; no unit waits for another"

    def _get(self, register: str) -> int:
        return self.carrier.registers.read(self.build.registers[register])

    def _set(self, register: str, value: int) -> None:
        self.carrier.registers.write(self.build.registers[register], value)
