"""Gemm and MatMul: ONNX nodes that multiply a tensor's last axis with a constant matrix, which is a convolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..graph import ConvOperator
from ..networks.layers import Convolution, Floats
from .context import Built, Context
from .file import Attributes, refuse


def gemm(context: Context) -> Built:
    context.data_is_first()
    if len(context.dimensions) != 2:
        raise refuse(context.node, f"its input has {len(context.dimensions)} dimensions; flatten it before, to 2")
    attributes = Attributes(context.node)
    if attributes.integer("transA", 0):
        raise refuse(context.node, "transA is 1; only 0 works")
    alpha, beta = attributes.real("alpha", 1.0), attributes.real("beta", 1.0)
    transposed = attributes.integer("transB", 0)
    attributes.raw("broadcast", 1)  # opset 6 and before
    attributes.finish()
    weights = _matrix(context)
    weights = weights if transposed else weights.T
    bias = context.floats(2, "bias")
    total = np.zeros(weights.shape[0], np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if alpha != 1:
            weights = np.float32(alpha) * weights
        if bias is not None:
            total = np.float32(beta) * _row(context, bias, weights.shape[0])
    if (alpha, beta) != (1, 1) and not (np.isfinite(weights).all() and np.isfinite(total).all()):
        raise refuse(context.node, f"alpha {alpha:g} or beta {beta:g} takes its weights or bias beyond float32")
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
    inputs = context.dimensions[-1]
    if weights.shape[1] != inputs:
        raise refuse(context.node, f"its weights take {weights.shape[1]} inputs, but its input has {inputs}")
    places = kernel_places(context)
    kernel = weights[:, places.reshape(-1)].reshape(len(weights), *places.shape)
    assert context.view is not None
    batch, *shape = context.view.shape
    covers = tuple(shape) == places.shape
    operator: ConvOperator = "Gemm" if covers else "Conv"
    layer = Convolution(context.name, operator, (context.current,), context.output, kernel, bias)
    rest = () if covers else tuple(size // taken for size, taken in zip(shape[1:], places.shape[1:], strict=True))
    return layer, (batch, len(weights), *rest)


def kernel_places(context: Context) -> NDArray[np.int64]:
    """Which of the inputs each weight of the convolution's kernel is for, (channels, rows, columns)."""
    assert context.view is not None
    numbers = np.arange(context.dimensions[-1])
    places: NDArray[np.int64] = context.view.to_map(numbers, 4)[0]
    return places
