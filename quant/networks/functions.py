"""Functions of one value that a network may apply: ONNX's definitions, in float32 on arrays of any shape.

Each takes the values and the node's attributes, the defaults of ``DEFAULTS`` filled in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Attributes = Mapping[str, float | str]
Wide = NDArray[np.float64]

# What ONNX assumes where a node says nothing; also the list of attributes that each function has.
DEFAULTS: Mapping[str, Attributes] = {
    "Abs": {},
    "Acos": {},
    "Acosh": {},
    "Asin": {},
    "Asinh": {},
    "Atan": {},
    "Atanh": {},
    "Ceil": {},
    "Celu": {"alpha": 1.0},
    "Clip": {"min": -math.inf, "max": math.inf},
    "Cos": {},
    "Cosh": {},
    "Elu": {"alpha": 1.0},
    "Erf": {},
    "Exp": {},
    "Floor": {},
    "Gelu": {"approximate": "none"},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "HardSwish": {},
    "LeakyRelu": {"alpha": 0.01},
    "Log": {},
    "Mish": {},
    "Reciprocal": {},
    "Relu": {},
    "Round": {},
    "Selu": {"alpha": 1.67326319217681884765625, "gamma": 1.05070102214813232421875},
    "Shrink": {"bias": 0.0, "lambd": 0.5},
    "Sigmoid": {},
    "Sign": {},
    "Sin": {},
    "Sinh": {},
    "Softplus": {},
    "Softsign": {},
    "Sqrt": {},
    "Tan": {},
    "Tanh": {},
    "ThresholdedRelu": {"alpha": 1.0},
}

_erf = np.vectorize(math.erf, otypes=[np.float64])


def _gelu(x: Wide, a: Attributes) -> Wide:
    if a["approximate"] == "tanh":
        return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))))
    return np.asarray(0.5 * x * (1 + _erf(x / math.sqrt(2))))


def _hard_sigmoid(x: Wide, alpha: float, beta: float) -> Wide:
    return np.clip(alpha * x + beta, 0, 1)


# Computed in float64 and rounded once, so that the result is the float32 nearest to the function's value.
_FORMULAS: Mapping[str, Callable[[Wide, Any], Wide]] = {
    "Abs": lambda x, a: np.abs(x),
    "Acos": lambda x, a: np.arccos(x),
    "Acosh": lambda x, a: np.arccosh(x),
    "Asin": lambda x, a: np.arcsin(x),
    "Asinh": lambda x, a: np.arcsinh(x),
    "Atan": lambda x, a: np.arctan(x),
    "Atanh": lambda x, a: np.arctanh(x),
    "Ceil": lambda x, a: np.ceil(x),
    "Celu": lambda x, a: np.where(x > 0, x, a["alpha"] * np.expm1(x / a["alpha"])),
    "Clip": lambda x, a: np.clip(x, a["min"], a["max"]),
    "Cos": lambda x, a: np.cos(x),
    "Cosh": lambda x, a: np.cosh(x),
    "Elu": lambda x, a: np.where(x > 0, x, a["alpha"] * np.expm1(np.minimum(x, 0))),
    "Erf": lambda x, a: _erf(x),
    "Exp": lambda x, a: np.exp(x),
    "Floor": lambda x, a: np.floor(x),
    "Gelu": _gelu,
    "HardSigmoid": lambda x, a: _hard_sigmoid(x, a["alpha"], a["beta"]),
    "HardSwish": lambda x, a: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "LeakyRelu": lambda x, a: np.where(x >= 0, x, np.float32(a["alpha"]) * x),
    "Log": lambda x, a: np.log(x),
    "Mish": lambda x, a: x * np.tanh(np.logaddexp(0, x)),
    "Reciprocal": lambda x, a: 1 / x,
    "Relu": lambda x, a: np.maximum(x, 0),
    "Round": lambda x, a: np.rint(x),
    "Selu": lambda x, a: a["gamma"] * np.where(x > 0, x, a["alpha"] * np.expm1(np.minimum(x, 0))),
    "Shrink": lambda x, a: np.where(x < -a["lambd"], x + a["bias"], np.where(x > a["lambd"], x - a["bias"], 0)),
    "Sigmoid": lambda x, a: 1 / (1 + np.exp(-x)),
    "Sign": lambda x, a: np.sign(x),
    "Sin": lambda x, a: np.sin(x),
    "Sinh": lambda x, a: np.sinh(x),
    "Softplus": lambda x, a: np.logaddexp(0, x),
    "Softsign": lambda x, a: x / (1 + np.abs(x)),
    "Sqrt": lambda x, a: np.sqrt(x),
    "Tan": lambda x, a: np.tan(x),
    "Tanh": lambda x, a: np.tanh(x),
    "ThresholdedRelu": lambda x, a: np.where(x > a["alpha"], x, 0),
}


def stored(attributes: Attributes) -> dict[str, float | str]:
    """``attributes`` as an ONNX file holds them: numbers in float32."""
    return {name: value if isinstance(value, str) else float(np.float32(value)) for name, value in attributes.items()}


def apply(operator: str, attributes: Attributes, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The function of ``operator``, a key of DEFAULTS, on float32 ``values`` of any shape."""
    with np.errstate(all="ignore"):
        return np.asarray(wide(operator, attributes, values.astype(np.float64)), np.float32)


def wide(operator: str, attributes: Attributes, values: Wide) -> Wide:
    """As ``apply``, without the last rounding."""
    return _FORMULAS[operator](values, {**DEFAULTS[operator], **attributes})
