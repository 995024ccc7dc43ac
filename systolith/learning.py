"""Learned rounding, measured beside rounding to the nearest: what is not better is not taken."""

from __future__ import annotations

from dataclasses import replace

from . import quant
from .calibration import Calibrated, score
from .noise import run_all
from .quant.graph.progress import Counting, uncounted
from .quant.posttraining.quantize import build
from .quant.posttraining.widths import learns


def learned(found: Calibrated, network: quant.FloatGraph, settings: quant.Settings, progress: Counting) -> Calibrated:
    """``found`` with the widths of ``settings``, its integers learned from its images as far as that makes it better.

    settings : with the ranges of ``found``;  progress : of (layers done, layers in all)
    """
    graphs = {"nearest": build(network, found.histograms, settings)}
    if learns(network, settings):
        graphs["learned"] = build(network, found.histograms, settings, found.images, progress)
    measured = run_all(list(graphs.values()), network, found.sample, uncounted)
    runs = dict(zip(graphs, measured, strict=True))
    rounding = {name: score(run) for name, run in runs.items()}
    chosen = max(rounding, key=lambda name: rounding[name])
    return replace(found, graph=graphs[chosen], run=runs[chosen], rounding=rounding if len(rounding) > 1 else {})
