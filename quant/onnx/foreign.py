"""Calls into the packages that read and compute ONNX: whatever they raise on a damaged file becomes one clear line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ..graph.errors import ModelError

# None of these packages promises what it raises: its code meets the damage wherever it first matters.
FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    DecodeError,
    EOFError,
    LookupError,
    NameError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    onnx.checker.ValidationError,
)

LONGEST_REASON = 1400
"""Characters of a refusal without the name of its node: it is one line for people."""


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Around such a call.  Raises ModelError, ``what`` and the first line of what went wrong; warnings are dropped."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except FOREIGN as error:
        raise ModelError(f"{what}: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """What another package's ``error`` says, without the rest."""
    said = f"unknown {error}" if isinstance(error, KeyError) else str(error).strip()
    return shortened((said or type(error).__name__).splitlines()[0])


def shortened(text: str) -> str:
    """``text``, or both of its ends if a file's lists make it longer than LONGEST_REASON."""
    half = LONGEST_REASON // 2
    return text if len(text) <= LONGEST_REASON else f"{text[:half]} ... {text[-half:]}"
