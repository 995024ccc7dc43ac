"""Operators on views: each node is put onto feature maps, as its builder knows them; what it makes is seen as before.

What treats every value alone works on the map as it lies, in any order; what names axes names the map's instead; only
what needs channels, rows and columns where ONNX has them makes a map of its own of a view (``arranging``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np
import onnx

from ..networks.functions import DEFAULTS
from ..networks.layers import FloatLayer
from ..networks.picking import pick
from .arranging import arrange
from .context import Context, Dimensions, image_of
from .file import Array, Attributes, refuse
from .mixtures import NODES
from .rearranging import dropped
from .spreading import SPREADING, narrowed, spread, unexpanded
from .view import CHANNELS, COLUMNS, IMAGES, MAP_AXES, ROWS, VOLUME, Axis, View, plain

OF_TWO = ("Add", "Div", "Max", "Mean", "Min", "Mul", "Pow", "Sub", "Sum")
POINTWISE = frozenset((*DEFAULTS, *NODES, *OF_TWO, "Neg", "PRelu", "Swish"))
MOVING = frozenset(("Expand", "Gather", "Pad", "Resize", "Slice", "Split", "Tile", "Upsample"))
REDUCING = {"ReduceMax": 18, "ReduceMean": 18, "ReduceMin": 18, "ReduceSum": 13}
"""Operators that fold axes, and the opset from which they read the axes as an input."""


@dataclass(frozen=True)
class Maps:
    """Every tensor that depends on the image: its ``sizes``, its view, and each map's ``own`` dimensions.

    inputs : the model's that no layer has read yet, so that their axes may still be put in another order
    arranged : views that were made maps
    expanded : what each tensor repeats that Expand or Tile made
    """

    sizes: dict[str, Dimensions] = field(default_factory=dict)
    views: dict[str, View] = field(default_factory=dict)
    own: dict[str, Dimensions] = field(default_factory=dict)
    inputs: set[str] = field(default_factory=set)
    arranged: dict[View, str] = field(default_factory=dict)
    expanded: dict[str, str] = field(default_factory=dict)

    def add_map(self, name: str, dimensions: Dimensions, axes: tuple[Axis, ...] | None = None) -> None:
        """A tensor that a layer makes, a map of ``dimensions``; seen by ``axes``, or as it is."""
        self.own[name] = (dimensions[0], *image_of(dimensions)) if len(dimensions) == VOLUME else dimensions
        self.add_view(name, plain(name, dimensions) if axes is None else View(name, axes))

    def add_view(self, name: str, view: View) -> None:
        self.views[name], self.sizes[name] = view, view.dimensions

    def relabel(self, view: View) -> bool:
        """Let the model's input that is seen by ``view`` be the map that this says; False if that cannot be."""
        others = {name: other for name, other in self.views.items() if other.map == view.map}
        moved = {name: other.through(view.inverse()) for name, other in others.items()}
        if view.axes[0] != self.views[view.map].axes[0] or None in moved.values():
            return False
        self.own[view.map] = view.dimensions
        self.views.update((name, other) for name, other in moved.items() if other is not None)
        return True


@dataclass(frozen=True)
class Placed:
    """A node on maps: ``context`` for its builder, and ``layers`` that come before.

    seen : from the dimensions of the map that it makes, by which axes that is seen; None if as the map itself
    """

    context: Context
    layers: list[FloatLayer] = field(default_factory=list)
    seen: Callable[[Dimensions], tuple[Axis, ...]] | None = None


def place(context: Context, maps: Maps) -> Placed:
    """``context``'s node, put onto maps.  Raises ModelError, naming it, where a view is beyond what can be arranged."""
    if context.operator in SPREADING:
        context = unexpanded(context, maps.expanded)
    placed = _placed(context, maps)
    if context.operator in SPREADING:
        inputs, layers = spread(placed.context)
        if layers:
            placed = replace(placed, context=_on(placed.context, inputs), layers=[*placed.layers, *layers])
    if context.operator in POINTWISE and len(set(context.computed)) == 1:
        placed = replace(placed, context=narrowed(placed.context))
    return placed


def _placed(context: Context, maps: Maps) -> Placed:
    views = [maps.views[name] for name in context.computed]
    if len(views) == 1 and context.operator in ("Gemm", "MatMul"):
        return _multiplied(context, maps, views[0])
    alike = all(view.is_plain for view in views)
    if context.operator in POINTWISE and not (alike and len({len(view.axes) for view in views}) == 1):
        return _pointwise(context, maps, views)
    placed = None
    if not alike and len(views) == 1 and context.operator == "BatchNormalization":
        placed = _normalized(context, maps, views[0])
    elif not alike and len(views) == 1 and context.operator in REDUCING:
        placed = _reduced(context, maps, views[0])
    elif not alike and context.operator == "Concat":
        placed = _joined(context, maps, views)
    elif len(views) == 1 and context.operator in MOVING and not (alike and dropped(context) is None):
        placed = _moved(context, views[0])
    return _arranged(context, maps, views) if placed is None else placed


