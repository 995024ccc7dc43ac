"""The ``check`` command as a function, and its tables: what of a model works, and all that does not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnx
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .. import quant
from ..quant.graph import Shape, macs
from ..quant.graph.host import told
from ..quant.graph.ports import real_name
from ..quant.networks.layers import Convolution, FloatGraph
from ..quant.networks.shapes import shapes
from ..quant.onnx.load import load_model
from ..quant.onnx.survey import Refusal, survey


@dataclass(frozen=True)
class CheckedLayer:
    """A layer as it will run: ``shape`` (channels, rows, columns) of what it makes, and its MACs for an image."""

    name: str
    kind: str
    shape: Shape
    macs: int


@dataclass(frozen=True)
class CheckedModel:
    """What ``check_model`` found: ``layers`` if nothing was refused, and what is ``left`` to the host.

    unseen : nodes behind a refused one that could not be judged
    """

    layers: tuple[CheckedLayer, ...]
    left: tuple[str, ...]
    refusals: tuple[Refusal, ...]
    unseen: tuple[str, ...] = ()

    @property
    def works(self) -> bool:
        return not self.refusals

    def as_json(self) -> dict[str, Any]:
        return {"works": self.works, **asdict(self)}


def check_model(model: str | Path | onnx.ModelProto) -> CheckedModel:
    """Whether a model can be built, float or quantized, and everything that is in the way, at once.

    Raises ModelError for what is no ONNX model.
    """
    loaded = load_model(model)
    if any(node.op_type == "QuantizeLinear" for node in loaded.graph.node):
        return _quantized(loaded)
    found = survey(loaded)
    layers = () if found.network is None else tuple(_float_layers(found.network))
    left = () if found.network is None else found.network.dropped
    return CheckedModel(layers, left, found.refusals, found.unseen)


def _quantized(model: onnx.ModelProto) -> CheckedModel:
    try:
        graph = quant.load(model)
    except quant.SystolithError as error:
        return CheckedModel((), (), (Refusal("", "", str(error), ""),))
    layers = (
        CheckedLayer(layer.name, type(layer).__name__, graph.tensors[layer.output].shape, macs(layer, graph))
        for layer in graph.layers
    )
    left = told({real_name(name): array for name, array in graph.arrays.items()})
    return CheckedModel(tuple(layers), left, ())


def _float_layers(network: FloatGraph) -> list[CheckedLayer]:
    size = shapes(network)
    found = []
    for layer in network.layers:
        shape = size[layer.output]
        products = prod(layer.weights.shape[1:]) * prod(shape) if isinstance(layer, Convolution) else 0
        found.append(CheckedLayer(layer.name, type(layer).__name__, shape, products))
    return found


def check_tables(found: CheckedModel) -> RenderableType:
    """``found`` for people."""
    parts: list[RenderableType] = []
    if found.refusals:
        table = Table(box=None, header_style="bold")
        for heading in ("node", "operator", "why not", "what would work"):
            table.add_column(heading, overflow="fold")
        for refusal in found.refusals:
            table.add_row(*map(escape, (refusal.node, refusal.operator, refusal.reason, refusal.remedy)))
        parts.append(table)
        if found.unseen:
            parts.append(escape(f"not judged, as they depend on those: {', '.join(found.unseen)}"))
    else:
        table = Table(box=None, header_style="bold")
        for heading in ("layer", "kind"):
            table.add_column(heading, overflow="fold")
        for heading in ("shape", "MACs"):
            table.add_column(heading, justify="right")
        for layer in found.layers:
            table.add_row(escape(layer.name), layer.kind, "x".join(map(str, layer.shape)), f"{layer.macs:,}")
        parts.append(table)
    parts += [escape(f"left to the host: {what}") for what in found.left]
    count = len(found.refusals)
    parts.append(f"{count} of its nodes must change" if count else f"works, in {len(found.layers)} layers")
    return Group(*parts)
