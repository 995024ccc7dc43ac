"""The ``report`` command as a function: one HTML page that says what a build is, and what was measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from .. import golden, quant
from ..data import Data, load_data
from ..progress import progress_bar
from ..quant import ConfigurationError, DataError
from ..report import accuracy, facts, pictures, plots
from ..sim import accelerator as accelerators
from ..sim.accelerator import Accelerator
from ..sim.report import Report, read_saved

IMAGES = 100


@dataclass(frozen=True)
class WrittenReport:
    """What ``report_build`` wrote: a page of ``size`` bytes about ``layers`` layers, and what it says first."""

    path: Path
    size: int
    layers: int
    verdict: str

    def lines(self) -> list[str]:
        """A summary for people."""
        return [f"{self.path}: {self.layers} layers, {self.verdict}, {self.size / 1000:,.0f} kB"]


def report_build(
    build: str | Path,
    output: str | Path,
    *,
    float_model: str | Path | None = None,
    inputs: str | Path | None = None,
    images: int = IMAGES,
    show_progress: bool = False,
) -> WrittenReport:
    """Write a self-contained HTML page about the folder ``build`` and what `simulate_build` last measured of it.

    inputs : an .npz file, whose first ``images`` images give feature maps, the confusion matrix if it has labels, and,
    against the ONNX file ``float_model``, each tensor's signal-to-noise ratio
    Raises a SystolithError that says what is wrong with the folder, the model, the data or the output.
    """
    quant.check_target(output)
    if float_model is not None and inputs is None:
        raise ConfigurationError("a float model is compared on images; give --inputs DATA.npz too")
    accelerator = accelerators.load(Path(build))
    graph = accelerator.graph()
    saved = read_saved(Path(build))
    stale = saved is not None and saved.build != accelerator.build
    said = _facts(accelerator, graph, None if stale else saved) | {"stale": stale}
    data = None if inputs is None else _first(load_data(inputs), images, graph, inputs)
    with progress_bar("comparing with the float model", show_progress) as progress:
        said |= _on_images(graph, data, float_model, said["layers"], progress)
    page = _render(said)
    quant.write_whole(output, page)
    return WrittenReport(Path(output), len(page), len(said["layers"]), said["verdict"])


def _facts(accelerator: Accelerator, graph: quant.Graph, report: Report | None) -> dict[str, Any]:
    """What the page says without any images."""
    manifest = accelerator.manifest
    layers = facts.layer_rows(accelerator, graph, report)
    measured = report is not None and bool(report.layer_cycles)
    return {
        "build": accelerator.folder.absolute().name,
        "parameters": asdict(manifest.parameters),
        "memory_bytes": accelerator.memory_bytes,
        "report": report,
        "verdict": _verdict(report),
        "layers": layers,
        "measured": measured,
        "groups": facts.groups(accelerator, layers, report),
        "array_time": facts.array_time(accelerator, report) if report else [],
        "stalls": facts.stalls(accelerator, report) if report else [],
        "compared": facts.compared(layers, report) if report else [],
        "infinity": float("inf"),
        "timeline": Markup(plots.timeline(dict(manifest.timeline), layers, manifest.predicted_cycles)),
        "roofline": _roofline(layers, accelerator.bus_bytes),
        "colours": plots.PALETTE,
    }


def _verdict(report: Report | None) -> str:
    if report is None:
        return "not simulated"
    return "bit-exact" if report.bit_exact else f"{report.mismatches:,} values differ"


def _roofline(layers: list[facts.LayerRow], bus_bytes: int) -> Markup | None:
    if not any(row.macs and row.moved for row in layers):
        return None
    return Markup(plots.roofline(layers, bus_bytes))


def _first(data: Data, images: int, graph: quant.Graph, inputs: str | Path) -> Data:
    """The first ``images`` of the data, checked against the graph.  Raises DataError if they do not fit it."""
    if images < 1:
        raise DataError(f"images must be at least 1, not {images}")
    quant.check_images(data.x, graph.map_of(graph.input).shape, f"x in '{inputs}'")
    labels = None if data.y is None else data.y[:images]
    classes = int(np.prod(graph.tensors[graph.output].shape))
    if labels is not None and (labels.min() < 0 or labels.max() >= classes):
        raise DataError(
            f"'{inputs}': y holds labels {labels.min()}..{labels.max()}; the model has classes 0..{classes - 1}"
        )
    return Data(data.x[:images], labels)


def _on_images(
    graph: quant.Graph,
    data: Data | None,
    float_model: str | Path | None,
    layers: list[facts.LayerRow],
    progress: Callable[[int, int], None],
) -> dict[str, Any]:
    """What the page says because of images: feature maps, the confusion matrix, the noise against the float model."""
    if data is None:
        return {"images": 0, "maps": [], "confusion": None, "noise": []}
    outputs = [layer.output for layer in graph.layers]
    noise: list[accuracy.Noise] = []
    if float_model is not None:
        network = accuracy.load_network(float_model, graph)
        noise = accuracy.noise(graph, network, data.x, progress)
    confusion = None
    if data.y is not None:
        confusion = accuracy.confusion(golden.output(graph, data.x)[0], data.y)
    return {
        "images": len(data.x),
        "maps": pictures.feature_maps(graph, data.x[0], outputs),
        "confusion": confusion,
        "noise": noise,
    }


def _render(said: dict[str, Any]) -> bytes:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    environment.filters["volume"] = lambda shape: "\N{MULTIPLICATION SIGN}".join(map(str, shape))
    template = environment.from_string((files("systolith.report") / "page.html.j2").read_text(encoding="utf-8"))
    return template.render(said).encode()
