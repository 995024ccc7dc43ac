"""Max and Min: of two maps, of a map and a number, which is a clamp or a table, or of a map and a constant map."""

from __future__ import annotations

import numpy as np

from ..networks.layers import INFINITY, Affine, Clamp, Extreme
from .context import Context
from .elementwise import for_each_channel
from .file import refuse
from .mixtures import common_size, mixture, number_of
from .rearranging import Composed


def extreme(context: Context) -> Composed:
    """Max or Min.  With constants c of channels or pixels, ``max(x, c) = max(x - c, 0) + c``."""
    if (count := len(context.node.input)) != 2:
        raise refuse(context.node, f"has {count} inputs; of two it works, so write it as nodes of two")
    sizes = {context.output: common_size(context)}
    if len(context.computed) == 2:
        return [Extreme(context.name, context.operator, context.computed, context.output)], sizes
    index = 1 if context.node.input[0] == context.current else 0
    larger = context.operator == "Max"
    if context.constants[context.node.input[index]].size > 1:
        values = for_each_channel(context)
        ones, bounds = np.ones_like(values), (0.0, INFINITY) if larger else (-INFINITY, 0.0)
        names = [(f"{context.name}/{part}", f"{context.output}/{part}") for part in ("less", "clamped")]
        (less, beyond), (clamped, left) = names
        return [
            Affine(less, context.operator, (context.current,), beyond, ones, -values),
            Clamp(clamped, "Relu" if larger else "Clip", (beyond,), left, *bounds),
            Affine(context.name, context.operator, (left,), context.output, ones, values),
        ], sizes
    bound = number_of(context, index)
    names_of_one = context.name, "Clip", (context.current,), context.output
    if larger and bound <= 0:
        return [Clamp(*names_of_one, bound, INFINITY)], sizes
    if not larger and bound >= 0:
        return [Clamp(*names_of_one, -INFINITY, bound)], sizes
    layer, size = mixture(context)
    return [layer], {context.output: size}
