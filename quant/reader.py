"""QDQ ONNX to the quantized graph, from this package's writer or from another quantizer.

Every tensor that depends on the image is one of three: integers, which a Q made; reals, a DQ of integers; or pending,
what a layer made of reals and no Q has ended yet, with its activation function.  Q is monotonic, so
``Q(clip(x)) = clamp(Q(x))``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from .constants import fold
from .context import Context, Dimensions, image_of
from .errors import ModelError
from .floats import INFINITY, Addition, Clamp, Concatenation, FloatLayer, Function, Pooling
from .functions import DEFAULTS
from .graph import Concat, Conv, FeatureMap, Graph, Layer, MaxPool, Shape, Sums, Tensor, check
from .importer import shape_of
from .layers import layer_without_weights
from .linear import Grid, activation_grid, quantize_constant
from .onnx_file import STANDARD_DOMAINS, Array, image_dimensions, initializers, load_model, opset, refuse, single_input
from .operators import BUILDERS
from .parameters import Parameter, bias_of, clipped, dequantized, integer_bounds, moved
from .read_layers import clamp_function, conv_layer, rounded

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
UNCHANGED = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
FUNCTIONS = tuple(sorted(set(DEFAULTS) - {"Clip", "Identity", "Relu"} | {"PRelu"}))
WINDOWS = ("AveragePool", "GlobalAveragePool", "MaxPool", "ReduceMean")
LAYERS = ("Add", "Concat", "LRN", "Sum", *WINDOWS, *FUNCTIONS)
LINEAR_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")  # ONNX Runtime's own Q and DQ, for 16 bits before opset 21


def load(source: onnx.ModelProto | str | Path) -> Graph:
    """The quantized graph in a QDQ ONNX model (path or ModelProto).

    Raises ModelError, naming the node, for what is not a quantized layer, and GraphError if layers do not fit.
    """
    return check(_Reader(load_model(source)).graph())


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


@dataclass(frozen=True, eq=False)
class Pending:
    """A layer over ``sources`` that no Q has ended, its output's shape, and its activation function's bounds.

    ``layer`` is None for the model's input, and for a map that went through an activation function only.
    """

    layer: Conv | FloatLayer | None
    sources: tuple[FeatureMap, ...]
    shape: Shape
    low: float = -INFINITY
    high: float = INFINITY
    alone: bool = True

    @property
    def clamped(self) -> bool:
        return (self.low, self.high) != (-INFINITY, INFINITY)


Value = Integers | Reals | Pending


class _Reader:
    """Walks the nodes in order; ``values`` and ``sizes`` know every tensor that depends on the image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.version = opset(model)
        self.constants = initializers(model)
        self.read = Counter(name for node in model.graph.node for name in node.input)
        self.read.update(value.name for value in model.graph.output)
        value = single_input(model, self.constants)
        dimensions = image_dimensions(value)
        self.sizes: dict[str, Dimensions] = {value.name: dimensions}
        self.values: dict[str, Value] = {value.name: Pending(None, (), image_of(dimensions))}
        self.parameters: dict[str, Parameter] = {}
        self.input = ""
        self.layers: dict[str, Layer] = {}  # by output
        self.tensors: dict[str, Tensor] = {}

    def graph(self) -> Graph:
        for node in self.model.graph.node:
            if not self._constant(node):
                self._step(node)
        output = self._finish()
        wanted, needed = {output}, []
        for layer in reversed(self.layers.values()):
            if layer.output in wanted:
                wanted |= set(layer.inputs)
                needed.append(layer)
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in wanted or name == self.input}
        return Graph(self.input, output, tuple(reversed(needed)), tensors)

    def _constant(self, node: onnx.NodeProto) -> bool:
        """Take ``node`` as part of a parameter or a constant, if that is what it is."""
        name = node.input[0] if node.input else ""
        if node.op_type == "Shape" and name in self.sizes:
            self.constants[node.output[0]] = shape_of(node, self.sizes[name])
        elif name in self.parameters and not self._computed(node):
            self.parameters[node.output[0]] = moved(node, self.parameters[name])
        elif name in self.constants and node.op_type == DEQUANTIZE:
            self.parameters[node.output[0]] = dequantized(node, self.constants)
        elif name in self.constants and node.op_type == QUANTIZE:
            self.constants[node.output[0]] = quantize_constant(node, self.constants, self.constants[name])
        elif name in self.constants and node.op_type == "Clip":
            self.constants[node.output[0]] = clipped(node, self.constants, self.constants[name])
        else:
            folded = fold(node, self.constants, self.version)
            self.constants.update(folded or {})
            return folded is not None
        return True

    def _computed(self, node: onnx.NodeProto) -> list[str]:
        """What ``node`` reads that depends on the image."""
        return [name for name in node.input if name and name not in self.constants and name not in self.parameters]

    def _step(self, node: onnx.NodeProto) -> None:
        linear = node.op_type in (QUANTIZE, DEQUANTIZE)
        if node.domain not in (LINEAR_DOMAINS if linear else STANDARD_DOMAINS):
            raise refuse(node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are")
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
        self.values[output], self.sizes[output] = value, sizes

    def _context(self, node: onnx.NodeProto) -> Context:
        return Context(node, self.constants, self.sizes, self.version)

    def _quantize(self, node: onnx.NodeProto, value: Value, sizes: Dimensions) -> Integers:
        name = node.output[0]
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{node.input[0]}'; it must read reals")
        grid = activation_grid(node, self.constants, len(sizes))
        if isinstance(value, Reals):
            made = self._rescaled(node, value.map, grid)
        elif value.layer is not None:
            made = self._ended(node, value, value.layer, grid)
        elif value.sources:
            made = self._clamped_map(node, value, grid)
        else:
            self.input = name
            made = FeatureMap(name, value.shape, grid.scale, grid.zero_point, *rounded(value.low, value.high, grid))
        self.tensors[made.name] = made
        return Integers(made, grid.kind, self.read[name] == 1)

    def _rescaled(self, node: onnx.NodeProto, source: FeatureMap, grid: Grid) -> FeatureMap:
        """A map that a Q without a layer moves to ``grid``."""
        if _on_grid(source, grid):
            return source  # a flattening between DQ and Q
        target = FeatureMap(node.output[0], source.shape, grid.scale, grid.zero_point, grid.low, grid.high)
        layer = Function(node.name or node.output[0], "Identity", (source.name,), target.name)
        self.layers[target.name] = layer_without_weights(layer, (source,), target)
        return target

    def _clamped_map(self, node: onnx.NodeProto, value: Pending, grid: Grid) -> FeatureMap:
        """A map after an activation function: narrowed if it keeps its grid and nobody else reads it, else a table."""
        (source,) = value.sources
        low, high = rounded(value.low, value.high, grid)
        name = node.output[0]
        if _on_grid(source, grid) and value.alone and self._can_narrow(source, low, high):
            return self._narrowed(source, name, low, high)
        target = FeatureMap(name, source.shape, grid.scale, grid.zero_point, low, high)
        function = clamp_function(node.input[0], value.low, value.high, source, name)
        self.layers[name] = layer_without_weights(function, (source,), target)
        return target

    def _can_narrow(self, source: FeatureMap, low: int, high: int) -> bool:
        layer = self.layers.get(source.name)
        if isinstance(layer, Concat):  # what it copies must be inside
            parts = [part for name in layer.inputs if isinstance(part := self.tensors[name], FeatureMap)]
            same = [part for part in parts if (part.scale, part.zero_point) == (source.scale, source.zero_point)]
            return all(low <= part.low and part.high <= high for part in same)
        return not isinstance(layer, MaxPool)

    def _narrowed(self, before: FeatureMap, name: str, low: int, high: int) -> FeatureMap:
        """``before`` clamped to low..high as well, under a new name; the wider map is forgotten."""
        del self.tensors[before.name]
        if before.name in self.layers:
            self.layers[name] = replace(self.layers.pop(before.name), output=name)
        else:
            self.input = name
        narrowed = replace(before, name=name, low=max(low, before.low), high=min(high, before.high))
        self.tensors[name] = narrowed
        return narrowed

    def _ended(self, node: onnx.NodeProto, value: Pending, layer: Conv | FloatLayer, grid: Grid) -> FeatureMap:
        """The map that ``layer`` makes, now that its grid is known."""
        low, high = rounded(value.low, value.high, grid)
        target = FeatureMap(node.output[0], value.shape, grid.scale, grid.zero_point, low, high)
        if isinstance(layer, Conv):
            self.layers[target.name] = replace(layer, output=target.name)
            return target
        before = value.sources[0]
        if isinstance(layer, Pooling):
            if not _on_grid(before, grid):
                raise refuse(
                    node,
                    f"changes the scale from {before.scale:g} to {grid.scale:g} (zero point {before.zero_point} to"
                    f" {grid.zero_point})"
                    f" with no convolution between; only the same scale works",
                )
            target = replace(target, low=max(grid.low, before.low), high=min(grid.high, before.high))
        if value.clamped and isinstance(layer, Pooling | Concatenation):  # these do not clamp; a table does
            whole = replace(target, name=layer.output, low=max(grid.low, target.low), high=grid.high)
            self.layers[whole.name] = layer_without_weights(layer, value.sources, whole)
            self.tensors[whole.name] = whole
            layer, value = clamp_function(node.input[0], value.low, value.high, whole, target.name), value
            target = replace(target, low=low, high=high)
            self.layers[target.name] = layer_without_weights(layer, (whole,), target)
            return target
        self.layers[target.name] = layer_without_weights(layer, value.sources, target)
        return target

    def _clamp_integers(self, node: onnx.NodeProto, value: Integers) -> Integers:
        if node.op_type != "Clip":
            raise refuse(node, f"reads integers, '{node.input[0]}'; a DequantizeLinear must come before")
        if not value.alone:
            raise refuse(node, f"clips '{node.input[0]}', which other nodes read too; they must read what it makes")
        name = node.output[0]
        narrowed = self._narrowed(value.map, name, *integer_bounds(node, self.constants))
        return Integers(narrowed, value.kind, self.read[name] == 1)

    def _dequantize(self, node: onnx.NodeProto, value: Value, sizes: Dimensions) -> Reals:
        if not isinstance(value, Integers):
            raise refuse(node, f"reads reals, '{node.input[0]}'; it must read integers")
        grid = activation_grid(node, self.constants, len(sizes), value.kind)
        source = value.map
        if not _on_grid(source, grid):
            raise refuse(
                node,
                f"has scale {grid.scale:g} and zero point {grid.zero_point}, but '{source.name}' was quantized"
                f" with {source.scale:g} and {source.zero_point}; they must agree",
            )
        return Reals(source, value.alone and self.read[node.output[0]] == 1)

    def _clamp(self, node: onnx.NodeProto, value: Pending | Reals) -> Pending:
        clamp = BUILDERS[node.op_type](self._context(node))[0]
        assert isinstance(clamp, Clamp)
        if isinstance(value, Reals):
            value = Pending(None, (value.map,), value.map.shape, alone=value.alone)
        return replace(value, low=max(value.low, clamp.low), high=min(value.high, clamp.high))

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
            shape = image_of(sizes)
        else:
            layer, sizes = BUILDERS[node.op_type](context)
            shape = found[0].shape if isinstance(layer, Function | Addition) else image_of(sizes)
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
        if not self.tensors:
            raise ModelError(
                "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)"
            )
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"the output '{name}' is not what any node makes from the input")
        if isinstance(value, Pending):
            return self._end_with(value, name)
        if not self.layers:
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
            self.tensors[name] = Sums(name, value.shape, source.scale * layer.weight_scales)
            self.layers[name] = replace(layer, output=name)
        elif isinstance(layer, Pooling):
            made = replace(source, name=name, shape=value.shape)
            self.tensors[name] = made
            self.layers[name] = layer_without_weights(layer, value.sources, made)
        else:
            raise ModelError(f"layer '{layer.name}': it is the last, and needs a QuantizeLinear after it")
        return name


def _on_grid(source: FeatureMap, grid: Grid) -> bool:
    return (source.scale, source.zero_point) == (grid.scale, grid.zero_point)
