"""Shapes of the float network's tensors; to find them is the legality check after import and after each pass."""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Pair, Shape, window_outputs
from ..graph.errors import unknown_kind
from .layers import (
    Addition,
    Affine,
    Average,
    Clamp,
    Concatenation,
    Convolution,
    Extreme,
    FloatGraph,
    FloatLayer,
    Function,
    LocalResponse,
    Padding,
    PixelShuffle,
    Pooling,
    Product,
    Slicing,
    Slopes,
    TransposedConvolution,
    VolumeConvolution,
    refusal,
)

LONGEST = 2**22
"""Channels, rows or columns that a map may have: of what is selected of them, there are lists."""


def shapes(graph: FloatGraph) -> dict[str, Shape]:
    """Shape of every tensor by name, (channels, rows, columns).

    Raises ModelError, naming the layer, where weights or windows do not fit, a map is longer than ``LONGEST`` along an
    axis, or its name is taken: layers that become of one node are named after it, as others may be.
    """
    found = dict(graph.inputs)
    for layer in graph.layers:
        if layer.output in found:
            raise refusal(layer, f"makes '{layer.output}', as another layer does; rename one of them in the model")
        shape = next_shape(layer, [found[name] for name in layer.inputs])
        if max(shape) > LONGEST:
            raise refusal(layer, f"makes {shape}; at most {LONGEST:,} channels, rows or columns work")
        found[layer.output] = shape
    return found


def next_shape(layer: FloatLayer, sources: Sequence[Shape]) -> Shape:
    """Shape that ``layer`` makes of ``sources``, (channels, rows, columns) all.  Raises ModelError if it cannot."""
    channels, rows, columns = source = sources[0]
    match layer:
        case Convolution():
            outputs, inputs = layer.weights.shape[:2]
            if inputs * layer.groups != channels or outputs % layer.groups:
                raise refusal(
                    layer,
                    f"weights {layer.weights.shape} with group {layer.groups} do not fit its input of {channels}"
                    " channels",
                )
            return outputs, *_windows(layer, source, layer.weights.shape[2:], layer.dilations)
        case TransposedConvolution():
            outputs, inputs = layer.weights.shape[:2]
            if inputs * layer.groups != channels or outputs % layer.groups or min(layer.size) < 1:
                raise refusal(
                    layer,
                    f"weights {layer.weights.shape} with group {layer.groups} make {layer.size} of its input {source};"
                    " they do not fit",
                )
            return outputs, *layer.size
        case VolumeConvolution():
            under = layer.plane.weights.shape[1] * layer.plane.groups  # channels of all slices under the kernel
            each = next_shape(layer.plane, [(under, rows, columns)])
            last = max((place for taps in layer.taps for place, _ in taps), default=0)
            if under % layer.slices or (last + 1) * (under // layer.slices) > channels:
                raise refusal(layer, f"weights {layer.plane.weights.shape} do not fit its input of {channels} channels")
            return each[0] * len(layer.taps), *each[1:]
        case Pooling() | Average():
            return channels, *_windows(layer, source, layer.kernel, (1, 1))
        case Addition() | Extreme() | Function():
            if len(set(sources)) > 1:
                raise refusal(layer, f"reads maps of shapes {_listed(sources)}; they must be equal")
            return source
        case Product():
            largest = max(shape[1:] for shape in sources)
            if len({shape[0] for shape in sources}) > 1 or any(shape[1:] not in ((1, 1), largest) for shape in sources):
                raise refusal(
                    layer,
                    f"multiplies maps of shapes {_listed(sources)}; they must be equal, or one have a single row and"
                    " column",
                )
            return channels, *largest
        case Concatenation():
            joined = layer.axis - 1
            if len({tuple(size for n, size in enumerate(shape) if n != joined) for shape in sources}) > 1:
                raise refusal(
                    layer, f"joins maps of shapes {_listed(sources)}; only their axis {layer.axis} may differ"
                )
            size = [*source]
            size[joined] = sum(shape[joined] for shape in sources)
            return size[0], size[1], size[2]
        case Slicing():
            return len(layer.channels), layer.rows[2], layer.columns[2]
        case PixelShuffle():
            high, wide = layer.block
            if channels % (high * wide):
                raise refusal(layer, f"its input has {channels} channels; it must be a multiple of {high} x {wide}")
            return channels // (high * wide), rows * high, columns * wide
        case Affine():
            if layer.scale.shape not in ((channels,), source):
                raise refusal(
                    layer, f"{layer.scale.size} parameters do not fit {channels} channels; it needs one for each"
                )
            return source
        case Padding():
            top, left, bottom, right = layer.pads
            return channels, rows + top + bottom, columns + left + right
        case Slopes():
            if layer.slopes.shape != (channels,):
                raise refusal(
                    layer, f"{layer.slopes.size} slopes do not fit {channels} channels; it needs one for each"
                )
            return source
        case LocalResponse() | Clamp():
            return source
        case unknown:
            unknown_kind(unknown)


def _windows(layer: Convolution | Pooling | Average, source: Shape, kernel: tuple[int, ...], dilations: Pair) -> Pair:
    top, left, bottom, right = layer.pads
    rows = window_outputs(source[1], kernel[0], layer.strides[0], top, bottom, dilations[0])
    columns = window_outputs(source[2], kernel[1], layer.strides[1], left, right, dilations[1])
    if rows < 1 or columns < 1:
        raise refusal(
            layer, f"kernel {tuple(kernel)} is larger than its padded input of shape {source}; use a larger image"
        )
    return rows, columns


def _listed(sources: Sequence[Shape]) -> str:
    return ", ".join(str(shape) for shape in sources)
