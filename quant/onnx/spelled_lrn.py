"""Local response normalization as PyTorch spells it, in nine nodes or more, read back as the one operator that it is.

``x / (bias + alpha * mean of x**2 over neighbouring channels)**beta``: the square (Mul or Pow), a new axis (Unsqueeze
or Reshape), zeros around the channels (Pad), the mean (AveragePool), the axis away (Squeeze or Reshape), Mul, Add,
Pow, Div.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ..graph.errors import ModelError
from ..networks.layers import LocalResponse
from .context import Context, Dimensions
from .file import Attributes, refuse

ARRANGING = ("Identity", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class Spelled:
    """A tensor on the way from ``source`` to its normalization: what the nodes so far have said.

    ``dimensions`` are the tensor's; ``padded`` how many channels of zeros stand before and after; ``size`` is 0 until
    the mean is taken, and alpha, beta and bias are None until they are met.
    """

    source: str
    dimensions: Dimensions
    padded: tuple[int, int] = (0, 0)
    size: int = 0
    alpha: float | None = None
    bias: float | None = None
    beta: float | None = None

    def is_square(self, sizes: Mapping[str, Dimensions]) -> bool:
        """Whether this is no more than the square of a tensor of ``sizes``, which others may read too."""
        return self == Spelled(self.source, sizes[self.source])


def local_response(context: Context, source: str, size: int, alpha: float, beta: float, bias: float) -> LocalResponse:
    """The layer; raises ModelError, naming the node, for parameters that no map of numbers can be normalized with."""
    if not (alpha >= 0 and beta >= 0 and bias > 0):
        raise refuse(
            context.node,
            f"alpha is {alpha:g}, beta {beta:g}, bias {bias:g}; alpha and beta must be at least 0, bias above 0",
        )
    return LocalResponse(context.name, "LRN", (source,), context.output, size, alpha, beta, bias)


def spelled(context: Context, known: dict[str, Spelled]) -> Spelled | LocalResponse | None:
    """What ``context``'s node adds to a normalization in ``known``, or ends, or starts; None if it is not part of one.

    Raises ModelError, naming the node, if it leaves the spelling half way.
    """
    node, operator = context.node, context.operator
    inside = [name for name in node.input if name in known]
    if not inside:
        return _square(context)
    found = known[inside[0]]
    if operator == "Div" and node.input[0] == found.source and found.beta is not None:
        alpha, beta, bias = found.alpha or 0.0, found.beta, found.bias or 0.0
        return local_response(context, found.source, found.size, alpha, beta, bias)
    if operator in ARRANGING:
        return replace(found, dimensions=_arranged(context, found))
    if operator == "Pad" and not found.size:
        return _pad(context, found)
    if operator == "AveragePool" and not found.size:
        return _mean(context, found)
    if len(inside) == 1 and found.size and found.beta is None:
        number = _number(context, inside[0])
        if operator == "Mul" and found.bias is None:
            return replace(found, alpha=number * (1.0 if found.alpha is None else found.alpha))
        if operator == "Add" and found.bias is None:
            return replace(found, alpha=1.0 if found.alpha is None else found.alpha, bias=number)
        if operator == "Pow" and found.bias is not None and node.input[0] == inside[0]:
            return replace(found, beta=number)
    if found.is_square(context.sizes) and operator not in ("Pad", "AveragePool"):
        return None
    raise _half_way(context, found)


def _half_way(context: Context, found: Spelled) -> ModelError:
    return refuse(
        context.node,
        f"reads the square of '{found.source}', but only a local response normalization may",
    )


def _square(context: Context) -> Spelled | None:
    computed = context.computed
    twice = context.operator == "Mul" and len(computed) == 2 and computed[0] == computed[1]
    power = context.operator == "Pow" and len(computed) == 1 and context.node.input[0] == computed[0]
    square = twice or (power and _number(context, computed[0]) == 2)
    return Spelled(computed[0], context.sizes[computed[0]]) if square else None


def _number(context: Context, computed: str) -> float:
    """The constant among a node's two inputs, which must be one number."""
    index = 1 if context.node.input[0] == computed else 0
    value = context.floats(index, "constant")
    if value is None or value.size != 1:
        raise refuse(context.node, "its constant must be one number")
    return float(value.item())


