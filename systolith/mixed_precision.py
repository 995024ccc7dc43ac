"""Mixed precision chosen by measuring: how many bits each layer's weights need, and each feature map.

Each layer's weights alone get fewer bits, their rounding learned, or the maps on one grid alone, and the noise of the
network's outputs is measured (Z. Dong et al., "HAWQ: Hessian AWare Quantization of Neural Networks with
Mixed-Precision", 2019, asks the same of second derivatives).  Noises of several of them add up, nearly.  So from the
widest bits on, always that is narrowed whose noise grows least for each bit of memory that it gives back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from glob import escape

import numpy as np

from . import quant
from .aim import Aim
from .bit_choice import BitChoice, MapChoice, Sensitivity, Unit
from .calibration import Calibrated, score
from .descent import Step, filled, mean_bits, steps, within_budget, within_loss
from .learning import learned
from .noise import FloatRun, classifies
from .quant.graph.progress import Counting, uncounted
from .sensitivity import Widths, map_widths, sensitivities, weight_widths, wide

LEAST_HALVED = 8  # images: of fewer, a loss is measured on those that were learned from


def chosen(
    network: quant.FloatGraph, found: Calibrated, settings: quant.Settings, aim: Aim, progress: Counting
) -> tuple[quant.Settings, BitChoice]:
    """``settings`` with the bits that reach ``aim``, and how they were chosen; ``found`` has wide weights.

    progress : of (layers and grids done, layers and grids in all)
    Raises ConfigurationError if nothing reaches it.
    """
    weights = weight_widths(network, settings, aim.chooses_weights)
    maps = map_widths(network, settings, aim.chooses_maps)
    if aim.maps is not None and not (maps.open or maps.fixed):
        raise quant.ConfigurationError(
            "no feature map lies between the network's ends, which keep their bits; leave the maps out of the budget"
        )
    of_weights, of_maps = sensitivities(network, found, settings, weights, maps, progress)
    losses: dict[float, float] = {}
    path: list[Step] = []
    map_path: list[Step] = []
    if aim.loss is not None:
        path = steps(of_weights, of_maps, (*weights.fixed, *(maps.fixed if aim.narrow_maps else ())))
        step, losses = within_loss(path, Loss(network, found, settings), aim.loss)
    else:
        step = Step({}, 0.0, 0.0)
        if aim.weights is not None:
            path = steps(of_weights, (), weights.fixed)
            step = filled(within_budget(path, aim.weights), aim.weights, of_weights, (), weights.fixed)
        if aim.maps is not None:
            map_path = steps((), of_maps, maps.fixed)
            within = within_budget(map_path, aim.maps, " of maps")
            step = replace(step, maps=filled(within, aim.maps, (), of_maps, maps.fixed).maps)
    told = _told(of_weights, step.bits)
    choice = BitChoice(_mean(told, weights), told, _points(path), tuple(losses.items()), _unit(found))
    if aim.chooses_maps:
        told = _told(of_maps, step.maps)
        together = step.mean if aim.narrow_maps else None
        choice = replace(choice, maps=MapChoice(_mean(told, maps), told, _points(map_path), together))
    return with_bits(settings, step), choice


def likely(network: quant.FloatGraph, settings: quant.Settings, aim: Aim) -> quant.Settings:
    """``settings`` with maps about as wide as ``aim`` will make them: what channels and ranges are made ready for."""
    maps = map_widths(network, settings, aim.chooses_maps)
    return replace(settings, maps={layer: min(bits, aim.likely_bits) for layer, (_, bits) in maps.open.items()})


def warnings(found: Calibrated, aim: Aim) -> tuple[str, ...]:
    """What is said of images that tell little of what ``aim`` asks for."""
    if aim.loss is None or _unit(found) == "dB" or len(set(found.run.guesses.tolist())) > 1:
        return ()
    return (
        "the float model takes all images that were measured for one class, which a network that always says so keeps;"
        " for a loss give images of several classes",
    )


def _told(found: Sequence[Sensitivity], bits: Mapping[str, int]) -> tuple[Sensitivity, ...]:
    return tuple(replace(one, bits=bits[one.layer]) for one in found)


def _mean(found: Sequence[Sensitivity], widths: Widths) -> float:
    return mean_bits([*((one.size, one.bits) for one in found), *widths.fixed])


def _points(path: Sequence[Step]) -> tuple[tuple[float, float], ...]:
    return tuple((step.mean, step.noise) for step in path)


def _unit(found: Calibrated) -> Unit:
    return "points" if classifies(found.graph) else "dB"


def with_bits(settings: quant.Settings, step: Step) -> quant.Settings:
    """``settings`` with the bits of ``step``, those said by hand still counting."""
    bits = {escape(name): str(bits) for name, bits in step.bits.items()} | dict(settings.bits)
    return replace(settings, bits=bits, maps=step.maps)


class Loss:
    """What a choice loses, each half of the images measured with what is learned from the other half."""

    def __init__(self, network: quant.FloatGraph, found: Calibrated, settings: quant.Settings) -> None:
        even, odd = ({name: values[first::2] for name, values in found.images.items()} for first in (0, 1))
        enough = len(next(iter(found.images.values()))) >= LEAST_HALVED
        pairs = [(odd, even), (even, odd)] if enough else [(found.images, found.images)]
        self._network, self._settings = network, settings
        self._folds = [replace(found, images=learned_from, sample=measured) for learned_from, measured in pairs]
        self._before = self._kept_by(wide(settings))

    def __call__(self, step: Step) -> float:
        return self._before - self._kept_by(with_bits(self._settings, step))

    def _kept_by(self, settings: quant.Settings) -> float:
        return float(
            np.mean([self._kept(learned(fold, self._network, settings, uncounted).run) for fold in self._folds])
        )

    def _kept(self, run: FloatRun) -> float:
        """Percent of the images that keep the float network's class, or dB of the outputs if they are no classes."""
        return 100 * run.agreeing / len(run.guesses) if classifies(self._folds[0].graph) else score(run)
