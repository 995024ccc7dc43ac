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
            raise ConfigurationError(f"bits of '{pattern}': {_no_layer(network)}")
    return {layer.name: _said(layer, settings)[0] for layer in network.layers if isinstance(layer, Convolution)}


def map_bits(network: FloatGraph, group: Mapping[str, str], settings: Settings) -> dict[str, int]:
    """Bits of each map of a simplified ``network``, by its tensor's name.

    As many as the widest of its readers wants, or as its maker does if nobody reads it; who does not say wants what
    ``settings.maps`` gives a layer that writes a map on the same grid.  Maps that share a grid, those of one
    ``group``, are as wide as the widest of them.

    Raises ConfigurationError, with the names that there are, if ``settings.maps`` names no layer.
    """
    writers = {layer.name: layer.output for layer in network.layers}
    given: dict[str, int] = {}
    for layer, bits in settings.maps.items():
        if layer not in writers:
            raise ConfigurationError(f"bits of the map of '{layer}': {_no_layer(network)}")
        root = group[writers[layer]]
        given[root] = max(given.get(root, 0), bits)
    maps: dict[str, int] = {}
    for name, concerned in _concerned(network).items():
        root = group[name]
        unsaid = given.get(root, settings.activation_bits)
        wanted = [unsaid if said is None else said for said in (_said(layer, settings)[1] for layer in concerned)]
        maps[root] = max(maps.get(root, 0), *(wanted or [unsaid]))
    return {name: maps[root] for name, root in group.items()}


def inner_maps(network: FloatGraph, group: Mapping[str, str]) -> dict[str, list[str]]:
    """The maps on each grid that no input and no output of ``network`` is on: what may be narrow at no host's cost.

    By the name of the layer that writes the first of them; ``group`` as ``groups`` finds it.
    """
    ends = {group[name] for name in (*network.inputs, *network.outputs)}
    first: dict[str, str] = {}
    found: dict[str, list[str]] = {}
    for layer in network.layers:
        root = group[layer.output]
        if root not in ends:
            found.setdefault(first.setdefault(root, layer.name), []).append(layer.output)
    return found


def maps_by_hand(network: FloatGraph, settings: Settings) -> set[str]:
    """The maps whose bits a pattern of ``settings`` says, by their tensors' names."""
    return {
        name
        for name, concerned in _concerned(network).items()
        if any(_said(layer, settings)[1] is not None for layer in concerned)
    }


def learns(network: FloatGraph, settings: Settings) -> bool:
    """Whether ``settings`` ask to learn the rounding of some layer of a simplified ``network``.

    Raises ConfigurationError, with the names that there are, if a pattern of ``settings`` matches no layer.
    """
    return settings.effort != "fast" and any(bits <= WIDEST for bits in weight_bits(network, settings).values())


def has_narrow_maps(network: FloatGraph, settings: Settings) -> bool:
    """Whether some layer of a simplified ``network`` reads or writes fewer than 8 bits."""
    said = (_said(layer, settings)[1] for layer in network.layers)
    wanted = (settings.activation_bits if bits is None else bits for bits in said)
    return any(bits < WIDEST for bits in (*wanted, *settings.maps.values()))


def by_hand(network: FloatGraph, settings: Settings) -> set[str]:
    """The layers whose bits a pattern of ``settings`` says."""
    return {layer.name for layer in network.layers for pattern in settings.bits if fnmatchcase(layer.name, pattern)}


def _concerned(network: FloatGraph) -> dict[str, list[FloatLayer]]:
    """Who says how wide each map is, by its tensor's name: its readers, or its maker if there are none."""
    makers = network.producers()
    return {
        name: readers or [makers[name]] if name in makers else readers for name, readers in network.readers().items()
    }


def _said(layer: FloatLayer, settings: Settings) -> tuple[int, int | None]:
    """Bits of ``layer``'s weights, and of what it reads if the pattern that counts says so."""
    weights, activations = settings.weight_bits, None
    for pattern, said in settings.bits.items():
        if fnmatchcase(layer.name, pattern):
            weights, activations = said_bits(pattern, said)
    return weights, activations


def _no_layer(network: FloatGraph) -> str:
    names = [f"'{layer.name}'" for layer in network.layers]
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"no layer is called so; there are {', '.join(names[:MOST_NAMES])}{more}"
