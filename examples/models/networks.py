"""The table of networks: what each is called, how it is built, what it reads, and a smaller input to simulate it on."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from examples.lecture.photographs import photographs

from . import classifiers, detectors, images, mobile, signals, tiny
from .blocks import alive
from .keras import keras_cnn
from .rows import Exporter

Data = Literal["photographs", "gray", "noise"]
SEED = 0
LARGE = 30_000  # values of an input


@dataclass(frozen=True)
class Example:
    """build : the network;  shape, small : of one input, and of the one that is simulated if the first takes too long

    data : photographs of about -1..1, gray ones, or noise;  exporters : that write it
    """

    build: Callable[[], nn.Module | onnx.ModelProto]
    shape: tuple[int, ...]
    small: tuple[int, ...] | None = None
    data: Data = "photographs"
    exporters: tuple[Exporter, ...] = ("script", "dynamo")

    @property
    def counts(self) -> tuple[int, int]:
        """Inputs to calibrate on, which batch normalizations know too, and others to test on: more of small ones."""
        return (64, 32) if np.prod(self.shape) < LARGE else (8, 8)

    def inputs(self, count: int, shape: tuple[int, ...], seed: int = SEED) -> NDArray[np.float32]:
        """``count`` inputs of ``shape``, float32."""
        if self.data == "noise":
            return np.random.default_rng(seed).standard_normal((count, *shape), np.float32)
        found = _photographs(count, shape[1], seed)
        return found[:, :1] if self.data == "gray" else found


@cache
def _photographs(count: int, size: int, seed: int) -> NDArray[np.float32]:
    return photographs(count, size, seed) / np.float32(128)


PHOTOGRAPH, SMALL = (3, 224, 224), (3, 64, 64)

EXAMPLES: Mapping[str, Example] = {
    "tiny-keywords": Example(tiny.KeywordSpotting, (1, 49, 10), data="noise"),
    "tiny-wake-words": Example(tiny.VisualWakeWords, (3, 96, 96)),
    "tiny-resnet8": Example(tiny.ImageClassification, (3, 32, 32)),
    "tiny-anomaly": Example(tiny.AnomalyDetection, (640,), data="noise"),
    "mobilenet-v1": Example(mobile.MobileNetV1, PHOTOGRAPH, SMALL),
    "mobilenet-v2": Example(mobile.MobileNetV2, PHOTOGRAPH, SMALL),
    "mobilenet-v3-small": Example(mobile.MobileNetV3Small, PHOTOGRAPH, SMALL),
    "efficientnet-b0": Example(mobile.EfficientNetB0, PHOTOGRAPH, SMALL),
    "shufflenet-v2": Example(mobile.ShuffleNetV2, PHOTOGRAPH, SMALL),
    "squeezenet-1.1": Example(classifiers.SqueezeNet, PHOTOGRAPH, SMALL),
    "resnet-18": Example(classifiers.ResNet18, PHOTOGRAPH, SMALL),
    "densenet-121": Example(classifiers.DenseNet121, PHOTOGRAPH, SMALL),
    "inception-v3": Example(classifiers.InceptionV3, (3, 299, 299), (3, 91, 91)),
    "yolo-v3-tiny": Example(detectors.YoloV3Tiny, (3, 416, 416), SMALL),
    "yolo-v5n": Example(detectors.YoloV5n, (3, 640, 640), SMALL),
    "yolo-v8n": Example(detectors.YoloV8n, (3, 640, 640), SMALL),
    "unet-transposed": Example(partial(images.UNet, "transposed"), (3, 128, 128), SMALL),
    "unet-nearest": Example(partial(images.UNet, "nearest"), (3, 128, 128), SMALL),
    "unet-bilinear": Example(partial(images.UNet, "bilinear"), (3, 128, 128), SMALL),
    "srcnn": Example(images.Srcnn, (1, 96, 96), (1, 24, 24), "gray"),
    "espcn": Example(images.Espcn, (1, 64, 64), (1, 24, 24), "gray"),
    "fsrcnn": Example(images.Fsrcnn, (1, 64, 64), (1, 24, 24), "gray"),
    "dncnn": Example(images.DnCnn, (1, 64, 64), (1, 24, 24), "gray"),
    "autoencoder": Example(images.Autoencoder, (1, 28, 28), data="gray"),
    "m5": Example(signals.M5, (1, 8000), data="noise"),
    "temporal": Example(signals.Temporal, (1, 256), data="noise"),
    "ecg": Example(signals.Ecg, (1, 187), data="noise"),
    "mel-audio": Example(signals.MelAudio, (1, 40, 101), data="noise"),
    "pointnet": Example(signals.PointNet, (3, 1024), (3, 128), "noise"),
    "c3d": Example(signals.C3D, (3, 8, 32, 32), data="noise"),
    "keras": Example(partial(keras_cnn, SEED), (28, 28, 1), data="noise", exporters=("tf2onnx",)),
}


def export(name: str, exporter: Exporter, path: Path, *, small: bool = False) -> None:
    """Write the network ``name`` to ``path``, by one of torch's exporters, weights seeded, batch size free."""
    example = EXAMPLES[name]
    built = example.build()
    if isinstance(built, onnx.ModelProto):
        onnx.save(built, path)
        return
    inputs = torch.from_numpy(example.inputs(example.counts[0], (small and example.small) or example.shape))
    model = alive(built, (inputs,), SEED)
    with contextlib.redirect_stdout(io.StringIO()):
        if exporter == "script":
            free = {"x": {0: "N"}}
            torch.onnx.export(
                model, (inputs[:1],), path, input_names=["x"], dynamic_axes=free, opset_version=17, dynamo=False
            )  # fmt: skip
        else:
            batch = {0: torch.export.Dim("N", min=1, max=4096)}
            torch.onnx.export(model, (inputs[:2],), path, input_names=["x"], dynamic_shapes=(batch,), dynamo=True)
