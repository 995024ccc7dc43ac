"""``python -m examples.accuracy EXAMPLE``: held-out accuracy, float, quantized by Systolith, and by ONNX Runtime.

EXAMPLE is a folder with one .onnx file, calibration.npz and test.npz; ``--inputs`` names other labelled images.  Needs
the ``onnxruntime`` extra.  Every quantized model runs twice, in golden and in ONNX Runtime's integer kernels; the last
column counts the logits in which the two differ, which must be 0.
"""

import argparse
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from rich.console import Console
from rich.table import Table

from systolith import golden, quant
from systolith.commands.golden import accuracy
from systolith.data import Data, load_data

Floats = NDArray[np.float32]


SETTINGS = (
    *(quant.Settings("float", ranges=ranges) for ranges in ("minmax", "percentile", "mse")),
    *(quant.Settings("pow2", ranges=ranges) for ranges in ("minmax", "percentile", "mse")),
    *(quant.Settings(scales, 4, activation_bits) for activation_bits in (8, 4) for scales in ("float", "pow2")),
)


@dataclass(frozen=True)
class Row:
    """One model: who quantized it and how, its accuracy (0..1), and how many logits golden computes differently."""

    name: str
    accuracy: float
    differences: int | None = None


class Batches(CalibrationDataReader):
    """Calibration images for ONNX Runtime's quantizer, 50 at a time."""

    def __init__(self, name: str, images: Floats) -> None:
        self.feeds: Iterator[dict[str, Floats]] = iter(
            [{name: images[start : start + 50]} for start in range(0, len(images), 50)]
        )

    def get_next(self) -> dict[str, Floats] | None:
        return next(self.feeds, None)


def run_onnxruntime(model: Path, images: Floats) -> Floats:
    """The output of ``model`` in ONNX Runtime, with exact 16-bit sums on processors without VNNI."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: images})[0]


def compare(name: str, model: Path, images: Floats, labels: NDArray[np.int64]) -> Row:
    """Accuracy of a quantized ``model`` by golden, and the logits that differ from ONNX Runtime's."""
    y, _ = golden.output(quant.load(model), images)
    differences = int(np.count_nonzero(y != run_onnxruntime(model, images)))
    return Row(name, accuracy(y, labels), differences)


def table(model: Path, calibration: Floats, test: Data, folder: Path) -> list[Row]:
    """A row for the float ``model``, one for each of SETTINGS, and ONNX Runtime's own; files are made in ``folder``."""
    images, labels = test.x, test.y
    rows = [Row("float", accuracy(run_onnxruntime(model, images), labels))]
    path = folder / "quantized.onnx"
    for choice in SETTINGS:
        quant.save(quant.quantize(model, calibration, choice), path)
        name = f"Systolith W{choice.weight_bits}A{choice.activation_bits} {choice.scales} {choice.ranges}"
        rows.append(compare(name, path, images, labels))
    for per_channel in (False, True):
        quantize_static(
            model,
            path,
            Batches("image", calibration),
            quant_format=QuantFormat.QDQ,
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        kind = "per channel" if per_channel else "per tensor"
        rows.append(compare(f"ONNX Runtime W8A8 {kind}", path, images, labels))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.accuracy", description=__doc__.splitlines()[0])
    parser.add_argument("example", type=Path, metavar="EXAMPLE", help="examples/lenet5 or examples/resnet8")
    parser.add_argument("--inputs", type=Path, metavar="DATA.npz", help="labelled images; default EXAMPLE/test.npz")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    model = min(options.example.glob("*.onnx"))
    test = load_data(options.inputs or options.example / "test.npz")
    with tempfile.TemporaryDirectory() as folder:
        rows = table(model, load_data(options.example / "calibration.npz").x, test, Path(folder))
    result = Table("model", "accuracy", "against float", "logits that differ")
    for row in rows:
        points = f"{100 * (row.accuracy - rows[0].accuracy):+.1f} points"
        result.add_row(row.name, f"{row.accuracy:.1%}", points, "" if row.differences is None else str(row.differences))
    Console().print(f"{model.stem} on {len(test.x):,} held-out images", result)


if __name__ == "__main__":
    main()
