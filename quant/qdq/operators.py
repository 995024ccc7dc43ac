"""Which operators a quantized model may have between its Qs and DQs, and what the reader takes each for."""

from __future__ import annotations

from ..networks.functions import DEFAULTS
from ..onnx.composed import COMPOSED
from ..onnx.file import STANDARD_DOMAINS

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
MOVES = tuple(sorted(COMPOSED.keys() - {"Max", "Min", "Pad", "ReduceMean", "ReduceSum"}))
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
FUNCTIONS = tuple(sorted(set(DEFAULTS) - {"Clip", "Relu"} | {"PRelu"}))
WINDOWS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
OF_TWO = ("Max", "Min", "Mul", "Sub")
LAYERS = ("Add", "Concat", "LRN", "Sum", *OF_TWO, *WINDOWS, *FUNCTIONS)
BY_CHANNEL = ("Add", "BatchNormalization", "Div", "Mul", "Neg", "Sub", "Sum")
LINEAR_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")  # ONNX Runtime's own Q and DQ, for 16 bits before opset 21
