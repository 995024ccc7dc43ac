"""An accelerator in Python for the driver's tests: docs/program.md's registers, and programs by interpretation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from systolith import quant
from systolith.hw.build import parameters_for
from systolith.hw.compiler.dram import Region
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.planner import plan
from systolith.hw.describe import describe
from systolith.hw.folder import write_folder
from systolith.hw.header import c_header
from systolith.hw.isa.register_map import IDENTITY, REGISTERS

from .hw_interpreter import Machine

OFFSETS = {name: offset for name, (offset, _) in REGISTERS.items()}
NAMES = {offset: name for name, offset in OFFSETS.items()}
WRITABLE = ("PROGRAM", "BASE", "BASE_HIGH", "LIMIT", "WATCHDOG", "INTERRUPT_ENABLE")
ADDRESS = 0x12_3456_7000
SMALL = {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1, "weight_fifo_kib": 1}


def build_folder(graph: quant.Graph, folder: Path, *, batch: int = 1, unfold_input: bool = False, **sizes: int) -> Plan:
    """A build of ``graph`` in ``folder`` whose Verilog is empty: only an interpreter runs it."""
    made = plan(graph, parameters_for(graph, **{**SMALL, **sizes}), batch, unfold_input)
    folder.parent.mkdir(parents=True, exist_ok=True)
    program = made.program_bytes()
    files = {
        "systolith.v": b"",
        "program.bin": program,
        "memory.bin": made.dram.constants,
        "systolith.h": c_header(made, program).encode(),
        "model.onnx": quant.to_onnx(graph).SerializeToString(),
    }
    write_folder(folder, files, describe(made, files))
    return made


class Device:
    """The accelerator of a plan, beside ``dram``, which begins at ``address`` on its bus.

    hangs, fails : what a run ends with instead: bits of WAITS, or a cause
    """

    def __init__(self, made: Plan, dram: np.ndarray, address: int = ADDRESS) -> None:
        self.made, self.dram, self.address = made, dram, address
        self.values = dict.fromkeys(OFFSETS, 0)
        self.values |= {"ID": IDENTITY, "FINGERPRINT": made.parameters.fingerprint, "STATUS": 2}
        self.hangs = self.fails = 0
        self.dead = False
        self.runs = 0
        self.written: list[str] = []

    def read(self, offset: int) -> int:
        return self.values[NAMES[offset]]

    def write(self, offset: int, value: int) -> None:
        name = NAMES[offset]
        self.written.append(name)
        if name in WRITABLE:
            self.values[name] = value
        elif name == "CONTROL":
            self.control(value)

    def control(self, value: int) -> None:
        busy = self.values["STATUS"] & 1
        if value & 4:
            self.values |= {"STATUS": busy if self.dead else 0, "WAITS": 0}
        elif value & 1 and not busy:
            self.start()
        elif value & 2 and not busy:
            self.values["STATUS"] = 0

    def start(self) -> None:
        self.runs += 1
        if self.hangs:
            self.values |= {"STATUS": 1, "WAITS": self.hangs}
            return
        if self.fails:
            self.values |= {"STATUS": 4 | self.fails << 8, "WAITS": 0b10}
            return
        base = self.values["BASE"] + (self.values["BASE_HIGH"] << 32) - self.address
        assert base % 4096 == 0 <= base
        assert base + self.values["LIMIT"] <= self.dram.size
        machine = Machine(self.made.parameters, self.values["LIMIT"])
        machine.dram[:] = self.dram[base:][: self.values["LIMIT"]]
        machine.run(self.values["PROGRAM"])
        self.dram[base:][: machine.dram.size] = machine.dram
        counted = {"CYCLES": 1000 + self.runs, "ARRAY_BUSY": 500, "STALL_ARRAY_WEIGHTS": 7}
        self.values |= {"STATUS": 2, **counted}


class PlainMemory:
    """The device's own bytes."""

    checked = False

    def __init__(self, dram: np.ndarray, address: int = ADDRESS) -> None:
        self.dram, self.address, self.size = dram, address, dram.size

    def write(self, offset: int, data: bytes) -> None:
        self.dram[offset : offset + len(data)] = np.frombuffer(data, np.uint8)

    def read(self, offset: int, count: int) -> bytes:
        return self.dram[offset : offset + count].tobytes()

    def flush(self, offset: int, count: int) -> None:
        pass

    def invalidate(self, offset: int, count: int) -> None:
        pass


class CachedMemory(PlainMemory):
    """A processor's cache before them, that nothing but flush and invalidate brings in step."""

    def __init__(self, dram: np.ndarray, address: int = ADDRESS) -> None:
        super().__init__(dram.copy(), address)
        self.behind = dram

    def flush(self, offset: int, count: int) -> None:
        self.behind[offset : offset + count] = self.dram[offset : offset + count]

    def invalidate(self, offset: int, count: int) -> None:
        self.dram[offset : offset + count] = self.behind[offset : offset + count]


class Carried:
    """Device and memory as a carrier."""

    interrupts = False

    def __init__(self, made: Plan, *, size: int | None = None, address: int = ADDRESS, cached: bool = False) -> None:
        size = -(-made.memory_bytes // 4096) * 4096 if size is None else size
        dram = np.random.default_rng(9).integers(0, 256, size, dtype=np.uint8)
        self.device = self.registers = Device(made, dram, address)
        self.memory = (CachedMemory if cached else PlainMemory)(dram, address)
        self.closed = False

    def wait(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        self.closed = True


def assert_invalidated_last(root: Path, region: Region) -> None:
    """What u-dma-buf's files under ``root`` were told last is that the processor reads ``region``, all of it, anew."""
    files = (root / "sys/class/u-dma-buf/udmabuf0").glob("sync*")
    assert {path.name: path.read_text() for path in files} == {
        "sync_offset": f"0x{region.address:x}",
        "sync_size": str(region.bytes),
        "sync_direction": "2",
        "sync_for_cpu": "1",
        "sync_for_device": "1",
    }


@contextmanager
def behind_words(device: Device, words: np.ndarray, ended: threading.Event | None = None) -> Iterator[None]:
    """``device`` looks at ``words``, registers in shared memory, as long as this lasts, and answers in them.

    ended : set at the end of each run, as an interrupt
    """
    stop = threading.Event()

    def show() -> None:
        for name, offset in OFFSETS.items():
            if name not in (*WRITABLE, "CONTROL", "STATUS"):
                words[offset // 4] = device.values[name]
        words[OFFSETS["STATUS"] // 4] = device.values["STATUS"]  # last: who sees it sees the rest

    def serve() -> None:
        while not stop.wait(0.0002):
            if value := int(words[OFFSETS["CONTROL"] // 4]):
                words[OFFSETS["CONTROL"] // 4] = 0
                for name in WRITABLE:
                    device.write(OFFSETS[name], int(words[OFFSETS[name] // 4]))
                device.write(OFFSETS["CONTROL"], value)
                show()
                if ended and value & 1 and device.values["INTERRUPT_ENABLE"]:
                    ended.set()

    show()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
