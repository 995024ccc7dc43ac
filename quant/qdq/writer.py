"""The quantized graph as a QDQ ONNX model: QuantizeLinear and DequantizeLinear around float operators.

Integer tensors carry the names of the graph's tensors, so what golden computes can be fetched from ONNX Runtime.
A map narrower than its storage type goes through Q, DQ, Clip, Q with one scale: the layer itself then still ends in the
Q that ONNX Runtime needs to run it in integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..files import write_whole
from ..graph import (
    LOOKUP,
    Conv,
    DepthToSpace,
    FeatureMap,
    Graph,
    Layer,
    Pads,
    Sums,
    Table,
    Tensor,
)
from ..graph.errors import GraphError
from ..graph.flat import flat_tensors
from ..graph.host import ArgMax, HostArray, HostStep, Reshape, onnx_operator
from ..graph.legality import check
from ..graph.ports import integer_name, real_name
from .lookup import entries
from .oblong import ORDER, apart, together
from .write_layers import clamps, constants_of, node_of, zeros_before

OPSET, IR_VERSION = 21, 10
STORAGE: Mapping[str, int] = {
    "uint8": TensorProto.UINT8,
    "int8": TensorProto.INT8,
    "uint16": TensorProto.UINT16,
    "int16": TensorProto.INT16,
}


def save(graph: Graph, path: str | Path, notes: Mapping[str, str] | None = None) -> None:
    """Write ``graph`` to ``path`` as a QDQ ONNX model.  Raises GraphError if illegal, DataError if it cannot."""
    write_whole(path, to_onnx(graph, notes).SerializeToString(deterministic=True))


def to_onnx(graph: Graph, notes: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """``graph`` as a QDQ ONNX model of opset 21 with a symbolic batch size.  Raises GraphError if it is not legal.

    notes : what its metadata are to say, by key
    """
    model = _Writer(check(graph)).model()
    helper.set_model_props(model, dict(notes or {}))
    return model


def storage_type(graph: Graph) -> str:
    """The one integer type that holds every map: ONNX Runtime's integer kernels want inputs and outputs alike."""
    maps = [tensor for tensor in graph.tensors.values() if isinstance(tensor, FeatureMap)]
    low, high = min(m.low for m in maps), max(m.high for m in maps)
    for name in STORAGE:
        kind = np.iinfo(name)
        if kind.min <= low and high <= kind.max:
            return name
    raise GraphError(f"feature maps reach from {low} to {high}; no 16-bit type holds that")


