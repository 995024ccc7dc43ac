"""Systolith: fixed-point CNN accelerators for FPGAs, from a trained ONNX model to bit-exact Verilog."""

import typing as _typing
from importlib import import_module as _import_module
from pathlib import Path as _Path

__version__ = "0.1.0"

if not (_Path(__file__).parent / "quant").is_dir():
    # A checkout, where quant, golden, hw and sim stand beside this folder: installed, they are inside it.
    __path__.append(str(_Path(__file__).resolve().parent.parent))

from .commands.golden import GoldenRun, run_golden
from .commands.quantize import QuantizedModel, quantize_model
from .quant import SystolithError

if _typing.TYPE_CHECKING:
    from .commands.compile import compile_build
    from .commands.estimate import estimate_build
    from .commands.generate import generate_accelerator, generate_build
    from .commands.report import report_build
    from .commands.simulate import simulate_build

__all__ = [
    "GoldenRun",
    "QuantizedModel",
    "SystolithError",
    "__version__",
    "compile_build",
    "estimate_build",
    "generate_accelerator",
    "generate_build",
    "quantize_model",
    "report_build",
    "run_golden",
    "simulate_build",
]

if not _typing.TYPE_CHECKING:
    _LATER = {
        "compile_build": "compile",
        "estimate_build": "estimate",
        "generate_accelerator": "generate",
        "generate_build": "generate",
        "report_build": "report",
        "simulate_build": "simulate",
    }
    """The hardware side, on first use: reading a model should not wait for Amaranth to load."""

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return getattr(_import_module(f".commands.{_LATER[name]}", __name__), name)
        raise AttributeError(f"module 'systolith' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
