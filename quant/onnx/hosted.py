"""The model's end that the host computes, and how its inputs and outputs lie beside the maps of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

from ..graph.errors import ModelError
from ..graph.host import ArgMax, HostArray, HostStep, Reshape, Softmax, Transpose, simplified, sizes_after
from .context import Context, Dimensions, image_of
from .file import Attributes, refuse
from .shaping import RENAMED, dimensions_after, permutation
from .view import IMAGES, View, plain

LAST = ("ArgMax", "LogSoftmax", "Softmax")
"""Operators that the host computes, at the end only."""


@dataclass
class Hosted:
    """Tensors that the host makes: of which tensor that a layer makes, by what ``steps``, and their dimensions."""

    steps: dict[str, tuple[str, tuple[HostStep, ...]]] = field(default_factory=dict)
    sizes: dict[str, Dimensions] = field(default_factory=dict)

    def takes(self, context: Context) -> bool:
        """Whether the node is the host's: one of ``LAST``, or it reads what the host makes."""
        return any(name in self.steps or context.operator in LAST for name in context.computed)

    def add(self, context: Context, seen: Mapping[str, Dimensions]) -> None:
        """Leave the node to the host.  Raises ModelError, naming it, if a host does no such thing, or mixes images.

        seen : dimensions of all tensors that are made of maps
        """
        if context.operator not in STEPS:
            raise refuse(
                context.node,
                f"reads what is left to the host, {', '.join(LAST)} at the end; end the model before it, and let the"
                " program that calls the accelerator do the rest",
            )
        name = context.current
        source, before = self.steps.get(name, (name, ()))
        sizes = self.sizes[name] if name in self.sizes else seen[name]
        made = STEPS[context.operator](replace(context, sizes={name: sizes}))
        try:
            after = sizes_after(made, sizes)
        except ModelError as error:
            raise refuse(context.node, str(error)) from error
        self.steps[context.output] = source, (*before, made)
        self.sizes[context.output] = after

    def array(self, output: str, views: Mapping[str, View], own: Mapping[str, Dimensions]) -> tuple[str, HostArray]:
        """The map of which ``output`` is made, and how.  Raises ModelError if no node makes it of the inputs."""
        source, steps = self.steps.get(output, (output, ()))
        if source not in views:
            raise ModelError(f"the output '{output}' is not what any node makes from the input")
        view = views[source]
        sizes = self.sizes.get(output, view.dimensions)
        image = (1, *image_of(own[view.map]))
        apart, order = _cut(view, output)
        back = [order.index(place) for place in range(len(order))]
        arranged = (Reshape(tuple(apart[place] for place in order)), _moved(back), Reshape(view.dimensions[1:]))
        return view.map, HostArray(sizes[1:], simplified((*arranged, *steps), image))


def array_of_input(name: str, views: Mapping[str, View], own: Mapping[str, Dimensions]) -> HostArray:
    """How the input ``name`` becomes its map."""
    view = views[name]
    apart, order = _cut(view, name)
    shape = view.dimensions[1:]
    arranged = (Reshape(apart), _moved(order), Reshape(image_of(own[view.map])))
    return HostArray(shape, simplified(arranged, (1, *shape)))


def _moved(order: list[int]) -> Transpose:
    return Transpose((0, *(place + 1 for place in order)))


def _cut(view: View, name: str) -> tuple[Dimensions, list[int]]:
    """Sizes of the atoms of ``view`` but for images, and the order in which the map has them."""
    images = plain(view.map, view.shape).axes[IMAGES]
    if view.axes[:1] != (images,):
        raise ModelError(f"'{name}' mixes the images of a batch; keep them apart, as its first axis")
    return replace(view, axes=view.axes[1:]).cut()


def _renamed(context: Context) -> HostStep:
    before, after = context.dimensions, dimensions_after(context)
    if after[:1] != before[:1]:
        raise refuse(context.node, f"makes {list(after)} of {list(before)}; the images must stay apart")
    return Reshape(after[1:])


def _softmax(context: Context) -> HostStep:
    attributes, sizes = Attributes(context.node), context.dimensions
    axis = context.axis(attributes, -1 if context.opset >= 13 else 1)
    attributes.finish()
    if context.opset < 13 and prod(sizes[axis + 1 :]) > 1:
        raise refuse(context.node, f"is over all axes from {axis} on, as before opset 13; a later opset takes one axis")
    return Softmax(axis, context.operator == "LogSoftmax")


def _arg_max(context: Context) -> HostStep:
    attributes = Attributes(context.node)
    axis, keeps = context.axis(attributes, 0), attributes.integer("keepdims", 1)
    last = attributes.integer("select_last_index", 0)
    attributes.finish()
    return ArgMax(axis, bool(keeps), bool(last))


def _transpose(context: Context) -> HostStep:
    return Transpose(tuple(permutation(context)))


STEPS: Mapping[str, Callable[[Context], HostStep]] = {
    **dict.fromkeys(RENAMED, _renamed),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _softmax),
    "ArgMax": _arg_max,
    "Transpose": _transpose,
}
"""What a node does to an array whose dimensions its context has."""
