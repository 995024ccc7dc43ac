"""The emitted accelerator, simulated, as a carrier of the driver: its registers and a memory beside it."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import numpy as np

from ..hw.isa.register_map import whole_pages
from ..quant.graph.errors import HostError
from . import accelerator as accelerators
from .accelerator import Accelerator
from .executable import compile_executable
from .session import power_up
from .toolchain import DEVICE, TOPS, VERILOG, cell_models, device_defines, device_parameters

SOURCES = (*DEVICE, "axi_memory.sv", "register_port.sv", "bulk.sv", "accelerator_host.cpp")
ADDRESS = 0x12_3456_7000
"""Of the memory on the bus: no part of BASE may be forgotten."""
CYCLES = 20_000
"""That pass while the driver waits once, if no interrupt comes."""


class SimulatedAccelerator:
    """Verilator runs ``build``'s Verilog in a process of its own; time passes only while the driver asks or waits.

    build : or its folder;  memory_latency : cycles from a read's address to its data
    size : bytes of memory, by default what the build needs;  seed : of what memories and registers hold at first

    Raises SimulationError if a tool is missing, ConfigurationError for a folder that is no build.
    """

    interrupts = True

    def __init__(
        self, build: Accelerator | str | Path, *, memory_latency: int = 30, size: int | None = None, seed: int = 0
    ) -> None:
        source = build if isinstance(build, Accelerator) else accelerators.load(Path(build))
        program = compile_accelerator(source)
        size = whole_pages(source.memory_bytes) if size is None else size
        arguments = [str(size), str(ADDRESS), str(memory_latency)]
        self._process = subprocess.Popen(
            [program, *arguments, *power_up(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.registers = _Registers(self)
        self.memory = _Memory(self, size)
        self.memory.write(0, np.random.default_rng(seed).bytes(size))

    def wait(self, seconds: float) -> None:
        """Time passes here as it is asked for, not in seconds.  Raises HostError if a rule of AXI was broken."""
        cycle, violation = self.ask("a", CYCLES, answers=2)
        if violation:
            raise HostError(f"the accelerator broke rule {violation} of AXI before cycle {cycle}")

    def close(self) -> None:
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait()
            self._process.stdout.close()

    def ask(self, request: str, *numbers: int, answers: int = 0) -> tuple[int, ...]:
        """Send one of the requests of accelerator_host.cpp, and take its answers."""
        self.send(struct.pack(f"<c{len(numbers)}Q", request.encode(), *numbers))
        return struct.unpack(f"<{answers}Q", self.take(8 * answers))

    def send(self, data: bytes) -> None:
        assert self._process.stdin is not None
        left = memoryview(data)
        try:
            while left:
                left = left[self._process.stdin.write(left) or 0 :]
        except (OSError, ValueError) as error:
            raise HostError("the simulator has ended") from error

    def take(self, count: int) -> bytes:
        assert self._process.stdout is not None
        parts = []
        while count:
            part = self._process.stdout.read(count)
            if not part:
                raise HostError("the simulator has ended")
            parts.append(part)
            count -= len(part)
        return b"".join(parts)


class _Registers:
    def __init__(self, simulated: SimulatedAccelerator) -> None:
        self._simulated = simulated

    def read(self, offset: int) -> int:
        value, response = self._simulated.ask("r", offset, answers=2)
        self._check(response, offset)
        return value

    def write(self, offset: int, value: int) -> None:
        (response,) = self._simulated.ask("w", offset, value, answers=1)
        self._check(response, offset)

    @staticmethod
    def _check(response: int, offset: int) -> None:
        if response:
            raise HostError(f"the accelerator answered an access to register 0x{offset:02x} with code {response}")


class _Memory:
    """Coherent: what is written is there."""

    checked = False

    def __init__(self, simulated: SimulatedAccelerator, size: int) -> None:
        self._simulated = simulated
        self.address = ADDRESS
        self.size = size

    def write(self, offset: int, data: bytes) -> None:
        self._simulated.ask("m", offset, len(data))
        self._simulated.send(data)

    def read(self, offset: int, count: int) -> bytes:
        self._simulated.ask("g", offset, count)
        return self._simulated.take(count)

    def flush(self, offset: int, count: int) -> None:
        """Nothing to do."""

    def invalidate(self, offset: int, count: int) -> None:
        """Nothing to do."""


def compile_accelerator(source: Accelerator) -> Path:
    """The program of accelerator_host.cpp for ``source``."""
    sources = [*(VERILOG / name for name in SOURCES), *cell_models(source)]
    designs = {"systolith.v": source.verilog}
    return compile_executable(sources, TOPS["bulk"], device_parameters(source), designs, device_defines(source))
