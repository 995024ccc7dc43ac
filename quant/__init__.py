"""Trained float networks to quantized graphs: import, calibration, quantization, and the QDQ ONNX file."""

import typing as _typing
from importlib import import_module as _import_module

if _typing.TYPE_CHECKING:
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
        HostError,
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
    "HostError",
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

if not _typing.TYPE_CHECKING:
    _PLACES = {
        "files": ("check_target", "write_whole"),
        "graph": (
            "Add",
            "AveragePool",
            "Concat",
            "Conv",
            "DepthToSpace",
            "Extremum",
            "FeatureMap",
            "Graph",
            "Layer",
            "MaxPool",
            "Multiply",
            "Normalization",
            "Selection",
            "Sums",
            "Table",
            "Tensor",
        ),
        "graph.errors": (
            "ConfigurationError",
            "DataError",
            "GraphError",
            "HostError",
            "ModelError",
            "SimulationError",
            "SystolithError",
        ),
        "graph.legality": ("check",),
        "networks.builder": ("Network",),
        "networks.layers": ("FloatGraph",),
        "networks.network_layer": ("NetworkLayer",),
        "onnx.importer": ("import_onnx",),
        "posttraining.quantize": ("check_images", "load_float", "quantize"),
        "posttraining.settings": ("Settings",),
        "qdq.reader": ("load",),
        "qdq.writer": ("save", "to_onnx"),
    }
    _LATER = {name: module for module, names in _PLACES.items() for name in names}
    """On first use: a board that reads ``graph`` alone has no onnx."""

    def __getattr__(name: str) -> object:
        if name in _LATER:
            return getattr(_import_module(f".{_LATER[name]}", __name__), name)
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
