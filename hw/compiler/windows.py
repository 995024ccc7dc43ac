"""When layers work and tensors live, by the index of the array's layer in work."""

from collections.abc import Sequence

from .dependencies import makers_of, readers_of
from .engine_layer import EngineLayer

Lifetime = tuple[int, int]
"""First and last layer, both of them in it."""


def working_windows(
    layers: Sequence[EngineLayer], alone: set[int], makers: Sequence[Sequence[int]] | None = None
) -> list[Lifetime]:
    """First and last layer, by index, during which each layer may be at work.

    The array runs one layer after the other.  A layer of the vector unit alone, unless it is in ``alone``, follows the
    last of those that make its input row by row, and may take until somebody reads its result.

    makers : what ``makers_of`` found, if it was asked
    """
    count = len(layers)
    makers = makers_of(layers) if makers is None else makers
    readers = readers_of(makers)
    starts = list(range(count))
    for n, layer in enumerate(layers):
        if not layer.on_array and n not in alone:
            starts[n] = max((starts[maker] for maker in makers[n] if maker < n), default=n)  # not other images'
    ends = list(range(count))
    for n in reversed(range(count)):
        if not layers[n].on_array and n not in alone:
            ends[n] = min((ends[reader] for reader in readers[n] if reader > n), default=count - 1)
    return list(zip(starts, ends, strict=True))


def lifetimes(layers: Sequence[EngineLayer], windows: Sequence[Lifetime]) -> dict[str, Lifetime]:
    """First and last layer, by index, during which each tensor is written or read."""
    lives: dict[str, Lifetime] = {}
    for layer, (start, end) in zip(layers, windows, strict=True):
        for name in (*layer.inputs, layer.output):
            first, last = lives.get(name, (start, end))
            lives[name] = min(first, start), max(last, end)
    return lives


def meet(a: Lifetime, b: Lifetime) -> bool:
    """Whether both hold a layer."""
    return a[0] <= b[1] and b[0] <= a[1]
