"""EfficientNet-Lite0 with few bits: how often it says what the float network says, beside ONNX Runtime's quantizer.

``python -m examples.lecture.efficientnet_bits OUT`` quantizes the trained network on 32 crops of photographs, weights
of 8 and of 6 bits, maps of 8, and compares it with float on foolbox's 20 ImageNet images and on 100 other crops.  Needs
the ``efficientnet`` extra; some five minutes on one core.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from rich.console import Console
from rich.table import Table

from examples.accuracy import Batches, run_onnxruntime
from examples.quantizers import decibels
from systolith import quantize_model

from .efficientnet import MEAN, SIDE, Images, calibration, imagenet, trained
from .photographs import photographs

CROPS, CROPS_SEED = 100, 1  # others than those of calibration
WEIGHT_BITS = (8, 6)


@dataclass(frozen=True)
class Row:
    """A quantized network, and for each set of images the share of equal classes and dB of its logits."""

    name: str
    found: tuple[tuple[float, float], ...]


def crops() -> Images:
    """Crops of photographs that were not calibrated on, as the network takes them."""
    found = photographs(CROPS, SIDE, CROPS_SEED)
    return ((found + np.reshape(MEAN, (3, 1, 1)) - 127) / 128).astype(np.float32)


def compare(
    float_logits: list[NDArray[np.float32]], found: Iterator[NDArray[np.float32]]
) -> tuple[tuple[float, float], ...]:
    """(share of equal classes, dB) of each set of logits."""
    return tuple(
        (float(np.mean(exact.argmax(axis=1) == logits.argmax(axis=1))), decibels(exact, logits))
        for exact, logits in zip(float_logits, found, strict=True)
    )


def by_onnxruntime(model: Path, images: Images, target: Path) -> None:
    """ONNX Runtime's static quantization at 8 bits, as it is by default, a scale for each channel."""
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    logging.disable(logging.WARNING)
    quantize_static(prepared, target, Batches("image", images), quant_format=QuantFormat.QDQ, per_channel=True)
    logging.disable(logging.NOTSET)
    prepared.unlink()


def rows(folder: Path) -> Iterator[Row]:
    """The table's, as they are measured."""
    model, quantized = folder / "lite0.onnx", folder / "lite0-q.onnx"
    trained(model)
    images, sets = calibration(), (imagenet()[0], crops())
    exact = [run_onnxruntime(model, each) for each in sets]
    quantizers: dict[str, Callable[[], object]] = {
        f"Systolith, {bits}-bit weights": lambda bits=bits: quantize_model(model, images, quantized, weight_bits=bits)
        for bits in WEIGHT_BITS
    }
    quantizers["ONNX Runtime, 8-bit weights"] = lambda: by_onnxruntime(model, images, quantized)
    for name, quantize in quantizers.items():
        quantize()
        yield Row(name, compare(exact, (run_onnxruntime(quantized, each) for each in sets)))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.lecture.efficientnet_bits", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the models; made if not there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    table = Table("", "20 images: float's class", "dB", f"{CROPS} crops: float's class", "dB")
    try:
        for row in rows(options.out):
            table.add_row(row.name, *(cell for share, noise in row.found for cell in (f"{share:.0%}", f"{noise:.1f}")))
    except ModuleNotFoundError as error:
        print(
            f"efficientnet_bits: error: no module '{error.name}'; pip install 'systolith[efficientnet]'",
            file=sys.stderr,
        )
        return 1
    Console().print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
