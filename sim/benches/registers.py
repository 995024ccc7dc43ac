"""Reads and writes of the accelerator's registers."""

from __future__ import annotations

from typing import Any, Protocol

from cocotb.triggers import ValueChange

NO_ANSWER = 4


class RegisterError(Exception):
    """A register access got no answer, or an error for one."""


class Registers(Protocol):
    """What both benches offer.  Offsets in bytes, values unsigned 32-bit; raises RegisterError."""

    async def read(self, offset: int) -> int: ...

    async def write(self, offset: int, value: int) -> None: ...


class PortRegisters:
    """Through register_port.sv: Python wakes once an access."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self._flip = 0
        for name in ("request", "request_write", "request_address", "request_data"):
            getattr(dut, name).value = 0

    async def read(self, offset: int) -> int:
        return await self._access("read", offset, 0)

    async def write(self, offset: int, value: int) -> None:
        await self._access("write", offset, value)

    async def _access(self, kind: str, offset: int, value: int) -> int:
        dut = self._dut
        self._flip ^= 1
        dut.request_write.value = kind == "write"
        dut.request_address.value = offset
        dut.request_data.value = value
        dut.request.value = self._flip
        await ValueChange(dut.answered)
        if response := int(dut.answer_response.value):
            if response == NO_ANSWER:
                raise RegisterError(f"no answer to a {kind} of register {offset:#x}")
            raise RegisterError(f"a {kind} of register {offset:#x} was answered with error {response}")
        return int(dut.answer.value) if kind == "read" else 0
