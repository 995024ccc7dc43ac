"""The accelerator as one portable Verilog file."""

import gc
import re
from functools import lru_cache
from typing import Final

from amaranth import Signal
from amaranth.back import verilog

from ..isa.parameters import Parameters
from .accelerator import Accelerator

TOP: Final = "systolith"


@lru_cache(maxsize=4)
def emit_verilog(parameters: Parameters, *, monitor: bool = False) -> str:
    """Verilog-2005 of the accelerator with ``parameters``; the same parameters give the same text.

    monitor : the accelerator's monitor has ports; else it ends inside, where a simulation sees it and synthesis
    removes it
    """
    # elaboration makes millions of small objects that all stay alive; collecting them costs a third of its time
    gc.disable()
    try:
        accelerator = Accelerator(parameters=parameters)
        text = verilog.convert(
            accelerator, name=TOP, ports=_ports(accelerator, monitor), strip_internal_attrs=True, emit_src=False
        )
    finally:
        gc.enable()
    return _shorter_memories(text)


def _ports(accelerator: Accelerator, monitor: bool) -> dict[str, tuple[Signal, None]]:
    """The top module's ports by their names in Verilog: ``m_axi.read.araddr`` is m_axi_araddr.

    What the accelerator drives is an output (None leaves that to Amaranth).
    """
    members = accelerator.signature.flatten(accelerator)
    return {
        "_".join([first, *inner[-1:]]): (signal, None)
        for (first, *inner), _, signal in members
        if monitor or first != "monitor"
    }


_ZEROS = re.compile(r"  initial begin\n((?:    (\w+|\\\S+ )\[\d+\] = \d+'[dh]0+;\n)+)  end\n")


def _shorter_memories(text: str) -> str:
    """A loop instead of a line for each zero word of a memory."""
    count = 0

    def loop(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        lines = match.group(1).splitlines()
        memory, width = match.group(2), lines[0].split("=")[1].split("'")[0].strip()
        return (
            f"  integer word_{count};\n  initial\n"
            f"    for (word_{count} = 0; word_{count} < {len(lines)}; word_{count} = word_{count} + 1)\n"
            f"      {memory}[word_{count}] = {width}'h0;\n"
        )

    return _ZEROS.sub(loop, text)
