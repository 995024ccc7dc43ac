"""The network's input as the first convolution reads it best: the rows of each window side by side.

A window is as many runs of consecutive elements as the kernel has rows, and each run ends with rows of the array that
have nothing to do: a run of 7 columns x 3 channels takes 2 passes of 16 and leaves 11 rows idle.  If the host writes
the image with the kernel's rows beside each other, once for each row of the result, the whole window is one run: 147
elements, 10 passes in place of 14.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import Conv, Graph, Shape
from ...quant.graph.errors import ConfigurationError
from ...quant.graph.legality import check


@dataclass(frozen=True)
class Unfolding:
    """Which rows of the image lie side by side in each row of the unfolded input.

    Row r of the input holds, for each column, the channels of the image's rows ``r * stride - top + k * dilation``, k
    = 0 .. kernel_rows - 1; rows outside the image are the zero point.

    shape : the image, (channels, rows, columns);  rows : of the convolution's result;  kernel_rows, stride, dilation :
    in rows;  top : rows of padding above;  zero_point : integer of the real 0, before the engine's offset
    """

    shape: Shape
    rows: int
    kernel_rows: int
    stride: int
    dilation: int
    top: int
    zero_point: int

    @property
    def unfolded_shape(self) -> Shape:
        return self.kernel_rows * self.shape[0], self.rows, self.shape[2]


def unfolded(graph: Graph) -> tuple[Graph, Unfolding]:
    """``graph`` with its input unfolded, and how.  The first convolution's sums, and all that follows, stay the same.

    Raises ConfigurationError if not one convolution of several kernel rows alone reads the input.
    """
    readers = [layer for layer in graph.layers if graph.input in layer.inputs]
    first = readers[0]
    if len(readers) > 1 or not isinstance(first, Conv) or first.groups > 1:
        found = " and ".join(f"'{layer.name}' ({layer.operator})" for layer in readers)
        raise ConfigurationError(
            f"the input cannot be unfolded: one convolution, not grouped, must read it alone, not {found}"
        )
    source = graph.map_of(graph.input)
    outputs, channels, kernel_rows, kernel_columns = first.weights.shape
    rows = graph.tensors[first.output].shape[1]
    if kernel_rows == 1 or rows == 1:
        raise ConfigurationError(
            f"the input cannot be unfolded: '{first.name}' has a window of {kernel_rows} rows and a result of {rows}; "
            "both must be more than 1"
        )
    how = Unfolding(
        source.shape, rows, kernel_rows, first.strides[0], first.dilations[0], first.pads[0], source.zero_point
    )
    beside = first.weights.transpose(0, 2, 1, 3).reshape(outputs, kernel_rows * channels, 1, kernel_columns)
    conv = replace(
        first,
        weights=beside,
        strides=(1, first.strides[1]),
        pads=(0, first.pads[1], 0, first.pads[3]),
        dilations=(1, first.dilations[1]),
    )
    layers = tuple(conv if layer is first else layer for layer in graph.layers)
    tensors = {**graph.tensors, graph.input: replace(source, shape=how.unfolded_shape)}
    # what the host does to an input of the model's before that makes the image, not what is unfolded
    arrays = {name: array for name, array in graph.arrays.items() if name != graph.input}
    return replace(check(replace(graph, layers=layers, tensors=tensors, arrays=arrays)), arrays=graph.arrays), how


def unfold(images: NDArray[Any], how: Unfolding) -> NDArray[Any]:
    """Integers of images, (images, channels, rows, columns), as the accelerator wants them: ``how.unfolded_shape``."""
    bottom = max(0, (how.rows - 1) * how.stride - how.top + (how.kernel_rows - 1) * how.dilation + 1 - how.shape[1])
    padded = np.pad(images, ((0, 0), (0, 0), (how.top, bottom), (0, 0)), constant_values=how.zero_point)
    starts = np.arange(how.kernel_rows) * how.dilation
    taken = starts[None, :] + how.stride * np.arange(how.rows)[:, None]
    # (images, channels, rows of the result, kernel rows, columns)
    beside = padded[:, :, taken]
    return beside.transpose(0, 3, 1, 2, 4).reshape(len(images), *how.unfolded_shape)
