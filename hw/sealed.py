"""Records on disk: JSON with exactly the fields that were written, of exactly their types, and a seal over them."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic_core import to_json

from ..quant.graph.errors import ConfigurationError

SHOWN = 60
"""Characters of a field's name or value that an error message repeats at most."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


class Record(BaseModel):
    """Exactly these fields, of exactly these types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Sealed(Record):
    """A record that a file holds.  ``seal`` : SHA-256 of its other fields; to_bytes makes it."""

    seal: str = ""

    def to_bytes(self) -> bytes:
        """What the file holds."""
        fields = self.model_dump(mode="json", exclude={"seal"})
        return to_json({**fields, "seal": sha256(json.dumps(fields).encode())}, indent=1) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The record whose to_bytes ``data`` is.  Raises ConfigurationError naming the field that is wrong, no file."""
        try:
            record = cls.model_validate_json(data)
        except ValidationError as error:
            raise ConfigurationError(_first(error)) from error
        if record.to_bytes() != data:
            raise ConfigurationError("'seal': the file was changed after it was written")
        return record


def _first(error: ValidationError) -> str:
    """The first of what ``error`` found, the format's number before all else."""
    found = error.errors(include_url=False, include_context=False)
    for item in found:
        if item["loc"] == ("format",) and item["type"] == "literal_error":
            return f"'format' is {str(item['input'])[:SHOWN]!r}, which another version writes"
    place, message = ".".join(map(str, found[0]["loc"])), found[0]["msg"].removeprefix("Value error, ")
    return f"{place[:SHOWN]!r}: {message}" if place else message
