"""ONNX to the float network: one layer for each node that depends on the image, refusing what is not understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from ..graph.errors import ModelError
from ..networks.layers import Convolution, FloatGraph, FloatLayer, TransposedConvolution, renamed
from ..networks.shapes import shapes
from .budget import check_dimensions, check_memory
from .composed import COMPOSED
from .constants import Constants
from .context import (
    Built,
    Context,
    Dimensions,
    image_of,
)
from .file import (
    FLOATS,
    OLDEST_OPSET,
    STANDARD_DOMAINS,
    Array,
    Attributes,
    describe,
    inputs_of,
    opset,
    refuse,
)
from .load import check_graph, load_model
from .nary import of_two
from .old_opsets import modern
from .operators import BUILDERS
from .placing import Maps, Placed, place
from .shaping import SHAPING, only_seen
from .spelled_lrn import Spelled, spelled


def import_onnx(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network in an ONNX model (path or ModelProto), layer for layer as the exporter wrote it.

    Raises ModelError, naming node, operator and attribute, for anything that is not a supported operator.
    """
    model = load_model(source)
    constants = Constants(model, max(OLDEST_OPSET, opset(model)))
    inputs = inputs_of(model, constants, FLOATS)
    maps = Maps(inputs=set(inputs))
    for name, dimensions in inputs.items():
        maps.add_map(name, dimensions)
    walk = _Walk(constants, maps, old=opset(model) < OLDEST_OPSET)
    walk.nodes(model.graph.node)
    if not walk.layers:
        raise ModelError("the model has no layers; there is nothing to quantize")
    outputs = tuple(value.name for value in model.graph.output)
    for output in outputs:
        if output not in maps.views or maps.views[output].map in inputs:
            raise ModelError(f"the output '{output}' is not what any node makes from the input")
    names = {maps.views[output].map: output for output in outputs}
    layers = tuple(_needed(walk.layers, names))
    images = {name: image_of(maps.own[name]) for name in inputs}
    if idle := images.keys() - {name for layer in layers for name in layer.inputs}:
        raise ModelError(f"no output depends on the input '{min(idle)}'; remove it from the model")
    left = tuple(filter(None, (_left(name, maps, "output") for name in outputs)))
    given = tuple(filter(None, (_left(name, maps, "input") for name in inputs)))
    graph = renamed(FloatGraph(images, tuple(names), layers, (*given, *left)), names)
    check_memory(graph.inputs, graph.layers, shapes(graph))
    return graph


def _left(name: str, maps: Maps, side: str) -> str:
    """What the host does to the axes of an input or output of the model; nothing if it is the map itself."""
    view = maps.views[name]
    if view.is_plain:
        return ""
    sizes = (" x ".join(["N", *map(str, dimensions[1:])]) for dimensions in (view.dimensions, maps.own[view.map]))
    return "axes of the {} '{}', {} of the map's {}".format(side, name, *sizes)


