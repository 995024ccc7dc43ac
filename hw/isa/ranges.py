"""Sizes and what they may be: refused before anything is built, by name."""

from ...quant.graph.errors import ConfigurationError


def check_range(name: str, value: int, low: int, high: int) -> None:
    """Raises ConfigurationError unless ``value`` is an integer, ``low <= value <= high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(f"{name} must be {low} to {high}, not {value}")


def check_choice(name: str, value: int, choices: tuple[int, ...]) -> None:
    """Raises ConfigurationError unless ``value`` is one of ``choices``."""
    if not isinstance(value, int) or value not in choices:
        *most, last = (str(choice) for choice in choices)
        raise ConfigurationError(f"{name} must be {', '.join(most)} or {last}, not {value}")


def check_power_of_two(name: str, value: int, low: int, high: int) -> None:
    """Raises ConfigurationError unless ``value`` is a power of two, ``low <= value <= high``."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high or value & (value - 1):
        raise ConfigurationError(f"{name} must be a power of two from {low} to {high}, not {value}")
