"""ONNX Runtime on a float model, on what Systolith made of it, and on what its own quantizer makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

Floats = NDArray[np.float32]

REFUSALS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, AssertionError, NotImplementedError)
"""What ONNX Runtime, its quantizer and its shape inference raise for a model that they do not take."""

LEVELS = {"off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL, "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL}


def session(model: str | bytes, level: str = "all") -> ort.InferenceSession:
    """A session of the file or the serialized ``model``."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = LEVELS[level]
    options.add_session_config_entry("session.x64quantprecision", "1")  # pair sums of 8 bits do not saturate
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(model: Path, images: Floats) -> list[Floats]:
    """The outputs of ``model``, image by image, so that a batch size that the exporter fixed does no harm."""
    running = session(str(model))
    name = running.get_inputs()[0].name
    found = [running.run(None, {name: image[None]}) for image in images]
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


class _Calibration(CalibrationDataReader):
    def __init__(self, name: str, images: Floats) -> None:
        self.left = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Floats] | None:
        return next(self.left, None)


def quantize(model: Path, images: Floats, target: Path) -> None:
    """ONNX Runtime's static quantization, as its documentation advises: prepared, QDQ, signed weights per channel."""
    whole, prepared = target.with_suffix(".whole.onnx"), target.with_suffix(".prepared.onnx")
    onnx.save(onnx.load(model), whole)  # its preparation does not find weights that lie beside a file
    quant_pre_process(str(whole), str(prepared), skip_symbolic_shape=True)
    name = session(str(prepared)).get_inputs()[0].name
    quantize_static(
        str(prepared), str(target), _Calibration(name, images), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip


def decibels(exact: list[Floats], found: list[Floats]) -> float:
    """Signal to noise as `quantize` prints it, in dB: of the mean over images of each one's own ratio, over outputs."""
    shares = []
    for right, value in zip(exact, found, strict=True):
        flat = right.reshape(len(right), -1).astype(np.float64)
        noise = np.square(flat - value.reshape(flat.shape)).sum(axis=1)
        shares.append(np.mean(noise / np.square(flat).sum(axis=1)))
    mean = float(np.mean(shares))
    return float("inf") if mean == 0 else -10 * float(np.log10(mean))
