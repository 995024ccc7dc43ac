"""What can go wrong, as one short tree.  Every message says what, where, and what would work."""

from typing import Never


class SystolithError(Exception):
    """Base of all errors that a user can cause; the command line prints its message as one line."""


class ModelError(SystolithError):
    """The ONNX file cannot be read, or asks for something that is not supported."""


class DataError(SystolithError):
    """Calibration data or inputs do not fit the model."""


class GraphError(SystolithError):
    """A quantized graph breaks its contract."""


class ConfigurationError(SystolithError):
    """Parameters of the accelerator are out of range, or a layer cannot fit them."""


class SimulationError(SystolithError):
    """The simulation could not be built, hung, or ended before its time."""


class HostError(SystolithError):
    """A board, or what carries the host's words to it, is not what the build needs, does not answer, or failed."""


class ToolError(SystolithError):
    """A tool for FPGAs is missing or failed, or what it made does not fit or is too slow."""


def unknown_kind(thing: Never) -> Never:
    """The last case of a ``match`` over kinds of layers or tensors.

    ``Never`` makes a kind that a ``match`` forgets an error of the type check.  What gets here all the same, past
    ``legality.check``, is a mistake of the program: raises TypeError, naming ``thing`` and its kind.
    """
    raise TypeError(f"'{thing.name}' is of a kind that is not known here, {type(thing).__name__}")
