"""What can go wrong, as one short tree.  Every message says what, where, and what would work."""


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
