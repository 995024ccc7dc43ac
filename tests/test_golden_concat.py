"""Golden concatenation: every byte of every grid against ONNX Runtime's QLinearConcat, and copies at any width."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from systolith import golden
from systolith.quant import FeatureMap

from . import oracle


def map_of(scale: float, zero_point: int, low: int = 0, high: int = 255, channels: int = 1) -> FeatureMap:
    return FeatureMap("x", (channels, 1, high - low + 1), np.float32(scale), zero_point, low, high)


def every(tensor: FeatureMap) -> np.ndarray:
    return np.arange(tensor.low, tensor.high + 1).reshape(1, 1, 1, -1)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_every_byte_of_200_grids_equals_onnxruntime(kind):
    low = int(np.iinfo(kind).min)
    code = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    inputs = []
    for name in ("y", "a", "b"):
        if name != "y":
            inputs.append(helper.make_tensor_value_info(name, code, ["N", 1, 1, 256]))
        inputs.append(helper.make_tensor_value_info(f"{name}_scale", TensorProto.FLOAT, []))
        inputs.append(helper.make_tensor_value_info(f"{name}_zero", code, []))
    run = oracle.session(oracle.linear_model("QLinearConcat", inputs, code, axis=1))
    random = np.random.default_rng(0)
    for index in range(200):
        scales = 2.0 ** random.uniform(-9, 1, 3)
        scales = 2.0 ** np.rint(np.log2(scales)) if index % 3 == 0 else scales
        zeros = random.integers(low, low + 256, 3)
        a, b, y = (map_of(*grid, low, low + 255) for grid in zip(scales, zeros.tolist(), strict=True))
        y = FeatureMap("y", (2, 1, 256), y.scale, y.zero_point, low, low + 255)
        if index % 4 == 0:
            b = FeatureMap("b", b.shape, y.scale, y.zero_point, low, low + 255)
        feeds = {"a": every(a).astype(kind), "b": every(b).astype(kind)}
        for name, grid in (("y", y), ("a", a), ("b", b)):
            feeds |= {f"{name}_scale": np.array(grid.scale), f"{name}_zero": np.array(grid.zero_point, kind)}
        found = golden.concat([feeds["a"], feeds["b"]], [a, b], y)
        assert found.dtype == kind
        np.testing.assert_array_equal(found, run.run(None, feeds)[0])


def test_the_same_grid_is_a_copy_at_sixteen_bits():
    source = map_of(0.001, 30000, 0, 65535)
    target = FeatureMap("y", (2, 1, 65536), source.scale, source.zero_point, 0, 65535)
    found = golden.concat([every(source)] * 2, [source] * 2, target)
    np.testing.assert_array_equal(found[0, 1, 0], np.arange(65536))


def test_a_moved_map_is_clamped():
    source, target = map_of(0.1, 128), FeatureMap("y", (1, 1, 256), np.float32(0.05), 100, 90, 120)
    found = golden.concat([every(source)], [source], target)
    assert (found.min(), found.max()) == (90, 120)
    assert found[0, 0, 0, 128] == 100
