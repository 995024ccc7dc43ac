"""cocotb test of axi_checker.sv alone: plays every sequence and writes down what was latched."""

import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from .axi_sequences import BASE, BYTES, FIRST_CYCLE, IDLE, SEQUENCES

SETTLED = 3  # cycles from the last step to the verdict


@cocotb.test()
async def checker(dut):
    dut.base.value = BASE
    dut.bytes.value = BYTES
    Clock(dut.clk, 10, unit="ns", impl="gpi").start()
    found = {}
    for name, sequence in SEQUENCES.items():
        await FallingEdge(dut.clk)
        dut.rst.value = 1
        for number, step in enumerate([*sequence.steps, *[IDLE] * SETTLED]):
            await FallingEdge(dut.clk)
            dut.cycle.value = FIRST_CYCLE + number
            for signal, value in step.items():
                getattr(dut, signal).value = value
        found[name] = [int(item.value) for item in (dut.violation, dut.violation_cycle, dut.violation_address)]
    Path("found.json").write_text(json.dumps(found))
