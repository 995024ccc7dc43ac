"""Mixed precision by hand: how many bits each layer's weights and each feature map have."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from ..graph.errors import ConfigurationError
from ..networks.layers import Convolution, FloatGraph, FloatLayer
from .settings import Settings, said_bits

WIDEST = 8  # bits: what is wider is near enough without
MOST_NAMES = 12  # that a refusal lists


def weight_bits(network: FloatGraph, settings: Settings) -> dict[str, int]:
    """Bits of the weights of each layer of a simplified ``network`` that has some, by its name.

    Raises ConfigurationError, with the names that there are, if a pattern of ``settings`` matches no layer.
    """
    for pattern in settings.bits:
        if not any(fnmatchcase(layer.name, pattern) for layer in network.layers):
            raise ConfigurationError(f"bits of '{pattern}': no layer is called so; there are {_some_names(network)}")
    return {layer.name: _said(layer, settings)[0] for layer in network.layers if isinstance(layer, Convolution)}


def map_bits(network: FloatGraph, group: Mapping[str, str], settings: Settings) -> dict[str, int]:
    """Bits of each map of a simplified ``network``, by its tensor's name.

    As many as the widest of its readers wants, or as its maker does if nobody reads it; maps that share a grid, those
    of one ``group``, are as wide as the widest of them.
    """
    makers, readers = network.producers(), network.readers()
    maps: dict[str, int] = {}
    for name, root in group.items():
        concerned = readers[name] or [makers[name]] if name in makers else readers[name]
        wanted = [_said(layer, settings)[1] for layer in concerned] or [settings.activation_bits]
        maps[root] = max(maps.get(root, 0), *wanted)
    return {name: maps[root] for name, root in group.items()}


def learns(network: FloatGraph, settings: Settings) -> bool:
    """Whether ``settings`` ask to learn the rounding of some layer of a simplified ``network``.

    Raises ConfigurationError, with the names that there are, if a pattern of ``settings`` matches no layer.
    """
    return settings.effort != "fast" and any(bits <= WIDEST for bits in weight_bits(network, settings).values())


def has_narrow_maps(network: FloatGraph, settings: Settings) -> bool:
    """Whether some layer of a simplified ``network`` reads fewer than 8 bits."""
    return any(_said(layer, settings)[1] < WIDEST for layer in network.layers)


def by_hand(network: FloatGraph, settings: Settings) -> set[str]:
    """The layers whose bits a pattern of ``settings`` says."""
    return {layer.name for layer in network.layers for pattern in settings.bits if fnmatchcase(layer.name, pattern)}


def _said(layer: FloatLayer, settings: Settings) -> tuple[int, int]:
    """Bits of ``layer``'s weights, and of what it reads."""
    weights, activations = settings.weight_bits, settings.activation_bits
    for pattern, said in settings.bits.items():
        if fnmatchcase(layer.name, pattern):
            weights, read = said_bits(pattern, said)
            activations = settings.activation_bits if read is None else read
    return weights, activations


def _some_names(network: FloatGraph) -> str:
    names = [f"'{layer.name}'" for layer in network.layers]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more
