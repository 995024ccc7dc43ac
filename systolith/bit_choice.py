"""What is remembered of how the bits of a network were chosen: in the quantized file, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import onnx
from pydantic import Field, TypeAdapter, ValidationError

from .quant import ModelError

Unit = Literal["points", "dB"]
KEY = "systolith.bits"  # of the file's metadata
Path = tuple[tuple[float, float], ...]
"""(mean bits, noise expected) of ever narrower choices."""


@dataclass(frozen=True)
class Sensitivity:
    """What fewer bits do to the outputs: of one layer's weights, or of the maps on one grid.

    layer : that has the weights, or writes the first of the maps;  size : weights, or elements of an image's maps
    widest : bits that they start from;  bits : that they got
    noise : what is added to the outputs' mean square error, relative to their mean square, by bits
    """

    layer: str
    size: Annotated[int, Field(alias="weights")]  # as files call it since there were weights alone
    widest: int
    bits: int
    noise: Mapping[int, float]


@dataclass(frozen=True)
class MapChoice:
    """How the bits of a network's feature maps were chosen.

    mean : bits of the elements of all maps that layers write and that share no grid with the network's ends
    path : the one taken among them; empty if weights and maps went down one path
    together : mean bits of weights and elements if they did
    """

    mean: float
    sensitivities: tuple[Sensitivity, ...]
    path: Path
    together: float | None = None


@dataclass(frozen=True)
class BitChoice:
    """How the bits of a network's weights, and of its maps if they were asked for, were chosen.

    mean : bits of all weights;  sensitivities : of those that were chosen
    path : the one taken among them: of weights, or of weights and elements together if ``maps.together`` says so;
    empty if maps alone were chosen
    losses : (mean bits, as in ``path``, loss), measured on the way to a loss that was asked for
    unit : of losses, "points" or "dB"
    """

    mean: float
    sensitivities: tuple[Sensitivity, ...]
    path: Path
    losses: tuple[tuple[float, float], ...]
    unit: Unit
    maps: MapChoice | None = None


_JSON = TypeAdapter(BitChoice)


def notes(choice: BitChoice | None) -> dict[str, str]:
    """``choice`` as metadata of a file."""
    return {} if choice is None else {KEY: _JSON.dump_json(choice, by_alias=True, exclude_none=True).decode()}


def read_notes(model: onnx.ModelProto) -> BitChoice | None:
    """The choice that ``model``'s metadata tells of, None if of none.  Raises ModelError if it cannot be read."""
    for entry in model.metadata_props:
        if entry.key == KEY:
            try:
                return _JSON.validate_json(entry.value)
            except ValidationError as error:
                first = error.errors()[0]["msg"]
                raise ModelError(f"the model's metadata '{KEY}' is damaged: {first}; quantize it again") from error
    return None