def _arranged(context: Context, found: Spelled) -> Dimensions:
    """``found``'s dimensions with an axis of size 1 before the channels, or without it again."""
    before = list(found.dimensions)
    source = list(context.sizes[found.source])
    wide = [before[0], 1, *before[1:]] if len(before) == len(source) else [before[0], *before[2:]]
    if context.operator == "Identity":
        return found.dimensions
    attributes = Attributes(context.node)
    if context.operator == "Reshape":
        attributes.integer("allowzero", 0)
        wanted = context.integers(attributes, "shape", 5) or []
        attributes.finish()
        for after in (wide, before):
            if len(wanted) == len(after) and all(w in (-1, a) for w, a in zip(wanted, after, strict=True)):
                return tuple(after)
        raise _half_way(context, found)
    axes = context.integers(attributes, "axes", 13)
    attributes.finish()
    if axes != [1]:
        raise _half_way(context, found)
    return tuple(wide)


def _pad(context: Context, found: Spelled) -> Spelled:
    attributes = Attributes(context.node)
    attributes.text("mode", "constant")
    value = attributes.real("value", 0.0)
    amounts = context.integers(attributes, "pads", 11) or []
    attributes.finish()
    given = context.floats(2, "value")
    if value or (given is not None and given.any()):
        raise _half_way(context, found)
    rank, axis = len(found.dimensions), _channels(context, found)
    if len(amounts) != 2 * rank or found.padded != (0, 0):
        raise _half_way(context, found)
    around = amounts[axis], amounts[axis + rank]
    amounts[axis] = amounts[axis + rank] = 0
    if any(amounts) or min(around) < 0:
        raise _half_way(context, found)
    sizes = list(found.dimensions)
    sizes[axis] += sum(around)
    return replace(found, dimensions=tuple(sizes), padded=around)


def _mean(context: Context, found: Spelled) -> Spelled:
    """The mean over a window of channels.  ONNX's own operator starts it ``(size - 1) // 2`` before, PyTorch's not."""
    attributes = Attributes(context.node)
    rank, axis = len(found.dimensions), _channels(context, found)
    spatial = rank - 2
    kernel = list(attributes.integers("kernel_shape", (1,) * spatial, 1))
    strides = attributes.integers("strides", (1,) * spatial, 1)
    pads = attributes.integers("pads", (0,) * (2 * spatial), 0)
    included = attributes.integer("count_include_pad", 0)
    attributes.integer("ceil_mode", 0)  # with strides of 1, nothing
    attributes.text("auto_pad", "NOTSET")
    dilations = attributes.integers("dilations", (1,) * spatial, 1)
    attributes.finish()
    size = kernel.pop(axis - 2)
    before, after = found.padded[0] + pads[axis - 2], found.padded[1] + pads[axis - 2 + spatial]
    if set(kernel) - {1} or {*strides, *dilations} != {1} or (any(pads) and not included):
        raise _half_way(context, found)
    if (before, after) != ((size - 1) // 2, size // 2):
        raise refuse(
            context.node,
            f"takes the mean over {size} channels from {before} before each; an odd number around each works",
        )
    sizes = list(found.dimensions)
    sizes[axis] = context.sizes[found.source][1]
    return replace(found, dimensions=tuple(sizes), size=size)


def _channels(context: Context, found: Spelled) -> int:
    """The axis of the channels: the third, once a new one stands before it, which pooling needs."""
    if len(found.dimensions) != len(context.sizes[found.source]) + 1:
        raise _half_way(context, found)
    return 2
