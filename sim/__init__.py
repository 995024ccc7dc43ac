"""Run the emitted Verilog on real inputs and compare every byte with golden."""

from .accelerator import Accelerator, load
from .comparison.compare import Difference
from .report import Report
from .simulation import simulate, simulate_tensors

__all__ = ["Accelerator", "Difference", "Report", "load", "simulate", "simulate_tensors"]
