"""One function for each ONNX operator: a node of the chain becomes a layer of the float network, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .context import Built, Context, Dimensions
from .dense_operators import gemm, matmul
from .floats import INFINITY, Affine, Clamp, Flatten, Pass, Softmax
from .onnx_file import Attributes, refuse
from .window_operators import conv, max_pool


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
