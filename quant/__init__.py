"""Trained float networks to quantized graphs: import, calibration, quantization, and the QDQ ONNX file."""

from .files import check_target, write_whole
from .graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    Extremum,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Selection,
    Sums,
    Table,
    Tensor,
)
from .graph.errors import (
    ConfigurationError,
    DataError,
    GraphError,
    ModelError,
    SimulationError,
    SystolithError,
)
from .graph.legality import check
from .networks.builder import Network
from .networks.layers import FloatGraph
from .networks.network_layer import NetworkLayer
from .onnx.importer import import_onnx
from .posttraining.quantize import check_images, load_float, quantize
from .posttraining.settings import Settings
from .qdq.reader import load
from .qdq.writer import save, to_onnx

__all__ = [
    "Add",
    "AveragePool",
    "Concat",
    "ConfigurationError",
    "Conv",
    "DataError",
    "DepthToSpace",
    "Extremum",
    "FeatureMap",
    "FloatGraph",
    "Graph",
    "GraphError",
    "Layer",
    "MaxPool",
    "ModelError",
    "Multiply",
    "Network",
    "NetworkLayer",
    "Normalization",
    "Selection",
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
