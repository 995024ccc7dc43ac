"""Whether a quantized graph keeps its contract: every rule, and the message of the first that is broken."""

from __future__ import annotations

from math import prod

import numpy as np

from .errors import GraphError, ModelError, unknown_kind
from .fields import check_layer, check_tensor
from .host import Reshape, Transpose, sizes_after
from .layers import (
    INT32,
    AveragePool,
    Concat,
    Conv,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Normalization,
    Sums,
    Table,
    output_shape,
    requantization_scales,
    sum_bounds,
)
from .moves import DepthToSpace, Selection
from .of_two import Add, Extremum, Multiply

TABLE_BITS = 8  # widest map that an operator made of tables takes
TABLE_INDEX = 2**16 - 1  # largest sum of squares, shifted, that a normalization's tables take
SMALLEST_NORMAL = np.finfo(np.float32).tiny
LARGEST_RATIO = np.float32(2.0**100)  # of scales; an Add of integers times such ratios stays finite


def check(graph: Graph) -> Graph:
    """Return ``graph`` if every rule of this contract holds.  Raises GraphError naming the first that fails."""
    for name, tensor in graph.tensors.items():
        check_tensor(name, tensor)
    _check_ports(graph)
    known, names = {graph.map_of(name).name for name in graph.inputs}, set()
    for layer in graph.layers:
        check_layer(layer)
        if layer.name in names:
            raise GraphError(f"two layers are called '{layer.name}'; give each a name of its own")
        names.add(layer.name)
        if missing := [name for name in layer.inputs if name not in known]:
            raise GraphError(f"layer '{layer.name}': its input '{missing[0]}' is not computed before it")
        if layer.output in known:
            raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is computed already")
        known.add(layer.output)
        _check_layer(layer, graph)
    for name in graph.outputs:
        if name not in known or name in graph.inputs:
            raise GraphError(f"no layer writes the graph's output '{name}'")
    _check_arrays(graph)
    if idle := [name for name in graph.tensors if name not in known]:
        raise GraphError(f"no layer makes the tensor '{idle[0]}'; leave it out")
    return graph


def _check_ports(graph: Graph) -> None:
    for what, names in (("input", graph.inputs), ("output", graph.outputs)):
        if not isinstance(names, tuple) or not names or not all(isinstance(name, str) for name in names):
            raise GraphError(f"the graph's {what}s are {names!r}; they must be a tuple of at least one tensor's name")
        if len(set(names)) < len(names):
            raise GraphError(f"the graph's {what}s {', '.join(map(repr, names))} name one tensor twice")


def _check_arrays(graph: Graph) -> None:
    for name, array in graph.arrays.items():
        if name not in (*graph.inputs, *graph.outputs):
            raise GraphError(f"the graph says how '{name}' lies in the model's file, but it is no input or output")
        shape = graph.tensors[name].shape
        first, last = (array.shape, shape) if name in graph.inputs else (shape, array.shape)
        sizes: tuple[int, ...] = (1, *first)
        try:
            for step in array.steps:
                sizes = sizes_after(step, sizes)
        except ModelError as error:
            raise GraphError(f"'{name}': {error}") from error
        if sizes[1:] != last:
            raise GraphError(f"'{name}': the host's steps make {sizes[1:]} of it, not {last}")
        if name in graph.inputs and not all(isinstance(step, Reshape | Transpose) for step in array.steps):
            raise GraphError(f"'{name}': the host arranges an input, and computes nothing")


def _check_layer(layer: Layer, graph: Graph) -> None:
    """What ``layer`` has to do with the tensors that it reads and makes."""
    sources = tuple(graph.map_of(name) for name in layer.inputs)
    target = graph.tensors.get(layer.output)
    if target is None:
        raise GraphError(f"layer '{layer.name}': its output '{layer.output}' is not among the tensors")
    _check_shapes(layer, sources)
    shape = output_shape(layer, tuple(source.shape for source in sources))
    if min(shape) < 1:
        raise GraphError(f"layer '{layer.name}': its window does not fit its input of {sources[0].shape[1:]}")
    if target.shape != shape:
        raise GraphError(f"layer '{layer.name}': output shape is {target.shape}, its arithmetic gives {shape}")
    if isinstance(target, Sums) and not isinstance(layer, Conv):
        raise GraphError(f"layer '{layer.name}': only a convolution hands out raw sums")
    match layer:
        case Conv():
            _check_conv(layer, graph, sources[0], target)
        case MaxPool():
            _check_kept(layer, sources[0], graph.map_of(layer.output))
            _check_pads(layer)
        case AveragePool():
            _check_average(layer, sources[0], graph.map_of(layer.output))
        case Add() | Extremum():
            _check_widths(layer, (*sources, graph.map_of(layer.output)))
            _check_ratios(layer, sources, graph.map_of(layer.output))
        case Multiply():
            _check_widths(layer, (*sources, graph.map_of(layer.output)))
            _check_factor(layer, sources, graph.map_of(layer.output))
        case Concat():
            _check_concat(layer, sources, graph.map_of(layer.output))
        case Table():
            _check_widths(layer, (*sources, graph.map_of(layer.output)))
            _check_table(layer, sources[0], graph.map_of(layer.output))
        case Normalization():
            _check_widths(layer, (*sources, graph.map_of(layer.output)))
            _check_normalization(layer, sources[0])
        case Selection() | DepthToSpace():
            _check_kept(layer, sources[0], graph.map_of(layer.output))
        case unknown:
            unknown_kind(unknown)


