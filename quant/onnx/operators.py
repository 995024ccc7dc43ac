"""One function for each ONNX operator: a node becomes a layer of the float network, or is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

import numpy as np

from ..networks.functions import DEFAULTS
from ..networks.layers import (
    Flatten,
    LocalResponse,
    Pass,
    Softmax,
)
from .context import (
    Built,
    Context,
    Dimensions,
    image_of,
)
from .dense import gemm, matmul
from .elementwise import (
    add,
    batch_normalization,
    clip,
    concat,
    divide,
    function,
    multiply,
    negate,
    prelu,
    relu,
    subtract,
)
from .file import FLOATS, TYPES, Attributes, describe, refuse
from .foreign import foreign
from .mixtures import NODES, extreme, mixture, swish
from .windowed import (
    average_pool,
    conv,
    global_average_pool,
    max_pool,
    pad,
    reduce_mean,
)


def flatten(context: Context) -> Built:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", 1)
    attributes.finish()
    rank = len(context.dimensions)
    if axis not in (1, 1 - rank):
        raise refuse(context.node, f"axis is {axis}; only 1, which keeps the batch, works")
    return _rearranged(context, _flattened(context), "axis is 1")


def reshape(context: Context) -> Built:
    attributes = Attributes(context.node)
    keeps_zero = attributes.integer("allowzero", 0)
    wanted = context.integers(attributes, "shape", 5)
    attributes.finish()
    if wanted is None:
        raise refuse(context.node, "its shape is missing; it must be a constant of integers")
    resolved = [
        context.dimensions[axis] if size == 0 and not keeps_zero and axis < len(context.dimensions) else size
        for axis, size in enumerate(wanted)
    ]
    count = prod(context.dimensions)
    known = prod(size for size in resolved if size != -1)
    if resolved.count(-1) == 1 and known > 0 and count % known == 0:
        resolved[resolved.index(-1)] = count // known
    return _rearranged(context, tuple(resolved), f"shape is {wanted}")


def squeeze(context: Context) -> Built:
    sizes = context.dimensions
    axes = _axes(context, len(sizes))
    taken = set(axes) if axes else {i for i, size in enumerate(sizes) if i and size == 1}
    if any(sizes[axis] != 1 for axis in taken):
        raise refuse(context.node, f"axes are {axes} of an input of {list(sizes)}; only axes of size 1 can go")
    left = tuple(size for axis, size in enumerate(sizes) if axis not in taken)
    return _rearranged(context, left, f"axes are {axes}")


def unsqueeze(context: Context) -> Built:
    rank = len(context.dimensions)
    count = len(context.integers(Attributes(context.node), "axes", 13) or ())
    new, old = _axes(context, rank + count), iter(context.dimensions)
    target = tuple(1 if axis in new else next(old) for axis in range(rank + count))
    return _rearranged(context, target, f"axes are {new}")


def _axes(context: Context, rank: int) -> list[int]:
    attributes = Attributes(context.node)
    found = context.axes(attributes, 13, rank)
    attributes.finish()
    return found


def _rearranged(context: Context, target: Dimensions, said: str) -> Built:
    """What keeps the order of values: axes renamed, or each image flattened."""
    names = context.name, context.operator, (context.current,), context.output
    if 2 <= len(target) <= 4 and target[0] == context.dimensions[0]:
        if image_of(target) == image_of(context.dimensions):
            return Pass(*names), target
        if image_of(target) == image_of(_flattened(context)):
            return Flatten(*names), target
    raise refuse(
        context.node,
        f"{said} for an input of {list(context.dimensions)}; only flattening each image, [0, -1], works",
    )


def _flattened(context: Context) -> Dimensions:
    return context.dimensions[0], prod(context.dimensions[1:])


def dropout(context: Context) -> Built:
    attributes = Attributes(context.node)
    for name in ("ratio", "seed", "is_test"):
        attributes.raw(name, None)
    attributes.finish()
    training = context.constant(2, "training_mode")
    if training is not None and training.any():
        raise refuse(context.node, "training_mode is true; export the model for inference")
    return Pass(context.name, "Dropout", context.computed[:1], context.output), context.dimensions


def identity(context: Context) -> Built:
    first = context.computed[0]
    return Pass(context.name, context.operator, (first,), context.output), context.sizes[first]


def cast(context: Context) -> Built:
    """Cast and CastLike between types of reals: all of them are float32 here."""
    context.data_is_first()
    attributes = Attributes(context.node)
    kind = attributes.integer("to", TYPES.FLOAT)
    attributes.raw("saturate", 1)  # of float8 only
    attributes.raw("round_mode", b"up")
    attributes.finish()
    if kind not in FLOATS:
        name = TYPES.DataType.Name(kind) if kind in TYPES.DataType.values() else kind
        raise refuse(context.node, f"casts to {name}; only types of reals work (float, float16, bfloat16, double)")
    return identity(context)


def where(context: Context) -> Built:
    """Where with a condition that is the same everywhere: one of its inputs, as it is; else a function of maps."""
    if context.node.input[0] in context.sizes:
        return mixture(context)
    condition = context.constant(0, "condition")
    if condition is None or condition.all() != condition.any():
        raise refuse(
            context.node, "its condition differs from value to value; only one that is the same everywhere works"
        )
    chosen = context.node.input[1 if condition.all() else 2]
    if chosen not in context.sizes:
        raise refuse(context.node, f"always takes the constant '{chosen}'; only a map works")
    dimensions = context.sizes[chosen]
    shapes = [context.constants[n].shape if n in context.constants else context.sizes[n] for n in context.node.input]
    with foreign(f"{describe(context.node)}: its inputs do not fit"):
        spread = np.broadcast_shapes(*shapes)
    if spread != dimensions:
        raise refuse(context.node, f"spreads {list(dimensions)} to {list(spread)}; only a choice of one shape works")
    return Pass(context.name, "Where", (chosen,), context.output), dimensions


def softmax(context: Context) -> Built:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", -1 if context.opset >= 13 else 1)
    attributes.finish()
    rank = len(context.dimensions)
    if axis % rank != 1:
        raise refuse(context.node, f"axis is {axis}; only the channels, axis 1, work")
    return Softmax(context.name, context.operator, (context.current,), context.output), context.dimensions


def lrn(context: Context) -> Built:
    attributes = Attributes(context.node)
    size = attributes.integer("size", 0)
    alpha, beta, bias = (attributes.real(*pair) for pair in (("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)))
    attributes.finish()
    if size < 1:
        raise refuse(context.node, f"size is {size}; it must be at least 1")
    if not (alpha >= 0 and beta >= 0 and bias > 0):
        raise refuse(
            context.node,
            f"alpha is {alpha:g}, beta {beta:g}, bias {bias:g}; alpha and beta must be at least 0, bias above 0",
        )
    names = context.name, "LRN", (context.current,), context.output
    return LocalResponse(*names, size, alpha, beta, bias), context.dimensions


# Every operator that a float model may contain, besides constant sub-graphs.
BUILDERS: Mapping[str, Callable[[Context], Built]] = {
    **dict.fromkeys(DEFAULTS, function),
    **dict.fromkeys(NODES, mixture),
    "Add": add,
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Cast": cast,
    "CastLike": cast,
    "Clip": clip,
    "Concat": concat,
    "Conv": conv,
    "Div": divide,
    "Dropout": dropout,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "Identity": identity,
    "LRN": lrn,
    "LogSoftmax": softmax,
    "MatMul": matmul,
    "Max": extreme,
    "MaxPool": max_pool,
    "Min": extreme,
    "Mul": multiply,
    "Neg": negate,
    "PRelu": prelu,
    "Pad": pad,
    "ReduceMean": reduce_mean,
    "Relu": relu,
    "Reshape": reshape,
    "Softmax": softmax,
    "Squeeze": squeeze,
    "Sub": subtract,
    "Sum": add,
    "Swish": swish,
    "Unsqueeze": unsqueeze,
    "Where": where,
}
