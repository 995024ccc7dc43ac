"""The small and light networks, and two large ones: where each comes from, and how many times its limit it may take.

None is defined here: they are the examples', the lecture's and those of ``examples.models``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from examples.lecture.networks import lecture_network
from examples.lecture.photographs import photographs
from systolith import quantize_model

Images = NDArray[np.float32]
EXAMPLES = Path(__file__).parent.parent
HARDWARE = {"rows": 16, "columns": 16, "bus_bytes": 16}
"""What is not named is as ``systolith generate`` has it: 32 KiB of accumulators, 4 of weight FIFO."""

MHZ = {8: 111.9, 16: 99.3}
"""Of an array with as many rows, what its accelerator for LeNet-5 was routed at on an ECP5-85F: docs/fpga.md."""

MEMORIES = (64, 128, 256, 512)
"""KiB of activations: the first of them that the planner does not refuse."""

LECTURE_IMAGES = 8


@dataclass(frozen=True)
class Light:
    """A network on an accelerator.

    write : the float model to a file;  inputs : to calibrate on, of which the first is simulated
    most, goal : times the limit, None where none was set;  sizes : of the accelerator, beside HARDWARE
    quantized : the network's name in the cache, where several rows share one
    """

    write: Callable[[Path], None]
    inputs: Callable[[], Images]
    most: float | None = None
    goal: float | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    quantized: str = ""

    @property
    def hardware(self) -> dict[str, int]:
        return {**HARDWARE, **self.sizes}


def of_models(name: str, most: float, goal: float) -> Light:
    """A network of ``examples.models``, which need torch."""

    def write(path: Path) -> None:
        from examples.models.networks import export

        export(name, "script", path)

    def inputs() -> Images:
        from examples.models.networks import EXAMPLES as MODELS

        return MODELS[name].inputs(MODELS[name].counts[0], MODELS[name].shape)

    return Light(write, inputs, most, goal)


def of_lecture(name: str, most: float | None = None, goal: float | None = None, **sizes: int) -> Light:
    """A network of the lecture, on photographs."""

    def write(path: Path) -> None:
        onnx.save(lecture_network(name), path)

    return Light(write, partial(photographs, LECTURE_IMAGES), most, goal, sizes)


def of_example(name: str, most: float, goal: float, **sizes: int) -> Light:
    """A trained network of this repository."""
    folder = EXAMPLES / name

    def inputs() -> Images:
        with np.load(folder / "calibration.npz") as data:
            return np.asarray(data["x"], np.float32)

    def write(path: Path) -> None:
        path.write_bytes((folder / f"{name}.onnx").read_bytes())

    return Light(write, inputs, most, goal, sizes, name)


def efficientnet_lite0(most: float, goal: float) -> Light:
    """The trained EfficientNet-Lite0, which needs the ``efficientnet`` extra."""

    def write(path: Path) -> None:
        from examples.lecture.efficientnet import trained

        trained(path)

    def inputs() -> Images:
        from examples.lecture.efficientnet import CALIBRATION, crops

        return crops(CALIBRATION)

    return Light(write, inputs, most, goal)


NETWORKS: Mapping[str, Light] = {
    "mobilenet-v2": of_models("mobilenet-v2", 1.35, 1.15),
    "efficientnet-lite0": efficientnet_lite0(1.30, 1.15),
    "mobilenet-v1-quarter": of_models("tiny-wake-words", 1.70, 1.3),
    "ds-cnn": of_models("tiny-keywords", 1.70, 1.3),
    "srcnn": of_models("srcnn", 1.30, 1.1),
    "densenet-121": of_models("densenet-121", 1.20, 1.08),
    "googlenet": of_lecture("googlenet", 1.10, 1.04),
    "alexnet": of_lecture("alexnet", 1.04, 1.01),
    "resnet-50": of_lecture("resnet50", 1.04, 1.01),
    "squeezenet": of_lecture("squeezenet", 1.12, 1.05),
    "resnet-8": of_example("resnet8", 1.07, 1.03),
    "lenet-5": of_example("lenet5", 1.35, 1.2),
    "lenet-5-8x8": of_example("lenet5", 1.17, 1.12, rows=8, columns=8, bus_bytes=8),
    "vgg-19": of_lecture("vgg19"),
    "zf-net": of_lecture("zfnet"),
}


def prepare(name: str, folder: Path) -> Path:
    """The quantized network of the row ``name``, made in ``folder`` if it is not there yet."""
    light = NETWORKS[name]
    found = folder / f"{light.quantized or name}-q.onnx"
    if not found.exists():
        model = found.with_name(f"{light.quantized or name}.onnx")
        light.write(model)
        half = found.with_name(f"{found.name}.part")
        quantize_model(model, light.inputs(), half)
        half.rename(found)
    return found
