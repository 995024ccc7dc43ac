"""The accelerator for Vivado and the boards that it knows: component, scripts, device-tree overlays, PYNQ driver."""

from .. import manifest as manifests
from ..isa.register_map import PAGE_BITS
from ..manifest import Hardware
from .boards import BOARDS, Board
from .component import REGISTER_BYTES, component
from .templates import render
from .words import CHECKED, MEMORY, NAME, UIO, VLNV

COMPONENT, DRIVER = "component.xml", "systolith_pynq.py"
SCRIPTS = {board.name: f"{board.name}.tcl" for board in BOARDS}
OVERLAYS = {board.name: f"{board.name}.dtso" for board in BOARDS}
SHARED_BYTES = 16 << 20
"""Of memory, where no program says how many it needs."""


def vivado_files(hardware: Hardware, verilog: str, megahertz: int) -> dict[str, bytes]:
    """What goes beside systolith.v: a component, for each of BOARDS a script and an overlay, and a driver.

    megahertz : of the clock;  raises ConfigurationError where the Verilog is not as this version writes it
    """
    made = {
        COMPONENT: component(verilog, hardware.parameters),
        DRIVER: render("pynq.py.j2", checked=CHECKED, vlnv=VLNV),
    }
    for board in BOARDS:
        made[SCRIPTS[board.name]] = _script(board, megahertz)
        made[OVERLAYS[board.name]] = _overlay(board, hardware, megahertz)
    return made


def _script(board: Board, megahertz: int) -> bytes:
    return render(
        "vivado.tcl.j2",
        board=board,
        ps=board.processor,
        name=f"systolith_{board.name}",
        checked=CHECKED,
        vlnv=VLNV,
        cell=NAME,
        megahertz=megahertz,
        register_bytes=REGISTER_BYTES,
    )


def _overlay(board: Board, hardware: Hardware, megahertz: int) -> bytes:
    if isinstance(hardware, manifests.Manifest):
        size = -(-hardware.memory.bytes >> PAGE_BITS) << PAGE_BITS
        comment = f"What the network of this build needs, {hardware.memory.bytes} bytes, in whole pages."
    else:
        size, comment = SHARED_BYTES, "A guess: the accelerator has no program, and each needs its own size."
    return render(
        "overlay.dtso.j2",
        board=board,
        ps=board.processor,
        checked=CHECKED,
        megahertz=megahertz,
        register_bytes=REGISTER_BYTES,
        uio=UIO,
        memory=MEMORY,
        memory_bytes=size,
        memory_comment=comment,
    )
