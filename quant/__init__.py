"""Trained float networks to quantized graphs: import, calibration, quantization, and the QDQ ONNX file."""

from .errors import (
    ConfigurationError,
    DataError,
    GraphError,
    ModelError,
    SimulationError,
    SystolithError,
)
from .files import check_target, write_whole
from .floats import FloatGraph
from .graph import Conv, FeatureMap, Graph, Layer, MaxPool, Sums, Tensor, check
from .importer import import_onnx
from .posttraining import check_images, load_float, quantize
from .reader import load
from .settings import Settings
from .writer import save, to_onnx

__all__ = [
    "ConfigurationError",
    "Conv",
    "DataError",
    "FeatureMap",
    "FloatGraph",
    "Graph",
    "GraphError",
    "Layer",
    "MaxPool",
    "ModelError",
    "Settings",
    "SimulationError",
    "Sums",
    "SystolithError",
    "Tensor",
    "check",
    "check_images",
    "check_target",
    "import_onnx",
    "load",
    "load_float",
    "quantize",
    "save",
    "to_onnx",
    "write_whole",
]
