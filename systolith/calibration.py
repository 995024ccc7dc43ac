"""Which ranges suit a network: each method on the user's images, measured against the float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from . import quant
from .noise import FloatRun, run_all
from .quant.graph.ports import real_name
from .quant.graph.progress import Counting, uncounted
from .quant.posttraining.histogram import Histogram
from .quant.posttraining.quantize import build, observe
from .quant.posttraining.sampling import evenly
from .quant.posttraining.settings import RANGES, Ranges

Choice = Ranges | Literal["best"]
Images = Mapping[str, NDArray[np.float32]]

MEASURED_MACS = 5 * 10**8  # what measuring may take whatever calibration takes
MEASURED_SHARE = 8  # of the images, one in so many is measured at least
MOST_MEASURED = 256
FAR = 16.0  # an image that reaches so many times as far as the median one is an outlier
NEARLY_ALL = 0.999  # of a tensor's values
FEW_LEVELS = 16  # of 8 bits that nearly all values share: a sliver of the range


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A quantized network, and how it was chosen.

    run : of it, on ``sample``, some of ``images``, those that the ``histograms`` are of
    tried : mean dB of the outputs by method;  warnings : of data that makes it worse than it could be
    rounding : mean dB with each weight's nearest integer and with learned ones, if some were
    """

    graph: quant.Graph
    run: FloatRun
    ranges: Ranges
    images: Images
    sample: Images
    histograms: Mapping[str, Histogram]
    tried: Mapping[Ranges, float]
    warnings: tuple[str, ...]
    rounding: Mapping[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> int:
        """Images that the noise was measured on."""
        return len(next(iter(self.sample.values())))


def calibrated(
    network: quant.FloatGraph, images: Images, settings: quant.Settings, choice: Choice, progress: Counting
) -> Calibrated:
    """``network`` with the ranges of ``choice``: a method, or the one with the least noise on some of ``images``.

    images : float32 (N, C, rows, columns), by input.  Images that reach far beyond the others are left out of the
    ranges if the outputs are better without them.
    """
    methods: tuple[Ranges, ...] = tuple(reversed(RANGES)) if choice == "best" else (choice,)

    def build_all(data: Images) -> Candidates:
        histograms = observe(network, data, progress)
        graphs = {method: build(network, histograms, replace(settings, ranges=method)) for method in methods}
        return Candidates(histograms, graphs)

    def measure(candidates: Candidates, data: Images) -> dict[Ranges, FloatRun]:
        runs = run_all(list(candidates.graphs.values()), network, data, uncounted)
        return dict(zip(candidates.graphs, runs, strict=True))

    candidates, far, warnings = build_all(images), _far(images), []
    macs = max(1, candidates.graphs[methods[0]].macs)
    some = _sample(images, macs)
    runs = measure(candidates, some)
    if far.any():
        near = {name: values[~far] for name, values in images.items()}
        others = build_all(near)
        left_out = _best(measure(others, some))[1] > _best(runs)[1]
        warnings.append(_outlier(images, far, left_out))
        if left_out:
            candidates, images, some = others, near, _sample(near, macs)
            runs = measure(candidates, some)
    method, _ = _best(runs)
    warnings += _slivers(candidates.graphs[method], candidates.histograms)
    tried = {name: score(run) for name, run in runs.items()}
    return Calibrated(
        candidates.graphs[method], runs[method], method, images, some, candidates.histograms, tried, tuple(warnings)
    )


@dataclass(frozen=True, eq=False)
class Candidates:
    """The networks that each method makes of the same ``histograms``."""

    histograms: Mapping[str, Histogram]
    graphs: Mapping[Ranges, quant.Graph]


def _best(runs: Mapping[Ranges, FloatRun]) -> tuple[Ranges, float]:
    """The method with the least noise, the first of equal ones, and its mean dB."""
    return max(((method, score(run)) for method, run in runs.items()), key=lambda found: found[1])


def score(run: FloatRun) -> float:
    """Mean dB of the outputs; exact ones count as 200."""
    return float(np.mean([min(found, 200.0) for found in run.outputs.values()])) if run.outputs else 0.0


def _sample(images: Images, macs: int) -> dict[str, NDArray[np.float32]]:
    """Some of ``images``, evenly spaced; ``macs`` is the work of one."""
    count = len(next(iter(images.values())))
    wanted = min(count, MOST_MEASURED, max(1, count // MEASURED_SHARE, MEASURED_MACS // macs))
    return evenly(images, wanted)


def _far(images: Images) -> NDArray[np.bool_]:
    """Which images reach beyond FAR times the median one, in any input, (N,); none if half of them or more do."""
    far = np.zeros(len(next(iter(images.values()))), np.bool_)
    for values in images.values():
        reach = _reach(values)
        far |= reach > FAR * np.median(reach)
    return far if 0 < 2 * far.sum() < len(far) else np.zeros_like(far)


def _reach(values: NDArray[np.float32]) -> NDArray[np.float32]:
    flat = values.reshape(len(values), -1)
    return np.asarray(np.maximum(flat.max(axis=1), -flat.min(axis=1)))


def _outlier(images: Images, far: NDArray[np.bool_], left_out: bool) -> str:
    """What is said of the images that are ``far``: the first of them, in the input where it is."""
    first, reaches = int(np.argmax(far)), {name: _reach(values) for name, values in images.items()}
    name = max(reaches, key=lambda name: reaches[name][first] / max(float(np.median(reaches[name])), 1e-30))
    reach, others = reaches[name][first], float(np.median(reaches[name]))
    more = f" ({far.sum()} of {len(far)} images reach as far beyond the others)" if far.sum() > 1 else ""
    done = "the ranges are those of the others" if left_out else "the ranges cover it"
    return f"input '{name}': image {first} reaches {reach:g}, the median image {others:g}; {done}{more}"


def _slivers(graph: quant.Graph, histograms: Mapping[str, Histogram]) -> list[str]:
    """Maps of which nearly all values share a few levels: the first of them, as a line."""
    for name, tensor in graph.tensors.items():
        histogram = histograms.get(real_name(name))
        if not isinstance(tensor, quant.FeatureMap) or histogram is None:
            continue
        low, high = histogram.nonzero(NEARLY_ALL)
        levels = (high - low) / float(tensor.scale)
        used = tensor.high - tensor.low + 1
        if 0 < levels < min(used, 2**8) * FEW_LEVELS / 2**8:
            return [
                f"tensor '{real_name(name)}': {NEARLY_ALL:.1%} of its values lie within {low:g}..{high:g} and share"
                f" {max(1, round(levels))} of {used} integers, as a few reach {histogram.low:g}..{histogram.high:g}"
            ]
    return []
