"""examples/host: the program on Linux, on files with a device behind them, and on an emulated RISC-V."""

import mmap
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith import golden

from .elf import Elf
from .host_device import Device, assert_invalidated_last, behind_words, build_folder
from .hw_networks import network

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "host"
FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2"]
ADDRESS, SIZE = 0x12_3456_7000, 0x8000
REGISTERS, CONSOLE, RAM, RAM_BYTES = 0x4000_0000, 0x5000_0000, 0x8000_0000, 1 << 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(plan, folder, folder of images.f32, golden's reals)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny")
    made = build_folder(graph, folder / "build")
    images = np.random.default_rng(5).normal(size=(3, *graph.map_of(graph.input).shape)).astype(np.float32)
    images.tofile(folder / "images.f32")
    return made, folder / "build", folder, golden.output(graph, images)[0].reshape(3, -1)


def lines(reals, cycles=1003):
    """What the program says."""
    classes = reals.argmax(axis=1)
    assert len({*classes}) > 1
    return [*(f"image {n}: class {c}" for n, c in enumerate(classes)), f"cycles of the last run: {cycles:,}"]


def built(command):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def program(tiny, tmp_path_factory):
    """The Linux program, compiled."""
    path = tmp_path_factory.mktemp("linux") / "classify"
    sources = [EXAMPLE / name for name in ("classify.c", "linux.c")]
    built(["gcc", *FLAGS, "-I", tiny[1], *sources, "-o", path])
    return path


def shared(path, size):
    """``size`` zeros in a file, as this process sees them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)


@pytest.fixture
def root(tmp_path):
    """(root, the device's words, its memory) of what Linux shows of a UIO device and a buffer."""
    for name, text in {"phys_addr": f"0x{ADDRESS:x}\n", "size": f"{SIZE}\n"}.items():
        path = tmp_path / "sys/class/u-dma-buf/udmabuf0" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path, shared(tmp_path / "dev/uio0", 4096).view(np.uint32), shared(tmp_path / "dev/udmabuf0", SIZE)


def started(program, tiny, root, **changed):
    """The program's end: its status, what it said, what it complained of."""
    given = {"uio": "uio0", "buffer": "udmabuf0", "build": tiny[1], "images": tiny[2] / "images.f32"} | changed
    command = [program, *given.values(), root / "scores.f32", root]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_linux(tiny, program, root):
    made, _, _, reals = tiny
    folder, words, memory = root
    device = Device(made, memory, ADDRESS)
    with behind_words(device, words):
        assert started(program, tiny, folder) == (0, lines(reals), "")
    np.testing.assert_array_equal(np.fromfile(folder / "scores.f32", np.float32).reshape(3, -1), reals)
    assert device.runs == 3
    assert_invalidated_last(folder, made.regions["output"])


def test_linux_says_what_is_wrong(tiny, program, root):
    made = tiny[0]
    device = Device(made, root[2], ADDRESS)
    device.fails = 6
    with behind_words(device, root[1]):
        status, said, _ = started(program, tiny, root[0])
        assert (status, said) == (1, ["the run failed: " + said[0].removeprefix("the run failed: ")])
        assert said[0].endswith("; array waits for weights")
        device.fails = 0
    for name, path in (("uio", "dev/uio3"), ("buffer", "dev/udmabuf7"), ("images", "nothing")):
        value = {"uio": "uio3", "buffer": "udmabuf7", "images": "/nothing"}[name]
        status, said, complaint = started(program, tiny, root[0], **{name: value})
        assert (status, said) == (1, [])
        assert path.removeprefix("dev/") in complaint
    (root[0] / "short").write_bytes(bytes(7))
    assert "no whole number of images in" in started(program, tiny, root[0], images=root[0] / "short")[2]
    (root[0] / "sys/class/u-dma-buf/udmabuf0/size").write_text("4096\n")
    with behind_words(device, root[1]):
        said = started(program, tiny, root[0])[1]
    assert said == [f"the build needs {made.memory_bytes:,} bytes, the region has 4,096"]


ZIG = [sys.executable, "-m", "ziglang", "cc", "-target", "riscv32-freestanding-none", "-mcpu=generic_rv32+m+a+c"]
GCC = ["riscv64-unknown-elf-gcc", "-nostdlib"]
COMPILERS = {
    "zig rv32imac": (ZIG, []),
    "gcc rv32imac": ([*GCC, "-march=rv32imac", "-mabi=ilp32"], ["-lgcc"]),
    "gcc rv64imac": ([*GCC, "-march=rv64imac", "-mabi=lp64", "-mcmodel=medany"], ["-lgcc"]),
}


def bare(tiny, compiler, path, *options):
    """The program for bare metal."""
    command, behind = COMPILERS[compiler]
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed (apt install gcc-riscv64-unknown-elf); zig's compiler is tried")
    where = [f"-DREGISTERS=0x{REGISTERS:x}u", f"-DCONSOLE=0x{CONSOLE:x}u", "-I", tiny[1], "-I", tiny[2]]
    sources = [EXAMPLE / name for name in ("start.S", "bare.c", "classify.c")]
    how = [*FLAGS, "-ffreestanding", *where, *options, "-T", EXAMPLE / "memory.ld"]
    built([*command, *how, *sources, *behind, "-o", path])
    return Elf.read(path)


@pytest.fixture(scope="module", autouse=True)
def zig_caches(tmp_path_factory):
    """Zig keeps what it compiled where it may."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("GLOBAL", "LOCAL"):
            patch.setitem(os.environ, f"ZIG_{name}_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "zig"))
        yield


class Board:
    """An emulated processor with memory, the accelerator and a console, all at the same addresses on both sides.

    cache : what the processor's cache is: None (memory is coherent), "write back", or "write through".  The cache holds
        all of memory; nothing but its instructions brings it in step, which are those of Zicbom, and VexRiscv's.
    """

    def __init__(self, made, elf, cache=None):
        import unicorn
        from unicorn import riscv_const as names

        self.console = b""
        self.elf, self.cache, self.registers = elf, cache, names
        mode = unicorn.UC_MODE_RISCV64 if elf.bits == 64 else unicorn.UC_MODE_RISCV32
        self.processor = unicorn.Uc(unicorn.UC_ARCH_RISCV, mode)
        self.processor.mem_map(RAM, RAM_BYTES)
        self.processor.mem_write(RAM, np.random.default_rng(2).bytes(RAM_BYTES))
        for address, data, _ in elf.segments:
            self.processor.mem_write(address, data)
        dram = np.frombuffer(self.processor.mem_read(RAM, RAM_BYTES), np.uint8).copy()
        self.device = Device(made, dram, RAM)
        self.output = made.regions["output"]
        self.start, self.device.start = self.device.start, self.started
        self.processor.mmio_map(REGISTERS, 4096, lambda _, at, *__: self.device.read(at), None, self.written, None)
        self.processor.mmio_map(CONSOLE, 4096, lambda *_: 0, None, self.shown, None)
        self.processor.hook_add(unicorn.UC_HOOK_INTR, self.cached)
        if cache != "write back":
            self.processor.hook_add(unicorn.UC_HOOK_MEM_WRITE, self.stored)

    def started(self):
        self.start()
        if not self.cache:
            self.forget(self.device.values["BASE"] + self.output.address, self.output.bytes)

    def stored(self, _, access, address, size, value, __):
        """By the processor: a cache that writes through has memory know it."""
        if RAM <= address < RAM + RAM_BYTES:
            data = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.device.dram[address - RAM :][:size] = np.frombuffer(data, np.uint8)

    def forget(self, address, count):
        """The processor sees what is in memory."""
        self.processor.mem_write(address, self.device.dram[address - RAM :][:count].tobytes())

    def cached(self, processor, exception, _):
        """An instruction that the emulator lacks is an exception; it goes on behind it, where PC points already."""
        at = processor.reg_read(self.registers.UC_RISCV_REG_PC) - 4
        code = int.from_bytes(processor.mem_read(at, 4), "little")
        block = processor.reg_read(self.registers.UC_RISCV_REG_X0 + (code >> 15 & 31)) & -64
        if code == 0x500F:
            self.forget(RAM, RAM_BYTES)
        elif code & 0xFFF0_7FFF == 0x0010_200F:
            self.device.dram[block - RAM :][:64] = np.frombuffer(processor.mem_read(block, 64), np.uint8)
        elif code & 0xFFF0_7FFF == 0x0000_200F:
            self.forget(block, 64)
        else:
            raise AssertionError(f"exception {exception} at 0x{at:x}, code 0x{code:08x}")

    def written(self, _, at, size, value, __):
        self.device.write(at, value)

    def shown(self, _, at, size, value, __):
        self.console += bytes([value])

    def run(self):
        """From reset until ``main`` has returned: what that returns, the lines, the scores."""
        symbols = self.elf.symbols
        self.processor.emu_start(self.elf.entry, symbols["halt"], timeout=60_000_000)
        scores = np.frombuffer(self.processor.mem_read(symbols["scores"], 60), np.float32)
        result = self.processor.reg_read(self.registers.UC_RISCV_REG_A0)
        return result, self.console.decode().splitlines(), scores.reshape(3, -1)


@pytest.mark.boards
@pytest.mark.parametrize("compiler", COMPILERS)
def test_bare_metal(tiny, tmp_path, compiler):
    """Compiled without a library, linked without an undefined symbol, and run on an emulated processor."""
    made, _, _, reals = tiny
    elf = bare(tiny, compiler, tmp_path / "classify.elf")
    assert elf.undefined == []
    board = Board(made, elf)
    result, said, scores = board.run()
    assert (result, said) == (0, lines(reals))
    np.testing.assert_array_equal(scores, reals)
    assert board.device.runs == 3
    wrong = Board(made, elf)
    wrong.device.values["FINGERPRINT"] ^= 1
    result, said, _ = wrong.run()
    assert (result, wrong.device.runs, len(said)) == (1, 0, 1)
    assert said[0].startswith("the accelerator has fingerprint 0x")
    stale = Board(made, elf, "write through")
    assert not np.array_equal(stale.run()[2], reals)


@pytest.mark.boards
@pytest.mark.parametrize(("option", "cache"), [("ZICBOM", "write back"), ("VEXRISCV", "write through")])
def test_bare_metal_behind_a_cache(tiny, tmp_path, option, cache):
    """The program for coherent memory, above, reads stale outputs behind the second."""
    made, _, _, reals = tiny
    board = Board(made, bare(tiny, "zig rv32imac", tmp_path / "classify.elf", f"-D{option}"), cache)
    result, said, scores = board.run()
    assert (result, said) == (0, lines(reals))
    np.testing.assert_array_equal(scores, reals)
