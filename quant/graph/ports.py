"""The inputs and outputs of a network by name: what people call them, and arrays for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from .errors import DataError

SUFFIXES = ("_quantized", "_QuantizeLinear_Output")
"""What quantizers add to the name of a tensor for that of its integers: this one, and ONNX Runtime's for its Qs."""


def integer_name(name: str) -> str:
    """What a graph calls the integers of the tensor that the model calls ``name``."""
    return f"{name}{SUFFIXES[0]}"


def real_name(integers: str) -> str:
    """What the model calls the tensor whose integers a graph calls ``integers``."""
    for suffix in SUFFIXES:
        if integers.endswith(suffix) and integers != suffix:
            return integers.removesuffix(suffix)
    return integers


def by_name(images: NDArray[Any] | Mapping[str, NDArray[Any]], names: Iterable[str]) -> dict[str, NDArray[Any]]:
    """``images`` of each input called ``names``: as given, or those of the only one.

    Raises DataError, naming what is missing or not known.
    """
    names = list(names)
    if not isinstance(images, Mapping):
        if len(names) > 1:
            raise DataError(f"the network reads {', '.join(map(repr, names))}; give an array for each, by name")
        return {names[0]: images}
    if images.keys() != set(names):
        found = ", ".join(map(repr, images)) or "nothing"
        raise DataError(f"the network reads {', '.join(map(repr, names))}, but there are arrays for {found}")
    return {name: images[name] for name in names}
