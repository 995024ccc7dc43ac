"""QDQ ONNX to the quantized graph, from this package's writer or from another quantizer.

Every tensor that depends on the image is integers, which a Q made, or reals: integers behind a DQ, and what layers and
activation functions make of them until the next Q (``reals.py``).  Q is monotonic, so ``Q(clip(x)) = clamp(Q(x))`` and
``Q(max(x, y)) = max(Q(x), Q(y))``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import onnx

from ..graph import LOOKUP, FeatureMap, Graph, Shape
from ..graph.errors import ModelError
from ..graph.legality import check
from ..networks.functions import DEFAULTS
from ..networks.layers import (
    Addition,
    Affine,
    Average,
    Clamp,
    Concatenation,
    FloatLayer,
    Function,
    Moving,
)
from ..onnx.budget import check_dimensions, check_memory
from ..onnx.constants import Constants
from ..onnx.context import Built, Context, Dimensions, image_of
from ..onnx.file import (
    STANDARD_DOMAINS,
    Attributes,
    describe,
    inputs_of,
    node_name,
    opset,
    refuse,
)
from ..onnx.importer import shape_of
from ..onnx.load import load_model
from ..onnx.operators import BUILDERS
from ..onnx.rearranging import COMPOSED
from .assembly import Assembly, on_grid
from .linear import activation_grid, quantize_constant
from .lookup import INDEX_TYPES, lookup
from .normal import normal_form
from .oblong import joined
from .parameters import (
    Parameter,
    clipped,
    dequantized,
    integer_bounds,
    moved,
)
from .read_layers import average_of, constant_map, weighted
from .reals import Integers, Reals, Value, Weighted, by_channel, maps_of, mean_of, reals_of, scaled, zeros_around

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
UNCHANGED = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
MOVES = ("DepthToSpace", "Gather", "MaxPool", "Slice")
WITH_WEIGHTS = ("Conv", "Gemm", "MatMul")
FUNCTIONS = tuple(sorted(set(DEFAULTS) - {"Clip", "Relu"} | {"PRelu"}))
WINDOWS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
LAYERS = ("Add", "Concat", "LRN", "Sum", *WINDOWS, *FUNCTIONS)
BY_CHANNEL = ("Add", "BatchNormalization", "Div", "Mul", "Neg", "Sub", "Sum")
LINEAR_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")  # ONNX Runtime's own Q and DQ, for 16 bits before opset 21


def load(source: onnx.ModelProto | str | Path) -> Graph:
    """The quantized graph in a QDQ ONNX model (path or ModelProto).

    Raises ModelError, naming the node, for what is not a quantized layer, and GraphError if layers do not fit.
    """
    graph = check(_Reader(load_model(source)).graph())
    check_memory(graph.inputs, graph.layers, {name: tensor.shape for name, tensor in graph.tensors.items()})
    return graph


class _Reader:
    """Walks the nodes in order; ``values`` and ``sizes`` know every tensor that depends on the image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = Constants(model, opset(model))
        self.nodes = joined(normal_form(model.graph, self.constants), self.constants)
        self.read = Counter(name for node in self.nodes for name in node.input)
        self.read.update(value.name for value in model.graph.output)
        self.sizes: dict[str, Dimensions] = inputs_of(model, self.constants)
        self.outputs = tuple(value.name for value in model.graph.output)
        self.values: dict[str, Value] = {
            name: Reals(None, (), image_of(size), name=name) for name, size in self.sizes.items()
        }
        self.parameters: dict[str, Parameter] = {}
        self.made = Assembly()
        self.made.inputs = dict.fromkeys(self.sizes, "")

    def graph(self) -> Graph:
        for node in self.nodes:
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
        if not names or (len(names) > 1 and node.op_type not in LAYERS):
            raise refuse(node, f"reads {len(names)} computed tensors; exactly one works")
        output, first = node.output[0], self.values[names[0]]
        sizes = self.sizes[names[0]]
        if node.op_type == QUANTIZE:
            value: Value = self._quantize(node, first, sizes)
        elif node.op_type == DEQUANTIZE:
            value = self._dequantize(node, first, sizes)
        elif node.op_type in UNCHANGED:
            value, sizes = first, BUILDERS[node.op_type](self._context(node))[1]
        elif isinstance(first, Integers) and node.op_type == "Cast" and self._is_index(node):
            value = first
        elif isinstance(first, Integers) and node.op_type == LOOKUP and node.input[0] in self.constants:
            found = lookup(node, node_name(node), self.constants[node.input[0]], first.map)
            value = Reals(found, (first.map,), first.map.shape)
        elif node.op_type in MOVES:
            value, sizes = self._move(node, first)
        elif isinstance(first, Integers):
            value = self._clamp_integers(node, first)
        elif node.op_type in ("Relu", "Clip"):
            value = self._clamp(node, first)
        elif node.op_type in BY_CHANNEL and len(names) == 1:
            value = self._by_channel(node, first)
        elif node.op_type in (*WITH_WEIGHTS, *LAYERS, "Pad"):
            value, sizes = self._layer(node, names)
        elif node.op_type in ("Softmax", "LogSoftmax") and output in self.outputs:
            value = first  # left to the host
        else:
            raise refuse(node, "is not supported in a quantized model; quantize the float model")
        check_dimensions(describe(node), sizes)
        self.values[output] = replace(value, alone=value.alone and self.read[output] == 1)
        self.sizes[output] = sizes

    def _is_index(self, node: onnx.NodeProto) -> bool:
        """Whether what ``node``, a Cast, makes are the same integers, for a Gather to count by."""
        return Attributes(node).integer("to", 0) in INDEX_TYPES

    def _context(self, node: onnx.NodeProto) -> Context:
        return Context(node, self.constants, self.sizes, self.constants.opset)

    def _quantize(self, node: onnx.NodeProto, value: Value, sizes: Dimensions) -> Integers:
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{node.input[0]}'; it must read reals")
        grid = activation_grid(node, self.constants, sizes)
        made = self.made.quantized(node, value, grid)
        return Integers(made, grid.kind, value.map is None or value.alone)

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
        return reals_of(source, value.alone)

    def _move(self, node: onnx.NodeProto, value: Value) -> tuple[Value, Dimensions]:
        """A node that moves values: it commutes with Q and DQ, so it may stand on either side of them."""
        layer, sizes = self._moving(self._context(node))
        assert isinstance(layer, Moving)
        before = reals_of(value.map, value.alone) if isinstance(value, Integers) else value
        if not before.moves:
            self._check_image(node, node.input[0], before.shape)
        after = replace(before, moves=(*before.moves, layer))
        if isinstance(value, Integers):
            return replace(value, map=self.made.settled(node, after, node.output[0])), sizes
        return after, sizes

    def _moving(self, context: Context) -> Built:
        if context.operator in BUILDERS:
            return BUILDERS[context.operator](context)
        layers, sizes = COMPOSED[context.operator](context)
        if len(layers) > 1:
            raise refuse(context.node, f"becomes {len(layers)} layers; in a quantized model it must be one")
        return layers[0], sizes[context.output]

    def _clamp_integers(self, node: onnx.NodeProto, value: Integers) -> Integers:
        if node.op_type != "Clip":
            raise refuse(node, f"reads integers, '{node.input[0]}'; a DequantizeLinear must come before")
        if not value.alone:
            raise refuse(node, f"clips '{node.input[0]}', which other nodes read too; they must read what it makes")
        return replace(value, map=self.made.narrowed(value.map, node.output[0], *integer_bounds(node, self.constants)))

    def _clamp(self, node: onnx.NodeProto, value: Reals) -> Reals:
        clamp = BUILDERS[node.op_type](self._context(node))[0]
        if not isinstance(clamp, Clamp):
            raise refuse(node, "clips to a range without 0; the range must contain 0, so that 0 stays exact")
        low, high = max(value.low, clamp.low), min(value.high, clamp.high)
        return replace(value, low=low, high=high, function=clamp.name)

    def _by_channel(self, node: onnx.NodeProto, value: Reals) -> Reals:
        """``scale * x + shift`` of each channel: part of the convolution before, or a convolution of its own."""
        reals = {name: self.parameters[name].reals for name in node.input if name in self.parameters}
        context = replace(self._context(node), constants={**self.constants, **reals})
        layer, _ = BUILDERS[node.op_type](context)
        assert isinstance(layer, Affine)
        before = value.layer
        if not isinstance(before, Weighted) or value.clamped or (value.moves and (layer.scale < 0).any()):
            source = self._settled(node, context.current)
            constant = self.parameters.get(next(iter(reals), ""))
            if node.op_type in ("Add", "Sum") and constant is not None and constant.is_map:
                other = self.made.constant(*constant_map(context, constant, source))
                addition = Addition(context.name, "Add", (source.name, other.name), context.output)
                return Reals(addition, (source, other), source.shape)
            return Reals(scaled(by_channel(layer, source), source, layer, exact=True), (source,), source.shape)
        exact = before.exact or node.op_type != "Add" or before.conv.operator != "Gemm" or bool(before.bias.any())
        (read,) = maps_of(value)
        return replace(value, layer=scaled(before, read, layer, exact))

    def _layer(self, node: onnx.NodeProto, names: list[str]) -> tuple[Reals, Dimensions]:
        context = self._context(node)
        layer: FloatLayer
        if node.op_type in WITH_WEIGHTS:
            mean = None if node.op_type == "Conv" else mean_of(self.values[names[0]])
            source = mean or self._settled(node, names[0])
            if node.op_type == "Conv":
                self._check_image(node, names[0], source.shape)
            made, sizes = weighted(context, self.parameters, source, of_mean=mean is not None)
            self.constants.budget.spend(describe(node), made.conv.weights.size)
            return Reals(made, (source,), image_of(sizes)), sizes
        if constant := next((name for name in node.input if name in self.parameters), None):
            raise refuse(node, f"reads '{constant}', a dequantized constant; only weights and biases may be one")
        layer, sizes = BUILDERS[node.op_type](context)
        if isinstance(layer, Concatenation):
            return self._joined(node, names, layer, sizes)
        if isinstance(layer, Average):
            value = self.values[names[0]]
            zeros = zeros_around(value)
            layer = average_of(node, layer, zeros)
            if isinstance(value, Reals) and zeros:
                return Reals(layer, value.sources, image_of(sizes)), sizes
        found = tuple(self._settled(node, name) for name in names)
        if node.op_type in ("LRN", "Pad", *WINDOWS):
            self._check_image(node, names[0], found[0].shape)
        shape = found[0].shape if isinstance(layer, Function | Addition) else image_of(sizes)
        return Reals(layer, found, shape), sizes

    def _joined(
        self, node: onnx.NodeProto, names: list[str], layer: Concatenation, sizes: Dimensions
    ) -> tuple[Reals, Dimensions]:
        """A concatenation of reals, quantized or not: its Q is one of each."""
        parts = []
        for name in names:
            value = self.values[name]
            if isinstance(value, Integers):
                raise refuse(node, f"reads integers, '{name}'; a DequantizeLinear must come before")
            if not value.moves:
                self._check_image(node, name, value.shape)
            parts.append(value)
        return Reals(layer, tuple(parts), image_of(sizes)), sizes

    def _check_image(self, node: onnx.NodeProto, name: str, shape: Shape) -> None:
        if image_of(self.sizes[name]) != shape:
            raise refuse(node, f"reads '{name}', which is flattened; only a fully connected layer may")

    def _settled(self, node: onnx.NodeProto, name: str) -> FeatureMap:
        """The map of ``name``, which ``node`` reads as reals."""
        value = self.values[name]
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{name}'; a DequantizeLinear must come before")
        found = self.made.settled(node, value, name)
        self.values[name] = replace(reals_of(found), alone=value.map is not None and value.alone)
        return found

    def _finish(self) -> tuple[str, ...]:
        """The tensors that the model hands out."""
        if not self.made.tensors:
            raise ModelError(
                "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)"
            )
        found = tuple(self._end_with(name) for name in self.outputs)
        if idle := [name for name, made in self.made.inputs.items() if not made]:
            raise ModelError(f"no QuantizeLinear reads the input '{idle[0]}'; quantize the model first")
        if not self.made.layers:
            raise ModelError("the model has no layers; there is nothing to compute")
        return found

    def _end_with(self, name: str) -> str:
        """The tensor of output ``name``; without a Q a convolution hands out its sums, what moves integers those."""
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"the output '{name}' is not what any node makes from the input")
        if value.map is not None:
            return value.map.name
        assert isinstance(value, Reals)
        if isinstance(value.layer, Weighted) and not value.clamped and not value.moves:
            self.made.sums(value, name)
            return name
        maker = next(node for node in self.nodes if name in node.output)
        return self.made.settled(maker, value, name).name
