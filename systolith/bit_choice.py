"""What is remembered of how the bits of a network were chosen: in the quantized file, for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import onnx
from pydantic import TypeAdapter, ValidationError

from .quant import ModelError

Unit = Literal["points", "dB"]
KEY = "systolith.bits"  # of the file's metadata


@dataclass(frozen=True)
class Sensitivity:
    """What narrow weights of one layer do to the outputs.

    weights : how many the layer has;  widest : bits that it starts from;  bits : that it got
    noise : what is added to the outputs' mean square error, relative to their mean square, by bits of the weights
    """

    layer: str
    weights: int
    widest: int
    bits: int
    noise: Mapping[int, float]


@dataclass(frozen=True)
class BitChoice:
    """How the bits of a network's weights were chosen.

    mean : bits of all weights;  path : (mean bits, noise expected) of ever narrower choices, the one taken among them
    losses : (mean bits, loss), measured on the way to a loss that was asked for;  unit : of losses, "points" or "dB"
    """

    mean: float
    sensitivities: tuple[Sensitivity, ...]
    path: tuple[tuple[float, float], ...]
    losses: tuple[tuple[float, float], ...]
    unit: Unit


_JSON = TypeAdapter(BitChoice)


def notes(choice: BitChoice | None) -> dict[str, str]:
    """``choice`` as metadata of a file."""
    return {} if choice is None else {KEY: _JSON.dump_json(choice).decode()}


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
