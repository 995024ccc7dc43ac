"""The ``quantize`` command as a function, and its summary for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import quant
from ..data import load_data
from ..progress import progress_bar
from ..quant.posttraining.settings import Ranges, Scales


@dataclass(frozen=True, eq=False)
class QuantizedModel:
    """What ``quantize_model`` made: the graph, the file that holds it, and what was left to the host."""

    graph: quant.Graph
    path: Path
    dropped: tuple[str, ...]
    images: int
    weight_bits: int

    def lines(self) -> list[str]:
        """A summary for people."""
        graph = self.graph
        kinds = sum(isinstance(layer, quant.Conv) for layer in graph.layers)
        lines = [
            f"{self.path}: {len(graph.layers)} layers, {kinds} of them with weights, {graph.macs:,} MACs an image;"
            f" calibrated on {self.images} images"
        ]
        for layer in graph.layers:
            if isinstance(layer, quant.Conv) and layer.weight_bits < self.weight_bits and layer.weights.any():
                used = f"{layer.weight_bits} of {self.weight_bits} weight bits"
                lines.append(f"layer '{layer.name}': {used}, so that its sums fit int32")
        return lines + [f"left to the host: {what}" for what in self.dropped]


def quantize_model(
    model: str | Path,
    calibration: str | Path,
    output: str | Path,
    *,
    scales: Scales = "float",
    weight_bits: int = 8,
    activation_bits: int = 8,
    range_method: Ranges = "mse",
    show_progress: bool = False,
) -> QuantizedModel:
    """Quantize a float ONNX model on the images of an .npz file and write it as a QDQ ONNX model.

    scales : "float" or "pow2";  weight_bits, activation_bits : 2 to 16;  range_method : "minmax", "percentile", "mse"
    Raises a SystolithError that says what is wrong with the arguments, the model, the data or the output.
    """
    settings = quant.Settings(scales, weight_bits, activation_bits, range_method)
    quant.check_target(output)
    network = quant.load_float(model)
    images = load_data(calibration).x
    with progress_bar("calibrating", show_progress) as progress:
        graph = quant.quantize(network, images, settings, progress)
    quant.save(graph, output)
    return QuantizedModel(graph, Path(output), network.dropped, len(images), weight_bits)
