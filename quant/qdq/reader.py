"""QDQ ONNX to the quantized graph, from this package's writer or from another quantizer.

Every tensor that depends on the image is one of three: integers, which a Q made; reals, a DQ of integers; or pending,
what a layer made of reals and no Q has ended yet, with its activation function.  Q is monotonic, so
``Q(clip(x)) = clamp(Q(x))``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import onnx

from ..arithmetic.weightless import layer_without_weights
from ..graph import (
    LOOKUP,
    Conv,
    FeatureMap,
    Graph,
    Sums,
)
from ..graph.errors import ModelError
from ..graph.legality import check
from ..networks.functions import DEFAULTS
from ..networks.layers import (
    Addition,
    Clamp,
    Extreme,
    FloatLayer,
    Function,
    Pooling,
    Product,
    Simple,
)
from ..onnx.budget import check_dimensions, check_memory
from ..onnx.constants import Constants
from ..onnx.context import Context, Dimensions, image_of
from ..onnx.file import (
    STANDARD_DOMAINS,
    Array,
    Attributes,
    describe,
    image_dimensions,
    node_name,
    opset,
    refuse,
    single_input,
)
from ..onnx.importer import shape_of
from ..onnx.load import load_model
from ..onnx.operators import BUILDERS
from .assembly import Assembly, Pending, on_grid
from .linear import activation_grid, quantize_constant
from .lookup import INDEX_TYPES, lookup
from .parameters import (
    Parameter,
    bias_of,
    clipped,
    dequantized,
    integer_bounds,
    moved,
)
from .read_layers import conv_layer

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
UNCHANGED = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
FUNCTIONS = tuple(sorted(set(DEFAULTS) - {"Clip", "Relu"} | {"PRelu"}))
WINDOWS = ("AveragePool", "GlobalAveragePool", "MaxPool", "ReduceMean")
LAYERS = ("Add", "Concat", "LRN", "Max", "Min", "Mul", "Sub", "Sum", *WINDOWS, *FUNCTIONS)
LINEAR_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")  # ONNX Runtime's own Q and DQ, for 16 bits before opset 21


def load(source: onnx.ModelProto | str | Path) -> Graph:
    """The quantized graph in a QDQ ONNX model (path or ModelProto).

    Raises ModelError, naming the node, for what is not a quantized layer, and GraphError if layers do not fit.
    """
    graph = check(_Reader(load_model(source)).graph())
    check_memory(graph.input, graph.layers, {name: tensor.shape for name, tensor in graph.tensors.items()})
    return graph


@dataclass(frozen=True)
class Integers:
    """A map's integers; ``alone`` says that exactly one node reads them."""

    map: FeatureMap
    kind: str
    alone: bool


@dataclass(frozen=True)
class Reals:
    """What a DequantizeLinear makes of a map; ``alone`` as the map's own and its."""

    map: FeatureMap
    alone: bool


Value = Integers | Reals | Pending