def _pointwise(context: Context, maps: Maps, views: Sequence[View]) -> Placed:
    """Every value alone: on the map of the largest, as that lies; others and constants are put in its order."""
    main = max(views, key=lambda view: prod(view.dimensions))
    rank = len(maps.own[main.map])
    inputs, layers = {}, []
    for number, (name, view) in enumerate(zip(context.computed, views, strict=True)):
        try:
            found = view.onto(main, rank)
        except ValueError:
            found = None
        if found is None:
            sizes = " and ".join(str(list(view.dimensions)) for view in views)
            raise refuse(context.node, f"reads tensors of {sizes} whose axes are cut differently; reshape them alike")
        inputs[name], more = _own(context, maps, found, number)
        layers += more
        if VOLUME in (len(main.axes), len(view.axes)):
            inputs[name], more = _spread(context, inputs[name], view, main, number)
            layers += more
    constants = {}
    for name in context.node.input:
        value = context.constants.get(name) if name else None
        if value is not None and value.size > 1:
            padded = (1,) * (len(main.axes) - value.ndim) + value.shape
            pairs = zip(padded, main.dimensions, strict=False)
            if len(padded) != len(main.axes) or any(size not in (1, whole) for size, whole in pairs):
                raise refuse(context.node, f"its constant of {list(value.shape)} does not fit {list(main.dimensions)}")
            constants[name] = main.to_map(value, rank)
    return Placed(_on(context, inputs, constants), layers, lambda _: main.axes)


def _spread(
    context: Context, made: tuple[str, Dimensions], view: View, main: View, number: int
) -> tuple[tuple[str, Dimensions], list[FloatLayer]]:
    """What was ``made`` of ``view``, input ``number``, for all slices or channels of ``main`` alike."""
    (name, dimensions), channels = made, main.shape[CHANNELS]
    sizes = (1,) * (len(main.axes) - len(view.axes)) + view.dimensions
    along = [any(atom.axis == CHANNELS for atom in axis) for axis in main.axes]
    own = [size if there else 1 for size, there in zip(sizes, along, strict=True)]
    if dimensions[1] == channels or prod(own) != dimensions[1] or max(own) != dimensions[1]:
        return made, []
    places = np.broadcast_to(main.to_map(np.arange(dimensions[1]).reshape(own), 4), (1, channels, 1, 1)).reshape(-1)
    called, output = (f"{context.name}/{number}/{end}" for end in ("spread", "spread_out"))
    layers = pick(called, context.operator, name, output, image_of(dimensions), {0: places.tolist()})
    return (output, (dimensions[0], channels, *dimensions[2:])), layers


def _normalized(context: Context, maps: Maps, view: View) -> Placed:
    """Batch normalization of a tensor's second axis, wherever that lies in the map."""
    return Placed(_on(context, {context.current: (view.map, view.dimensions)}, seen=view), seen=lambda _: view.axes)


def _multiplied(context: Context, maps: Maps, view: View) -> Placed:
    """A matrix times the last axis: a convolution over all the map's axes that this is made of, each as a whole."""
    layers: list[FloatLayer] = []
    if not _whole_axes(view, len(view.axes) - 1):
        if any(atom.axis != IMAGES for atom in view.axes[0]):
            view = replace(view, axes=((), *view.axes))
        batch, *middle, inputs = view.dimensions
        last = len(view.axes) - 1
        found = view.transposed([0, last, *range(1, last)]).reshaped((batch, inputs, prod(middle)))
        assert found is not None  # joins axes, and cuts none
        (name, dimensions), layers = _own(context, maps, found, 0)
        apart = plain(name, dimensions).reshaped((batch, inputs, *middle))
        assert apart is not None
        view = apart.transposed([0, *range(2, last + 1), 1])
        view = replace(view, axes=view.axes[-len(context.dimensions) :])
    made = _on(context, {context.current: (view.map, context.dimensions)}, seen=view)
    return Placed(made, layers, lambda own: (*view.axes[:-1], plain("", own).axes[CHANNELS]))


def _whole_axes(view: View, axis: int) -> bool:
    """Whether the tensor's ``axis`` has all the map's channels, and rows and columns each as a whole or not at all."""
    here = view.axes[axis]
    rest = {atom.axis for number, part in enumerate(view.axes) if number != axis for atom in part}
    return CHANNELS not in rest and not {atom.axis for atom in here} & {IMAGES, *rest}


