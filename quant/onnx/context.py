"""What a builder of layers is given: one ONNX node, the constants known before it, and the tensors that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import onnx

from ..graph import Shape
from ..networks.layers import FloatLayer, Floats
from .file import Array, Attributes, integer_list, node_name, refuse
from .view import MAP_AXES, VOLUME, View
from .view import Dimensions as Dimensions

Number = TypeVar("Number", int, float, tuple[int, int])
Built = tuple[FloatLayer, Dimensions]


def image_of(dimensions: Dimensions) -> Shape:
    """(channels, rows, columns) of (N, C, H, W), of (N, C, L), which is one row, or of (N, K), which is one pixel.

    Of a volume, (N, C, D, H, W), the channels are those of slice after slice.
    """
    channels, *size = dimensions[1:]
    if len(size) == 3:
        return channels * size[0], size[1], size[2]
    rows, columns = [1, 1, *size][-2:]
    return channels, rows, columns


@dataclass(frozen=True)
class Context:
    """A node, the constants known before it, and the sizes of computed tensors: (N, C, H, W), (N, C, L) or (N, K).

    view : where the input lies in its map, if it is not the map itself: then the builder puts its parameters there
    """

    node: onnx.NodeProto
    constants: Mapping[str, Array]
    sizes: Mapping[str, Dimensions]
    opset: int
    view: View | None = None

    @property
    def name(self) -> str:
        return node_name(self.node)

    @property
    def operator(self) -> str:
        return str(self.node.op_type)

    @property
    def output(self) -> str:
        return str(self.node.output[0])

    @property
    def computed(self) -> tuple[str, ...]:
        """The inputs that depend on the image, in order."""
        return tuple(name for name in self.node.input if name and name not in self.constants)

    @property
    def current(self) -> str:
        """The one input that depends on the image.  Raises ModelError if there is none, or there are several."""
        if len(self.computed) != 1:
            raise refuse(self.node, f"reads {len(self.computed)} computed tensors; exactly one works")
        return self.computed[0]

    @property
    def dimensions(self) -> Dimensions:
        return self.sizes[self.current]

    def reading(self, renamed: Mapping[str, str]) -> Context:
        """The same node, with other inputs in place of those that are ``renamed``."""
        node = onnx.NodeProto()
        node.CopyFrom(self.node)
        del node.input[:]
        node.input.extend(renamed.get(name, name) for name in self.node.input)
        return replace(self, node=node)

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
        with np.errstate(over="ignore"):
            found = value.astype(np.float32, copy=False)
        if not np.isfinite(found).all():
            raise refuse(
                self.node, f"its {role} '{self.node.input[index]}' contains NaN or infinity; all must be finite"
            )
        return found

    def integers(self, attributes: Attributes, name: str, since: int, index: int = 1) -> list[int] | None:
        """``name``: an attribute before opset ``since``, input ``index`` from then on; None if it is left out."""
        if self.opset < since:
            return attributes.listed(name)
        found = self.constant(index, name)
        return None if found is None else integer_list(self.node, name, found)

    def axis(self, attributes: Attributes, default: int) -> int:
        """``axis``, from 0 on.  Raises ModelError if the input has no such axis."""
        axis, rank = attributes.integer("axis", default), len(self.dimensions)
        if not -rank <= axis < rank:
            raise refuse(self.node, f"axis is {axis}, beyond the {rank} axes of its input")
        return axis % rank

    def axes(self, attributes: Attributes, since: int, rank: int, index: int = 1) -> list[int]:
        """``axes``, found as by ``integers``, each from 0 to ``rank - 1``; none if they are left out."""
        found = self.integers(attributes, "axes", since, index) or []
        axes = [axis % rank for axis in found if -rank <= axis < rank]
        if len(set(axes)) != len(found):
            raise refuse(self.node, f"axes are {found}; each must be one of {rank}, and given once")
        return axes

    def image(self) -> Shape:
        """(channels, rows, columns) of the input, which must be an image, or a row of N, C, L."""
        if len(self.dimensions) == VOLUME:
            raise refuse(self.node, "reads a quantized volume; quantize the float model that it was made from")
        if len(self.dimensions) not in (3, 4):
            raise refuse(
                self.node, f"its input has {len(self.dimensions)} dimensions; it must have 4 (NxCxHxW) or 3 (NxCxL)"
            )
        return image_of(self.own(self.dimensions))

    @property
    def places(self) -> tuple[int, ...]:
        """Which of its map's axes each of the input's is: IMAGES, CHANNELS, ROWS or COLUMNS."""
        found = MAP_AXES[len(self.dimensions)] if self.view is None else self.view.places
        assert found is not None  # placing gives no other views
        return found

    def along(self, values: Sequence[Number], other: Number) -> list[Number]:
        """``values``, one for each of the input's axes, as those of images, channels, rows, columns, or ``other``."""
        by_place = dict(zip(self.places, values, strict=True))
        return [by_place.get(axis, other) for axis in range(4)]

    def own(self, dimensions: Dimensions) -> Dimensions:
        """``dimensions`` of a tensor that has the input's axes, as its map has them."""
        return dimensions if self.view is None else tuple(self.along(dimensions, 1))

    def like_input(self, shape: Shape) -> Dimensions:
        """Dimensions of an output of ``shape`` with as many axes as the input has."""
        return self.dimensions[0], shape[0], *shape[5 - len(self.dimensions) :]

    def data_is_first(self) -> None:
        name = self.node.input[0] if self.node.input else ""
        if name != self.current:
            raise refuse(self.node, f"its first input must be the image '{self.current}', not '{name}'")
