"""AXI4-Lite reads and writes by moving the pins: a few edges an access, nothing in between."""

from __future__ import annotations

from typing import Any, Protocol

from cocotb.triggers import RisingEdge

PATIENCE = 1000


class RegisterError(Exception):
    """A register access got no answer, or an error for one."""


class Registers(Protocol):
    """What both benches offer.  Offsets in bytes, values unsigned 32-bit; raises RegisterError."""

    async def read(self, offset: int) -> int: ...

    async def write(self, offset: int, value: int) -> None: ...


class PinRegisters:
    """Drives the ``s_axil_*`` ports of ``dut``, which no other task may touch."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        for name in ("awvalid", "awaddr", "wvalid", "wdata", "wstrb", "bready", "arvalid", "araddr", "rready"):
            self._pin(name).value = 0

    def _pin(self, name: str) -> Any:
        return getattr(self._dut, f"s_axil_{name}")

    async def read(self, offset: int) -> int:
        self._pin("araddr").value = offset
        self._pin("arvalid").value = 1
        self._pin("rready").value = 1
        asked = False
        for _ in range(PATIENCE):
            await RisingEdge(self._dut.clk)
            answered = int(self._pin("rvalid").value)
            if answered:
                self._pin("rready").value = 0
                self._pin("arvalid").value = 0
                return self._answer("read", offset, int(self._pin("rresp").value), int(self._pin("rdata").value))
            if not asked and int(self._pin("arready").value):
                asked = True
                self._pin("arvalid").value = 0
        raise RegisterError(f"no answer to a read of register {offset:#x} in {PATIENCE} cycles")

    async def write(self, offset: int, value: int) -> None:
        self._pin("awaddr").value = offset
        self._pin("awvalid").value = 1
        self._pin("wdata").value = value
        self._pin("wstrb").value = 15
        self._pin("wvalid").value = 1
        self._pin("bready").value = 1
        waiting = {"awvalid": "awready", "wvalid": "wready"}
        for _ in range(PATIENCE):
            await RisingEdge(self._dut.clk)
            for valid, ready in list(waiting.items()):
                if int(self._pin(ready).value):
                    del waiting[valid]
                    self._pin(valid).value = 0
            if int(self._pin("bvalid").value):
                self._pin("bready").value = 0
                self._answer("write", offset, int(self._pin("bresp").value), 0)
                return
        raise RegisterError(f"no answer to a write of register {offset:#x} in {PATIENCE} cycles")

    @staticmethod
    def _answer(what: str, offset: int, response: int, value: int) -> int:
        if response:
            raise RegisterError(f"a {what} of register {offset:#x} was answered with error {response}")
        return value
