"""The ``quantize`` command as a function, its summary for people, and what the other commands take for its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from rich.markup import escape
from rich.table import Table

from .. import quant
from ..aim import aim_of
from ..bit_choice import BitChoice, Sensitivity, notes
from ..calibration import Calibrated, Choice, calibrated
from ..data import Inputs, load_data
from ..learning import learned
from ..mixed_precision import chosen, likely, warnings
from ..noise import classifies
from ..progress import progress_bar
from ..quant.graph import INT32
from ..quant.onnx.load import load_model
from ..quant.posttraining.equalize import equalized_if_narrow
from ..quant.posttraining.settings import Effort, Ranges, Scales
from ..quant.posttraining.weights import reach_of
from ..quant.posttraining.widths import learns
from ..quant.posttraining.widths import weight_bits as weight_bits_of
from ..sensitivity import CANDIDATES, MAP_CANDIDATES, decibels

LEAST_LOSS, MOST_LOSSES = 0.5, 5  # dB, layers: what is worth a line
NEARLY_FULL = 0.9  # of int32: what a layer reaches whose weights were made narrower for it


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """What ``quantize_model`` made: the graph, the file that holds it if one was asked for, what the host must do.

    asked : bits of each layer's weights, by its name;  choice : how they were chosen, if they were
    """

    graph: quant.Graph
    path: Path | None
    dropped: tuple[str, ...]
    images: int
    asked: Mapping[str, int]
    calibrated: Calibrated
    choice: BitChoice | None = None

    def __repr__(self) -> str:
        return f"<QuantizedModel: {self._summary()}>"

    @property
    def mean_bits(self) -> float:
        """Of all weights, as asked for."""
        sizes = {layer.name: layer.weights.size for layer in self.graph.layers if isinstance(layer, quant.Conv)}
        return sum(size * self.asked[name] for name, size in sizes.items()) / max(1, sum(sizes.values()))

    @property
    def model(self) -> onnx.ModelProto:
        """The QDQ ONNX model that the file holds, made anew."""
        return quant.to_onnx(self.graph, notes(self.choice))

    def _summary(self) -> str:
        kinds = sum(isinstance(layer, quant.Conv) for layer in self.graph.layers)
        return (
            f"{len(self.graph.layers)} layers, {kinds} of them with weights, {self.graph.macs:,} MACs an image; "
            f"calibrated on {self.images} images"
        )

    def lines(self) -> list[str]:
        """A summary for people."""
        lines = [f"{self.path}: {self._summary()}" if self.path else self._summary()]
        for layer in self.graph.layers:
            if isinstance(layer, quant.Conv) and layer.weight_bits < self.asked[layer.name] and self._full(layer):
                used = f"{layer.weight_bits} of {self.asked[layer.name]} weight bits"
                lines.append(f"layer '{layer.name}': {used}, so that its sums fit int32")
        lines += [f"left to the host: {what}" for what in self.dropped]
        return lines + self._noise_lines() + [f"warning: {what}" for what in self.calibrated.warnings]

    def _full(self, layer: quant.Conv) -> bool:
        """Whether a sum of ``layer`` comes near the ends of int32."""
        sums = layer.magnitudes * reach_of(self.graph.map_of(layer.input)) + np.abs(layer.bias)
        return bool(sums.max() > NEARLY_FULL * INT32.max)

    def _noise_lines(self) -> list[str]:
        """What quantization costs: dB of each output, classes that stay, and what other ranges would have cost."""
        found = self.calibrated
        on = f"{found.measured} image{'s' if found.measured > 1 else ''}"
        lines = [f"output '{name}': {each:.1f} dB against float on {on}" for name, each in found.run.outputs.items()]
        if classifies(self.graph):
            lines.append(f"classes: as the float model's on {found.run.agreeing} of {on}")
        if len(found.tried) > 1:
            tried = ", ".join(f"{method} {each:.1f} dB" for method, each in found.tried.items())
            lines.append(f"ranges: {found.ranges}, the best of {tried}")
        if len(set(self.asked.values())) > 1:
            lines.append(f"weights: {self.mean_bits:.2f} bits on average")
        if self.choice is not None and self.choice.maps is not None:
            lines.append(f"feature maps: {self.choice.maps.mean:.2f} bits on average")
        if found.rounding:
            rounded = ", ".join(f"{how} {each:.1f} dB" for how, each in found.rounding.items())
            lines.append(f"rounding: {rounded}")
        return lines

    def tables(self) -> list[Table]:
        """The bits that were chosen, of weights and of maps, and the layers that lose most: those that there are."""
        return [table for table in (self.bits(), self.map_bits(), self.losses()) if table is not None]

    def bits(self) -> Table | None:
        """What was measured of each layer's weights, and the bits that they got; None if they were not chosen."""
        return None if self.choice is None else _bits("layer", "weights", self.choice.sensitivities, CANDIDATES)

    def map_bits(self) -> Table | None:
        """The same of the maps on each grid, by the layer that writes the first of them."""
        if self.choice is None or self.choice.maps is None:
            return None
        return _bits("map of", "elements", self.choice.maps.sensitivities, MAP_CANDIDATES)

    def losses(self) -> Table | None:
        """The layers whose outputs are noisier than what they read, worst first; None if none is."""
        rows = [row for row in self.calibrated.run.noise if row.lost is not None and row.lost >= LEAST_LOSS]
        if not rows:
            return None
        table = Table(box=None, header_style="bold")
        table.add_column("layers that lose most")
        for title in ("dB", "lost"):
            table.add_column(title, justify="right")
        for row in sorted(rows, key=lambda row: -(row.lost or 0))[:MOST_LOSSES]:
            table.add_row(escape(row.layer), f"{row.each:.1f}", f"{row.lost:.1f}")
        return table


