"""Systolith: fixed-point CNN accelerators for FPGAs, from a trained ONNX model to bit-exact Verilog."""

from .api import GoldenRun, QuantizedModel, quantize_model, run_golden
from .quant import SystolithError

__all__ = ["GoldenRun", "QuantizedModel", "SystolithError", "quantize_model", "run_golden"]
