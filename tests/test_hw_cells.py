"""Each family's cell, as Verilog with the model of its block, against plain arithmetic."""

import subprocess
from pathlib import Path

import pytest
from amaranth import Module, signed
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.engine import cell, cell_ecp5, cell_gowin, cell_ice40, cell_xilinx
from systolith.sim import toolchain

SUM = signed(32)
CELLS = {
    "portable": (cell.PORTABLE, 8, 8, True),
    "dsp48": (cell_xilinx.DSP48, 8, 8, True),
    "ecp5": (cell_ecp5.ONE, 8, 8, True),
    "ecp5_wide": (cell_ecp5.ONE, 16, 16, True),
    "ecp5_pair": (cell_ecp5.TWO, 8, 8, False),
    "ecp5_pair_4": (cell_ecp5.TWO, 8, 4, False),
    "ecp5_pair_9": (cell_ecp5.TWO, 7, 9, False),
    "ecp5_pair_2": (cell_ecp5.TWO, 2, 2, False),
    "ecp5_pair_9_8": (cell_ecp5.TWO, 9, 8, False),
    "ice40": (cell_ice40.ONE, 16, 16, True),
    "ice40_pair": (cell_ice40.TWO, 8, 8, True),
    "ice40_pair_4": (cell_ice40.TWO, 5, 4, True),
    "gowin": (cell_gowin.MULT, 8, 8, True),
    "gowin_wide": (cell_gowin.MULT, 16, 16, True),
}
"""Cell, activation bits, weight bits, whether weights may be the lowest of their width."""

FIRST = (-128, -127, -126, -65, -64, -33, -32, -31, -1, 0, 1, 31, 32, 63, 64, 126, 127)


class Cells(wiring.Component):
    """All of CELLS on the same operands: sums ``name_column``, and ``name_edge_0`` of the first weight alone."""

    def __init__(self):
        sums = {f"{name}_{n}": Out(SUM) for name, (made, *_) in CELLS.items() for n in range(made.columns)}
        edges = {f"{name}_edge_0": Out(SUM) for name, (made, *_) in CELLS.items() if made.columns > 1}
        operands = {name: In(signed(16)) for name in ("pixel", "weight_0", "weight_1")}
        super().__init__({**operands, "above_0": In(SUM), "above_1": In(SUM), **sums, **edges})

    def elaborate(self, platform):
        m = Module()
        above = [self.above_0, self.above_1]
        for name, (made, pixel_bits, weight_bits, _) in CELLS.items():
            pixel = self.pixel[:pixel_bits].as_signed()
            weights = [w[:weight_bits].as_signed() for w in (self.weight_0, self.weight_1)][: made.columns]
            sums = made.multiply_add(m, name, pixel, weights, above[: made.columns], SUM)
            assert len(sums) == made.columns
            m.d.comb += [getattr(self, f"{name}_{n}").eq(below) for n, below in enumerate(sums)]
            if made.columns > 1:
                (edge,) = made.multiply_add(m, f"{name}_edge", pixel, weights[:1], above[:1], SUM)
                m.d.comb += getattr(self, f"{name}_edge_0").eq(edge)
        return m


def compiled(folder: Path, first: tuple[int, ...]) -> Path:
    """The program that compares them all."""
    component = Cells()
    ports = {name: (getattr(component, name), None) for name in component.signature.members}
    (folder / "cells.v").write_text(verilog.convert(component, name="cells", ports=ports, emit_src=False))
    lines = []
    for name, (made, pixel_bits, weight_bits, lowest) in CELLS.items():
        rest = f"{made.latency}, {pixel_bits}, {weight_bits}, {str(lowest).lower()})"
        lines += [f"CELL({name}, {n}, {rest}" for n in range(made.columns)]
        lines += [f"CELL({name}_edge, 0, {rest}"] if made.columns > 1 else []
    text = f"#define FIRST {', '.join(map(str, first))}\n#define CELLS {' '.join(lines)}\n"
    (folder / "cells.h").write_text(text)
    models = sorted({made.model for made, *_ in CELLS.values() if made.model})
    harness = Path(__file__).parent / "rtl" / "cells.cpp"
    with toolchain.environment("verilator", folder / "shim"):
        subprocess.run(
            [
                *("verilator", "--cc", "--exe", "--build", "--top-module", "cells", "--Mdir", "made"),
                *("-Wno-fatal", "-Wno-lint", "-CFLAGS", f"-I{folder}", "cells.v"),
                *(str(cell.FOLDER / model) for model in models),
                str(harness),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    return folder / "made" / "Vcells"


def test_every_cell_multiplies_and_adds_exactly(tmp_path):
    """All pixels, all second weights, first weights at the corners and around the overlap; random wide operands."""
    done = subprocess.run([compiled(tmp_path, FIRST)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    counts = int(done.stdout.removeprefix("compared "))
    assert counts > 0.9 * len(FIRST) * 65536 * len(CELLS)


@pytest.mark.matrix
def test_every_pair_of_weights_is_exact(tmp_path):
    done = subprocess.run([compiled(tmp_path, tuple(range(-128, 128)))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