class _Walk:
    """The nodes in order: constants are computed, everything else becomes a layer."""

    def __init__(self, constants: Constants, maps: Maps, *, old: bool) -> None:
        self.constants = constants
        self.maps = maps
        self.old = old  # opset 6 or before
        self.layers: list[FloatLayer] = []
        self.spelled: dict[str, Spelled] = {}

    def nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        for node in (part for whole in nodes for part in of_two(whole)):
            if node.domain not in STANDARD_DOMAINS:
                raise refuse(
                    node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are"
                )
            for part in modern(node, self._shapes(node)) if self.old else [node]:
                if not self._constant(part):
                    self._layer(part)

    def _shapes(self, node: onnx.NodeProto) -> dict[str, Dimensions]:
        """Shapes of what ``node`` reads."""
        return {
            name: self.constants[name].shape if name in self.constants else self.maps.sizes.get(name, ())
            for name in node.input
        }

    def _constant(self, node: onnx.NodeProto) -> bool:
        """Compute ``node`` if it depends on constants and shapes only."""
        name = node.input[0] if node.input else ""
        if node.op_type == "Shape" and name in self.maps.sizes:
            self.constants.add(node, shape_of(node, self.maps.sizes[name]))
        elif node.op_type == "If" and name in self.constants:
            self._branch(node)
        elif (
            node.op_type == "CastLike"
            and name in self.constants
            and len(node.input) > 1
            and node.input[1] in self.maps.sizes
        ):
            self.constants.add(node, self.constants[name].astype(np.float32))
        else:
            return self.constants.fold(node)
        return True

    def _branch(self, node: onnx.NodeProto) -> None:
        """The nodes of the branch that ``node``, an If with a constant condition, takes."""
        taken = "then_branch" if self.constants[node.input[0]].any() else "else_branch"
        graph = Attributes(node).raw(taken, None)
        if not isinstance(graph, onnx.GraphProto) or len(graph.output) != len(node.output) or graph.input:
            raise refuse(node, f"its {taken} is missing, or does not make its {len(node.output)} outputs")
        check_graph(graph, self.constants.opset, {*self.constants, *self.maps.sizes})
        self.constants.store(graph.initializer)
        self.nodes(graph.node)
        for made, name in zip(graph.output, node.output, strict=True):
            self.nodes([onnx.helper.make_node("Identity", [made.name], [name], f"{node.name}_{taken}")])

    def _layer(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            if name and name not in self.constants and name not in self.maps.sizes:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
        context = Context(node, self.constants, self.maps.sizes, self.constants.opset)
        part = spelled(context, self.spelled)
        if isinstance(part, Spelled):
            check_dimensions(describe(node), part.dimensions)
            self.spelled[context.output] = part
            self.maps.sizes[context.output] = part.dimensions
            if part.is_square(self.maps.sizes):  # which may turn out to be no more than that
                self._build(node, context)
        elif part is not None:
            normalization = onnx.helper.make_node("Identity", part.inputs, [part.output], part.name)
            placed = place(replace(context, node=normalization), self.maps)
            made = replace(part, inputs=tuple(placed.context.node.input))
            self._add(node, placed, [made], {part.output: placed.context.dimensions})
        elif not context.computed:
            raise refuse(
                node, "depends on constants only, and is not computed here; store what it makes as an initializer"
            )
        elif only_seen(context):
            self.maps.add_view(context.output, SHAPING[node.op_type](context, self.maps.views))
        elif node.op_type in COMPOSED:
            placed = place(context, self.maps)
            self._add(node, placed, *COMPOSED[node.op_type](placed.context))
        else:
            self._build(node, context)

    def _build(self, node: onnx.NodeProto, context: Context) -> None:
        builder = _builder(node)
        placed = place(context, self.maps)
        layer, dimensions = builder(placed.context)
        self._add(node, placed, [layer], {context.output: dimensions})

    def _add(
        self, node: onnx.NodeProto, placed: Placed, layers: list[FloatLayer], made: Mapping[str, Dimensions]
    ) -> None:
        """Layers of ``node``, and what they make."""
        for layer in (*placed.layers, *layers):
            self.layers.append(layer)
            self.maps.inputs.difference_update(layer.inputs)
            if isinstance(layer, Convolution | TransposedConvolution):
                self.constants.budget.spend(describe(node), layer.weights.size)
        for name, dimensions in made.items():
            check_dimensions(describe(node), dimensions)
            self.maps.add_map(name, dimensions, placed.seen(dimensions) if placed.seen else None)


def _builder(node: onnx.NodeProto) -> Callable[[Context], Built]:
    builder = BUILDERS.get(node.op_type)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("QLinear"):
        raise refuse(node, "the model is quantized already; quantize the float model that it was made from")
    if builder is None:
        raise refuse(node, f"operator {node.op_type} is not supported")
    return builder


def _needed(layers: list[FloatLayer], outputs: Iterable[str]) -> list[FloatLayer]:
    """Those of ``layers``, in execution order, that ``outputs`` depend on."""
    wanted, found = set(outputs), []
    for layer in reversed(layers):
        if layer.output in wanted:
            wanted |= set(layer.inputs)
            found.append(layer)
    return found[::-1]


def shape_of(node: onnx.NodeProto, dimensions: tuple[int, ...]) -> Array:
    """What a Shape node says of a tensor of ``dimensions``, from its ``start`` to its ``end`` (ONNX Shape-15)."""
    attributes = Attributes(node)
    start, end = attributes.integer("start", 0), attributes.integer("end", len(dimensions))
    attributes.finish()
    return np.array(dimensions[start:end], np.int64)
