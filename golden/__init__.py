"""The specification in integers: one pure function for each operator, with no knowledge of hardware."""

from .add import add
from .average import average
from .concat import concat
from .conv import convolve
from .depth_to_space import depth_to_space
from .extremum import extremum
from .multiply import multiply
from .network import arranged, output, outputs, quantize_input, quantize_inputs, run, scores
from .normalization import normalize
from .pool import max_pool
from .requantize import dequantize, quantize, requantize
from .select import select
from .storage import storage
from .table import look_up

__all__ = [
    "add",
    "arranged",
    "average",
    "concat",
    "convolve",
    "depth_to_space",
    "dequantize",
    "extremum",
    "look_up",
    "max_pool",
    "multiply",
    "normalize",
    "output",
    "outputs",
    "quantize",
    "quantize_input",
    "quantize_inputs",
    "requantize",
    "run",
    "scores",
    "select",
    "storage",
]
