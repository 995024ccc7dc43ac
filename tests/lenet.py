"""The trained LeNet-5 of the example, quantized, and its held-out digits."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from systolith.quant import (
    Graph,
    Settings,
    load_float,
    quantize,
)

from . import npz

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "lenet5"


@cache
def lenet5(
    scales: str, weight_bits: int = 8, activation_bits: int = 8, effort: str = "fast"
) -> tuple[Graph, np.ndarray]:
    """(graph, digits): LeNet-5 and images (N, 1, 28, 28) float32 that training never saw."""
    calibration = npz.read(FOLDER / "calibration.npz")["x"]
    settings = Settings(scales=scales, weight_bits=weight_bits, activation_bits=activation_bits, effort=effort)
    graph = quantize(load_float(FOLDER / "lenet5.onnx"), calibration, settings)
    return graph, npz.read(FOLDER / "test.npz")["x"]
