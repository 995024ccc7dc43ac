"""The two convolution pictures, made by the accelerator itself: averaging blurs, differences find edges.

``python -m examples.lecture.pictures OUT`` describes a network of one convolution with two filters, quantizes it,
generates a 4x4 accelerator, simulates its Verilog on a photograph, and writes original.png, blur.png and edges.png.

Source: D. Marr and E. Hildreth, "Theory of Edge Detection", 1980, for the Laplacian; the photograph is scikit-image's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from systolith import (
    generate_build,
    golden,
    quant,
    sim,
)

FILTER = 5
AVERAGE = np.full((FILTER, FILTER), 1 / FILTER**2, np.float32)
LAPLACIAN = np.pad(np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32), 1)
SETTINGS = quant.Settings(scales="pow2")  # 4 and -1 stay exact, so that flat areas give 0
EDGE_GAIN = 2

Gray = NDArray[np.float32]
Integers = NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Pictures:
    """The two maps that the accelerator wrote for ``original``, as integers of the graph's last tensor.

    original : float32, (rows, columns), 0 to 1;  blur, edges : (rows - 4, columns - 4)
    """

    graph: quant.Graph
    original: Gray
    blur: Integers
    edges: Integers

    @property
    def scale(self) -> float:
        return float(self.graph.map_of(self.graph.output).scale)

    @property
    def zero_point(self) -> int:
        return self.graph.map_of(self.graph.output).zero_point

    def reals(self, integers: Integers) -> Gray:
        return ((integers.astype(np.int32) - self.zero_point) * self.scale).astype(np.float32)


def photograph(side: int) -> Gray:
    """scikit-image's "camera" (CC0), ``side`` x ``side``, 0 to 1."""
    from skimage import data, transform

    return transform.resize(data.camera(), (side, side), anti_aliasing=True).astype(np.float32)


def filters(image: Gray) -> quant.Graph:
    """One convolution with the two filters, quantized for ``image``."""
    network = quant.Network((1, *image.shape)).conv(2, FILTER, name="filters")
    weights = np.stack([AVERAGE, LAPLACIAN])[:, None]
    model = network.to_onnx(parameters={"filters": (weights, np.zeros(2, np.float32))})
    return quant.quantize(model, image[None, None], SETTINGS)


def compute(image: Gray) -> Pictures:
    """What golden says the accelerator must write."""
    graph = filters(image)
    blur, edges = golden.run(graph, golden.quantize_input(graph, image[None, None]))[graph.output][0]
    return Pictures(graph, image, blur, edges)


def simulate(pictures: Pictures, folder: Path) -> sim.Report:
    """Generate a 4x4 accelerator in ``folder`` and simulate it; every byte that it writes is compared with golden's."""
    quant.save(pictures.graph, folder / "filters.onnx")
    generate_build(folder / "filters.onnx", folder / "build", rows=4, columns=4)
    return sim.simulate(folder / "build", pictures.original[None, None])


def write(pictures: Pictures, folder: Path) -> list[Path]:
    """The three pictures as 8-bit PNG files: edges are bright where the map rises or falls, black where it is flat."""
    from skimage import io

    shown = {
        "original": pictures.original,
        "blur": pictures.reals(pictures.blur),
        "edges": EDGE_GAIN * np.abs(pictures.reals(pictures.edges)),
    }
    paths = [folder / f"{name}.png" for name in shown]
    for path, picture in zip(paths, shown.values(), strict=True):
        io.imsave(path, np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8), check_contrast=False)
    return paths


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.lecture.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the pictures; made if it is not there")
    parser.add_argument("--side", type=int, default=128, metavar="N", help="pixels a side, 16 to 512; default 128")
    options = parser.parse_args()
    if not 16 <= options.side <= 512:
        parser.error(f"--side must be 16 to 512 pixels, not {options.side}")
    try:
        pictures = compute(photograph(options.side))
        with tempfile.TemporaryDirectory() as scratch:
            report = simulate(pictures, Path(scratch))
        if not report.bit_exact:
            print(f"pictures: error: the simulation differs from golden: {report.differences[0]}", file=sys.stderr)
            return 1
        options.out.mkdir(parents=True, exist_ok=True)
        for path in write(pictures, options.out):
            print(path)
    except ModuleNotFoundError as error:
        print(f"pictures: error: no module '{error.name}'; pip install 'systolith[examples]'", file=sys.stderr)
        return 1
    except (quant.SystolithError, OSError) as error:
        print(f"pictures: error: {error}", file=sys.stderr)
        return 1
    print(f"bit-exact, {report.cycles_per_image:,.0f} cycles on a 4x4 array")
    return 0


if __name__ == "__main__":
    sys.exit(main())