def _reduced(context: Context, maps: Maps, view: View) -> Placed | None:
    """A mean or its like over whole channels, rows or columns, which may be one axis here."""
    since, rank = REDUCING[context.operator], len(view.axes)
    attributes = Attributes(context.node)
    keeps = attributes.integer("keepdims", 1)
    axes = context.axes(attributes, since, rank)
    gone = {atom.axis for axis in axes for atom in view.axes[axis]}
    rest = {atom.axis for axis, part in enumerate(view.axes) if axis not in axes for atom in part}
    works = {ROWS, COLUMNS} if context.operator in ("ReduceMax", "ReduceMin") else {CHANNELS, ROWS, COLUMNS}
    if not gone or not gone <= works or gone & rest:
        return None
    own = batch, *_ = maps.own[view.map]
    dimensions = (batch, *image_of(own))
    gone |= {axis for axis in (ROWS, COLUMNS) if dimensions[axis] == 1}
    context = _on(context, {context.current: (view.map, dimensions)})
    node = context.node
    kept = [item for item in node.attribute if item.name not in ("axes", "keepdims")]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("keepdims", 1)])
    constants: dict[str, Array] = {}
    if context.opset < since:
        node.attribute.append(onnx.helper.make_attribute("axes", sorted(gone)))
    else:
        constants[node.input[1]] = np.array(sorted(gone))
    left = [() if axis in axes else part for axis, part in enumerate(view.axes) if keeps or axis not in axes]
    if not left:
        return None
    known = {**context.constants, **constants}
    return Placed(replace(context, constants=known), seen=lambda _: tuple(left))


def _moved(context: Context, view: View) -> Placed | None:
    """Values taken, repeated or padded along axes that are the map's, in whatever order."""
    places = view.places
    if places is None:
        return None
    gone = dropped(context)
    kept = [place for axis, place in enumerate(places) if axis != gone]
    if gone == IMAGES or len(kept) < 2:
        return None
    made = _on(context, {context.current: (view.map, view.dimensions)}, seen=view)
    return Placed(made, seen=lambda own: tuple(plain("", own).axes[place] for place in kept))


def _joined(context: Context, maps: Maps, views: Sequence[View]) -> Placed | None:
    """Maps joined along an axis of theirs, wherever that is among the tensors' axes."""
    axis = Attributes(context.node).integer("axis", 1)
    first = views[0]
    if not -len(first.axes) <= axis < len(first.axes) or len(context.computed) != len(context.node.input):
        return None
    axis %= len(first.axes)
    along = {atom.axis for view in views for atom in view.axes[axis]}
    apart = {(*view.axes[:axis], *view.axes[axis + 1 :]) for view in views}
    if len(along) != 1 or len(apart) != 1 or along == {IMAGES}:
        return None
    inputs = {}
    (place,) = along
    for name, view in zip(context.computed, views, strict=True):
        own = maps.own[view.map]
        dimensions = own[0], *image_of(own)
        if view.axes[axis] != plain("", dimensions).axes[place]:
            return None
        inputs[name] = view.map, dimensions
    made = _on(context, inputs)
    kept = [item for item in made.node.attribute if item.name != "axis"]
    del made.node.attribute[:]
    made.node.attribute.extend([*kept, onnx.helper.make_attribute("axis", place)])
    return Placed(made, seen=lambda own: (*first.axes[:axis], plain("", own).axes[place], *first.axes[axis + 1 :]))


def _arranged(context: Context, maps: Maps, views: Sequence[View]) -> Placed:
    """Each input as a map of its own."""
    inputs, layers = {}, []
    for number, (name, view) in enumerate(zip(context.computed, views, strict=True)):
        inputs[name], more = _own(context, maps, view, number)
        layers += more
    return Placed(_on(context, inputs), layers)


def _own(context: Context, maps: Maps, view: View, number: int) -> tuple[tuple[str, Dimensions], list[FloatLayer]]:
    """A map that ``view`` is, input ``number`` of the node: its name, its dimensions, and the layers that make it."""
    dimensions = view.dimensions
    if view.is_plain:
        return (view.map, dimensions), []
    if len(dimensions) == VOLUME:
        (name, _), layers = _own(context, maps, view.slices_as_channels(), number)
        return (name, dimensions), layers
    if len(dimensions) not in MAP_AXES:
        raise refuse(context.node, f"its input has {len(dimensions)} dimensions; it must have 2 to 5")
    if view.map in maps.inputs and maps.relabel(view):
        return (view.map, dimensions), []
    if view in maps.arranged:
        return (maps.arranged[view], dimensions), []
    try:
        layers, name = arrange(view, f"{context.name}/{number}", context.operator)
    except ValueError as error:
        own = list(maps.own[view.map])
        raise refuse(
            context.node, f"reads {list(dimensions)}, which is a map of {own} in another order, and that {error}"
        ) from error
    maps.arranged[view] = name
    maps.own[name] = dimensions
    return (name, dimensions), layers


def _on(
    context: Context,
    inputs: Mapping[str, tuple[str, Dimensions]],
    constants: Mapping[str, Array] | None = None,
    seen: View | None = None,
) -> Context:
    """``context`` with ``inputs`` in place of what it reads: a map for each name, and what that is to be taken for."""
    made = context.reading({name: found for name, (found, _) in inputs.items()})
    known = {name: context.constants[name] for name in made.node.input if name in context.constants}
    return replace(made, constants={**known, **(constants or {})}, sizes=dict(inputs.values()), view=seen)