def _check_shapes(layer: Layer, sources: tuple[FeatureMap, ...]) -> None:
    """All inputs of one layer have one shape; a Concat's may differ along its axis, a Multiply's be one pixel."""
    joined = layer.axis - 1 if isinstance(layer, Concat) else -1
    if isinstance(layer, Selection):
        _check_selection(layer, sources[0])
    if isinstance(layer, DepthToSpace) and sources[0].shape[0] % prod(layer.block):
        raise GraphError(
            f"layer '{layer.name}': {sources[0].shape[0]} channels are no multiple of its block {layer.block}"
        )
    if isinstance(layer, Multiply):
        pixels = {(source.shape[0], 1, 1) for source in sources}
        if len(pixels) == 1 and len({source.shape for source in sources} - pixels) <= 1:
            return
    if len({tuple(size for n, size in enumerate(source.shape) if n != joined) for source in sources}) > 1:
        shapes = ", ".join(str(source.shape) for source in sources)
        raise GraphError(f"layer '{layer.name}': its inputs {shapes} do not fit together")


def _check_conv(layer: Conv, graph: Graph, source: FeatureMap, target: FeatureMap | Sums) -> None:
    outputs, inputs = layer.weights.shape[:2]
    if inputs * layer.groups != source.shape[0] or outputs % layer.groups:
        raise GraphError(
            f"layer '{layer.name}': weights {layer.weights.shape} with {layer.groups} groups do not fit"
            f" {source.shape[0]} input channels"
        )
    if layer.operator == "Gemm" and (layer.kernel != source.shape[1:] or any(layer.pads) or layer.groups > 1):
        raise GraphError(
            f"layer '{layer.name}': a Gemm covers its whole input of {source.shape[1:]}, in one group and without pads;"
            f" a kernel of {layer.kernel}, pads {layer.pads} and {layer.groups} groups do not"
        )
    if isinstance(target, Sums):
        if layer.output not in graph.outputs:
            raise GraphError(f"layer '{layer.name}': hands out raw sums; only a layer that makes an output may")
        with np.errstate(over="ignore", under="ignore"):
            scales = source.scale * layer.weight_scales
        if not np.array_equal(target.scales, scales):
            raise GraphError(f"layer '{layer.name}': the scales of its sums must be its input's times its weights'")
        if target.shifts is not None and layer.bias.any():
            raise GraphError(f"layer '{layer.name}': its sums have shifts and a bias; one of the two works")
    else:
        with np.errstate(over="ignore", under="ignore"):
            scales = requantization_scales(layer, graph)
    if not (np.isfinite(scales).all() and (scales >= SMALLEST_NORMAL).all()):
        raise GraphError(f"layer '{layer.name}': its scales leave the range of float32; rescale the model's weights")
    bounds = sum_bounds(layer, graph)
    worst = int(bounds.max())
    if worst > INT32.max:
        raise GraphError(
            f"layer '{layer.name}': a sum can reach {worst}, beyond int32; use fewer weight or activation bits"
        )
    if isinstance(target, Sums) and (bounds * target.scales.astype(np.float64)).max() > np.finfo(np.float32).max:
        raise GraphError(f"layer '{layer.name}': its sums can leave the range of float32; rescale the model's weights")


def _check_kept(layer: MaxPool | Selection | DepthToSpace, source: FeatureMap, target: FeatureMap) -> None:
    """What only moves integers leaves them as they are."""
    what = "max pooling" if isinstance(layer, MaxPool) else layer.operator
    if not _on_one_grid(source, target):
        raise GraphError(f"layer '{layer.name}': {what} must keep its input's scale and zero point")
    if target.low > source.low or target.high < source.high:
        raise GraphError(f"layer '{layer.name}': {what} must not clamp")


def _check_selection(layer: Selection, source: FeatureMap) -> None:
    channels, *size = source.shape
    if max(layer.channels) >= channels:
        raise GraphError(f"layer '{layer.name}': selects channel {max(layer.channels)} of {channels}")
    whole = True
    for what, (first, step, count), length in zip(("row", "column"), (layer.rows, layer.columns), size, strict=True):
        if first + step * (count - 1) >= length:
            raise GraphError(f"layer '{layer.name}': selects {what} {first + step * (count - 1)} of {length}")
        whole &= count == length
    if not layer.spacing and not whole:
        raise GraphError(
            f"layer '{layer.name}': selects channels that are not evenly spaced, and of the rows or columns only some;"
            " make two of it"
        )


