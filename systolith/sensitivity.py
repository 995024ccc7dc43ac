"""How sensitive a network's outputs are to fewer bits: of each layer's weights alone, of each grid's maps alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from . import golden, quant
from .bit_choice import Sensitivity
from .calibration import Calibrated, Images
from .quant.graph.ports import real_name
from .quant.graph.progress import Counting
from .quant.networks.execute import run_float
from .quant.networks.layers import Convolution
from .quant.networks.shapes import shapes
from .quant.posttraining.alternatives import alternatives
from .quant.posttraining.grids import groups
from .quant.posttraining.narrow_maps import narrow_maps
from .quant.posttraining.quantize import build
from .quant.posttraining.sampling import batch_size, evenly, some_images
from .quant.posttraining.widths import WIDEST, by_hand, inner_maps, map_bits, maps_by_hand, weight_bits

CANDIDATES = (2, 3, 4, 6, 8)  # bits of weights
MAP_CANDIDATES = (3, 4, 5, 6, 8)
MEASURED_MACS = 2**42  # of all networks that are measured
MOST_MEASURED = 64  # images


@dataclass(frozen=True)
class Widths:
    """What a choice of bits is about, of weights or of maps: sizes are weights, or elements of an image's maps.

    open : (size, widest bits) of what may be narrowed, by layer;  fixed : (size, bits) of what counts beside it
    """

    open: Mapping[str, tuple[int, int]]
    fixed: tuple[tuple[int, int], ...]


def weight_widths(network: quant.FloatGraph, settings: quant.Settings, narrowed: bool) -> Widths:
    """Of the weights of each layer: those that are said by hand are fixed, all of them unless they are ``narrowed``."""
    said, bits = by_hand(network, settings), weight_bits(network, settings)
    sizes = {layer.name: layer.weights.size for layer in network.layers if isinstance(layer, Convolution)}
    return _divided({name: (size, bits[name], name not in said) for name, size in sizes.items()}, narrowed)


def map_widths(network: quant.FloatGraph, settings: quant.Settings, narrowed: bool) -> Widths:
    """Of the maps on each grid of its own, by the layer that writes the first of them: as ``weight_widths``."""
    size, group, said = shapes(network), groups(network), maps_by_hand(network, settings)
    bits = map_bits(network, group, settings)
    parts = {
        layer: (sum(math.prod(size[name]) for name in names), bits[names[0]], not said.intersection(names))
        for layer, names in inner_maps(network, group).items()
    }
    return _divided(parts, narrowed)


def _divided(parts: Mapping[str, tuple[int, int, bool]], narrowed: bool) -> Widths:
    """``parts``, (size, bits, whether they may be narrowed) by layer."""
    return Widths(
        {layer: (size, bits) for layer, (size, bits, may) in parts.items() if narrowed and may},
        tuple((size, bits) for size, bits, may in parts.values() if not (narrowed and may)),
    )


def sensitivities(
    network: quant.FloatGraph,
    found: Calibrated,
    settings: quant.Settings,
    weights: Widths,
    maps: Widths,
    progress: Counting,
) -> tuple[list[Sensitivity], list[Sensitivity]]:
    """How sensitive the outputs are to each of the ``weights`` and ``maps`` that are open; ``found`` has wide weights.

    progress : of (layers and grids done, layers and grids in all)
    """
    of_weights = {
        layer: [*(bits for bits in CANDIDATES if bits < most), *([most] if most < WIDEST else [])]
        for layer, (_, most) in weights.open.items()
    }
    of_maps = {layer: [bits for bits in MAP_CANDIDATES if bits < most] for layer, (_, most) in maps.open.items()}
    images = _some(found, sum(map(len, (*of_weights.values(), *of_maps.values()))))
    exact = _exact(network, images)
    learned_from = some_images(network, found.images)
    widest = build(network, found.histograms, wide(settings), learned_from)
    before = _noise(widest, images, exact)
    layers = len(network.layers) if of_weights else 0
    total = layers + len(of_maps)

    def measured(narrower: Iterator[tuple[str, int, quant.Graph]], widths: Widths) -> list[Sensitivity]:
        noise: dict[str, dict[int, float]] = {layer: {} for layer in widths.open}
        for layer, bits, graph in narrower:
            noise[layer][bits] = max(0.0, _noise(graph, images, exact) - before)
        return [Sensitivity(layer, size, most, most, noise[layer]) for layer, (size, most) in widths.open.items()]

    def part(before: int) -> Counting:
        return lambda done, _: progress(before + done, total)

    by_weights = alternatives(network, widest, learned_from, of_weights, settings, part(0))
    by_maps = narrow_maps(network, widest, found.histograms, of_maps, wide(settings), part(layers))
    return measured(by_weights, weights), measured(by_maps, maps)


def wide(settings: quant.Settings) -> quant.Settings:
    """``settings`` with no weight narrower than 8 bits: what narrow weights are measured against."""
    return replace(settings.wide(), effort=settings.effort)


def decibels(noise: float) -> float:
    """The signal-to-noise ratio of a relative mean square error, 200 at most."""
    return float(-10 * np.log10(max(noise, 1e-20)))


def _some(found: Calibrated, graphs: int) -> dict[str, NDArray[np.float32]]:
    """Images to measure on: fewer for large networks."""
    count = len(next(iter(found.sample.values())))
    macs = max(1, found.graph.macs) * max(1, graphs)
    wanted = max(1, min(count, MOST_MEASURED, MEASURED_MACS // macs))
    return evenly(found.sample, wanted)


def _exact(network: quant.FloatGraph, images: Images) -> dict[str, NDArray[np.float32]]:
    """The float network's outputs, by name."""
    count, size = len(next(iter(images.values()))), batch_size(network)
    parts: dict[str, list[NDArray[np.float32]]] = {name: [] for name in network.outputs}
    for start in range(0, count, size):
        for name, values in run_float(network, {key: some[start : start + size] for key, some in images.items()}):
            if name in parts:
                parts[name].append(values)
    return {name: np.concatenate(some) for name, some in parts.items()}


def _noise(graph: quant.Graph, images: Images, exact: Mapping[str, NDArray[np.float32]]) -> float:
    """Mean square error of the outputs beside their mean square, the mean over outputs."""
    inputs = {name: images[real_name(name)] for name in graph.inputs}
    made = golden.run(graph, golden.quantize_inputs(graph, inputs), graph.outputs)
    ratios = []
    for name in graph.outputs:
        reals = exact[real_name(name)].astype(np.float64)
        error = reals - golden.dequantize(made[name].reshape(reals.shape), graph.tensors[name])
        ratios.append(np.mean(error**2) / max(np.mean(reals**2), np.finfo(np.float64).tiny))
    return float(np.mean(ratios))
