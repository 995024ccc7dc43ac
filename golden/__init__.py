"""The specification in integers: one pure function for each operator, with no knowledge of hardware."""

from .conv import convolve
from .pool import max_pool
from .requantize import dequantize, quantize, requantize
from .run import output, quantize_input, run, storage

__all__ = ["convolve", "dequantize", "max_pool", "output", "quantize", "quantize_input", "requantize", "run", "storage"]
