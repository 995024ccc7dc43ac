"""What firmware in a LiteX SoC runs: images as the accelerator's memory holds them, and golden's answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import golden
from ..data import Inputs
from ..host.arrays import Port
from ..host.build import Build
from ..hw.compiler.dram import Region
from ..hw.vendors.litex import Runs
from ..quant.graph.errors import DataError
from ..sim import accelerator as accelerators
from .golden import load_images

FEW = 6
"""Images, unless somebody says how many: they are part of the firmware."""


def runs_of(build: Path, inputs: Inputs, images: int | None) -> Runs:
    """The first ``images`` of ``inputs``, by default FEW at most, for the build in folder ``build``.

    A last run that is not full is filled up with its last image.  Raises a SystolithError that says what is wrong with
    the folder or the data.
    """
    source = accelerators.load(build)
    data, arrays = load_images(source.graph, inputs)
    count = min(FEW, len(data)) if images is None else images
    if not 1 <= count <= len(data):
        raise DataError(f"images must be 1 to {len(data)}, as many as the data holds, not {count}")
    filled = np.minimum(np.arange(-(-count // source.batch) * source.batch), count - 1)
    some = {name: values[filled] for name, values in arrays.items()}
    network, regions = Build.load(build), source.manifest.memory.regions
    expected = [integers for _, integers in golden.outputs(source.graph, some).values()]
    quantized = [
        port.quantized(some[name], arranged=True)
        for port, name in zip(network.inputs, source.graph.inputs, strict=True)
    ]
    answers = [integers.reshape(-1, *port.shape) for port, integers in zip(network.outputs, expected, strict=True)]
    return Runs(
        _region(regions.input, network.inputs, quantized, source.batch),
        _region(regions.output, network.outputs, answers, source.batch),
    )


def _region(region: Region, ports: Sequence[Port], maps: Sequence[NDArray[Any]], batch: int) -> bytes:
    """The bytes of ``region`` in run after run of ``batch`` images; zero where no map lies."""
    made = b""
    for first in range(0, len(maps[0]), batch):
        data = bytearray(region.bytes)
        for port, integers in zip(ports, maps, strict=True):
            start = port.address - region.address
            data[start : start + port.size] = port.encoded(integers[first : first + batch])
        made += data
    return made
