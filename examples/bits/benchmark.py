"""``make bench-bits``: accuracy at few bits, of Systolith, of ONNX Runtime's quantizer and of Brevitas's tools.

Five small networks, each trained from three seeds, are quantized on 256 images and classify 2,000; all quantizers have
the same images and the same widths.  What the folder's results.json has is kept, but for quantizers that are named.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import nn

from . import ours, peer, rows, runtime
from .networks import NETWORKS
from .rows import FLOAT, QUANTIZERS, Row
from .settings import SETTINGS, Setting
from .train import SEEDS, accuracy, calibration_images, test_images, trained

warnings.filterwarnings("ignore")  # torch's and Brevitas's, of what they will drop


@dataclass(frozen=True)
class Case:
    """A trained network and its images.  ``test``: (x, y)."""

    name: str
    seed: int
    model: nn.Module
    file: Path
    calibration: NDArray[np.float32]
    test: tuple[NDArray[np.float32], NDArray[np.int64]]


def prepare(name: str, seed: int, folder: Path) -> Case:
    """The network ``name`` of ``seed``, trained in ``folder`` if it is not there yet."""
    model = trained(name, seed, folder)
    with np.load(calibration_images(folder, seed)) as data, np.load(test_images(folder)) as test:
        return Case(name, seed, model, folder / f"{name}-{seed}.onnx", data["x"], (test["x"], test["y"]))


def asked(name: str, seed: int, quantizers: list[str]) -> Iterator[Row]:
    """The rows that a network is to have, empty."""
    yield Row(name, seed, "", FLOAT)
    for setting in SETTINGS:
        for quantizer in quantizers:
            hows = [how.name for how in peer.combinations(setting)] if quantizer == "Brevitas" else [""]
            yield from (Row(name, seed, setting.name, quantizer, how=how) for how in hows)


def measure(row: Row, case: Case, setting: Setting | None, effort: str) -> Row:
    """``row`` with its figures; ``setting`` is None for float."""
    if setting is None:
        return Row(case.name, case.seed, "", FLOAT, accuracy(case.model, *case.test))
    common = case.name, case.seed, setting
    match row.quantizer:
        case "Systolith":
            return ours.measure(*common, case.file, case.calibration, case.test, effort)
        case "ONNX Runtime":
            return runtime.measure(*common, case.file, case.calibration, case.test)
        case _:
            how = next(each for each in peer.COMBINATIONS if each.name == row.how)
            return peer.measure(*common, how, case.model, case.calibration, case.test)


def show(found: list[Row]) -> Table:
    table = Table(*rows.TITLES, title="mean over seeds, 2,000 images")
    for cells in rows.lines(found):
        table.add_row(*cells)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.bits.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for models, images and results.json")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NETWORKS)}; by default all")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="that networks are trained from")
    parser.add_argument("--quantizers", nargs="+", choices=QUANTIZERS, default=QUANTIZERS, help="after the NAMEs")
    parser.add_argument("--again", action="store_true", help="measure those quantizers anew")
    parser.add_argument("--effort", choices=("fast", "default", "best"), default="default", help="Systolith's")
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    options = parser.parse_intermixed_args()
    if unknown := [name for name in options.names if name not in NETWORKS]:
        parser.error(f"'{unknown[0]}' is no network of {', '.join(NETWORKS)}")
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    console = Console(highlight=False, soft_wrap=True)
    results, settings = options.folder / "results.json", {setting.name: setting for setting in SETTINGS}
    kept = {row.key: row for row in rows.load(results)}
    if options.again:
        kept = {key: row for key, row in kept.items() if row.quantizer not in options.quantizers}
    for seed in options.seeds:
        for name in options.names or NETWORKS:
            wanted = [row for row in asked(name, seed, options.quantizers) if row.key not in kept]
            if not wanted:
                continue
            case = prepare(name, seed, options.folder)
            for row in wanted:
                found = measure(row, case, settings.get(row.setting), options.effort)
                kept[row.key] = found
                rows.save(kept.values(), results)
                what = found.refused or f"{found.accuracy:.4f} in {found.seconds:.1f} s"
                console.print(f"{name} {seed}, {row.setting} {row.quantizer} {row.how}: {what}")
    order = list(NETWORKS)
    ordered = sorted(kept.values(), key=lambda row: (order.index(row.network), row.seed))
    if options.write:
        rows.write(ordered, options.write)
    console.print(show(ordered))


if __name__ == "__main__":
    main()