def _check_average(layer: AveragePool, source: FeatureMap, target: FeatureMap) -> None:
    _check_pads(layer)
    if layer.ceil[0] > layer.pads[2] or layer.ceil[1] > layer.pads[3]:
        raise GraphError(f"layer '{layer.name}': ceil {layer.ceil} must lie within the pads {layer.pads}")
    if any(layer.ceil) and not layer.include_pad:
        raise GraphError(f"layer '{layer.name}': ceil {layer.ceil} must be (0, 0), as no pad counts")
    worst = prod(layer.kernel) * _reach(source)
    if worst > INT32.max:
        raise GraphError(f"layer '{layer.name}': a sum can reach {worst}, beyond int32")
    _check_ratios(layer, (source,), target, prod(layer.kernel))


def _check_pads(layer: MaxPool | AveragePool) -> None:
    for pad, size in zip(layer.pads, layer.kernel * 2, strict=True):
        if pad >= size:
            raise GraphError(f"layer '{layer.name}': pads {layer.pads} must be smaller than the kernel {layer.kernel}")


def _check_ratios(layer: Layer, sources: tuple[FeatureMap, ...], target: FeatureMap, divisor: int = 1) -> None:
    """What integers are multiplied by, the ratio of two scales, over ``divisor`` at most, is a normal float32."""
    for source in sources:
        with np.errstate(over="ignore", under="ignore"):
            largest, smallest = (source.scale / (target.scale * np.float32(count)) for count in (1, divisor))
        if not (largest <= LARGEST_RATIO and smallest >= SMALLEST_NORMAL):
            raise GraphError(
                f"layer '{layer.name}': its scales {source.scale:g} and {target.scale:g} are too far apart for float32;"
                " rescale the model's weights"
            )


def _check_factor(layer: Multiply, sources: tuple[FeatureMap, ...], target: FeatureMap) -> None:
    """What products are multiplied by, ``fl32(fl32(s_a * s_b) / s_y)``, is a normal float32."""
    with np.errstate(over="ignore", under="ignore"):
        factor = sources[0].scale * sources[1].scale / target.scale
    if not SMALLEST_NORMAL <= factor <= LARGEST_RATIO:
        scales = ", ".join(f"{tensor.scale:g}" for tensor in (*sources, target))
        raise GraphError(
            f"layer '{layer.name}': its scales {scales} are too far apart for float32; rescale the model's weights"
        )


def _check_widths(layer: Layer, maps: tuple[FeatureMap, ...]) -> None:
    """What runs through tables of all inputs has at most 8 bits on either side."""
    for tensor in maps:
        if tensor.bits > TABLE_BITS:
            raise GraphError(
                f"layer '{layer.name}': '{tensor.name}' has {tensor.bits} bits; {layer.operator} works"
                f" up to {TABLE_BITS}"
            )


def _check_concat(layer: Concat, sources: tuple[FeatureMap, ...], target: FeatureMap) -> None:
    """Maps that have the output's grid are copied, at any width; the others are moved by tables."""
    copied = [source for source in sources if _on_one_grid(source, target)]
    if len(copied) < len(sources):
        _check_widths(layer, (*sources, target))
    for source in copied:
        if source.low < target.low or source.high > target.high:
            raise GraphError(f"layer '{layer.name}': copies '{source.name}' and must not clamp it")
    _check_ratios(layer, sources, target)


def _check_table(layer: Table, source: FeatureMap, target: FeatureMap) -> None:
    if layer.values.shape != (source.high - source.low + 1,):
        raise GraphError(
            f"layer '{layer.name}': its table has shape {layer.values.shape}; it needs a value for each input"
        )
    if layer.values.min() < target.low or layer.values.max() > target.high:
        raise GraphError(f"layer '{layer.name}': its table leaves the output's {target.low}..{target.high}")


def _check_normalization(layer: Normalization, source: FeatureMap) -> None:
    worst = layer.size * _reach(source) ** 2
    if worst > INT32.max or worst >> layer.shift > TABLE_INDEX:
        raise GraphError(f"layer '{layer.name}': a sum of {layer.size} squares exceeds its tables")


def _on_one_grid(source: FeatureMap, target: FeatureMap) -> bool:
    return (source.scale, source.zero_point) == (target.scale, target.zero_point)


def _reach(source: FeatureMap) -> int:
    """The largest distance of an integer of ``source`` from its zero point."""
    return max(source.high - source.zero_point, source.zero_point - source.low)
