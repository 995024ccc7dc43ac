"""One driver on each carrier: /dev/mem and UIO as files with a device behind them, and pynq's shape."""

import mmap
import os
import sys
import threading
import types

import numpy as np
import pytest

from systolith import golden, run_build
from systolith.commands import run as command
from systolith.host import Accelerator, DeviceMemory, PynqBoard, Uio
from systolith.host import uio as uio_module
from systolith.quant.graph.errors import ConfigurationError, HostError

from .host_device import CachedMemory, Device, assert_invalidated_last, behind_words, build_folder
from .hw_networks import network

REGISTERS, MEMORY, SIZE = 0x3000, 0x10000, 0x8000


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(plan, folder, images, golden's reals)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny") / "build"
    made = build_folder(graph, folder)
    images = np.random.default_rng(4).normal(size=(3, *graph.map_of(graph.input).shape)).astype(np.float32)
    return made, folder, images, golden.output(graph, images)[0]


def shared(path, size):
    """``size`` zeros in a file, as this process sees them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    with path.open("r+b") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)


def test_dev_mem(tiny, tmp_path):
    made, folder, images, reals = tiny
    space = shared(tmp_path / "mem", MEMORY + SIZE)
    device = Device(made, space[MEMORY:], MEMORY)
    with behind_words(device, space[REGISTERS : REGISTERS + 256].view(np.uint32)):
        carrier = DeviceMemory(REGISTERS, MEMORY, SIZE, device=tmp_path / "mem")
        with Accelerator(carrier, folder) as accelerator:
            np.testing.assert_array_equal(accelerator.run(images), reals)
    assert device.runs == len(images)


def test_dev_mem_that_cannot_be_had(tmp_path):
    with pytest.raises(HostError, match=r"^cannot open '.*nothing': No such file or directory$"):
        DeviceMemory(0, 0, 4096, device=tmp_path / "nothing")
    (tmp_path / "short").write_bytes(bytes(4096))
    with pytest.raises(HostError, match=r"^cannot map 8,192 bytes at 0x0 of '.*short'"):
        DeviceMemory(0, 0, 8192, device=tmp_path / "short")


class Interrupts:
    """What uio.py asks of ``os`` and ``select`` for the interrupt of the file /dev/uio0, which is no device here."""

    O_RDWR, open, close = os.O_RDWR, staticmethod(os.open), staticmethod(os.close)

    def __init__(self):
        self.event = threading.Event()
        self.asked = self.came = 0

    def write(self, descriptor, data):
        assert data == b"\1\0\0\0"
        self.asked += 1

    def read(self, descriptor, count):
        assert (count, self.event.is_set()) == (4, True)
        self.event.clear()
        self.came += 1

    def select(self, reads, writes, others, seconds):
        return (reads, [], []) if self.event.wait(seconds) else ([], [], [])


@pytest.fixture
def root(tmp_path):
    """What Linux shows of a UIO device and a buffer of u-dma-buf, but for the files of /dev."""
    for name, text in {
        "sys/class/uio/uio0/name": "fan\n",
        "sys/class/uio/uio1/name": "systolith\n",
        "sys/class/uio/uio1/maps/map0/size": "0x00001000\n",
        "sys/class/u-dma-buf/udmabuf0/phys_addr": "0x1234567000\n",
        "sys/class/u-dma-buf/udmabuf0/size": f"{SIZE}\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize("name", ["systolith", "uio1"])
def test_uio_with_u_dma_buf(tiny, root, monkeypatch, name):
    made, folder, images, reals = tiny
    registers, memory = shared(root / "dev/uio1", 4096), shared(root / "dev/udmabuf0", SIZE)
    device = Device(made, memory, 0x12_3456_7000)
    interrupts = Interrupts()
    monkeypatch.setattr(uio_module, "os", interrupts)
    monkeypatch.setattr(uio_module, "select", interrupts)
    words = registers.view(np.uint32)
    with behind_words(device, words, interrupts.event), Accelerator(Uio(name, root=root), folder) as accelerator:
        np.testing.assert_array_equal(accelerator.run(images), reals)
    assert interrupts.asked >= interrupts.came > 0
    assert_invalidated_last(root, made.regions["output"])


def test_what_uio_lacks_is_named(root):
    with pytest.raises(HostError, match=r"^there is no UIO device 'cnn'; there is uio0 \(fan\), uio1 \(systolith\)$"):
        Uio("cnn", root=root)
    with pytest.raises(HostError, match=r"^cannot open '.*dev/uio1'"):
        Uio("systolith", root=root)
    shared(root / "dev/uio1", 4096)
    with pytest.raises(HostError, match=r"^there is no buffer 'big'; load one with `modprobe u-dma-buf big=BYTES`$"):
        Uio("systolith", "big", root=root)
    (root / "sys/class/uio/uio1/maps/map0/size").write_text("0x40\n")
    with pytest.raises(HostError, match=r"^map 0 of 'systolith' has 64 bytes; the registers take 256$"):
        Uio("systolith", root=root)


class Words:
    """As pynq.MMIO.array where registers are read and written by a device's functions."""

    def __init__(self, device):
        self._device = device

    def __getitem__(self, index):
        return np.uint32(self._device.read(4 * index))

    def __setitem__(self, index, value):
        assert isinstance(value, np.uint32)
        self._device.write(4 * index, int(value))


class Mmio:
    """The shape of pynq 3.0.1's pynq/mmio.py."""

    def __init__(self, base_addr, length=4, device=None, **kwargs):
        assert (base_addr, length) == (0xA000_0000, 256)
        self.array = Words(pynq_device)

    def write(self, offset, data):
        assert type(data) is int
        self.array[offset >> 2] = np.uint32(data)


class PynqBuffer(np.ndarray):
    """The shape of pynq/buffer.py: a part of it is one too, with its own address; not coherent."""

    def __array_finalize__(self, other):
        self.cache = getattr(other, "cache", None)

    def _place(self):
        start = self.__array_interface__["data"][0] - self.cache.dram.__array_interface__["data"][0]
        return start, self.nbytes

    @property
    def physical_address(self):
        return self.cache.address + self._place()[0]

    def flush(self):
        self.cache.flush(*self._place())

    def invalidate(self):
        self.cache.invalidate(*self._place())

    def freebuffer(self):
        freed.append(True)


pynq_device = None
freed = []
blocks = {"axi_intc_0": 0x4120_0000, "systolith_0": 0xA000_0000}


def allocate(shape, dtype, target=None, **kwargs):
    cache = CachedMemory(pynq_device.dram, pynq_device.address)
    if shape != (cache.size,):
        raise MemoryError("no CMA")
    made = cache.dram.view(PynqBuffer)
    made.cache = cache
    return made


class Overlay:
    def __init__(self, bitstream):
        assert bitstream == "lenet5.bit"
        self.ip_dict = {name: {"phys_addr": address} for name, address in blocks.items()}


@pytest.fixture
def pynq(tiny, monkeypatch):
    global pynq_device
    pynq_device = Device(tiny[0], np.random.default_rng(1).integers(0, 256, SIZE, dtype=np.uint8))
    module = types.SimpleNamespace(MMIO=Mmio, allocate=allocate, Overlay=Overlay)
    monkeypatch.setitem(sys.modules, "pynq", module)
    return pynq_device


def test_pynq(tiny, pynq):
    _, folder, images, reals = tiny
    for carrier in (PynqBoard(0xA000_0000, SIZE), PynqBoard.overlay("lenet5.bit", SIZE)):
        freed.clear()
        with Accelerator(carrier, folder) as accelerator:
            np.testing.assert_array_equal(accelerator.run(images), reals)
        assert freed == [True]


def test_what_pynq_lacks_is_named(pynq, monkeypatch):
    with pytest.raises(HostError, match=r"^pynq cannot allocate 64 contiguous bytes: no CMA; is CMA large enough\?$"):
        PynqBoard(0xA000_0000, 64)
    monkeypatch.delitem(blocks, "systolith_0")
    with pytest.raises(HostError, match=r"^'lenet5.bit' has 0 blocks called systolith, among axi_intc_0$"):
        PynqBoard.overlay("lenet5.bit", SIZE)
    monkeypatch.setitem(sys.modules, "pynq", None)
    for make in (lambda: PynqBoard(0, 64), lambda: PynqBoard.overlay("lenet5.bit", 64)):
        with pytest.raises(HostError, match=r"^pynq is not installed; it comes with the board's image$"):
            make()


@pytest.mark.parametrize(
    ("on", "made"),
    [
        ("uio:systolith", ("Uio", "systolith")),
        ("uio:systolith:big", ("Uio", "systolith", "big")),
        ("mem:0x40000000:4096:0x8000", ("DeviceMemory", 0x40000000, 4096, 0x8000)),
        ("/dev/ttyUSB0", ("SerialLine", "/dev/ttyUSB0")),
        ("COM3", ("SerialLine", "COM3")),
    ],
)
def test_places_on_the_command_line(on, made, monkeypatch):
    for name in ("Uio", "DeviceMemory", "SerialLine"):
        monkeypatch.setattr(command, name, lambda *given, _name=name, **options: (_name, *given))
    assert command._carrier(on, None, 115200) == made


@pytest.mark.parametrize("on", ["nowhere", "uio", "mem:1:2", "mem:a:b:c", "sim:fpga", "tty", "jtag:x"])
def test_a_place_that_is_none_is_refused(on):
    with pytest.raises(
        ConfigurationError, match=rf"^'{on}' (is no place to run on; there are sim, |has no three numbers)"
    ):
        command._carrier(on, None, 115200)


def test_a_run_says_whether_it_equals_golden(tiny, tmp_path, pynq, monkeypatch):
    """The command's function whole, on a PYNQ board; then on one whose answers are wrong by one."""
    _, folder, images, reals = tiny
    monkeypatch.setattr(command, "_carrier", lambda on, source, baud: PynqBoard(0xA000_0000, SIZE))
    labels = reals.reshape(3, -1).argmax(axis=1)
    monkeypatch.setattr(command.accelerators, "load", lambda folder: Loaded())
    with pytest.raises(HostError, match=r"^timeout and watchdog must be above 0, and fit 32 bits, not 0 and 1000000$"):
        run_build(folder, images, on="pynq", timeout=0)
    found = run_build(folder, images, labels=labels, images=2, on="pynq", output=tmp_path / "o.npz")
    assert (found.equal, found.accuracy, found.images) == (True, 1.0, 2)
    assert found.lines()[0] == "the outputs of 2 images equal golden"
    with np.load(tmp_path / "o.npz") as kept:
        np.testing.assert_array_equal(kept["y"], reals[:2])
    said = found.as_json()
    assert (said["equal"], said["cycles_per_image"], said["images"]) == (True, 1001.5, 2)
    np.testing.assert_array_equal(np.array(next(iter(said["outputs"].values())), np.float32), reals[:2])
    right = pynq.start

    def wrong():
        right()
        pynq.dram[tiny[0].regions["output"].address] ^= 1

    monkeypatch.setattr(pynq, "start", wrong)
    found = run_build(folder, images, on="pynq")
    assert (found.equal, found.accuracy) == (False, None)
    assert found.lines()[0] == "the outputs of 3 images DIFFER from golden"


class Loaded:
    """What sim.accelerator reads of a build, whose Verilog these tests leave empty."""

    graph = network("tiny")
    predicted_cycles = 1000
