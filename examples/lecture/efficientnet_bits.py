"""EfficientNet-Lite0 with few bits: how often it says what the float network says, beside ONNX Runtime's quantizer.

``python -m examples.lecture.efficientnet_bits OUT`` quantizes the trained network on 32 crops of photographs, weights
of 8 and of 6 bits, maps of 8, and compares it with float on foolbox's 20 ImageNet images and on 100 other crops.  Needs
the ``efficientnet`` extra; some five minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from examples.accuracy import run_onnxruntime
from examples.bits import runtime
from examples.bits.settings import SETTINGS
from examples.quantizers import decibels
from systolith import SystolithError, quantize_model

from .efficientnet import CALIBRATION, crops, imagenet, trained

CROPS, CROPS_SEED = 100, 1  # others than those of calibration
WIDTHS = [setting for setting in SETTINGS if setting.weights in (8, 6)]


@dataclass(frozen=True)
class Row:
    """A quantized network, and for each set of images the share of equal classes, 0..1, and dB of its logits."""

    name: str
    found: tuple[tuple[float, float], ...]


def compare(
    exact: Iterable[NDArray[np.float32]], found: Iterable[NDArray[np.float32]]
) -> tuple[tuple[float, float], ...]:
    """(share of equal classes, dB) of each set of logits, float32 (N, classes), ``exact`` in float."""
    return tuple(
        (float(np.mean(floats.argmax(axis=1) == logits.argmax(axis=1))), decibels(floats, logits))
        for floats, logits in zip(exact, found, strict=True)
    )


def rows(folder: Path) -> Iterator[Row]:
    """The table's, as they are measured."""
    model, target = folder / "lite0.onnx", folder / "lite0-q.onnx"
    sets = imagenet()[0], crops(CROPS, CROPS_SEED)
    trained(model)
    calibration = crops(CALIBRATION)
    exact = [run_onnxruntime(model, images) for images in sets]

    def row(name: str) -> Row:
        return Row(name, compare(exact, [run_onnxruntime(target, images) for images in sets]))

    for setting in WIDTHS:
        quantize_model(model, calibration, target, weight_bits=setting.weights)
        yield row(f"Systolith, {setting.weights}-bit weights")
        if setting.weights in runtime.WEIGHTS:
            runtime.quantize(model, target, setting, calibration)
            yield row(f"ONNX Runtime, {setting.weights}-bit weights")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.lecture.efficientnet_bits", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the models; made if not there")
    options = parser.parse_args()
    table = Table("", "20 images: float's class", "dB", f"{CROPS} crops: float's class", "dB")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        for row in rows(options.out):
            table.add_row(row.name, *(cell for share, noise in row.found for cell in (f"{share:.0%}", f"{noise:.1f}")))
    except ModuleNotFoundError as error:
        hint = "pip install 'systolith[efficientnet]'"
        print(f"efficientnet_bits: error: no module '{error.name}'; {hint}", file=sys.stderr)
        return 1
    except (SystolithError, OSError) as error:
        print(f"efficientnet_bits: error: {error}", file=sys.stderr)
        return 1
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
