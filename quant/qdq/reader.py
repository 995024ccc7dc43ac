"""QDQ ONNX to the quantized graph, from this package's writer or from another quantizer.

Every tensor that depends on the image is integers, which a Q made, or reals: integers behind a DQ, and what layers and
activation functions make of them until the next Q (``reals.py``).  Q is monotonic, so ``Q(clip(x)) = clamp(Q(x))`` and
``Q(max(x, y)) = max(Q(x), Q(y))``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from ..arithmetic.weightless import layer_without_weights
from ..graph import LOOKUP, FeatureMap, Graph
from ..graph.errors import ModelError
from ..graph.legality import check
from ..networks.layers import (
    Addition,
    Affine,
    Average,
    Clamp,
    Concatenation,
    Moving,
    Padding,
)
from ..networks.shapes import next_shape
from ..onnx.budget import check_dimensions, check_memory
from ..onnx.composed import COMPOSED
from ..onnx.constants import Constants
from ..onnx.context import Context, Dimensions, image_of
from ..onnx.file import (
    STANDARD_DOMAINS,
    Array,
    describe,
    inputs_of,
    node_name,
    opset,
    refuse,
)
from ..onnx.hosted import Hosted, array_of_input
from ..onnx.load import load_model
from ..onnx.operators import BUILDERS
from ..onnx.placing import Maps, Placed, place
from ..onnx.shaping import SHAPING, only_seen
from ..onnx.view import View
from .assembly import Assembly, on_grid
from .linear import activation_grid
from .lookup import is_index, lookup
from .normal import merged, normal_form
from .operators import BY_CHANNEL, DEQUANTIZE, LAYERS, LINEAR_DOMAINS, MOVES, QUANTIZE, WITH_WEIGHTS
from .parameters import Parameter, integer_bounds
from .read_constants import taken
from .read_layers import average_of, constant_map, one_layer, rounds_bias, weighted
from .reals import (
    Integers,
    Reals,
    Value,
    Weighted,
    by_channel,
    maps_of,
    mean_of,
    on_map,
    reals_of,
    scaled,
    zeros_around,
)


def load(source: onnx.ModelProto | str | Path) -> Graph:
    """The quantized graph in a QDQ ONNX model (path or ModelProto).

    Raises ModelError, naming the node, for what is not a quantized layer, and GraphError if layers do not fit.
    """
    graph = check(_Reader(load_model(source)).graph())
    check_memory(graph.inputs, graph.layers, {name: tensor.shape for name, tensor in graph.tensors.items()})
    return graph


class _Reader:
    """Walks the nodes in order; ``values`` and ``maps`` know every tensor that depends on the image."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.constants = Constants(model, opset(model))
        nodes = normal_form(model.graph, self.constants)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for node in nodes:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.nodes = merged(nodes, self.constants, [value.name for value in model.graph.output])
        self.read = Counter(name for node in self.nodes for name in node.input)
        self.read.update(value.name for value in model.graph.output)
        inputs = inputs_of(model, self.constants)
        self.maps = Maps(inputs=set(inputs))
        for name, dimensions in inputs.items():
            self.maps.add_map(name, dimensions)
        self.outputs = tuple(value.name for value in model.graph.output)
        self.values: dict[str, Value] = {
            name: Reals(None, (), image_of(size), name=name) for name, size in inputs.items()
        }
        self.hosted = Hosted()
        self.arranged: set[str] = set()  # of ``values``: maps made of views
        self.parameters: dict[str, Parameter] = {}
        self.made = Assembly()
        self.made.inputs = dict.fromkeys(inputs, "")

    def graph(self) -> Graph:
        for node in self.nodes:
            linear = node.op_type in (QUANTIZE, DEQUANTIZE)
            if node.domain not in (LINEAR_DOMAINS if linear else STANDARD_DOMAINS):
                raise refuse(
                    node, f"operators of domain '{node.domain}' are not supported; only standard ONNX ones are"
                )
            computed = self._computed(node)
            if not taken(node, self.constants, self.parameters, self.maps.sizes, computed=bool(computed)):
                self._step(node)
        return self._finish()

    def _computed(self, node: onnx.NodeProto) -> list[str]:
        """What ``node`` reads that depends on the image."""
        return [name for name in node.input if name and name not in self.constants and name not in self.parameters]

    def _step(self, node: onnx.NodeProto) -> None:
        names = self._computed(node)
        for name in names:
            if name not in self.values and name not in self.hosted.sizes:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
        context = self._context(node)
        if self.hosted.takes(context):
            self.hosted.add(context, self.maps.sizes)
            return
        if not names or (len(names) > 1 and node.op_type not in LAYERS):
            raise refuse(node, f"reads {len(names)} computed tensors; exactly one works")
        output, first = node.output[0], self.values[names[0]]
        view = self.maps.views[names[0]]
        looks_up = node.op_type == LOOKUP and node.input[0] in self.constants
        if node.op_type in MOVES and not looks_up:
            self._move(node)
            return
        if node.op_type == QUANTIZE:
            value: Value = self._quantize(node, first, view)
        elif node.op_type == DEQUANTIZE:
            value = self._dequantize(node, first, view.dimensions)
        elif isinstance(first, Integers) and node.op_type == "Cast" and is_index(node):
            value = first
        elif only_seen(context):
            value, view = first, SHAPING[node.op_type](context, self.maps.views)
        elif isinstance(first, Integers) and looks_up:
            found = lookup(node, node_name(node), self.constants[node.input[0]], first.map)
            value = Reals(found, (first.map,), first.map.shape)
        elif isinstance(first, Integers):
            value = self._clamp_integers(node, first)
        elif node.op_type in ("Relu", "Clip"):
            value = self._clamp(node, first)
        elif node.op_type in BY_CHANNEL and len(names) == 1:
            value = self._by_channel(node)
        elif node.op_type in (*WITH_WEIGHTS, *LAYERS, "Pad"):
            value = self._layer(node)
        else:
            raise refuse(node, "is not supported in a quantized model; quantize the float model")
        if output not in self.maps.views:
            self.maps.add_view(output, view)
        self._keep(node, output, value)

    def _keep(self, node: onnx.NodeProto, output: str, value: Value) -> None:
        check_dimensions(describe(node), self.maps.sizes[output])
        self.values[output] = replace(value, alone=value.alone and self.read[output] == 1)

    def _context(self, node: onnx.NodeProto, given: Mapping[str, Array] | None = None) -> Context:
        """``node`` with what is known, and constants that are ``given``.

        Quantized weights are zeros of their shapes otherwise, which builders check.
        """
        known = {name: self.parameters[name].integers.shape for name in node.input if name in self.parameters}
        zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in known.items()}
        constants = {name: self.constants[name] for name in node.input if name in self.constants}
        constants.update({**zeros, **(given or {})})
        return Context(node, constants, self.maps.sizes, self.constants.opset)

    def _place(self, node: onnx.NodeProto, given: Mapping[str, Array] | None = None) -> tuple[Placed, list[str]]:
        """``node`` on maps, and by which names ``values`` has what it reads there."""
        names = self._computed(node)
        placed = place(self._context(node, given), self.maps)
        self._reshape_inputs()
        maps: dict[str, FeatureMap] = {}
        if placed.layers:
            maps = {self.maps.views[name].map: self._settled(node, name) for name in names}
        for moving in placed.layers:
            sources = tuple(maps[name] for name in moving.inputs)
            shape = next_shape(moving, [source.shape for source in sources])
            made = maps[moving.output] = replace(sources[0], name=moving.output, shape=shape)
            self.made.add(layer_without_weights(moving, sources, made), made)
            self.values[made.name] = reals_of(made)
            self.arranged.add(made.name)
        self.maps.inputs.difference_update(placed.context.computed)
        put = [name for name in placed.context.node.input if name in placed.context.sizes]
        return placed, [on if on in self.arranged else name for name, on in zip(names, put, strict=True)]

    def _add_map(self, output: str, placed: Placed, dimensions: Dimensions) -> None:
        """What a node makes as ``output``, a map of ``dimensions``."""
        self.maps.add_map(output, dimensions, placed.seen(dimensions) if placed.seen else None)

    def _reshape_inputs(self) -> None:
        """An input's map has another shape since a layer wanted its axes in another order."""
        if not self.maps.inputs:
            return
        for name, made in self.made.inputs.items():
            shape = image_of(self.maps.own[name])
            before = self.made.tensors.get(made)
            if isinstance(before, FeatureMap) and before.shape != shape:
                after = self.made.tensors[made] = replace(before, shape=shape)
                self.values.update((key, on_map(value, before, after)) for key, value in self.values.items())
            for key, value in self.values.items():
                if isinstance(value, Reals) and value.name == name:
                    self.values[key] = replace(value, shape=shape)

    def _quantize(self, node: onnx.NodeProto, value: Value, view: View) -> Integers:
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{node.input[0]}'; it must read reals")
        grid = activation_grid(node, self.constants, view.dimensions)
        made = self.made.quantized(node, value, grid)
        if view.map not in self.maps.inputs:
            self.maps.add_map(node.output[0], self.maps.own[view.map], view.axes)
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

    def _move(self, node: onnx.NodeProto) -> None:
        """A node that moves values: it commutes with Q and DQ, so it may stand on either side of them."""
        (name,) = self._computed(node)
        if isinstance(value := self.values[name], Integers):
            self.values[name] = reals_of(value.map, value.alone and len(node.output) == 1)
        placed, (on,) = self._place(node)
        before = self.values[on]
        self.values[name] = value
        assert isinstance(before, Reals)
        layers, sizes = COMPOSED[node.op_type](placed.context)
        found = {placed.context.current: before}
        known = {placed.context.current: image_of(placed.context.dimensions)}
        for layer in layers:
            known[layer.output] = shape = next_shape(layer, [known[name] for name in layer.inputs])
            if isinstance(layer, Concatenation):
                made = Reals(layer, tuple(found[name] for name in layer.inputs), shape)
            elif isinstance(layer, Moving):
                source = found[layer.inputs[0]]
                made = replace(source, moves=(*source.moves, layer), alone=source.alone and len(layers) == 1)
            else:
                raise refuse(node, "computes new values; in a quantized model only what moves them works")
            found[layer.output] = made
        for output, dimensions in sizes.items():
            self._add_map(output, placed, dimensions)
            after: Value = found[output]
            if isinstance(value, Integers):
                after = replace(value, map=self.made.settled(node, found[output], output))
            self._keep(node, output, after)

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

    def _by_channel(self, node: onnx.NodeProto) -> Reals:
        """``scale * x + shift`` of each channel: part of the convolution before, or a convolution of its own."""
        reals = {name: self.parameters[name].reals for name in node.input if name in self.parameters}
        placed, (name,) = self._place(node, reals)
        layer, sizes = BUILDERS[node.op_type](placed.context)
        self._add_map(node.output[0], placed, sizes)
        value = self.values[name]
        assert isinstance(layer, Affine)
        assert isinstance(value, Reals)
        constant = self.parameters.get(next(iter(reals), ""))
        constant = constant if constant is not None and constant.is_map else None
        if layer.scale.ndim > 1 or (constant is not None and constant.integers.size not in (1, layer.scale.size)):
            raise refuse(node, "has a value for each pixel; one for each channel works in a quantized model")
        before = value.layer
        if not isinstance(before, Weighted) or value.clamped or (value.moves and (layer.scale < 0).any()):
            source = self._settled(node, name)
            if node.op_type in ("Add", "Sum") and constant is not None:
                other = self.made.made_of(*constant_map(placed.context, constant, source))
                addition = Addition(layer.name, "Add", (source.name, other.name), layer.output)
                return Reals(addition, (source, other), source.shape)
            return Reals(scaled(by_channel(layer, source), source, layer, exact=True), (source,), source.shape)
        is_bias = node.op_type == "Add" and before.conv.operator == "Gemm" and not before.bias.any()
        exact = not (is_bias and rounds_bias(placed.context.output, self.readers))
        (read,) = maps_of(value)
        return replace(value, layer=scaled(before, read, layer, exact))

    def _layer(self, node: onnx.NodeProto) -> Reals:
        constant = next((name for name in node.input if name in self.parameters), None)
        if constant and node.op_type not in WITH_WEIGHTS:
            raise refuse(node, f"reads '{constant}', a dequantized constant; only weights and biases may be one")
        placed, names = self._place(node)
        if node.op_type in WITH_WEIGHTS:
            mean = None if node.op_type == "Conv" else mean_of(self.values[names[0]])
            source = mean or self._settled(node, names[0])
            rounds = rounds_bias(placed.context.output, self.readers)
            made, sizes = weighted(placed.context, self.parameters, source, rounds=rounds, of_mean=mean is not None)
            self.constants.budget.spend(describe(node), made.conv.weights.size)
            self._add_map(node.output[0], placed, sizes)
            return Reals(made, (source,), image_of(sizes))
        layer, sizes = one_layer(placed.context)
        self._add_map(node.output[0], placed, sizes)
        if isinstance(layer, Concatenation):
            return Reals(layer, tuple(self._part(node, name) for name in names), image_of(sizes))
        if isinstance(layer, Addition) and (whole := self._with_map(node, names)):
            return whole
        if isinstance(layer, Padding) and layer.value:
            raise refuse(node, f"pads with {layer.value:g}; in a quantized model only 0 works")
        if isinstance(layer, Average):
            value = self.values[names[0]]
            zeros = zeros_around(value)
            layer = average_of(node, layer, zeros)
            if isinstance(value, Reals) and zeros:
                return Reals(layer, value.sources, image_of(sizes))
        found = tuple(self._settled(node, name) for name in names)
        return Reals(layer, found, image_of(sizes))

    def _with_map(self, node: onnx.NodeProto, names: list[str]) -> Reals | None:
        """A sum of a map and a convolution that no Q has ended, or None if it is not one."""
        for name, other in (names, names[::-1]):
            value = self.values[name]
            if isinstance(value, Reals) and isinstance(value.layer, Weighted) and not (value.clamped or value.moves):
                return self.made.with_map(value, self._settled(node, other), node.output[0])
        return None

    def _part(self, node: onnx.NodeProto, name: str) -> Reals:
        """What a concatenation reads: reals, quantized or not, as its Q is one of each."""
        value = self.values[name]
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{name}'; a DequantizeLinear must come before")
        return value

    def _settled(self, node: onnx.NodeProto, name: str) -> FeatureMap:
        """The map of ``name``, which ``node`` reads as reals."""
        value = self.values[name]
        if isinstance(value, Integers):
            raise refuse(node, f"reads integers, '{name}'; a DequantizeLinear must come before")
        found = self.made.settled(node, value, name)
        self.values[name] = replace(reals_of(found), alone=value.map is not None and value.alone)
        return found

    def _finish(self) -> Graph:
        """What the model hands out, and all that it depends on."""
        if not self.made.tensors:
            raise ModelError(
                "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)"
            )
        arrays = {self.made.inputs[n]: array_of_input(n, self.maps.views, self.maps.own) for n in self.made.inputs}
        ends: list[str] = []
        for name in self.outputs:
            _, array = self.hosted.array(name, self.maps.views, self.maps.own)
            source, _ = self.hosted.steps.get(name, (name, ()))
            ends.append(self._end_with(source, name))
            arrays[ends[-1]] = array
        if idle := [name for name, made in self.made.inputs.items() if not made]:
            raise ModelError(f"no QuantizeLinear reads the input '{idle[0]}'; quantize the model first")
        if not self.made.layers:
            raise ModelError("the model has no layers; there is nothing to compute")
        graph = self.made.graph(tuple(ends))
        return replace(graph, arrays={name: array for name, array in arrays.items() if array.steps})

    def _end_with(self, name: str, output: str) -> str:
        """The tensor of output ``name``: without a Q a convolution hands out sums, what only moves integers those."""
        value = self.values.get(name)
        if value is None or name in self.made.inputs:
            raise ModelError(f"the output '{name}' is not what any node makes from the input")
        if value.map is not None:
            return value.map.name
        assert isinstance(value, Reals)
        if isinstance(value.layer, Weighted) and not value.clamped and not value.moves:
            self.made.sums(value, output)
            return output
        maker = next(node for node in self.nodes if name in node.output)
        return self.made.settled(maker, value, name).name
