"""ONNX to the float network: one layer for each node that depends on the image, refusing what is not understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from ..graph.errors import ModelError
from ..networks.layers import FloatGraph, FloatLayer, needed, renamed
from ..networks.picking import pick
from ..networks.shapes import shapes
from .budget import check_dimensions, check_memory, weights_of
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
from .hosted import Hosted, array_of_input
from .load import check_graph, load_model
from .nary import of_two
from .old_opsets import modern
from .operators import BUILDERS
from .placing import Maps, Placed, place
from .shaping import SHAPING, only_seen
from .spelled_lrn import Spelled, spelled
from .spreading import EXPANDING
from .volumes import is_volume, volume

Refused = Callable[[onnx.NodeProto, ModelError], None]


def import_onnx(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network in an ONNX model (path or ModelProto), layer for layer as the exporter wrote it.

    Raises ModelError, naming node, operator and attribute, for anything that is not a supported operator.
    """
    model = load_model(source)
    walk = Walk(model)
    walk.nodes(model.graph.node)
    return walk.graph()


class Walk:
    """The nodes of a model in order: constants are computed, everything else becomes a layer, or a view of one's map.

    refused : takes each node that is refused, and why; without it that is raised
    """

    def __init__(self, model: onnx.ModelProto, refused: Refused | None = None) -> None:
        self.model = model
        self.constants = Constants(model, max(OLDEST_OPSET, opset(model)))
        self.inputs = inputs_of(model, self.constants, FLOATS)
        self.maps = Maps(inputs=set(self.inputs))
        for name, dimensions in self.inputs.items():
            self.maps.add_map(name, dimensions)
        self.old = opset(model) < OLDEST_OPSET
        self.refused = refused
        self.layers: list[FloatLayer] = []
        self.spelled: dict[str, Spelled] = {}
        self.hosted = Hosted()

    def graph(self) -> FloatGraph:
        """The network that the outputs depend on.  Raises ModelError if one depends on no input."""
        if not self.layers:
            raise ModelError("the model has no layers; there is nothing to quantize")
        names: dict[str, str] = {}  # of the maps that are handed out: what the model calls them
        layers = list(self.layers)
        arrays = {name: array_of_input(name, self.maps.views, self.maps.own) for name in self.inputs}
        for output in (value.name for value in self.model.graph.output):
            made, array = self.hosted.array(output, self.maps.views, self.maps.own)
            if made in self.inputs:
                raise ModelError(f"the output '{output}' is not what any node makes from the input")
            if made in names:  # which shows the same map: a copy of it
                source, made = made, f"{output}/copy"
                layers += pick(made, "Identity", source, made, image_of(self.maps.own[source]), {})
            names[made], arrays[made] = output, array
        layers = needed(layers, names)
        images = {name: image_of(self.maps.own[name]) for name in self.inputs}
        if idle := images.keys() - {name for layer in layers for name in layer.inputs}:
            raise ModelError(f"no output depends on the input '{min(idle)}'; remove it from the model")
        arranged = {name: array for name, array in arrays.items() if array.steps}
        graph = renamed(FloatGraph(images, tuple(names), tuple(layers), arranged), names)
        check_memory(graph.inputs, graph.layers, shapes(graph))
        return graph

    def nodes(self, nodes: Iterable[onnx.NodeProto]) -> None:
        for node in (part for whole in nodes for part in of_two(whole)):
            try:
                self._node(node)
            except ModelError as error:
                if self.refused is None:
                    raise
                self.refused(node, error)

    def _node(self, node: onnx.NodeProto) -> None:
        if node.domain not in STANDARD_DOMAINS:
            raise refuse(node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are")
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
            if name and not any(name in known for known in (self.constants, self.maps.sizes, self.hosted.sizes)):
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
        context = Context(node, self.constants, self.maps.sizes, self.constants.opset)
        if self.hosted.takes(context):
            self.hosted.add(context, self.maps.sizes)
            return
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
            if is_volume(placed.context):
                volume(placed.context)
            made = replace(part, inputs=tuple(placed.context.node.input))
            self._add(node, placed, [made], {part.output: placed.context.dimensions})
        elif not context.computed:
            raise refuse(
                node, "depends on constants only, and is not computed here; store what it makes as an initializer"
            )
        elif only_seen(context):
            self.maps.add_view(context.output, SHAPING[node.op_type](context, self.maps.views))
        else:
            self._build(node, context)

    def _build(self, node: onnx.NodeProto, context: Context) -> None:
        builder = None if node.op_type in COMPOSED else _builder(node)
        placed = place(context, self.maps)
        if is_volume(placed.context):
            self._add(node, placed, *volume(placed.context))
        elif builder is None:
            self._add(node, placed, *COMPOSED[node.op_type](placed.context))
            if context.operator in EXPANDING:
                self.maps.expanded[context.output] = context.current
        else:
            layer, dimensions = builder(placed.context)
            self._add(node, placed, [layer], {context.output: dimensions})

    def _add(
        self, node: onnx.NodeProto, placed: Placed, layers: list[FloatLayer], made: Mapping[str, Dimensions]
    ) -> None:
        """Layers of ``node``, and what they make."""
        for layer in (*placed.layers, *layers):
            self.layers.append(layer)
            self.maps.inputs.difference_update(layer.inputs)
            self.constants.budget.spend(describe(node), weights_of(layer))
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


def shape_of(node: onnx.NodeProto, dimensions: tuple[int, ...]) -> Array:
    """What a Shape node says of a tensor of ``dimensions``, from its ``start`` to its ``end`` (ONNX Shape-15)."""
    attributes = Attributes(node)
    start, end = attributes.integer("start", 0), attributes.integer("end", len(dimensions))
    attributes.finish()
    return np.array(dimensions[start:end], np.int64)
