"""Several images in one run: their fully connected layers fetch each weight once for all of them."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ...quant.graph import Graph, Shape, Tensor
from .engine_layer import EngineLayer


def batched(graph: Graph, layers: Sequence[EngineLayer], images: int) -> tuple[Graph, tuple[EngineLayer, ...]]:
    """``graph`` and ``layers`` for ``images`` images in one run.

    The fully connected layers at the end run once, on a map with a row for each image: the array then multiplies each
    weight by all of them.  Before that, one image follows the other; what a layer writes for image i is called
    ``name@i``.  The network's inputs and outputs, and what the fully connected layers read, hold all images, one behind
    the other: they are ``images`` times as many rows.
    """
    if images == 1:
        return graph, tuple(layers)
    shared = _shared(layers)
    body, tail = layers[: len(layers) - shared], layers[len(layers) - shared :]
    together = {*graph.inputs, *graph.outputs, *(name for layer in tail for name in (layer.input, layer.output))}
    tensors: dict[str, Tensor] = {}
    for name, tensor in graph.tensors.items():
        if name in together:
            tensors[name] = _renamed(tensor, name, images)
        else:
            tensors |= {f"{name}@{image}": _renamed(tensor, f"{name}@{image}", 1) for image in range(images)}

    def place(name: str, image: int) -> tuple[str, int]:
        """The tensor that holds ``name`` of one image, and the element where it begins there."""
        if not name:
            return name, 0
        return (name, image * prod(graph.tensors[name].shape)) if name in together else (f"{name}@{image}", 0)

    result = []
    for image in range(images):
        for layer in body:
            (source, source_at), (operand, operand_at) = place(layer.input, image), place(layer.operand, image)
            target, target_at = place(layer.output, image)
            result.append(
                replace(
                    layer,
                    name=f"{layer.name} (image {image})",
                    input=source,
                    input_at=source_at,
                    operand=operand,
                    operand_at=operand_at,
                    output=target,
                    output_at=target_at,
                    image=image,
                    tensor=layer.tensor or layer.output,
                )
            )
    for layer in tail:
        source_shape, convolved, target_shape = (
            _rows(s, images) for s in (layer.source, layer.convolved, layer.target)
        )
        more = layer.macs * images
        result.append(replace(layer, source=source_shape, convolved=convolved, target=target_shape, macs=more))
    return replace(graph, tensors=tensors), tuple(result)


def _shared(layers: Sequence[EngineLayer]) -> int:
    """How many layers at the end are fully connected, each reading the one before alone."""
    count = 0
    for layer in reversed(layers):
        single = layer.on_array and not layer.operand and layer.source[1:] == layer.target[1:] == (1, 1)
        readers = sum(layer.output in other.inputs for other in layers)
        if not single or layer.groups != 1 or layer.pool or readers != min(count, 1):
            break
        count += 1
    return count


def _rows(shape: Shape, images: int) -> Shape:
    return shape[0], shape[1] * images, shape[2]


def _renamed(tensor: Tensor, name: str, images: int) -> Tensor:
    return replace(tensor, name=name, shape=_rows(tensor.shape, images))
