"""The carrier UIO: registers and interrupt through Linux's UIO, memory through the module u-dma-buf.

Linux, "The Userspace I/O HOWTO"; https://github.com/ikwzm/udmabuf, "Device file".
"""

from __future__ import annotations

import os
import select
from pathlib import Path

from ..quant.graph.errors import HostError
from .mapped import REGISTER_BYTES, MappedMemory, MappedRegisters, Mapping

TO_DEVICE, FROM_DEVICE = 1, 2


class Uio:
    """Registers of the UIO device called ``name`` (its name in the device tree, or ``uio0``), and a buffer's memory.

    buffer : of u-dma-buf, by its name;  root : where ``dev`` and ``sys`` are
    Raises HostError naming what is not there.
    """

    interrupts = True

    def __init__(self, name: str, buffer: str = "udmabuf0", *, root: str | Path = "/") -> None:
        device = _device(Path(root), name)
        size = _number(Path(root) / "sys/class/uio" / device / "maps/map0/size")
        if size < REGISTER_BYTES:
            raise HostError(f"map 0 of '{name}' has {size} bytes; the registers take {REGISTER_BYTES}")
        path = Path(root) / "dev" / device
        try:
            self._interrupt = os.open(path, os.O_RDWR)
        except OSError as error:
            raise HostError(f"cannot open '{path}': {error.strerror or error}") from error
        try:
            self._register_map = Mapping(path, 0, REGISTER_BYTES)
            try:
                self.memory = _Buffer(Path(root), buffer)
            except BaseException:
                self._register_map.close()
                raise
        except BaseException:
            os.close(self._interrupt)
            raise
        self.registers = MappedRegisters(self._register_map.bytes)

    def wait(self, seconds: float) -> None:
        """Until the interrupt, at most ``seconds``; it is masked when it comes, so it is asked for each time."""
        try:
            os.write(self._interrupt, (1).to_bytes(4, "little"))
            if select.select([self._interrupt], [], [], seconds)[0]:
                os.read(self._interrupt, 4)
        except OSError as error:
            raise HostError(f"the interrupt of the UIO device fails: {error.strerror or error}") from error

    def close(self) -> None:
        self.registers.release()
        self._register_map.close()
        self.memory.close()
        if self._interrupt >= 0:
            os.close(self._interrupt)
            self._interrupt = -1


class _Buffer(MappedMemory):
    """A buffer of u-dma-buf, in the processor's cache, which flush and invalidate keep in step."""

    def __init__(self, root: Path, name: str) -> None:
        classes = [root / "sys/class" / kind / name for kind in ("u-dma-buf", "udmabuf")]
        folder = next((folder for folder in classes if folder.is_dir()), None)
        if folder is None:
            raise HostError(f"there is no buffer '{name}'; load one with `modprobe u-dma-buf {name}=BYTES`")
        self._folder = folder
        self._map = Mapping(root / "dev" / name, 0, _number(folder / "size"))
        super().__init__(self._map.bytes, _number(folder / "phys_addr"))

    def flush(self, offset: int, count: int) -> None:
        self._sync(offset, count, TO_DEVICE, "sync_for_device")

    def invalidate(self, offset: int, count: int) -> None:
        self._sync(offset, count, FROM_DEVICE, "sync_for_cpu")

    def _sync(self, offset: int, count: int, direction: int, do: str) -> None:
        steps = {"sync_offset": f"0x{offset:x}", "sync_size": count, "sync_direction": direction, do: 1}
        try:
            for name, value in steps.items():
                (self._folder / name).write_text(str(value))
        except OSError as error:
            raise HostError(f"u-dma-buf's {do} fails: {error.strerror or error}") from error

    def close(self) -> None:
        self._map.close()


def _device(root: Path, name: str) -> str:
    """``uio0`` or another, for what is called so or has this ``name``."""
    found = {path.name: _text(path / "name") for path in sorted((root / "sys/class/uio").glob("uio*"))}
    if name in found:
        return name
    if device := next((device for device, called in found.items() if called == name), None):
        return device
    listed = ", ".join(f"{device} ({called})" for device, called in found.items()) or "none"
    raise HostError(f"there is no UIO device '{name}'; there is {listed}")


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError as error:
        raise HostError(f"cannot read '{path}': {error.strerror or error}") from error


def _number(path: Path) -> int:
    """As sysfs writes it, decimal or with 0x."""
    text = _text(path)
    try:
        return int(text, 0)
    except ValueError as error:
        raise HostError(f"'{path}' holds {text[:20]!r}, no number") from error
