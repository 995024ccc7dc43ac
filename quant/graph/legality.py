"""Whether a quantized graph keeps its contract: every rule, and the message of the first that is broken."""

from __future__ import annotations

from math import prod

import numpy as np

from .errors import GraphError
from .layers import (
    INT32,
    LARGEST_WEIGHT,
    Add,
    AveragePool,
    Concat,
    Conv,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Normalization,
    Table,
    Tensor,
    output_shape,
    requantization_scales,
    sum_bounds,
)

TABLE_BITS = 8  # widest map that an operator made of tables takes
SMALLEST_NORMAL = np.finfo(np.float32).tiny
LARGEST = float(np.finfo(np.float32).max)


def check(graph: Graph) -> Graph:
    """Return ``graph`` if every rule of this contract holds.  Raises GraphError naming the first that fails."""
    known = {graph.input}
    _check_map(graph.map_of(graph.input))
    for layer in graph.layers:
        if missing := [name for name in layer.inputs if name not in known]:
            raise GraphError(f"layer '{layer.name}': its input '{missing[0]}' is not computed before it")
        if layer.output in known:
            raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is computed already")
        known.add(layer.output)
        _check_layer(layer, graph)
    if graph.output not in known or graph.output == graph.input:
        raise GraphError(f"no layer writes the graph's output '{graph.output}'")
    return graph


def _check_layer(layer: Layer, graph: Graph) -> None:
    sources = tuple(graph.map_of(name) for name in layer.inputs)
    target = graph.tensors.get(layer.output)
    if target is None:
        raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is not among the tensors")
    if not isinstance(target, FeatureMap) and layer.output != graph.output:
        raise GraphError(f"layer '{layer.name}': hands out raw sums; only the last layer may")
    if isinstance(layer, Conv | MaxPool | AveragePool):
        _check_window(layer)
    _check_shapes(layer, sources)
    shape = output_shape(layer, tuple(source.shape for source in sources))
    if min(shape) < 1:
        raise GraphError(f"layer '{layer.name}': its window does not fit its input of {sources[0].shape[1:]}")
    if target.shape != shape:
        raise GraphError(f"layer '{layer.name}': output shape is {target.shape}, its arithmetic gives {shape}")
    if isinstance(layer, Conv):
        if isinstance(target, FeatureMap):
            _check_map(target)
        _check_conv(layer, graph, sources[0])
        return
    if not isinstance(target, FeatureMap):
        raise GraphError(f"layer '{layer.name}': only a convolution hands out raw sums")
    _check_map(target)
    if isinstance(layer, MaxPool):
        _check_pool(layer, sources[0], target)
        return
    if isinstance(layer, AveragePool | Add | Concat):
        _check_ratios(layer, sources, target)
    if isinstance(layer, AveragePool):
        _check_average(layer, sources[0])
    else:
        _check_pointwise(layer, sources, target)


def _check_ratios(layer: Layer, sources: tuple[FeatureMap, ...], target: FeatureMap) -> None:
    """What the integers are multiplied by must be a normal number of float32."""
    largest = prod(layer.kernel) if isinstance(layer, AveragePool) else 1
    for source in sources:
        with np.errstate(over="ignore", under="ignore"):
            ratio = source.scale / target.scale
        if not (np.isfinite(ratio) and ratio >= SMALLEST_NORMAL * largest):
            raise GraphError(
                f"layer '{layer.name}': its scales {source.scale:g} and {target.scale:g} are too far apart for float32;"
                " rescale the model's weights"
            )


def _check_shapes(layer: Layer, sources: tuple[FeatureMap, ...]) -> None:
    """All inputs of one layer have one size; those of an Add have the same channels too."""
    first = 1 if isinstance(layer, Concat) else 0
    if len({source.shape[first:] for source in sources}) > 1:
        shapes = ", ".join(str(source.shape) for source in sources)
        raise GraphError(f"layer '{layer.name}': its inputs {shapes} do not fit together")


def _check_map(tensor: FeatureMap) -> None:
    if not (np.isfinite(tensor.scale) and tensor.scale > 0):
        raise GraphError(f"tensor '{tensor.name}': scale must be finite and positive, not {tensor.scale}")
    reach = max(tensor.high - tensor.zero_point, tensor.zero_point - tensor.low)
    if float(tensor.scale) * reach > LARGEST:
        raise GraphError(
            f"tensor '{tensor.name}': scale {tensor.scale:g} takes {reach} steps beyond float32; use smaller weights"
        )
    if not tensor.low <= tensor.zero_point <= tensor.high:
        raise GraphError(
            f"tensor '{tensor.name}': zero point {tensor.zero_point} is outside {tensor.low}..{tensor.high}"
        )
    if not 1 <= tensor.bits <= 16:
        raise GraphError(f"tensor '{tensor.name}': activations have 2 to 16 bits, not {tensor.bits}")


def _check_window(layer: Conv | MaxPool | AveragePool) -> None:
    steps = {"kernel": layer.kernel, "strides": layer.strides}
    if isinstance(layer, Conv):
        steps |= {"dilations": layer.dilations, "groups": (layer.groups, layer.groups)}
    for what, values in steps.items():
        if min(values) < 1:
            raise GraphError(f"layer '{layer.name}': {what} {values} must be at least 1")
    if min(layer.pads) < 0:
        raise GraphError(f"layer '{layer.name}': pads {layer.pads} must not be negative")


