"""One function for each ONNX operator: a node of the chain becomes a layer of the float network, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from .floats import (
    INFINITY,
    Affine,
    Clamp,
    Convolution,
    Dense,
    Flatten,
    FloatLayer,
    Floats,
    Pass,
    Pooling,
    Softmax,
    next_shape,
)
from .onnx_file import Array, Attributes, node_name, refuse
from .windows import ceil_pads, pads_of

Dimensions = tuple[int, ...]
Built = tuple[FloatLayer, Dimensions]


@dataclass(frozen=True)
class Context:
    """A node, the constants known before it, and the tensor that it reads: its name and (N, C, H, W) or (N, K)."""

    node: onnx.NodeProto
    constants: Mapping[str, Array]
    current: str
    dimensions: Dimensions
    opset: int

    @property
    def name(self) -> str:
        return node_name(self.node)

    @property
    def output(self) -> str:
        return str(self.node.output[0])

    def constant(self, index: int, role: str) -> Array | None:
        """Input ``index`` as an array, None if it is left out.  Raises ModelError if it is computed from the image."""
        if index >= len(self.node.input) or not self.node.input[index]:
            return None
        name = self.node.input[index]
        if name not in self.constants:
            raise refuse(self.node, f"its {role} '{name}' is not constant; only constant {role} works")
        return self.constants[name]

    def floats(self, index: int, role: str) -> Floats | None:
        """Input ``index`` as finite float32, None if it is left out."""
        value = self.constant(index, role)
        if value is None:
            return None
        if value.dtype.kind != "f":
            raise refuse(self.node, f"its {role} '{self.node.input[index]}' is {value.dtype}; it must be float32")
        if not np.isfinite(value).all():
            raise refuse(
                self.node, f"its {role} '{self.node.input[index]}' contains NaN or infinity; all must be finite"
            )
        return value.astype(np.float32)

    def image(self) -> tuple[int, int, int]:
        """(channels, rows, columns) of the input, which must be an image."""
        if len(self.dimensions) != 4:
            raise refuse(self.node, f"its input has {len(self.dimensions)} dimensions; it must have 4 (NxCxHxW)")
        return self.dimensions[1], self.dimensions[2], self.dimensions[3]

    def data_is_first(self) -> None:
        if self.node.input[0] != self.current:
            raise refuse(self.node, f"its first input must be the image '{self.current}', not '{self.node.input[0]}'")


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]


def conv(context: Context) -> Built:
    context.data_is_first()
    node, (_, *size) = context.node, context.image()
    weights = context.floats(1, "weight")
    if weights is None or weights.ndim != 4 or 0 in weights.shape:
        shape = "missing" if weights is None else weights.shape
        raise refuse(node, f"its weights are {shape}; they must have 4 dimensions (outputs, inputs, rows, columns)")
    bias = context.floats(2, "bias")
    if bias is None:
        bias = np.zeros(weights.shape[0], np.float32)
    if bias.shape != weights.shape[:1]:
        raise refuse(
            node, f"its bias has shape {bias.shape}; it must have one value for each of {weights.shape[0]} outputs"
        )
    attributes = Attributes(node)
    kernel = _pair(attributes.integers("kernel_shape", _pair(weights.shape[2:]), 1))
    if kernel != weights.shape[2:]:
        raise refuse(
            node, f"kernel_shape is {list(kernel)}, but its weights have {list(weights.shape[2:])}; they must agree"
        )
    strides = _pair(attributes.integers("strides", (1, 1), 1))
    dilations = _pair(attributes.integers("dilations", (1, 1), 1))
    groups = attributes.integer("group", 1)
    if groups < 1:
        raise refuse(node, f"group is {groups}; it must be at least 1")
    pads = pads_of(attributes, _pair(tuple(size)), kernel, strides, dilations)
    attributes.finish()
    layer = Convolution(context.name, context.output, weights, bias, "Conv", strides, pads, dilations, groups)
    return layer, _image_after(context, layer)


def max_pool(context: Context) -> Built:
    node, (_, *size) = context.node, context.image()
    if len(node.output) > 1 and node.output[1]:
        raise refuse(node, f"its second output, the indices '{node.output[1]}', is not supported; remove it")
    attributes = Attributes(node)
    if attributes.raw("kernel_shape", None) is None:
        raise refuse(node, "kernel_shape is missing; it must be 2 values of at least 1")
    kernel = _pair(attributes.integers("kernel_shape", (1, 1), 1))
    strides = _pair(attributes.integers("strides", (1, 1), 1))
    dilations = attributes.integers("dilations", (1, 1), 1)
    if dilations != (1, 1):
        raise refuse(node, f"dilations is {list(dilations)}; only [1, 1] works")
    attributes.raw("storage_order", 0)  # orders the indices only
    pads = pads_of(attributes, _pair(tuple(size)), kernel, strides, (1, 1))
    if attributes.integer("ceil_mode", 0) and attributes.text("auto_pad", "NOTSET") == "NOTSET":
        pads = ceil_pads(_pair(tuple(size)), kernel, strides, pads)
    attributes.finish()
    for pad, length in zip(pads, kernel * 2, strict=True):
        if pad >= length:
            raise refuse(node, f"pads {list(pads)} must each be smaller than the kernel {list(kernel)}")
    layer = Pooling(context.name, context.output, kernel, strides, pads)
    return layer, _image_after(context, layer)


def _image_after(context: Context, layer: FloatLayer) -> Dimensions:
    return context.dimensions[0], *next_shape(layer, context.image())


def _flat(context: Context) -> int:
    if len(context.dimensions) != 2:
        raise refuse(context.node, f"its input has {len(context.dimensions)} dimensions; flatten it before, to 2")
    return context.dimensions[1]


def gemm(context: Context) -> Built:
    context.data_is_first()
    attributes = Attributes(context.node)
    if attributes.integer("transA", 0):
        raise refuse(context.node, "transA is 1; only 0 works")
    alpha, beta = attributes.real("alpha", 1.0), attributes.real("beta", 1.0)
    transposed = attributes.integer("transB", 0)
    attributes.raw("broadcast", 1)  # opset 6 and before
    attributes.finish()
    weights = _matrix(context)
    weights = np.float32(alpha) * (weights if transposed else weights.T)
    bias = context.floats(2, "bias")
    total = np.zeros(weights.shape[0], np.float32)
    if bias is not None:
        total = np.float32(beta) * _row(context, bias, weights.shape[0])
    return _dense(context, weights, total)


def matmul(context: Context) -> Built:
    context.data_is_first()
    weights = _matrix(context).T
    return _dense(context, weights, np.zeros(weights.shape[0], np.float32))


def _matrix(context: Context) -> Floats:
    weights = context.floats(1, "weight")
    if weights is None or weights.ndim != 2 or 0 in weights.shape:
        shape = "missing" if weights is None else weights.shape
        raise refuse(context.node, f"its weights are {shape}; they must have 2 dimensions")
    return weights


def _row(context: Context, bias: Floats, outputs: int) -> Floats:
    """A bias of shape (), (1,), (outputs,), (1, 1) or (1, outputs) as (outputs,)."""
    if bias.size not in (1, outputs) or (bias.ndim and bias.shape[-1] != bias.size) or bias.ndim > 2:
        raise refuse(
            context.node, f"its bias has shape {bias.shape}; it must have one value for each of {outputs} outputs"
        )
    return np.broadcast_to(bias.reshape(-1), (outputs,)).astype(np.float32)


def _dense(context: Context, weights: Floats, bias: Floats) -> Built:
    inputs = _flat(context)
    if weights.shape[1] != inputs:
        raise refuse(context.node, f"its weights take {weights.shape[1]} inputs, but '{context.current}' has {inputs}")
    layer = Dense(context.name, context.output, context.node.op_type, np.ascontiguousarray(weights), bias)
    return layer, (context.dimensions[0], weights.shape[0])


def add(context: Context) -> Built:
    index = 1 if context.node.input[0] == context.current else 0
    values = context.floats(index, "addend")
    if values is None:
        raise refuse(context.node, "has one input; it must have two")
    channels, rank = context.dimensions[1], len(context.dimensions)
    shape = (1,) * (rank - values.ndim) + values.shape
    if len(shape) != rank or shape[0] != 1 or shape[1] not in (1, channels) or any(size != 1 for size in shape[2:]):
        raise refuse(
            context.node,
            f"adds a constant of shape {values.shape}; it must be one value for each of {channels} channels",
        )
    shift = np.broadcast_to(values.reshape(-1), (channels,)).astype(np.float64)
    return Affine(context.name, context.output, "Add", np.ones(channels), shift), context.dimensions


def batch_normalization(context: Context) -> Built:
    attributes = Attributes(context.node)
    epsilon = attributes.real("epsilon", 1e-5)
    if attributes.integer("training_mode", 0):
        raise refuse(context.node, "training_mode is 1; export the model for inference")
    if attributes.integer("spatial", 1) != 1:
        raise refuse(context.node, "spatial is 0; only statistics per channel work (spatial 1)")
    attributes.raw("momentum", 0.9)
    attributes.finish()
    channels = context.dimensions[1]
    roles = ("scale", "bias", "mean", "variance")
    found = [context.floats(index, role) for index, role in enumerate(roles, start=1)]
    for role, values in zip(roles, found, strict=True):
        if values is None or values.shape != (channels,):
            raise refuse(context.node, f"its {role} must have one value for each of {channels} channels")
    scale, bias, mean, variance = (np.asarray(values, np.float64) for values in found)
    if (variance + epsilon <= 0).any():
        raise refuse(context.node, "its variance plus epsilon is not positive; it must be")
    slope = scale / np.sqrt(variance + epsilon)
    return Affine(context.name, context.output, "BatchNormalization", slope, bias - mean * slope), context.dimensions


def relu(context: Context) -> Built:
    return Clamp(context.name, context.output, "Relu", 0.0, INFINITY), context.dimensions


def clip(context: Context) -> Built:
    attributes = Attributes(context.node)
    low, high = attributes.real("min", -INFINITY), attributes.real("max", INFINITY)
    attributes.finish()
    for index, role in ((1, "min"), (2, "max")):
        bound = context.constant(index, role)
        if bound is None:
            continue
        if bound.size != 1 or np.isnan(bound).any():
            raise refuse(context.node, f"its {role} must be one number")
        low, high = (float(bound.item()), high) if role == "min" else (low, float(bound.item()))
    if not low <= 0 <= high:
        raise refuse(context.node, f"clips to {low:g}..{high:g}; the range must contain 0, so that 0 stays exact")
    return Clamp(context.name, context.output, "Clip", low, high), context.dimensions


def flatten(context: Context) -> Built:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", 1)
    attributes.finish()
    rank = len(context.dimensions)
    if axis not in (1, 1 - rank):
        raise refuse(context.node, f"axis is {axis}; only 1, which keeps the batch, works")
    return Flatten(context.name, context.output, "Flatten"), _flattened(context)


def reshape(context: Context) -> Built:
    attributes = Attributes(context.node)
    keeps_zero = attributes.integer("allowzero", 0)
    target = attributes.raw("shape", None) if context.opset < 5 else context.constant(1, "shape")
    attributes.finish()
    if target is None or np.asarray(target).dtype.kind not in "iu":
        raise refuse(context.node, "its shape is missing; it must be a constant of integers")
    wanted = [int(size) for size in np.asarray(target).reshape(-1)]
    resolved = [
        context.dimensions[axis] if size == 0 and not keeps_zero and axis < len(context.dimensions) else size
        for axis, size in enumerate(wanted)
    ]
    count = int(np.prod(context.dimensions))
    known = int(np.prod([size for size in resolved if size != -1]))
    if resolved.count(-1) == 1 and known > 0 and count % known == 0:
        resolved[resolved.index(-1)] = count // known
    if tuple(resolved) == context.dimensions:
        return Pass(context.name, context.output, "Reshape"), context.dimensions
    if tuple(resolved) != _flattened(context):
        raise refuse(
            context.node,
            f"shape is {wanted} for an input of {list(context.dimensions)}; only flattening each image, [0, -1], works",
        )
    return Flatten(context.name, context.output, "Reshape"), _flattened(context)


def _flattened(context: Context) -> Dimensions:
    return context.dimensions[0], int(np.prod(context.dimensions[1:]))


def dropout(context: Context) -> Built:
    attributes = Attributes(context.node)
    for name in ("ratio", "seed", "is_test"):
        attributes.raw(name, None)
    attributes.finish()
    training = context.constant(2, "training_mode")
    if training is not None and training.any():
        raise refuse(context.node, "training_mode is true; export the model for inference")
    return Pass(context.name, context.output, "Dropout"), context.dimensions


def identity(context: Context) -> Built:
    return Pass(context.name, context.output, "Identity"), context.dimensions


def softmax(context: Context) -> Built:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", -1 if context.opset >= 13 else 1)
    attributes.finish()
    rank = len(context.dimensions)
    if axis % rank != 1:
        raise refuse(context.node, f"axis is {axis}; only the channels, axis 1, work")
    return Softmax(context.name, context.output, context.node.op_type), context.dimensions


# Every operator that a float model may contain, besides constant sub-graphs.
BUILDERS: Mapping[str, Callable[[Context], Built]] = {
    "Add": add,
    "BatchNormalization": batch_normalization,
    "Clip": clip,
    "Conv": conv,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gemm": gemm,
    "Identity": identity,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "Relu": relu,
    "Reshape": reshape,
    "Softmax": softmax,
}
