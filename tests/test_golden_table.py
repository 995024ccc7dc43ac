"""Tables of functions: every input against ONNX Runtime, which runs Sigmoid and LeakyRelu in integers itself."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import golden, quant
from systolith.quant import FeatureMap
from systolith.quant.arithmetic.tables import table
from systolith.quant.networks.functions import DEFAULTS, apply
from systolith.quant.networks.layers import Function

from . import models, oracle

# Where a function has values, and finite ones: the inputs that its network may have.
DOMAINS = {
    "Acos": (-1, 1),
    "Acosh": (1, np.inf),
    "Asin": (-1, 1),
    "Atanh": (-0.999, 0.999),
    "Log": (0.01, np.inf),
    "Reciprocal": (0.01, np.inf),
    "Sqrt": (0, np.inf),
}


def attributes_of(operator: str, random: np.random.Generator) -> dict[str, float | str]:
    """Attributes near the defaults."""
    if operator == "Clip":
        return {"min": float(np.float32(-random.uniform(0, 1))), "max": float(np.float32(random.uniform(0.5, 6)))}
    if operator == "Gelu":
        return {"approximate": str(random.choice(["none", "tanh"]))}
    return {
        name: float(np.float32(value * random.uniform(0.5, 1.5)))
        for name, value in DEFAULTS[operator].items()
        if isinstance(value, float)
    }


def grids_of(operator: str, attributes, random: np.random.Generator, power_of_two: bool):
    """An input grid, and an output grid that about holds what the function makes of it."""
    scale = 2.0 ** random.uniform(-7, -2)
    zero = int(random.choice([0, 128, random.integers(0, 256)]))
    least, most = DOMAINS.get(operator, (-np.inf, np.inf))
    zero = 0 if least >= 0 else zero
    low, high = (int(np.clip(f(bound / scale) + zero, 0, 255)) for f, bound in ((np.ceil, least), (np.floor, most)))
    source = FeatureMap("x", (1, 1, high - low + 1), np.float32(scale), zero, low, high)
    reals = (np.arange(source.low, source.high + 1) - source.zero_point).astype(np.float32) * source.scale
    values = np.clip(apply(operator, attributes, reals), -100, 100)
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = max((high - low) / 255 * random.uniform(0.4, 1.2), 1e-6)
    step = 2.0 ** np.ceil(np.log2(step)) if power_of_two else step
    target = FeatureMap("y", (1, 1, 256), np.float32(step), int(np.clip(np.rint(-low / step), 0, 255)), 0, 255)
    return source, target


@pytest.mark.parametrize("operator", DEFAULTS)
def test_every_input_of_20_grids_equals_onnxruntime(operator):
    random = np.random.default_rng(list(DEFAULTS).index(operator))
    for index in range(20):
        attributes = attributes_of(operator, random)
        source, target = grids_of(operator, attributes, random, index % 3 == 0)
        values = np.arange(source.low, source.high + 1, dtype=np.uint8).reshape(1, 1, 1, -1)
        expected = oracle.table(operator, attributes, source, target, values)
        found = golden.look_up(values, table(Function("f", operator, ("x",), "y", attributes), source, target), source)
        np.testing.assert_array_equal(found, expected, err_msg=f"{attributes} {source} {target}")


def test_a_network_of_functions_equals_onnxruntime():
    net = models.Builder((3, 8, 8)).conv(3, 6, 3).node("Tanh").conv(6, 5, 3).node("LeakyRelu", alpha=0.1)
    net.pool().node("Sigmoid").flatten().gemm(20, 8).node("HardSwish").gemm(8, 4).node("Elu")
    model = net.model()
    images = models.images(model, 16)
    graph = quant.quantize(model, images)
    assert [layer.operator for layer in graph.layers if isinstance(layer, quant.Table)] == [
        "Tanh",
        "LeakyRelu",
        "Sigmoid",
        "HardSwish",
        "Elu",
    ]
    oracle.assert_every_tensor_equal(graph, images)


def test_a_function_without_a_value_is_refused():
    source, target = (
        FeatureMap("x", (1, 1, 1), np.float32(0.5), 2, 0, 255),
        FeatureMap("y", (1,) * 3, np.float32(1), 0, 0, 255),
    )
    with pytest.raises(quant.ModelError) as caught:
        table(Function("root", "Sqrt", ("x",), "y"), source, target)
    assert str(caught.value) == "node 'root' (Sqrt): has no value at -1, which its quantized input can reach"
