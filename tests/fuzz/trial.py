"""One file of the fuzzing: made from its number, read, computed, and what came of it."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx

from systolith import golden, quant
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan

from .mutate import mutated

IMAGES = 2
LARGEST_IMAGE = 2**20  # values; a model that takes a larger one is given a small one, which it must refuse
PLANNED_MACS, PLANNED_LAYERS = 10**5, 4  # of what is planned for an accelerator too, as that takes long
LONGEST = 3000  # characters of a refusal: three names
SETTINGS = (quant.Settings(), quant.Settings("pow2", 4, 6, "percentile"), quant.Settings("float", 16, 16, "minmax"))
FAILURES = ("exception", "over memory", "over time", "died")


@dataclass(frozen=True)
class Outcome:
    """``kind`` is "accepted", "refused" or one of FAILURES; ``said`` is the message, or the traceback."""

    kind: str
    said: str = ""

    @property
    def failed(self) -> bool:
        return self.kind in FAILURES


def write(corpus: dict[str, list[onnx.ModelProto]], number: int, seed: int, folder: Path) -> Path:
    """File ``number``: float if it is even, quantized if it is odd."""
    kind = ("float", "quantized")[number % 2]
    random = np.random.default_rng([seed, number])
    model = corpus[kind][int(random.integers(0, len(corpus[kind])))]
    path = folder / f"{kind}-{seed}-{number}.onnx"
    path.write_bytes(mutated(model, random))
    return path


def run(path: Path) -> Outcome:
    """What a user's commands do with the file, without their own process: every warning is an exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            _float(path) if path.name.startswith("float") else _quantized(path)
    except quant.SystolithError as error:
        one_line = len(str(error).splitlines()) == 1 and len(str(error)) < LONGEST
        return Outcome("refused" if one_line else "exception", str(error))
    except MemoryError:
        return Outcome("over memory", traceback.format_exc())
    except Exception:
        return Outcome("exception", traceback.format_exc())
    return Outcome("accepted")


def _float(path: Path) -> None:
    network = quant.load_float(path)
    settings = SETTINGS[len(network.layers) % len(SETTINGS)]
    graph = quant.quantize(network, _images(network.inputs), settings)
    quant.save(graph, path.with_suffix(".q"))
    _compute(quant.load(path.with_suffix(".q")))


def _quantized(path: Path) -> None:
    _compute(quant.load(path))


def _compute(graph: quant.Graph) -> None:
    shapes = {name: graph.map_of(name).shape for name in graph.inputs}
    images = _images(shapes)
    for name, shape in shapes.items():
        quant.check_images(images[name], shape, "the images")
    golden.outputs(graph, images)
    if graph.macs <= PLANNED_MACS and len(graph.layers) <= PLANNED_LAYERS:
        plan(graph, parameters_for(graph, rows=4, columns=4))


def _images(shapes: Mapping[str, tuple[int, int, int]]) -> dict[str, np.ndarray]:
    """Images of these ``shapes``, by name."""
    random = np.random.default_rng(0)
    sizes = {name: shape if prod(shape) <= LARGEST_IMAGE else (1, 1, 1) for name, shape in shapes.items()}
    return {name: random.standard_normal((IMAGES, *size)).astype(np.float32) for name, size in sizes.items()}


def template(message: str) -> str:
    """``message`` without names and numbers."""
    return re.sub(r"'[^']*'|\[[^]]*\]|\([^)]*\)|-?[\d.,]+(e[+-]\d+)?|\b(nan|inf)\b", "_", message)[:110]
