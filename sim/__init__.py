"""Run the emitted Verilog on real inputs and compare every byte with golden.

All is loaded on first use: what runs it comes with the extra ``sim``, and who reads a build needs no simulator; the
benches, in the simulator's process, need neither.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..quant.graph.errors import SimulationError

__all__ = ["Accelerator", "Difference", "Report", "load", "simulate", "simulate_tensors"]

if TYPE_CHECKING:
    from .accelerator import Accelerator, load
    from .comparison.compare import Difference
    from .report import Report
    from .simulation import simulate, simulate_tensors
else:
    _READS = {
        "Accelerator": "accelerator",
        "load": "accelerator",
        "Difference": "comparison.compare",
        "Report": "report",
    }

    def __getattr__(name: str) -> object:
        if name in _READS:
            return getattr(import_module(f".{_READS[name]}", __name__), name)
        if name not in ("simulate", "simulate_tensors"):
            raise AttributeError(f"module 'systolith.sim' has no attribute '{name}'")
        if find_spec("fcntl") is None:
            raise SimulationError("simulations run on Linux and macOS only; the other commands run here too")
        if missing := [package for package in ("cocotb", "cocotbext") if find_spec(package) is None]:
            raise SimulationError(
                f"the simulation's packages are not installed (no {', '.join(missing)}); "
                "get them with `pip install 'systolith[sim]'`"
            )
        return getattr(import_module(".simulation", __name__), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
