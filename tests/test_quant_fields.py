"""What each field of a quantized graph's tensors and layers may hold: each rule broken alone, and its whole message."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import get_args

import numpy as np
import pytest

from systolith.quant import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    Extremum,
    FeatureMap,
    GraphError,
    Layer,
    MaxPool,
    Normalization,
    Selection,
    Sums,
    Table,
    Tensor,
)
from systolith.quant.graph.fields import check_layer, check_tensor

MAP = FeatureMap("x", (2, 5, 5), np.float32(0.5), 0, 0, 255)
SUMS = Sums("s", (3, 1, 1), np.ones(3, np.float32))
ONES = np.ones(256, np.int32)
LAYERS = {
    "conv": Conv(
        "conv", "Conv", "x", "y", np.ones((3, 2, 2, 2), np.int16), np.ones(3, np.float32), np.zeros(3, np.int64)
    ),
    "max": MaxPool("max", "x", "y", (2, 2)),
    "mean": AveragePool("mean", "x", "y", (2, 2)),
    "add": Add("add", ("x", "x"), "y"),
    "extremum": Extremum("extremum", ("x", "x"), "y"),
    "concat": Concat("concat", ("x", "x"), "y"),
    "table": Table("table", "Tanh", "x", "y", ONES, {"alpha": 0.5}),
    "lrn": Normalization("lrn", "x", "y", 5, 1e-4, 0.75, 1.0, 4, 24, ONES, ONES),
    "selection": Selection("selection", "x", "y", (1, 0), (0, 1, 5), (0, 1, 5)),
    "shuffle": DepthToSpace("shuffle", "x", "y", (1, 2)),
}

NAMES = "it must be the names of tensors that it reads, at least one, and of one that it makes"
TENSORS = {
    "name": (MAP, {"name": "z"}, "tensor 'x': it calls itself 'z'; both names must be one, and not empty"),
    "shape": (MAP, {"shape": (2, 0, 5)}, "shape (2, 0, 5) must be a tuple of 3 integers of at least 1"),
    "rank": (MAP, {"shape": (2, 5)}, "shape (2, 5) must be a tuple of 3 integers of at least 1"),
    "scale": (MAP, {"scale": np.float32(np.nan)}, "scale must be finite and positive, not nan"),
    "infinite scale": (MAP, {"scale": np.float32(np.inf)}, "scale must be finite and positive, not inf"),
    "no scale": (MAP, {"scale": np.float32(0)}, "scale must be finite and positive, not 0.0"),
    "wide scale": (MAP, {"scale": 0.5}, "scale must be a float32, not float"),
    "zero point": (MAP, {"zero_point": 256}, "zero point 256 is outside 0..255"),
    "zero point's type": (MAP, {"zero_point": np.uint8(3)}, f"zero point must be an integer, not {np.uint8(3)!r}"),
    "huge scale": (
        MAP,
        {"scale": np.float32(2e36)},
        "scale 2e+36 takes 255 steps beyond float32; use smaller weights",
    ),
    "low": (MAP, {"low": 1}, "zero point 0 is outside 1..255"),
    "low's type": (MAP, {"low": -0.5}, "low must be an integer, not -0.5"),
    "high": (
        MAP,
        {"high": 2**16},
        "integers 0..65536 have no type of 16 bits; they must be within -32768..32767 or 0..65535",
    ),
    "high's type": (MAP, {"high": True}, "high must be an integer, not True"),
    "between types": (
        MAP,
        {"low": -1, "high": 2**15},
        "integers -1..32768 have no type of 16 bits; they must be within -32768..32767 or 0..65535",
    ),
    "sums' name": (SUMS, {"name": ""}, "tensor 's': it calls itself ''; both names must be one, and not empty"),
    "sums' shape": (SUMS, {"shape": (3, 1, -1)}, "shape (3, 1, -1) must be a tuple of 3 integers of at least 1"),
    "sums' scales": (SUMS, {"scales": np.float32([1, np.inf, 1])}, "scales must be finite and positive"),
    "sums' shifts": (SUMS, {"shifts": np.float32([1, np.nan, 1])}, "shifts must be finite"),
    "sums' zero scale": (SUMS, {"scales": np.float32([1, 0, 1])}, "scales must be finite and positive"),
    "sums' scales' shape": (
        SUMS,
        {"scales": np.ones(2, np.float32)},
        "scales must be an array, float32 of (3,), not float32 of (2,)",
    ),
    "sums' scales' type": (
        SUMS,
        {"scales": np.ones(3)},
        "scales must be an array, float32 of (3,), not float64 of (3,)",
    ),
}
WINDOW = {
    "kernel": ((0, 2), "kernel (0, 2) must be a tuple of 2 integers of at least 1"),
    "strides": ((1, 0), "strides (1, 0) must be a tuple of 2 integers of at least 1"),
    "pads": ((0, -1, 0, 0), "pads (0, -1, 0, 0) must be a tuple of 4 integers of at least 0"),
}
BROKEN = {
    **{
        (name, f"{what} of {name}"): ({what: wrong}, said)
        for name in ("max", "mean")
        for what, (wrong, said) in WINDOW.items()
    },
    **{("conv", what): ({what: wrong}, said) for what, (wrong, said) in WINDOW.items() if what != "kernel"},
    ("conv", "operator"): ({"operator": "MatMul"}, "operator must be Conv or Gemm, not 'MatMul'"),
    ("conv", "input"): ({"input": ""}, f"reads ('',) and makes 'y'; {NAMES}"),
    ("conv", "output"): ({"output": None}, f"reads ('x',) and makes None; {NAMES}"),
    ("conv", "weights' type"): (
        {"weights": np.ones((3, 2, 2, 2))},
        "weights must be an array, int16, not float64 of (3, 2, 2, 2)",
    ),
    ("conv", "weights' rank"): (
        {"weights": np.ones((3, 2), np.int16)},
        "weights have shape (3, 2); it must be (outputs, inputs / groups, rows, columns), none of them 0",
    ),
    ("conv", "no weights"): (
        {"weights": np.ones((3, 2, 0, 2), np.int16)},
        "weights have shape (3, 2, 0, 2); it must be (outputs, inputs / groups, rows, columns), none of them 0",
    ),
    ("conv", "weights"): ({"weights": np.full((3, 2, 2, 2), -(2**15), np.int16)}, "weights must be within +-32767"),
    ("conv", "weight scales"): ({"weight_scales": np.float32([1, 0, 1])}, "weight scales must be finite and positive"),
    ("conv", "infinite weight scales"): (
        {"weight_scales": np.float32([1, np.inf, 1])},
        "weight scales must be finite and positive",
    ),
    ("conv", "weight scales' shape"): (
        {"weight_scales": np.ones(1, np.float32)},
        "weight scales must be an array, float32 of (3,), not float32 of (1,)",
    ),
    ("conv", "bias"): ({"bias": np.zeros(2, np.int64)}, "bias must be an array, int64 of (3,), not int64 of (2,)"),
    ("conv", "bias' type"): ({"bias": [0, 0, 0]}, "bias must be an array, int64 of (3,), not list"),
    ("conv", "dilations"): ({"dilations": (1, 0)}, "dilations (1, 0) must be a tuple of 2 integers of at least 1"),
    ("conv", "strides' type"): ({"strides": [1, 1]}, "strides [1, 1] must be a tuple of 2 integers of at least 1"),
    ("conv", "groups"): ({"groups": 0}, "groups 0 must be an integer of at least 1"),
    ("mean", "include_pad"): ({"include_pad": 1}, "include_pad must be True or False, not 1"),
    ("mean", "ceil"): ({"ceil": (0, -1)}, "ceil (0, -1) must be a tuple of 2 integers of at least 0"),
    ("add", "inputs"): ({"inputs": ("x",)}, "adds 1 maps; it must be 2"),
    ("concat", "inputs"): ({"inputs": ()}, f"reads () and makes 'y'; {NAMES}"),
    ("concat", "inputs' type"): ({"inputs": ["x"]}, f"reads ['x'] and makes 'y'; {NAMES}"),
    ("add", "operator"): ({"operator": "Mul"}, "operator must be Add or Sub, not 'Mul'"),
    ("extremum", "operator"): ({"operator": "Add"}, "operator must be Max or Min, not 'Add'"),
    ("concat", "axis"): ({"axis": 0}, "axis 0 must be an integer of 1 to 3"),
    ("selection", "channels"): ({"channels": ()}, "channels () must be a tuple of at least one integer"),
    ("selection", "channels' type"): ({"channels": [1]}, "channels [1] must be a tuple of at least one integer"),
    ("selection", "a channel"): (
        {"channels": (0, -1)},
        "channels (0, -1) must be a tuple of 2 integers of at least 0",
    ),
    ("selection", "rows"): ({"rows": (-1, 1, 1)}, "rows (-1, 1, 1) must be a tuple of 3 integers of at least 0"),
    ("selection", "row step"): (
        {"rows": (0, 0, 2)},
        "rows (0, 0, 2) must be (first, step, count), the last two at least 1",
    ),
    ("selection", "columns"): (
        {"columns": (0, 1, 0)},
        "columns (0, 1, 0) must be (first, step, count), the last two at least 1",
    ),
    ("shuffle", "block"): ({"block": (2, 0)}, "block (2, 0) must be a tuple of 2 integers of at least 1"),
    ("table", "operator"): ({"operator": ""}, "its operator '' must be the name of a function"),
    ("table", "values"): ({"values": np.ones(256)}, "table must be an array, int32, not float64 of (256,)"),
    ("table", "attributes"): ({"attributes": {"alpha": 1}}, "attribute 'alpha' must be a float or text, not 1"),
    ("lrn", "size"): ({"size": 0}, "size 0 must be an integer of at least 1"),
    ("lrn", "shift"): ({"shift": -1}, "shift -1 must be an integer of 0 to 31"),
    ("lrn", "large shift"): ({"shift": 32}, "shift 32 must be an integer of 0 to 31"),
    ("lrn", "exponent"): ({"exponent": 19}, "exponent 19 must be an integer of 20 to 80"),
    ("lrn", "large exponent"): ({"exponent": 81}, "exponent 81 must be an integer of 20 to 80"),
    **{
        ("lrn", f"{what} {wrong}"): (
            {what: wrong},
            f"alpha {values['alpha']}, beta {values['beta']} and bias {values['bias']} must be finite, alpha and beta"
            " at least 0, bias above 0",
        )
        for what, wrong in (("alpha", -1.0), ("beta", -1.0), ("beta", np.inf), ("bias", 0.0))
        for values in [{"alpha": 1e-4, "beta": 0.75, "bias": 1.0, what: wrong}]
    },
    ("lrn", "coarse"): ({"coarse": ONES[1:]}, "coarse table must be an array, int32 of (256,), not int32 of (255,)"),
    ("lrn", "fine"): (
        {"fine": ONES.astype(np.int64)},
        "fine table must be an array, int32 of (256,), not int64 of (256,)",
    ),
    ("lrn", "large factor"): (
        {"coarse": np.where(np.arange(256) == 40, 2**24 - 1, ONES).astype(np.int32)},
        "its tables give factors of 2..16777216; they must be 0..16777215",
    ),
    ("lrn", "negative factor"): (
        {"fine": np.where(np.arange(256) == 40, -2, ONES).astype(np.int32)},
        "its tables give factors of -1..2; they must be 0..16777215",
    ),
}


@pytest.mark.parametrize("case", TENSORS)
def test_each_field_of_a_tensor(case):
    tensor, change, message = TENSORS[case]
    check_tensor(tensor.name, tensor)
    with pytest.raises(GraphError) as caught:
        check_tensor(tensor.name, replace(tensor, **change))
    assert str(caught.value) == (message if message.startswith("tensor") else f"tensor '{tensor.name}': {message}")


@pytest.mark.parametrize("case", BROKEN, ids=" ".join)
def test_each_field_of_a_layer(case):
    layer, (change, message) = LAYERS[case[0]], BROKEN[case]
    check_layer(layer)
    with pytest.raises(GraphError) as caught:
        check_layer(replace(layer, **change))
    assert str(caught.value) == f"layer '{layer.name}': {message}"


@pytest.mark.parametrize("layer", LAYERS.values(), ids=list(LAYERS))
def test_a_layer_without_a_name(layer):
    with pytest.raises(GraphError) as caught:
        check_layer(replace(layer, name=""))
    assert str(caught.value) == "the layer that makes 'y' is called ''; give it a name"


def test_a_tensor_without_a_name():
    with pytest.raises(GraphError) as caught:
        check_tensor("", replace(MAP, name=""))
    assert str(caught.value) == "tensor '': it calls itself ''; both names must be one, and not empty"


def test_no_field_is_forgotten():
    """Every field of every kind is broken by a case above, but for names, which are alike in all."""
    alike = {"name", "input", "inputs", "output"}
    broken = {(type(LAYERS[name]), field) for (name, _), (change, _) in BROKEN.items() for field in change}
    broken |= {(type(tensor), field) for tensor, change, _ in TENSORS.values() for field in change}
    for kind in (*get_args(Layer), *get_args(Tensor)):
        missing = {field.name for field in fields(kind)} - alike - {field for one, field in broken if one is kind}
        assert not missing, f"{kind.__name__}: {missing}"