class _Writer:
    """Collects nodes and constants of one model; names that are taken get a number."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.kind = np.dtype(storage_type(graph))
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.grids: dict[str, list[str]] = {}
        self.results: dict[str, str] = {}  # of each output that the accelerator makes: its reals' name in the file
        self.flat = flat_tensors(graph)
        self.names = {""} | set(graph.tensors)
        self.node_names = {""} | {layer.name for layer in graph.layers}

    def model(self) -> onnx.ModelProto:
        graph = self.graph
        sources = [graph.map_of(name) for name in graph.inputs]
        ends = [(graph.tensors[name], self._array(graph.tensors[name])) for name in graph.outputs]
        # What the model calls its inputs and outputs comes first, so that nothing else takes those names.
        read = [self._fresh(real_name(source.name)) for source in sources]
        names = {end.name: end.name if isinstance(end, Sums) else self._fresh(real_name(end.name)) for end, _ in ends}
        inputs = []
        for name, source in zip(read, sources, strict=True):
            array = graph.arrays.get(source.name, HostArray(source.shape, ()))
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *array.shape]))
            self._quantize(self._hosted(name, array.steps), source)
        for end, array in ends:
            name = names[end.name]
            self.results[end.name] = self._fresh(f"{name}_last") if array.steps else name
        for layer in graph.layers:
            self._layer(layer)
        outputs = []
        for end, array in ends:
            last = self.results[end.name]
            if isinstance(end, FeatureMap):
                self._dequantize(end.name, end, last)
            name = self._hosted(last, array.steps, names[end.name])
            kind = TensorProto.INT64 if any(isinstance(step, ArgMax) for step in array.steps) else TensorProto.FLOAT
            outputs.append(helper.make_tensor_value_info(name, kind, ["N", *array.shape]))
        model = helper.make_model(
            helper.make_graph(self.nodes, "systolith", inputs, outputs, self.constants),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="systolith",
        )
        onnx.checker.check_model(model)
        return model

    def _array(self, end: Tensor) -> HostArray:
        """What the host makes of the output ``end``, from (N, channels) on where the file has it so."""
        flat = end.name in self.flat
        array = self.graph.arrays.get(end.name, HostArray(end.shape[:1] if flat else end.shape, ()))
        if flat and array.steps[:1] == (Reshape(end.shape[:1]),):
            return replace(array, steps=array.steps[1:])
        return array

    def _hosted(self, source: str, steps: Sequence[HostStep], output: str = "") -> str:
        """What the host's ``steps`` make of ``source``, called ``output`` if that is not empty."""
        for number, step in enumerate(steps):
            operator, attributes = onnx_operator(step)
            made = output if output and number == len(steps) - 1 else self._fresh(f"{source}_arranged")
            shape = attributes.pop("shape", None)
            constants = [] if shape is None else [self._constant(f"{made}_shape", np.array(shape))]
            self._node(operator, [source, *constants], made, **attributes)
            source = made
        return source

    def _layer(self, layer: Layer) -> None:
        sources = [self.graph.map_of(name) for name in layer.inputs]
        target = self.graph.tensors[layer.output]
        flat = layer.output in self.flat
        arranged = [self._arranged(source.name, flat) for source in sources]
        if isinstance(layer, Table) and layer.operator == LOOKUP:
            inputs = self._indexed(layer, arranged[0])
        else:
            inputs = [self._dequantize(name, source) for name, source in zip(arranged, sources, strict=True)]
        if isinstance(layer, Conv):
            inputs += self._parameters(layer, sources[0], target)
        if zeros := zeros_before(layer):
            inputs = [self._padded(inputs[0], zeros)]
        operator, attributes = node_of(layer, self.graph)
        inputs += [self._constant(f"{layer.name}.{role}", value) for role, value in constants_of(layer, self.graph)]
        if not isinstance(target, FeatureMap):
            self._node(operator, inputs, self.results[target.name], layer.name, **attributes)
            return
        name = real_name(target.name)
        raw = self._fresh(f"{name}_raw" if target.name in self.results else name)
        if isinstance(layer, DepthToSpace) and layer.block[0] != layer.block[1]:
            self._oblong(layer, inputs[0], raw)
        else:
            self._node(operator, inputs, raw, layer.name, **attributes)
        if clamps(layer, sources, target):
            self._quantize(raw, target)
        else:
            self._node("QuantizeLinear", [raw, *self._grid(target)], target.name)

    def _indexed(self, layer: Table, integers: str) -> list[str]:
        """What the Gather of a table reads: its entries, and ``integers`` as indices."""
        reals = entries(layer, self.graph.map_of(layer.input), self.graph.map_of(layer.output))
        indices = self._fresh(f"{integers}_indices")
        self._node("Cast", [integers], indices, to=TensorProto.INT32)
        return [self._constant(f"{layer.name}.table", reals), indices]

    def _oblong(self, layer: DepthToSpace, source: str, output: str) -> None:
        """DepthToSpace with a block that ONNX's has not: see oblong."""
        shape = self.graph.map_of(layer.input).shape
        split, moved = self._fresh(f"{output}_split"), self._fresh(f"{output}_moved")
        sizes = [self._constant(f"{output}_shape", np.array(to(shape, layer.block))) for to in (apart, together)]
        self._node("Reshape", [source, sizes[0]], split, layer.name)
        self._node("Transpose", [split], moved, perm=ORDER)
        self._node("Reshape", [moved, sizes[1]], output)

    def _arranged(self, integers: str, flat: bool) -> str:
        """``integers`` as (N, K) if ``flat``, else as (N, C, rows, columns)."""
        if flat == (integers in self.flat):
            return integers
        if flat:
            output = self._fresh(f"{integers}_flat")
            self._node("Flatten", [integers], output, axis=1)
            return output
        output = self._fresh(f"{integers}_image")
        axes = self._constant(f"{output}_axes", np.array([2, 3]))
        self._node("Unsqueeze", [integers, axes], output)
        return output

    def _padded(self, real: str, pads: Pads) -> str:
        """``real`` with zeros around its rows and columns."""
        top, left, bottom, right = pads
        output = self._fresh(f"{real}_padded")
        amounts = self._constant(f"{output}_pads", np.array([0, 0, top, left, 0, 0, bottom, right]))
        self._node("Pad", [real, amounts], output)
        return output

    def _parameters(self, layer: Conv, source: FeatureMap, target: Tensor) -> list[str]:
        """Weights and bias behind a DequantizeLinear for each; the bias has the scale of the sums, or is float."""
        weights: NDArray[Any] = layer.weights
        if layer.operator == "Gemm":
            weights = weights.reshape(len(weights), -1)
        kind = np.int8 if weights.min(initial=0) >= -128 and weights.max(initial=0) <= 127 else np.int16
        found = []
        for role, values, scales in (
            ("weight", weights.astype(kind), layer.weight_scales),
            ("bias", layer.bias.astype(np.int32), source.scale * layer.weight_scales),
        ):
            if role == "bias" and isinstance(target, Sums) and target.shifts is not None:
                found.append(self._constant(f"{layer.name}.bias", target.shifts))
                continue
            integers = self._constant(integer_name(f"{layer.name}.{role}"), values)
            scale = self._constant(f"{layer.name}.{role}_scale", scales.astype(np.float32))
            # ONNX Runtime's graph rewriting wants the zeros spelled out.
            zeros = self._constant(f"{layer.name}.{role}_zero_point", np.zeros(len(scales), values.dtype))
            output = self._fresh(f"{layer.name}.{role}")
            self._node("DequantizeLinear", [integers, scale, zeros], output, axis=0)
            found.append(output)
        return found

    def _quantize(self, source: str, target: FeatureMap) -> None:
        """Q from float ``source`` to the integers ``target``, clamped where the type alone does not."""
        kind = np.iinfo(self.kind)
        grid = self._grid(target)
        if (target.low, target.high) == (kind.min, kind.max):
            self._node("QuantizeLinear", [source, *grid], target.name)
            return
        wide = self._fresh(f"{target.name}_unclamped")
        real = self._fresh(f"{wide}_dequantized")
        self._node("QuantizeLinear", [source, *grid], wide)
        self._node("DequantizeLinear", [wide, *grid], real)
        bounds = [
            self._constant(f"{target.name}_{role}", target.scale * np.float32(bound - target.zero_point))
            for role, bound in (("low", target.low), ("high", target.high))
        ]
        clamped = self._fresh(f"{target.name}_clamped")
        self._node("Clip", [real, *bounds], clamped)
        self._node("QuantizeLinear", [clamped, *grid], target.name)

    def _dequantize(self, integers: str, source: FeatureMap, output: str | None = None) -> str:
        output = output or self._fresh(f"{integers}_dequantized")
        self._node("DequantizeLinear", [integers, *self._grid(source)], output)
        return output

    def _grid(self, tensor: FeatureMap) -> list[str]:
        """Names of the scale and the zero point of ``tensor``."""
        if tensor.name not in self.grids:
            scale = self._constant(f"{tensor.name}_scale", np.float32(tensor.scale))
            zero_point = self._constant(f"{tensor.name}_zero_point", np.array(tensor.zero_point, self.kind))
            self.grids[tensor.name] = [scale, zero_point]
        return self.grids[tensor.name]

    def _constant(self, name: str, values: Any) -> str:
        name = self._fresh(name)
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _node(self, operator: str, inputs: list[str], output: str, name: str = "", **attributes: Any) -> None:
        if not name:
            name = _unique(f"{output}_{operator}", self.node_names)
        self.nodes.append(helper.make_node(operator, inputs, [output], name, **attributes))

    def _fresh(self, name: str) -> str:
        return _unique(name, self.names)


def _unique(name: str, taken: set[str]) -> str:
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
