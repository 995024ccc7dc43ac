"""QDQ ONNX to the quantized graph, from this package's writer or from another quantizer.

The walk alternates between integers and reals: Q makes integers, DQ makes them real, and between a DQ and the next Q
there is at most one layer, with its activation function.  Q is monotonic, so ``Q(clip(x)) = clamp(Q(x))``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from .constants import fold
from .context import Context, Dimensions
from .errors import ModelError
from .floats import INFINITY, Clamp
from .graph import Conv, FeatureMap, Graph, Layer, MaxPool, Shape, Sums, Tensor, check
from .importer import shape_of
from .linear import activation_grid, quantize_constant
from .onnx_file import STANDARD_DOMAINS, Array, image_shape, initializers, load_model, opset, refuse, single_input
from .operators import BUILDERS
from .parameters import Parameter, bias_of, clipped, dequantized, integer_bounds, moved
from .read_layers import conv_layer, pool_layer, rounded

DEQUANTIZE, QUANTIZE = "DequantizeLinear", "QuantizeLinear"
UNCHANGED = ("Flatten", "Reshape", "Dropout", "Identity")
LAYERS = ("Conv", "Gemm", "MatMul", "MaxPool")
LINEAR_DOMAINS = (*STANDARD_DOMAINS, "com.microsoft")  # ONNX Runtime's own Q and DQ, for 16 bits before opset 21


def load(source: onnx.ModelProto | str | Path) -> Graph:
    """The quantized graph in a QDQ ONNX model (path or ModelProto).

    Raises ModelError, naming the node, for what is not a chain of quantized layers, and GraphError if they do not fit.
    """
    return check(_Reader(load_model(source)).graph())


class _Reader:
    """Walks the nodes in order.  ``current`` is the tensor reached: integers, or reals with a layer pending or none."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.version = opset(model)
        self.constants = initializers(model)
        value = single_input(model, self.constants)
        batch, shape = image_shape(value)
        self.current = value.name
        self.sizes: dict[str, Dimensions] = {value.name: (batch, *shape)}
        self.parameters: dict[str, Parameter] = {}
        self.readers: dict[str, str] = {}
        self.source: FeatureMap | None = None  # the last map made
        self.is_real = True
        self.kind = ""  # integer type of ``current``
        self.layer: Layer | None = None  # pending between DQ and Q
        self.low, self.high = -INFINITY, INFINITY  # of the activation function pending
        self.input = ""
        self.layers: list[Layer] = []
        self.tensors: dict[str, Tensor] = {}

    def graph(self) -> Graph:
        for node in self.model.graph.node:
            if not self._constant(node):
                self._step(node)
        self._finish()
        return Graph(self.input, self.layers[-1].output, tuple(self.layers), self.tensors)

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
        dynamic = self._computed(node)
        for name in dynamic:
            if name in self.readers:
                raise refuse(
                    node, f"reads '{name}', as '{self.readers[name]}' does; only chains without branches work yet"
                )
            if name != self.current:
                raise refuse(node, f"reads '{name}', which no supported node before it makes")
            self.readers[name] = node.name or node.op_type
        if len(dynamic) != 1:
            raise refuse(node, f"reads {len(dynamic)} computed tensors; exactly one works")
        sizes = self.sizes[self.current]
        if node.op_type == QUANTIZE:
            self._quantize(node)
        elif node.op_type == DEQUANTIZE:
            self._dequantize(node)
        elif node.op_type in UNCHANGED:
            sizes = self._build(node)[1]
        elif not self.is_real:
            self._clamp_integers(node)
        elif self.source is None:
            raise refuse(node, f"reads the input '{self.current}' before a QuantizeLinear; quantize the model first")
        elif node.op_type in LAYERS:
            sizes = self._layer(node, self.source)
        elif node.op_type in ("Relu", "Clip"):
            clamp = self._build(node)[0]
            assert isinstance(clamp, Clamp)
            self.low, self.high = max(self.low, clamp.low), min(self.high, clamp.high)
        elif node.op_type == "Add":
            self._bias(node, self.source)
        elif node.op_type in ("Softmax", "LogSoftmax") and node.output[0] == self.model.graph.output[0].name:
            return  # left to the host
        else:
            supported = ", ".join(sorted((*LAYERS, *UNCHANGED, "Relu", "Clip", "Add", QUANTIZE, DEQUANTIZE)))
            raise refuse(node, f"is not supported in a quantized model; {supported} are, in QDQ form")
        self.current = node.output[0]
        self.sizes[self.current] = sizes

    def _build(self, node: onnx.NodeProto) -> tuple[object, Dimensions]:
        """The float network's view of ``node``: its attributes, checked, and the size of its output."""
        return BUILDERS[node.op_type](
            Context(node, self.constants, self.current, self.sizes[self.current], self.version)
        )

    def _shape(self) -> Shape:
        """(channels, rows, columns) of the current tensor."""
        sizes = self.sizes[self.current]
        if len(sizes) == 2:
            return sizes[1], 1, 1
        return sizes[1], sizes[2], sizes[3]

    def _quantize(self, node: onnx.NodeProto) -> None:
        if not self.is_real:
            raise refuse(node, f"reads integers, '{self.current}'; it must read reals")
        grid = activation_grid(node, self.constants, len(self.sizes[self.current]))
        self.kind = grid.kind
        name, before = node.output[0], self.source
        low, high = rounded(self.low, self.high, grid)
        if (
            before is not None
            and not isinstance(self.layer, Conv)
            and (grid.scale, grid.zero_point) != (before.scale, before.zero_point)
        ):
            raise refuse(
                node,
                f"changes the scale from {before.scale:g} to {grid.scale:g} (zero point {before.zero_point} to"
                f" {grid.zero_point})"
                f" with no convolution between; only the same scale works",
            )
        if before is None:
            self.input = name
            made = FeatureMap(name, self._shape(), grid.scale, grid.zero_point, low, high)
        elif self.layer is not None:
            if isinstance(self.layer, MaxPool):
                low, high = max(low, before.low), min(high, before.high)
            made = FeatureMap(name, self._shape(), grid.scale, grid.zero_point, low, high)
            self.layers.append(replace(self.layer, output=name))
        elif (self.low, self.high) == (-INFINITY, INFINITY):
            made = before  # a flattening between DQ and Q
        else:
            made = self._narrowed(before, name, low, high)
        self.source, self.tensors[made.name] = made, made
        self.is_real, self.layer, self.low, self.high = False, None, -INFINITY, INFINITY

    def _narrowed(self, before: FeatureMap, name: str, low: int, high: int) -> FeatureMap:
        """``before`` clamped to low..high as well, under a new name; the wider map is forgotten."""
        del self.tensors[before.name]
        if self.layers:
            self.layers[-1] = replace(self.layers[-1], output=name)
        else:
            self.input = name
        return replace(before, name=name, low=max(low, before.low), high=min(high, before.high))

    def _clamp_integers(self, node: onnx.NodeProto) -> None:
        if node.op_type != "Clip" or self.source is None:
            raise refuse(node, f"reads integers, '{self.current}'; a DequantizeLinear must come before")
        narrowed = self._narrowed(self.source, node.output[0], *integer_bounds(node, self.constants))
        self.source, self.tensors[narrowed.name] = narrowed, narrowed

    def _dequantize(self, node: onnx.NodeProto) -> None:
        if self.is_real or self.source is None:
            raise refuse(node, f"reads reals, '{self.current}'; it must read integers")
        grid = activation_grid(node, self.constants, len(self.sizes[self.current]), self.kind)
        source = self.source
        if (grid.scale, grid.zero_point) != (source.scale, source.zero_point):
            raise refuse(
                node,
                f"has scale {grid.scale:g} and zero point {grid.zero_point}, but '{source.name}' was quantized"
                f" with {source.scale:g} and {source.zero_point}; they must agree",
            )
        self.is_real = True

    def _layer(self, node: onnx.NodeProto, source: FeatureMap) -> Dimensions:
        if self.layer is not None or (self.low, self.high) != (-INFINITY, INFINITY):
            raise refuse(
                node,
                f"reads '{self.current}', which is not quantized; it needs QuantizeLinear and DequantizeLinear before",
            )
        sizes = self.sizes[self.current]
        context = Context(node, self.constants, self.current, sizes, self.version)
        if node.op_type == "MaxPool":
            self.layer, sizes = pool_layer(context, source)
        else:
            self.layer, sizes = conv_layer(context, self.parameters, source)
        return sizes

    def _bias(self, node: onnx.NodeProto, source: FeatureMap) -> None:
        layer = self.layer
        if not isinstance(layer, Conv) or layer.bias.any() or (self.low, self.high) != (-INFINITY, INFINITY):
            raise refuse(node, "adds something other than the bias of the layer before it; that is not supported yet")
        name = next((name for name in node.input if name != self.current), None)
        if name is None:
            raise refuse(node, "has one input; it must have two")
        found: Parameter | Array = self.parameters[name] if name in self.parameters else self.constants[name]
        if len(self.sizes[self.current]) == 4:
            raise refuse(node, "adds a bias to a convolution; give it to the Conv as its third input")
        self.layer = replace(layer, bias=bias_of(node, found, source.scale * layer.weight_scales))

    def _finish(self) -> None:
        expected = self.model.graph.output[0].name
        if self.source is None:
            raise ModelError(
                "the model has no QuantizeLinear node; it is not quantized (systolith quantize makes one that is)"
            )
        if self.layer is not None:
            self._end_with(self.layer, self.source)
        elif (self.low, self.high) != (-INFINITY, INFINITY):
            raise ModelError(f"the activation function that makes '{self.current}' needs a QuantizeLinear after it")
        if not self.layers:
            raise ModelError("the model has no layers; there is nothing to compute")
        last = self.model.graph.node[-1]
        if expected != self.current and not (expected in last.output and last.op_type.endswith("Softmax")):
            raise ModelError(f"the output '{expected}' is not what the last node makes, '{self.current}'")

    def _end_with(self, layer: Layer, source: FeatureMap) -> None:
        """The last layer has no Q: a convolution hands out its sums, a pooling its integers."""
        if (self.low, self.high) != (-INFINITY, INFINITY):
            raise ModelError(
                f"layer '{layer.name}': its activation function needs a QuantizeLinear after it, as it is the last"
            )
        shape = self._shape()
        made: Tensor
        if isinstance(layer, Conv):
            made = Sums(self.current, shape, source.scale * layer.weight_scales)
        else:
            made = replace(source, name=self.current, shape=shape)
        self.layers.append(replace(layer, output=self.current))
        self.tensors[self.current] = made
