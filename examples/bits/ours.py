"""Systolith's post-training quantization at one setting, computed by golden and by ONNX Runtime on the same file."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.accuracy import run_onnxruntime
from systolith import golden, quant
from systolith.commands.golden import accuracy
from systolith.commands.quantize import quantize_model
from systolith.quant.networks.layers import Convolution

from .rows import Row
from .settings import ENDS, Setting

Floats = NDArray[np.float32]


def ends(model: Path) -> tuple[str, str]:
    """The names of the first and of the last layer of ``model`` that have weights."""
    weighted = [layer.name for layer in quant.load_float(model).layers if isinstance(layer, Convolution)]
    return weighted[0], weighted[-1]


def measure(
    name: str, seed: int, setting: Setting, model: Path, calibration: Floats, test: tuple[Floats, NDArray[np.int64]],
    effort: str,
) -> Row:  # fmt: skip
    """Quantize ``model``, write it beside it, and compare golden with ONNX Runtime on the ``test`` images, (x, y)."""
    target = model.with_name(f"{model.stem}-q.onnx")
    bits = dict.fromkeys(ends(model), f"{ENDS}:{ENDS}") if setting.wide_ends else {}
    began = time.monotonic()
    quantize_model(
        model, calibration, target, weight_bits=setting.weights, activation_bits=setting.activations, bits=bits,
        effort=effort, seed=seed,
    )  # fmt: skip
    seconds = time.monotonic() - began
    images, labels = test
    outputs = golden.output(quant.load(target), images)[0]
    unlike = int(np.count_nonzero(outputs != run_onnxruntime(target, images)))
    return Row(name, seed, setting.name, "Systolith", accuracy(outputs, labels), seconds, unlike=unlike)