def _bits(name: str, size: str, found: Sequence[Sensitivity], candidates: Sequence[int]) -> Table | None:
    """Sensitivities as a table, its first two columns so called; None without any."""
    if not found:
        return None
    table = Table(box=None, header_style="bold")
    table.add_column(name, no_wrap=True)
    for title in (size, "bits", *(f"dB at {bits}" for bits in candidates)):
        table.add_column(title, justify="right")
    for one in sorted(found, key=lambda one: -one.size):
        noise = (one.noise.get(bits) for bits in candidates)
        cells = ("" if ratio is None else f"{decibels(ratio):.1f}" for ratio in noise)
        table.add_row(escape(one.layer), f"{one.size:,}", str(one.bits), *cells)
    return table


Quantized = str | Path | onnx.ModelProto | quant.Graph | QuantizedModel
"""A quantized model: a QDQ ONNX file, its ModelProto, or what ``quantize_model`` returned, or the graph of that."""


def graph_of(model: Quantized) -> quant.Graph:
    """The quantized graph that ``model`` is.  Raises ModelError or GraphError if it is none."""
    if isinstance(model, QuantizedModel):
        return model.graph
    return quant.check(model) if isinstance(model, quant.Graph) else quant.load(model)


def model_of(model: Quantized) -> onnx.ModelProto:
    """``model`` as QDQ ONNX, external data included.  Raises ModelError or GraphError if it cannot be."""
    if isinstance(model, QuantizedModel):
        return model.model
    if isinstance(model, quant.Graph):
        return quant.to_onnx(graph_of(model))
    return load_model(model)


def quantize_model(
    model: str | Path | onnx.ModelProto,
    calibration: Inputs,
    output: str | Path | None = None,
    *,
    scales: Scales = "float",
    weight_bits: int = 8,
    activation_bits: int = 8,
    bits: Mapping[str, str] | None = None,
    budget: float | str | None = None,
    loss: float | None = None,
    narrow_maps: bool = False,
    range_method: Choice = "best",
    effort: Effort = "default",
    seed: int = 0,
    show_progress: bool = False,
) -> QuantizedModel:
    """Quantize a float ONNX model on images, and write it as a QDQ ONNX model if ``output`` names a file.

    calibration : an .npz file with the images ``x``, or an array of (N, C, rows, columns) or (N, C, length)
    scales : "float" or "pow2";  weight_bits, activation_bits : 2 to 16
    bits : "WEIGHTS" or "WEIGHTS:ACTIVATIONS" of the layers whose names match a pattern, the last one that does;
        ACTIVATIONS are the bits of what the layer reads
    budget : mean bits of all weights;  loss : points of images that keep the float network's class, or dB if it does
        not classify, against ``weight_bits``: bits of the other layers are chosen by either, 2 to ``weight_bits``
        "W:M" or ":M" as a budget: M mean bits of the elements of all maps that layers write, but for those that share
        a grid with an input or an output of the network
    narrow_maps : for a loss, whether maps are narrowed too
    range_method : "minmax", "percentile", "mse", or "best": the one with the least noise on some of the images
    effort : "fast" rounds weights to the nearest integer; "default" learns from the images how to round those of
        at most 8 bits; "best" searches longer;  seed : of what is drawn to learn from
    Raises a SystolithError that says what is wrong with the arguments, the model, the data or the output.
    """
    ranges: Ranges = "mse" if range_method == "best" else range_method
    settings = quant.Settings(scales, weight_bits, activation_bits, ranges, bits or {}, effort, seed)
    aim = aim_of(budget, loss, narrow_maps)
    if output is not None:
        quant.check_target(output)
    network = quant.load_float(model)
    data = load_data(calibration, names=list(network.inputs))
    images = data.checked(network.inputs, network.arrays)
    expected = settings if aim is None else likely(network, settings, aim)
    network = equalized_if_narrow(network, images, expected)
    again = aim is not None or learns(network, settings)
    with progress_bar("calibrating", show_progress) as progress:
        found = calibrated(network, images, expected.wide() if again else expected, range_method, progress)
    settings, choice = replace(settings, ranges=found.ranges), None
    if aim is not None:
        with progress_bar("measuring each layer", show_progress) as progress:
            settings, choice = chosen(network, found, settings, aim, progress)
        found = replace(found, warnings=(*found.warnings, *warnings(found, aim)))
    if again:
        with progress_bar("learning to round", show_progress) as progress:
            found = learned(found, network, settings, progress)
    if output is not None:
        quant.save(found.graph, output, notes(choice))
    path = None if output is None else Path(output)
    return QuantizedModel(
        found.graph, path, network.dropped, len(data), weight_bits_of(network, settings), found, choice
    )
