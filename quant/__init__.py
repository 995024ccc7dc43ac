"""Trained float networks to quantized graphs: import, calibration, quantization, and the QDQ ONNX file."""

from .builder import Network, NetworkLayer
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
from .graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Normalization,
    Sums,
    Table,
    Tensor,
)
from .importer import import_onnx
from .legality import check
from .posttraining import check_images, load_float, quantize
from .reader import load
from .settings import Settings
from .writer import save, to_onnx

__all__ = [
    "Add",
    "AveragePool",
    "Concat",
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
    "Network",
    "NetworkLayer",
    "Normalization",
    "Settings",
    "SimulationError",
    "Sums",
    "SystolithError",
    "Table",
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
