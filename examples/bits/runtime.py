"""ONNX Runtime's static quantization at one setting: per channel, QDQ, ranges from minimum to maximum.

Its weights have 4 or 8 bits, nothing between.  Activations of 4 bits it writes, but has no kernels for, and its
optimizations then make files that it refuses itself: those run without optimizations, in float, as the file says.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from examples.accuracy import Batches
from systolith.commands.golden import accuracy

from .rows import Row
from .settings import Setting

Floats = NDArray[np.float32]
WEIGHTS = {8: QuantType.QInt8, 4: QuantType.QInt4}
ACTIVATIONS = {8: QuantType.QUInt8, 4: QuantType.QUInt4}


def measure(
    name: str, seed: int, setting: Setting, model: Path, calibration: Floats, test: tuple[Floats, NDArray[np.int64]]
) -> Row:
    """Quantize ``model`` and run it on the ``test`` images, (x, y); a refusal for widths that it does not have."""
    if setting.weights not in WEIGHTS:
        return Row(name, seed, setting.name, "ONNX Runtime", refused="weights of 4 or 8 bits only")
    images, labels = test
    target = model.with_name(f"{model.stem}-ort.onnx")
    began = time.monotonic()
    quantize(model, target, setting, calibration)
    seconds = time.monotonic() - began
    found = accuracy(_run(target, images, optimized=setting.activations == 8), labels)
    return Row(name, seed, setting.name, "ONNX Runtime", found, seconds)


def quantize(model: Path, target: Path, setting: Setting, calibration: Floats) -> None:
    """Write ``model``, of an input "image", with the widths of ``setting``, which are of WEIGHTS and ACTIVATIONS."""
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    logging.disable(logging.WARNING)
    quantize_static(
        str(prepared), str(target), Batches("image", calibration), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=ACTIVATIONS[setting.activations], weight_type=WEIGHTS[setting.weights],
        extra_options={"TensorQuantOverrides": _wide(onnx.load(prepared).graph, setting)},
    )  # fmt: skip
    logging.disable(logging.NOTSET)
    prepared.unlink()


def _wide(graph: onnx.GraphProto, setting: Setting) -> dict[str, list[dict[str, object]]]:
    """What ONNX Runtime is to quantize otherwise than the rest: weights of both ends, and what these read."""
    if not setting.wide_ends:
        return {}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    found: dict[str, list[dict[str, object]]] = {}
    for node in (weighted[0], weighted[-1]):
        found[node.input[1]] = [{"quant_type": WEIGHTS[setting.weights_of(end=True)], "axis": 0}]
        if setting.activations_of(end=True) != setting.activations:
            found[node.input[0]] = [{"quant_type": ACTIVATIONS[setting.activations_of(end=True)]}]
    return found


def _run(model: Path, images: Floats, optimized: bool) -> Floats:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not optimized:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": batch})[0] for batch in np.array_split(images, 8)])
