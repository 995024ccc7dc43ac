"""The model's end that the host computes, and how its inputs and outputs lie beside the maps of the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod

from ..graph.errors import ModelError
from ..graph.host import ArgMax, HostArray, HostStep, Reshape, Softmax, Transpose, joined, sizes_after
from .context import Context, Dimensions, image_of
from .file import Attributes, refuse
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
        return context.operator in LAST or any(name in self.steps for name in context.node.input)

    def add(self, context: Context, seen: Mapping[str, Dimensions]) -> None:
        """Leave the node to the host.  Raises ModelError, naming it, if a host does no such thing, or mixes images.

        seen : dimensions of all tensors that are made of maps
        """
        name = context.node.input[0]
        source, before = self.steps.get(name, (name, ()))
        sizes = self.sizes[name] if name in self.sizes else seen[name]
        made = _step(context, sizes)
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
        return view.map, HostArray(sizes[1:], joined((*arranged, *steps), image))


def array_of_input(name: str, views: Mapping[str, View], own: Mapping[str, Dimensions]) -> HostArray:
    """How the input ``name`` becomes its map."""
    view = views[name]
    apart, order = _cut(view, name)
    shape = view.dimensions[1:]
    arranged = (Reshape(tuple(apart)), _moved(order), Reshape(image_of(own[view.map])))
    return HostArray(shape, joined(arranged, (1, *shape)))


def _moved(order: list[int]) -> Transpose:
    return Transpose((0, *(place + 1 for place in order)))


def _cut(view: View, name: str) -> tuple[list[int], list[int]]:
    """Sizes of the atoms of ``view`` but for images, and the order in which the map has them."""
    if view.axes[0] != plain(view.map, (view.dimensions[0], *[1] * 3)).axes[IMAGES]:
        raise ModelError(f"'{name}' mixes the images of a batch; keep them apart, as its first axis")
    atoms = [atom for axis in view.axes[1:] for atom in axis]
    order = sorted(range(len(atoms)), key=lambda place: (atoms[place].axis, -atoms[place].step))
    return [atom.size for atom in atoms], order


def _step(context: Context, sizes: Dimensions) -> HostStep:
    """What ``context``'s node does to an array of ``sizes``."""
    if context.operator in RENAMING:
        found = _reshaped(context, sizes)
        if not found or found[0] != sizes[0] or prod(found) != prod(sizes):
            raise refuse(context.node, f"makes {list(found)} of {list(sizes)}; the images must stay apart")
        return Reshape(found[1:])
    if context.operator in STEPS:
        return STEPS[context.operator](context, sizes)
    raise refuse(
        context.node,
        f"reads what is left to the host, {', '.join(LAST)} at the end; end the model before it, and let the"
        " program that calls the accelerator do the rest",
    )


def _softmax(context: Context, sizes: Dimensions) -> HostStep:
    attributes = Attributes(context.node)
    axis = attributes.integer("axis", -1 if context.opset >= 13 else 1) % len(sizes)
    attributes.finish()
    if context.opset < 13 and prod(sizes[axis + 1 :]) > 1:
        raise refuse(context.node, f"is over all axes from {axis} on, as before opset 13; a later opset takes one axis")
    return Softmax(axis, context.operator == "LogSoftmax")


def _arg_max(context: Context, sizes: Dimensions) -> HostStep:
    attributes = Attributes(context.node)
    axis, keeps = attributes.integer("axis", 0) % len(sizes), attributes.integer("keepdims", 1)
    last = attributes.integer("select_last_index", 0)
    attributes.finish()
    return ArgMax(axis, bool(keeps), bool(last))


def _transpose(context: Context, sizes: Dimensions) -> HostStep:
    attributes = Attributes(context.node)
    order = attributes.listed("perm") or list(range(len(sizes)))[::-1]
    attributes.finish()
    return Transpose(tuple(order))


STEPS: Mapping[str, Callable[[Context, Dimensions], HostStep]] = {
    "ArgMax": _arg_max,
    "LogSoftmax": _softmax,
    "Softmax": _softmax,
    "Transpose": _transpose,
}
RENAMING = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")


def _reshaped(context: Context, sizes: Dimensions) -> Dimensions:
    """Dimensions after a node that only renames axes."""
    attributes, rank = Attributes(context.node), len(sizes)
    if context.operator in ("Dropout", "Identity"):
        return sizes
    if context.operator == "Flatten":
        axis = attributes.integer("axis", 1)
        return prod(sizes[:axis]), prod(sizes[axis:])
    if context.operator == "Reshape":
        wanted = context.integers(attributes, "shape", 5) or []
        found = [sizes[n] if size == 0 and n < rank else size for n, size in enumerate(wanted)]
        known = prod(size for size in found if size != -1)
        return tuple(prod(sizes) // known if size == -1 and known else size for size in found)
    if context.operator == "Squeeze":
        axes = context.axes(attributes, 13, rank) or [n for n, size in enumerate(sizes) if n and size == 1]
        return tuple(size for n, size in enumerate(sizes) if n not in axes)
    count = len(context.integers(attributes, "axes", 13) or ())
    new, old = context.axes(Attributes(context.node), 13, rank + count), iter(sizes)
    return tuple(1 if n in new else next(old) for n in range(rank + count))
