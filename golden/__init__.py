"""The specification in integers: one pure function for each operator, with no knowledge of hardware."""

from .conv import convolve
from .network import output, quantize_input, run, storage
from .pool import max_pool
from .requantize import dequantize, quantize, requantize

__all__ = ["convolve", "dequantize", "max_pool", "output", "quantize", "quantize_input", "requantize", "run", "storage"]
