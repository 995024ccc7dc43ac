"""Systolith: fixed-point CNN accelerators for FPGAs, from a trained ONNX model to bit-exact Verilog."""

import typing as _typing
from importlib import import_module as _import_module
from pathlib import Path as _Path

__version__ = "0.1.0"

if not (_Path(__file__).parent / "quant").is_dir():
    # A checkout, where quant, golden, hw and sim stand beside this folder: installed, they are inside it.
    __path__.append(str(_Path(__file__).resolve().parent.parent))

if _typing.TYPE_CHECKING:
    from . import golden as golden
    from . import quant as quant
    from .commands.board import BoardBuild, board_build
    from .commands.check import CheckedModel, check_model
    from .commands.compile import compile_build
    from .commands.estimate import estimate_build
    from .commands.generate import generate_accelerator, generate_build
    from .commands.golden import GoldenRun, run_golden
    from .commands.package import WrittenPackage, package_build
    from .commands.quantize import QuantizedModel, quantize_model
    from .commands.report import report_build
    from .commands.run import BuildRun, run_build
    from .commands.simulate import simulate_build
    from .quant.graph.errors import SystolithError

__all__ = [
    "BoardBuild",
    "BuildRun",
    "CheckedModel",
    "GoldenRun",
    "QuantizedModel",
    "SystolithError",
    "WrittenPackage",
    "__version__",
    "board_build",
    "check_model",
    "compile_build",
    "estimate_build",
    "generate_accelerator",
    "generate_build",
    "package_build",
    "quantize_model",
    "report_build",
    "run_build",
    "run_golden",
    "simulate_build",
]

if not _typing.TYPE_CHECKING:
    _LATER = {
        "BoardBuild": "commands.board",
        "BuildRun": "commands.run",
        "CheckedModel": "commands.check",
        "GoldenRun": "commands.golden",
        "QuantizedModel": "commands.quantize",
        "SystolithError": "quant.graph.errors",
        "WrittenPackage": "commands.package",
        "board_build": "commands.board",
        "check_model": "commands.check",
        "compile_build": "commands.compile",
        "estimate_build": "commands.estimate",
        "generate_accelerator": "commands.generate",
        "generate_build": "commands.generate",
        "package_build": "commands.package",
        "quantize_model": "commands.quantize",
        "report_build": "commands.report",
        "run_build": "commands.run",
        "run_golden": "commands.golden",
        "simulate_build": "commands.simulate",
    }
    """On first use: reading a model should not wait for Amaranth to load, a simulation's own process for either."""

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return getattr(_import_module(f".{_LATER[name]}", __name__), name)
        if name in ("golden", "quant"):
            return _import_module(f".{name}", __name__)
        raise AttributeError(f"module 'systolith' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