class _Reader:
    """Walks the nodes in order; ``values`` and ``sizes`` know every tensor that depends on the image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = Constants(model, opset(model))
        self.read = Counter(name for node in model.graph.node for name in node.input)
        self.read.update(value.name for value in model.graph.output)
        value = single_input(model, self.constants)
        dimensions = image_dimensions(value)
        self.sizes: dict[str, Dimensions] = {value.name: dimensions}
        self.values: dict[str, Value] = {value.name: Pending(None, (), image_of(dimensions))}
        self.parameters: dict[str, Parameter] = {}
        self.made = Assembly()

    def graph(self) -> Graph:
        for node in self.model.graph.node:
            linear = node.op_type in (QUANTIZE, DEQUANTIZE)
            if node.domain not in (LINEAR_DOMAINS if linear else STANDARD_DOMAINS):
                raise refuse(
                    node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are"
                )
            if not self._constant(node):
                self._step(node)
        return self.made.graph(self._finish())

    def _constant(self, node: onnx.NodeProto) -> bool:
        """Take ``node`` as part of a parameter or a constant, if that is what it is."""
        name = node.input[0] if node.input else ""
        if node.op_type == "Shape" and name in self.sizes:
            self.constants.add(node, shape_of(node, self.sizes[name]))
        elif name in self.parameters and not self._computed(node):
            self.parameters[node.output[0]] = moved(node, self.parameters[name])
        elif name in self.constants and node.op_type == DEQUANTIZE:
            self.parameters[node.output[0]] = dequantized(node, self.constants)
        elif name in self.constants and node.op_type == QUANTIZE:
            self.constants.add(node, quantize_constant(node, self.constants, self.constants[name]))
        elif name in self.constants and node.op_type == "Clip":
            self.constants.add(node, clipped(node, self.constants, self.constants[name]))
        else:
            return self.constants.fold(node)
        return True

    def _computed(self, node: onnx.NodeProto) -> list[str]:
        """What ``node`` reads that depends on the image."""
        return [name for name in node.input if name and name not in self.constants and name not in self.parameters]

    def _step(self, node: onnx.NodeProto) -> None:
        names = self._computed(node)
        for name in names:
            if name not in self.values:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
            if isinstance(self.values[name], Pending) and self.read[name] > 1:
                raise refuse(
                    node, f"reads '{name}', as another node does; it needs QuantizeLinear and DequantizeLinear before"
                )
        if not names or (len(names) > 1 and node.op_type not in LAYERS):
            raise refuse(node, f"reads {len(names)} computed tensors; exactly one works")
        output, first = node.output[0], self.values[names[0]]
        sizes = self.sizes[names[0]]
        if node.op_type == QUANTIZE:
            value: Value = self._quantize(node, first, sizes)
        elif node.op_type == DEQUANTIZE:
            value = self._dequantize(node, first, sizes)
        elif node.op_type in UNCHANGED:
            sizes = BUILDERS[node.op_type](self._context(node))[1]
            value = replace(first, alone=first.alone and self.read[output] == 1)
        elif isinstance(first, Integers) and node.op_type == "Cast" and self._is_index(node):
            value = replace(first, alone=first.alone and self.read[output] == 1)
        elif isinstance(first, Integers) and node.op_type == LOOKUP and node.input[0] in self.constants:
            found = lookup(node, node_name(node), self.constants[node.input[0]], first.map)
            value = Pending(found, (first.map,), first.map.shape)
        elif isinstance(first, Integers):
            value = self._clamp_integers(node, first)
        elif isinstance(first, Pending) and first.layer is None and not first.sources:
            raise refuse(node, f"reads the input '{names[0]}' before a QuantizeLinear; quantize the model first")
        elif node.op_type in ("Relu", "Clip"):
            value = self._clamp(node, first)
        elif node.op_type == "Add" and len(names) == 1:
            value = self._bias(node, first, sizes)
        elif node.op_type in (*WITH_WEIGHTS, *LAYERS):
            value, sizes = self._layer(node, names)
        elif node.op_type in ("Softmax", "LogSoftmax") and output == self.model.graph.output[0].name:
            value = first  # left to the host
        else:
            supported = sorted({*WITH_WEIGHTS, *LAYERS, *UNCHANGED, "Relu", "Clip", QUANTIZE, DEQUANTIZE})
            raise refuse(node, f"is not supported in a quantized model; {', '.join(supported)} are, in QDQ form")
        check_dimensions(describe(node), sizes)
        self.values[output], self.sizes[output] = value, sizes

    def _is_index(self, node: onnx.NodeProto) -> bool:
        """Whether what ``node``, a Cast, makes are the same integers, for a Gather to count by."""
        return Attributes(node).integer("to", 0) in INDEX_TYPES

    def _context(self, node: onnx.NodeProto) -> Context:
        return Context(node, self.constants, self.sizes, self.constants.opset)

    def _quantize(self, node: onnx.NodeProto, value: Value, sizes: Dimensions) -> Integers:
        name = node.output[0]
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{node.input[0]}'; it must read reals")
        grid = activation_grid(node, self.constants, sizes)
        if isinstance(value, Reals):
            made = self.made.moved(node, value.map, grid)
        else:
            made = self.made.quantized(node, value, grid)
        return Integers(made, grid.kind, self.read[name] == 1)

    def _clamp_integers(self, node: onnx.NodeProto, value: Integers) -> Integers:
        if node.op_type != "Clip":
            raise refuse(node, f"reads integers, '{node.input[0]}'; a DequantizeLinear must come before")
        if not value.alone:
            raise refuse(node, f"clips '{node.input[0]}', which other nodes read too; they must read what it makes")
        name = node.output[0]
        narrowed = self.made.narrowed(value.map, name, *integer_bounds(node, self.constants))
        return Integers(narrowed, value.kind, self.read[name] == 1)

    def _dequantize(self, node: onnx.NodeProto, value: Value, sizes: Dimensions) -> Reals:
        if not isinstance(value, Integers):
            raise refuse(node, f"reads reals, '{node.input[0]}'; it must read integers")
        grid = activation_grid(node, self.constants, sizes, value.kind)
        source = value.map
        if not on_grid(source, grid):
            raise refuse(
                node,
                f"has scale {grid.scale:g} and zero point {grid.zero_point}, but '{source.name}' was quantized"
                f" with {source.scale:g} and {source.zero_point}; they must agree",
            )
        return Reals(source, value.alone and self.read[node.output[0]] == 1)

    def _clamp(self, node: onnx.NodeProto, value: Pending | Reals) -> Pending:
        clamp = BUILDERS[node.op_type](self._context(node))[0]
        if not isinstance(clamp, Clamp):
            raise refuse(node, "clips to a range without 0; the range must contain 0, so that 0 stays exact")
        if isinstance(value, Reals):
            value = Pending(None, (value.map,), value.map.shape, alone=value.alone)
        low, high = max(value.low, clamp.low), min(value.high, clamp.high)
        return replace(value, low=low, high=high, function=clamp.name)

    def _layer(self, node: onnx.NodeProto, names: list[str]) -> tuple[Pending, Dimensions]:
        found = []
        for name in names:
            value = self.values[name]
            if isinstance(value, Integers):
                raise refuse(node, f"reads integers, '{name}'; a DequantizeLinear must come before")
            if isinstance(value, Pending):
                raise refuse(
                    node, f"reads '{name}', which is not quantized; it needs QuantizeLinear and DequantizeLinear before"
                )
            if node.op_type in ("Conv", "Concat", "LRN", *WINDOWS) and image_of(self.sizes[name]) != value.map.shape:
                raise refuse(node, f"reads '{name}', which is flattened; only a fully connected layer may")
            found.append(value.map)
        context = self._context(node)
        layer: Conv | FloatLayer
        if node.op_type in WITH_WEIGHTS:
            layer, sizes = conv_layer(context, self.parameters, found[0])
            self.constants.budget.spend(describe(node), layer.weights.size)
            shape = image_of(sizes)
        else:
            if constant := next((name for name in node.input if name in self.parameters), None):
                raise refuse(node, f"reads '{constant}', a dequantized constant; only weights and biases may be one")
            layer, sizes = BUILDERS[node.op_type](context)
            if not isinstance(layer, Simple):
                raise refuse(node, "reads a map and a constant; in a quantized model only maps work")
            same = isinstance(layer, Function | Addition | Extreme | Product)
            shape = max((map_.shape for map_ in found), key=prod) if same else image_of(sizes)
        return Pending(layer, tuple(found), shape), sizes

    def _bias(self, node: onnx.NodeProto, value: Pending | Reals, sizes: Dimensions) -> Pending:
        layer = value.layer if isinstance(value, Pending) else None
        if not isinstance(value, Pending) or not isinstance(layer, Conv) or layer.bias.any() or value.clamped:
            raise refuse(node, "adds something other than the bias of the layer before it; that is not supported yet")
        name = next((name for name in node.input if name in self.parameters or name in self.constants), None)
        if name is None:
            raise refuse(node, "has one input; it must have two")
        found: Parameter | Array = self.parameters[name] if name in self.parameters else self.constants[name]
        if len(sizes) == 4:
            raise refuse(node, "adds a bias to a convolution; give it to the Conv as its third input")
        bias = bias_of(node, found, value.sources[0].scale * layer.weight_scales)
        return replace(value, layer=replace(layer, bias=bias))

    def _finish(self) -> str:
        """The tensor that the model hands out."""
        name = self.model.graph.output[0].name
        if not self.made.tensors:
            raise ModelError(
                "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)"
            )
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"the output '{name}' is not what any node makes from the input")
        if isinstance(value, Pending):
            return self._end_with(value, name)
        if not self.made.layers:
            raise ModelError("the model has no layers; there is nothing to compute")
        return value.map.name

    def _end_with(self, value: Pending, name: str) -> str:
        """The last layer has no Q: a convolution hands out its sums, a pooling its integers."""
        layer = value.layer
        if layer is None:
            raise ModelError(f"the activation function that makes '{name}' needs a QuantizeLinear after it")
        if value.clamped:
            raise ModelError(
                f"layer '{layer.name}': its activation function needs a QuantizeLinear after it, as it is the last"
            )
        source = value.sources[0]
        if isinstance(layer, Conv):
            self.made.add(layer, Sums(name, value.shape, source.scale * layer.weight_scales))
        elif isinstance(layer, Pooling):
            made = replace(source, name=name, shape=value.shape)
            self.made.add(layer_without_weights(layer, value.sources, made), made)
        else:
            raise ModelError(f"layer '{layer.name}': it is the last, and needs a QuantizeLinear after it")
        return name
