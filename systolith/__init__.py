"""Systolith: fixed-point CNN accelerators for FPGAs, from a trained ONNX model to bit-exact Verilog."""

from .api import GoldenRun, QuantizedModel, quantize_model, run_golden
from .quant import SystolithError

__all__ = [
    "GoldenRun",
    "QuantizedModel",
    "SystolithError",
    "generate_build",
    "quantize_model",
    "report_build",
    "run_golden",
    "simulate_build",
]


def __getattr__(name: str) -> object:
    """The hardware side on first use: reading a model should not wait for Amaranth and the simulation to load."""
    if name == "generate_build":
        from .generation import generate_build

        return generate_build
    if name == "report_build":
        from .reporting import report_build

        return report_build
    if name == "simulate_build":
        from .simulation import simulate_build

        return simulate_build
    raise AttributeError(f"module 'systolith' has no attribute '{name}'")
