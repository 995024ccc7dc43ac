"""Which layers wait for which: those that read channels of a tensor for those that write them, and for no others."""

from collections import defaultdict
from collections.abc import Sequence

from .engine_layer import EngineLayer


def feeds(maker: EngineLayer, reader: EngineLayer) -> bool:
    """Whether ``reader`` reads, as its input or its operand, what ``maker`` writes.

    Rows and columns are not told apart: who reads other rows of the same channels counts.
    """
    if maker.output == reader.operand:
        return True
    if maker.output != reader.input:
        return False
    first = maker.spread.first % reader.source[0]
    low, high = reader.channels
    return first + maker.target[0] > reader.source[0] or (first < high and low < first + maker.target[0])


def makers_of(layers: Sequence[EngineLayer]) -> list[list[int]]:
    """For each layer the indices of those that make what it reads."""
    writers: dict[str, list[int]] = defaultdict(list)
    for n, layer in enumerate(layers):
        writers[layer.output].append(n)
    return [
        [maker for name in layer.inputs for maker in writers[name] if feeds(layers[maker], layer)] for layer in layers
    ]


def readers_of(makers: Sequence[Sequence[int]]) -> list[list[int]]:
    """For each layer the indices of those that read what it makes, from what ``makers_of`` found."""
    readers: list[list[int]] = [[] for _ in makers]
    for reader, found in enumerate(makers):
        for maker in found:
            readers[maker].append(reader)
    return readers