def _check_pool(layer: MaxPool, source: FeatureMap, target: Tensor) -> None:
    if not isinstance(target, FeatureMap) or (target.scale, target.zero_point) != (source.scale, source.zero_point):
        raise GraphError(f"layer '{layer.name}': max pooling must keep its input's scale and zero point")
    if target.low > source.low or target.high < source.high:
        raise GraphError(f"layer '{layer.name}': max pooling must not clamp")
    _check_pads(layer)


def _check_pads(layer: MaxPool | AveragePool) -> None:
    for pad, size in zip(layer.pads, layer.kernel * 2, strict=True):
        if pad >= size:
            raise GraphError(f"layer '{layer.name}': pads {layer.pads} must be smaller than the kernel {layer.kernel}")


def _check_average(layer: AveragePool, source: FeatureMap) -> None:
    _check_pads(layer)
    if not (0 <= layer.ceil[0] <= layer.pads[2] and 0 <= layer.ceil[1] <= layer.pads[3]):
        raise GraphError(f"layer '{layer.name}': ceil {layer.ceil} must lie within the pads {layer.pads}")
    reach = max(source.high - source.zero_point, source.zero_point - source.low)
    worst = layer.kernel[0] * layer.kernel[1] * reach
    if worst > INT32.max:
        raise GraphError(f"layer '{layer.name}': a sum can reach {worst}, beyond int32")


def _check_pointwise(
    layer: Add | Concat | Table | Normalization, sources: tuple[FeatureMap, ...], target: FeatureMap
) -> None:
    """What runs through tables of all inputs: at most 8 bits on either side."""
    for tensor in (*sources, target):
        if tensor.bits > TABLE_BITS and not _same_grid(layer, sources, target):
            raise GraphError(
                f"layer '{layer.name}': '{tensor.name}' has {tensor.bits} bits; {layer.operator} works"
                f" up to {TABLE_BITS}"
            )
    if isinstance(layer, Concat):
        for source in sources:
            same = (source.scale, source.zero_point) == (target.scale, target.zero_point)
            if same and (source.low < target.low or source.high > target.high):
                raise GraphError(f"layer '{layer.name}': copies '{source.name}' and must not clamp it")
    if isinstance(layer, Table):
        if layer.values.shape != (sources[0].high - sources[0].low + 1,):
            raise GraphError(
                f"layer '{layer.name}': its table has shape {layer.values.shape}; it needs a value for each input"
            )
        if layer.values.min() < target.low or layer.values.max() > target.high:
            raise GraphError(f"layer '{layer.name}': its table leaves the output's {target.low}..{target.high}")
    if isinstance(layer, Normalization):
        if layer.coarse.shape != (256,) or layer.fine.shape != (256,):
            raise GraphError(f"layer '{layer.name}': its tables must have 256 values each")
        reach = max(sources[0].high - sources[0].zero_point, sources[0].zero_point - sources[0].low)
        if layer.size < 1 or (layer.size * reach**2) >> layer.shift > 65535:
            raise GraphError(f"layer '{layer.name}': a sum of {layer.size} squares exceeds its tables")


def _same_grid(layer: Layer, sources: tuple[FeatureMap, ...], target: FeatureMap) -> bool:
    """A concatenation of maps that have the output's scale already is a copy, at any width."""
    return isinstance(layer, Concat) and all(
        (source.scale, source.zero_point) == (target.scale, target.zero_point) for source in sources
    )


def _check_conv(layer: Conv, graph: Graph, source: FeatureMap) -> None:
    outputs, inputs = layer.weights.shape[:2]
    if inputs * layer.groups != source.shape[0] or outputs % layer.groups:
        raise GraphError(
            f"layer '{layer.name}': weights {layer.weights.shape} with {layer.groups} groups do not fit"
            f" {source.shape[0]} input channels"
        )
    if layer.weight_scales.shape != (outputs,) or layer.bias.shape != (outputs,):
        raise GraphError(f"layer '{layer.name}': needs one weight scale and one bias for each of {outputs} outputs")
    if not (np.isfinite(layer.weight_scales).all() and (layer.weight_scales > 0).all()):
        raise GraphError(f"layer '{layer.name}': weight scales must be finite and positive")
    if layer.weights.min(initial=0) < -LARGEST_WEIGHT or layer.weights.max(initial=0) > LARGEST_WEIGHT:
        raise GraphError(f"layer '{layer.name}': weights must be within +-{LARGEST_WEIGHT}")
    if layer.output != graph.output or isinstance(graph.tensors[layer.output], FeatureMap):
        with np.errstate(over="ignore", under="ignore"):
            scales = requantization_scales(layer, graph)
        if not (np.isfinite(scales).all() and (scales >= SMALLEST_NORMAL).all()):
            raise GraphError(
                f"layer '{layer.name}': its scales leave the range of float32; rescale the model's weights"
            )
    worst = int(sum_bounds(layer, graph).max())
    if worst > INT32.max:
        raise GraphError(
            f"layer '{layer.name}': a sum can reach {worst}, beyond int32; use fewer weight or activation bits"
        )
