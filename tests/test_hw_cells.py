"""Each family's cell, as Verilog with the model of its block, against plain arithmetic."""

import subprocess
from pathlib import Path

import pytest
from amaranth import Module, signed
from amaranth.back import verilog
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from systolith.hw.engine import cell, cell_ecp5, cell_gowin, cell_ice40, cell_xilinx
from systolith.hw.isa.sharing import sharing
from systolith.hw.isa.target import Target
from systolith.sim import toolchain

SUM = signed(32)
MOST = 4


def of(target: Target, columns: int, activation_bits: int, weight_bits: int):
    """A shared cell: of 128 rows, so that on Xilinx LUTs add what has no room in one sum."""
    found = sharing(target, columns, 128, activation_bits, weight_bits)
    assert found is not None
    assert not found.summed
    modules = {"ecp5": cell_ecp5, "ice40": cell_ice40, "gowin": cell_gowin, "xilinx": cell_xilinx}
    return modules[target].shared_by(found), activation_bits, weight_bits, found.lowest


CELLS = {
    "portable": (cell.PORTABLE, 8, 8, True),
    "dsp48": (cell_xilinx.DSP48, 8, 8, True),
    "dsp48_2": of("xilinx", 2, 8, 8),
    "dsp48_3": of("xilinx", 3, 8, 4),
    "dsp48_4": of("xilinx", 4, 4, 4),
    "ecp5": (cell_ecp5.ONE, 8, 8, True),
    "ecp5_wide": (cell_ecp5.ONE, 16, 16, True),
    "ecp5_2": of("ecp5", 2, 8, 8),
    "ecp5_2_4": of("ecp5", 2, 8, 4),
    "ecp5_2_9": of("ecp5", 2, 7, 9),
    "ecp5_2_2": of("ecp5", 2, 2, 2),
    "ecp5_2_9_8": of("ecp5", 2, 9, 8),
    "ecp5_3": of("ecp5", 3, 4, 4),
    "ecp5_3_8": of("ecp5", 3, 8, 4),
    "ecp5_3_5": of("ecp5", 3, 5, 5),
    "ecp5_4": of("ecp5", 4, 3, 3),
    "ecp5_4_4": of("ecp5", 4, 4, 4),
    "ecp5_4_8": of("ecp5", 4, 8, 2),
    "ice40": (cell_ice40.ONE, 16, 16, True),
    "ice40_2": of("ice40", 2, 8, 8),
    "ice40_2_4": of("ice40", 2, 5, 4),
    "ice40_3": of("ice40", 3, 4, 4),
    "ice40_4": of("ice40", 4, 3, 2),
    "gowin": (cell_gowin.MULT, 8, 8, True),
    "gowin_wide": (cell_gowin.MULT, 16, 16, True),
    "gowin_2": of("gowin", 2, 4, 3),
    "gowin_3": of("gowin", 3, 4, 4),
    "gowin_4": of("gowin", 4, 4, 3),
}
"""Cell, activation bits, weight bits, whether weights may be the lowest of their width."""

NARROW = {name: of_it for name, of_it in CELLS.items() if of_it[2] <= 4}
WIDE = {name: of_it for name, of_it in CELLS.items() if name not in NARROW}

FIRST = (-128, -127, -126, -65, -64, -33, -32, -31, -1, 0, 1, 31, 32, 63, 64, 126, 127)


class Cells(wiring.Component):
    """Several cells on the same operands: sums ``name_column``, and ``name_edge_column`` with a column less."""

    def __init__(self, cells):
        self.cells = cells
        sums = {f"{name}_{n}": Out(SUM) for name, (made, *_) in cells.items() for n in range(made.columns)}
        edges = {f"{name}_edge_{n}": Out(SUM) for name, (made, *_) in cells.items() for n in range(made.columns - 1)}
        operands = {name: In(signed(16)) for name in ("pixel", *(f"weight_{n}" for n in range(MOST)))}
        super().__init__({**operands, **{f"above_{n}": In(SUM) for n in range(MOST)}, **sums, **edges})

    def elaborate(self, platform):
        m = Module()
        above = [getattr(self, f"above_{n}") for n in range(MOST)]
        given = [getattr(self, f"weight_{n}") for n in range(MOST)]
        for name, (made, pixel_bits, weight_bits, _) in self.cells.items():
            pixel = self.pixel[:pixel_bits].as_signed()
            weights = [w[:weight_bits].as_signed() for w in given]
            for several, named in ((made.columns, name), (made.columns - 1, f"{name}_edge")):
                taken = made.prepare(m, named, weights[:several])
                sums = made.multiply_add(m, named, pixel, taken, above[:several], SUM) if several else []
                assert len(sums) == several
                m.d.comb += [getattr(self, f"{named}_{n}").eq(below) for n, below in enumerate(sums)]
        return m


def compare(folder: Path, cells, first: tuple[int, ...], stride: int) -> int:
    """How many sums of ``cells`` were compared, and are exact.

    first : first weights of 8 bits;  stride : one of so many of all three weights of 4 bits with all pixels
    """
    component = Cells(cells)
    ports = {name: (getattr(component, name), None) for name in component.signature.members}
    (folder / "cells.v").write_text(verilog.convert(component, name="cells", ports=ports, emit_src=False))
    lines = []
    for name, (made, pixel_bits, weight_bits, lowest) in cells.items():
        rest = f"{made.latency}, {pixel_bits}, {weight_bits}, {str(lowest).lower()})"
        lines += [f"CELL({name}, {n}, {rest}" for n in range(made.columns)]
        lines += [f"CELL({name}_edge, {n}, {rest}" for n in range(made.columns - 1)]
    text = f"#define FIRST {{{', '.join(map(str, first))}}}\n#define STRIDE {stride}\n#define CELLS {' '.join(lines)}\n"
    (folder / "cells.h").write_text(text)
    models = sorted({made.model for made, *_ in cells.values() if made.model})
    harness = Path(__file__).parent / "rtl" / "cells.cpp"
    with toolchain.environment("verilator", folder / "shim"):
        subprocess.run(
            [
                *("verilator", "--cc", "--exe", "--build", "--top-module", "cells", "--Mdir", "made"),
                *("-Wno-fatal", "-Wno-lint", "-CFLAGS", f"-I{folder} -O1", "cells.v"),
                *(str(cell.FOLDER / model) for model in models),
                str(harness),
            ],
            cwd=folder,
            check=True,
            capture_output=True,
        )
    done = subprocess.run([folder / "made" / "Vcells"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return int(done.stdout.removeprefix("compared "))


def test_every_cell_multiplies_and_adds_exactly(tmp_path):
    """All pixels, all second weights, first weights at the corners and around the overlap; random wide operands."""
    assert compare(tmp_path, WIDE, FIRST, 0) > 0.9 * len(FIRST) * 65536 * len(WIDE)


def test_cells_of_narrow_weights_are_exact(tmp_path):
    """A seventh of all three weights with all pixels, and all four with all pixels of 4 bits; as above."""
    assert compare(tmp_path, NARROW, (), 7) > 0.5 * 1.1 * (1 << 20) * len(NARROW)


@pytest.mark.matrix
def test_every_pair_of_weights_is_exact(tmp_path):
    assert compare(tmp_path, CELLS, tuple(range(-128, 128)), 1)
