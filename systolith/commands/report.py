"""The ``report`` command as a function: one HTML page that says what a build is, and what was measured of it."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from .. import golden, quant
from ..bit_choice import BitChoice, Sensitivity, read_notes
from ..hw.compiler.planner import plan
from ..hw.manifest import LATENCY
from ..hw.model.schedule import predict
from ..noise import run_both
from ..progress import progress_bar
from ..quant import ConfigurationError, DataError
from ..quant.onnx.load import load_model
from ..report import accuracy, bits, drawing, pictures
from ..report.advice import Change, advise
from ..report.compared import compared
from ..report.figures import Speed, groups, run_cycles
from ..report.layers import LayerRow, layer_rows
from ..report.memory import (
    in_dram,
    occupancy,
    on_chip,
)
from ..report.memory_plot import memory
from ..report.roofline import roofline
from ..report.stalls import array_time, stalls
from ..report.timeline_plot import timeline
from ..sim import accelerator as accelerators
from ..sim.accelerator import Accelerator
from ..sim.report import Report, read_saved
from .golden import load_images

IMAGES = 100


@dataclass(frozen=True)
class WrittenReport:
    """What ``report_build`` wrote: a page of ``size`` bytes about ``layers`` layers, and what it says first."""

    path: Path
    size: int
    layers: int
    verdict: str
    advice: str | None

    def lines(self) -> list[str]:
        """A summary for people."""
        first = f"{self.path}: {self.layers} layers, {self.verdict}, {self.size / 1000:,.0f} kB"
        return [first] if self.advice is None else [first, self.advice]


def report_build(
    build: str | Path,
    output: str | Path,
    *,
    float_model: str | Path | None = None,
    inputs: str | Path | None = None,
    images: int = IMAGES,
    clock_mhz: float | None = None,
    show_progress: bool = False,
) -> WrittenReport:
    """Write a self-contained HTML page about the folder ``build`` and what `simulate_build` last measured of it.

    inputs : an .npz file, whose first ``images`` images give feature maps, the confusion matrix if it has labels, and,
    against the ONNX file ``float_model``, each tensor's signal-to-noise ratio and the float model's accuracy
    clock_mhz : adds milliseconds and images a second
    Raises a SystolithError that says what is wrong with the folder, the model, the data, the clock or the output.
    """
    quant.check_target(output)
    if float_model is not None and inputs is None:
        raise ConfigurationError("a float model is compared on images; give --inputs DATA.npz too")
    accelerator = accelerators.load(Path(build))
    graph = accelerator.graph
    saved = read_saved(Path(build))
    stale = saved is not None and saved.build != accelerator.build
    report = None if stale else saved
    speed = None
    if clock_mhz is not None:
        speed = Speed(clock_mhz, run_cycles(accelerator, report), accelerator.batch)
    rows = layer_rows(accelerator, graph, report)
    said = _facts(accelerator, rows, report) | {"stale": stale, "speed": speed}
    data = None if inputs is None else _first(graph, inputs, images)
    with progress_bar("comparing with the float model", show_progress) as progress:
        said |= _on_images(graph, data, float_model, progress)
    advice = advise(accelerator, rows, report, predictor(accelerator, graph)) if report else None
    page = _render(said | {"advice": advice})
    quant.write_whole(output, page)
    return WrittenReport(Path(output), len(page), len(rows), said["verdict"], str(advice) if advice else None)


def _facts(accelerator: Accelerator, rows: list[LayerRow], report: Report | None) -> dict[str, Any]:
    """What the page says without any images."""
    manifest = accelerator.manifest
    occupied = occupancy(accelerator)
    return {
        "build": accelerator.folder.absolute().name,
        "parameters": asdict(manifest.parameters),
        "batch": accelerator.batch,
        "memory_bytes": accelerator.memory_bytes,
        "report": report,
        "verdict": _verdict(report),
        "layers": rows,
        "measured": any(row.measured is not None for row in rows),
        "groups": groups(accelerator, rows, report),
        "array_time": array_time(accelerator, report) if report else [],
        "stalls": stalls(accelerator, report) if report else [],
        "compared": compared(rows, report) if report else [],
        "infinity": float("inf"),
        "timeline": Markup(timeline(dict(manifest.timeline), rows, accelerator.predicted_cycles)),
        "roofline": Markup(roofline(rows, accelerator.bus_bytes)) if any(row.macs for row in rows) else None,
        "memory": Markup(memory(occupied, rows, manifest.parameters.accumulator_depth)),
        "on_chip": on_chip(accelerator, occupied, rows),
        "in_dram": in_dram(accelerator),
        "colours": drawing.PALETTE,
    } | _bits(accelerator)


def _bits(accelerator: Accelerator) -> dict[str, Any]:
    """What the page says of the bits of weights and of maps."""
    layers = [layer for layer in accelerator.graph.layers if isinstance(layer, quant.Conv)]
    sizes, widths = [layer.weights.size for layer in layers], [layer.weight_bits for layer in layers]
    choice = read_notes(load_model(accelerator.folder / "model.onnx"))
    return {
        "weights": sum(sizes),
        "mean_bits": sum(map(operator.mul, sizes, widths)) / max(1, sum(sizes)),
        "fewest_bits": min(widths, default=0),
        "most_bits": max(widths, default=0),
        "choice": choice,
        "sensitivities": [Markup(bits.sensitivity(found, what)) for what, found in _sensitivities(choice)],
        "sizes": Markup(bits.size(choice)) if choice else None,
    }


def _sensitivities(choice: BitChoice | None) -> list[tuple[str, tuple[Sensitivity, ...]]]:
    """Those that were measured, of weights and of maps."""
    if choice is None:
        return []
    maps = choice.maps.sensitivities if choice.maps else ()
    return [(what, found) for what, found in (("weights", choice.sensitivities), ("maps", maps)) if found]


def _verdict(report: Report | None) -> str:
    if report is None:
        return "not simulated"
    return "bit-exact" if report.bit_exact else f"{report.mismatches:,} values differ"


def predictor(accelerator: Accelerator, graph: quant.Graph) -> Callable[[Change], float | None]:
    """Cycles of an image if one option of ``generate`` were another, None where that cannot be built."""
    built = accelerator.manifest.parameters

    def predicted(change: Change) -> float | None:
        options: dict[str, Any] = {change.option: change.value}
        batch: int = options.pop("batch", accelerator.batch)
        unfold = options.pop("unfold_input", accelerator.unfolding is not None)
        try:
            changed = plan(graph, replace(built, **options), batch, unfold)
        except ConfigurationError:
            return None
        return predict(changed, LATENCY).cycles / batch

    return predicted


@dataclass(frozen=True, eq=False)
class Shown:
    """What the report looks at: images of each input by its name in the graph, and labels if there are any."""

    images: Mapping[str, NDArray[np.float32]]
    labels: NDArray[np.integer[Any]] | None

    def __len__(self) -> int:
        return len(next(iter(self.images.values())))


def _first(graph: quant.Graph, inputs: str | Path, images: int) -> Shown:
    """The first ``images`` of the data.  Raises DataError if they do not fit the graph."""
    if images < 1:
        raise DataError(f"images must be at least 1, not {images}")
    data, arrays = load_images(graph, inputs)
    labels = None if data.y is None else data.y[:images]
    classes = int(np.prod(graph.tensors[graph.outputs[0]].shape))
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"'{inputs}': y holds labels {labels.min()}..{labels.max()}; the model has classes 0..{classes - 1}"
        )
    return Shown({name: values[:images] for name, values in arrays.items()}, labels)


def _on_images(
    graph: quant.Graph, data: Shown | None, float_model: str | Path | None, progress: Callable[[int, int], None]
) -> dict[str, Any]:
    """What the page says because of images: feature maps, the confusion matrix, the float model on the same images."""
    if data is None:
        return {"images": 0, "maps": [], "confusion": None, "noise": [], "float_accuracy": None, "agreeing": None}
    outputs = [layer.output for layer in graph.layers]
    ran = None
    if float_model is not None:
        ran = run_both(graph, accuracy.load_network(float_model, graph), data.images, progress)
    confusion = agreeing = None
    if data.labels is not None:
        first = graph.outputs[0]
        integers = golden.run(graph, golden.quantize_inputs(graph, data.images), [first])[first]
        confusion = accuracy.confusion(golden.scores(graph, integers), data.labels)
        if ran is not None:
            agreeing = ran.agreeing
    return {
        "images": len(data),
        "maps": pictures.feature_maps(graph, {name: values[:1] for name, values in data.images.items()}, outputs),
        "confusion": confusion,
        "noise": ran.noise if ran else [],
        "float_accuracy": float(np.mean(ran.guesses == data.labels)) if ran and data.labels is not None else None,
        "agreeing": agreeing,
    }


def _render(said: dict[str, Any]) -> bytes:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["volume"] = lambda shape: "\N{MULTIPLICATION SIGN}".join(map(str, shape))
    environment.filters["significant"] = lambda value: f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    page, style = (
        (files("systolith.report") / name).read_text(encoding="utf-8") for name in ("page.html.j2", "page.css")
    )
    return environment.from_string(page).render(said, style=Markup(style)).encode()
