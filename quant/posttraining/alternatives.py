"""One layer of a quantized network with narrower weights, all others as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..graph import Conv, Graph, Sums
from ..graph.progress import Counting
from ..networks.layers import Convolution, FloatGraph, Floats, simple
from .learned import learn_weights
from .reconstruction import Reconstruction
from .settings import Settings
from .weights import QuantizedWeights, quantize_weights, reach_of


def alternatives(
    network: FloatGraph,
    graph: Graph,
    images: Mapping[str, Floats],
    choices: Mapping[str, Sequence[int]],
    settings: Settings,
    progress: Counting,
) -> Iterator[tuple[str, int, Graph]]:
    """(layer, bits, ``graph`` with that layer's weights learned anew at so many bits), layer after layer.

    network, graph : simplified, and what ``build`` made of it;  images : by input, float32 (N, C, rows, columns)
    choices : bits to try of each layer, by its name, nothing done if of none;  progress : of (layers done, in all)
    """
    if not choices:
        return
    learning = Reconstruction(network, images, settings.seed)
    for name, quantized in zip(network.inputs, graph.inputs, strict=True):
        learning.start(name, graph.tensors[quantized])
    for number, (layer, made) in enumerate(zip(map(simple, network.layers), graph.layers, strict=True)):
        source = graph.map_of(made.inputs[0])
        integers = None
        if isinstance(layer, Convolution) and isinstance(made, Conv):
            integers = QuantizedWeights(made.weights, made.weight_scales, made.bias)
            if wanted := choices.get(layer.name):
                samples = learning.samples(layer)
                for bits in wanted:
                    own = settings.of(bits)
                    rounded = quantize_weights(layer, source.scale, reach_of(source), own)
                    learned = learn_weights(layer, samples, rounded, source.scale, reach_of(source), own)
                    yield layer.name, bits, _with_weights(graph, made, source.scale, learned)
        learning.made(layer, graph.tensors[made.output], integers, source)
        progress(number + 1, len(network.layers))


def _with_weights(graph: Graph, layer: Conv, input_scale: np.float32, integers: QuantizedWeights) -> Graph:
    """``graph`` with other weights of ``layer``."""
    other = replace(layer, weights=integers.weights, weight_scales=integers.scales, bias=integers.bias)
    tensors, end = dict(graph.tensors), graph.tensors[layer.output]
    if isinstance(end, Sums):
        tensors[end.name] = replace(end, scales=input_scale * integers.scales)
    layers = tuple(other if one is layer else one for one in graph.layers)
    return replace(graph, layers=layers, tensors=tensors)
