"""The accelerator for LiteX: a module, a script that adds it to a board's target, and firmware that runs images."""

from dataclasses import dataclass
from pathlib import Path

from ..engine.cell import FOLDER as ENGINE
from ..engine.sizes import array_cell
from ..folder import read_content
from ..litex import source
from ..manifest import Content, Manifest

CHECKED = "It was simulated with VexRiscv and LiteDRAM, and never on a board."
MODULE, TARGET, MAKEFILE = "systolith_litex.py", "systolith_target.py", "Makefile"
SOURCES = (MODULE, TARGET, "firmware.c", "contents.S", "firmware.ld", MAKEFILE, "README.md")
"""Of hw/litex."""
BUILT: tuple[Content, ...] = ("systolith.h", "memory.bin", "program.bin")
"""Of the build, beside its Verilog."""
IMAGES, ANSWERS = "images.bin", "answers.bin"
MODELS = tuple(sorted(path.name for path in ENGINE.glob("*.v")))
"""Of an FPGA's blocks: a package has the one, if any, that its Verilog names, to simulate."""
FILES = (*SOURCES, *BUILT, IMAGES, ANSWERS, *MODELS)


@dataclass(frozen=True)
class Runs:
    """What firmware runs, and what must come of it: the memory's regions of inputs and of outputs, one run's after
    another's, byte for byte."""

    inputs: bytes
    outputs: bytes


def litex_files(build: Path, manifest: Manifest, runs: Runs) -> dict[str, bytes]:
    """What goes beside systolith.v.  Raises ConfigurationError where a file of ``build`` is not its manifest's."""
    model = array_cell(manifest.parameters).model
    return {
        **{name: source(name) for name in SOURCES},
        **{str(name): read_content(build, name, manifest) for name in BUILT},
        IMAGES: runs.inputs,
        ANSWERS: runs.outputs,
        **({model: (ENGINE / model).read_bytes()} if model else {}),
    }
