"""ONNX to the float network: one layer for each node that depends on the image, refusing what is not understood."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx

from ..graph.errors import ModelError
from ..networks.layers import Convolution, Dense, FloatGraph, FloatLayer
from ..networks.shapes import shapes
from .budget import check_dimensions, check_memory
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
from .rearranging import COMPOSED
from .spelled_lrn import Spelled, spelled


def import_onnx(source: onnx.ModelProto | str | Path) -> FloatGraph:
    """The float network in an ONNX model (path or ModelProto), layer for layer as the exporter wrote it.

    Raises ModelError, naming node, operator and attribute, for anything that is not a supported operator.
    """
    model = load_model(source)
    constants = Constants(model, max(OLDEST_OPSET, opset(model)))
    inputs = inputs_of(model, constants, FLOATS)
    walk = _Walk(constants, dict(inputs), old=opset(model) < OLDEST_OPSET)
    walk.nodes(model.graph.node)
    outputs = tuple(value.name for value in model.graph.output)
    if not walk.layers:
        raise ModelError("the model has no layers; there is nothing to quantize")
    for output in outputs:
        unfinished = output in walk.spelled and not walk.spelled[output].is_square(walk.sizes)
        if output not in walk.sizes or output in inputs or unfinished:
            raise ModelError(f"the output '{output}' is not what any node makes from the input")
    layers = tuple(_needed(walk.layers, outputs))
    images = {name: image_of(dimensions) for name, dimensions in inputs.items()}
    if idle := images.keys() - {name for layer in layers for name in layer.inputs}:
        raise ModelError(f"no output depends on the input '{min(idle)}'; remove it from the model")
    graph = FloatGraph(images, outputs, layers)
    check_memory(graph.inputs, graph.layers, shapes(graph))
    return graph


class _Walk:
    """The nodes in order: constants are computed, everything else becomes a layer."""

    def __init__(self, constants: Constants, sizes: dict[str, Dimensions], *, old: bool) -> None:
        self.constants = constants
        self.sizes = sizes
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
            name: self.constants[name].shape if name in self.constants else self.sizes.get(name, ())
            for name in node.input
        }

    def _constant(self, node: onnx.NodeProto) -> bool:
        """Compute ``node`` if it depends on constants and shapes only."""
        name = node.input[0] if node.input else ""
        if node.op_type == "Shape" and name in self.sizes:
            self.constants.add(node, shape_of(node, self.sizes[name]))
        elif node.op_type == "If" and name in self.constants:
            self._branch(node)
        elif (
            node.op_type == "CastLike"
            and name in self.constants
            and len(node.input) > 1
            and node.input[1] in self.sizes
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
        check_graph(graph, self.constants.opset, {*self.constants, *self.sizes})
        self.constants.store(graph.initializer)
        self.nodes(graph.node)
        for made, name in zip(graph.output, node.output, strict=True):
            self.nodes([onnx.helper.make_node("Identity", [made.name], [name], f"{node.name}_{taken}")])

    def _layer(self, node: onnx.NodeProto) -> None:
        for name in node.input:
            if name and name not in self.constants and name not in self.sizes:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
        context = Context(node, self.constants, self.sizes, self.constants.opset)
        part = spelled(context, self.spelled)
        if node.op_type in COMPOSED and context.computed:
            layers, made = COMPOSED[node.op_type](context)
            self.layers += layers
            for name, dimensions in made.items():
                check_dimensions(describe(node), dimensions)
                self.sizes[name] = dimensions
            return
        if isinstance(part, Spelled):
            self.spelled[context.output], dimensions = part, part.dimensions
            if part.is_square(self.sizes):  # which may turn out to be no more than that
                self.layers.append(_builder(node)(context)[0])
        elif part is not None:
            self.layers.append(part)
            dimensions = self.sizes[part.inputs[0]]
        else:
            builder = _builder(node)
            if not context.computed:
                raise refuse(
                    node, "depends on constants only, and is not computed here; store what it makes as an initializer"
                )
            layer, dimensions = builder(context)
            self.layers.append(layer)
            if isinstance(layer, Convolution | Dense):
                self.constants.budget.spend(describe(node), layer.weights.size)
        check_dimensions(describe(node), dimensions)
        self.sizes[context.output] = dimensions


def _builder(node: onnx.NodeProto) -> Callable[[Context], Built]:
    builder = BUILDERS.get(node.op_type)
    if node.op_type in ("QuantizeLinear", "DequantizeLinear") or node.op_type.startswith("QLinear"):
        raise refuse(node, "the model is quantized already; quantize the float model that it was made from")
    if builder is None:
        raise refuse(node, f"operator {node.op_type} is not supported; {', '.join(sorted({*BUILDERS, *COMPOSED}))} are")
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
