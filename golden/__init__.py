"""The specification in integers: one pure function for each operator, with no knowledge of hardware."""

from .add import add
from .average import average
from .concat import concat
from .conv import convolve
from .extremum import extremum
from .multiply import multiply
from .network import output, quantize_input, run
from .normalization import normalize
from .pool import max_pool
from .requantize import dequantize, quantize, requantize
from .storage import storage
from .table import look_up

__all__ = [
    "add",
    "average",
    "concat",
    "convolve",
    "dequantize",
    "extremum",
    "look_up",
    "max_pool",
    "multiply",
    "normalize",
    "output",
    "quantize",
    "quantize_input",
    "requantize",
    "run",
    "storage",
]
