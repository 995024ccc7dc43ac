"""Resize and Upsample: the numbers of ONNX Runtime in float, and its integers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from systolith import quant

from . import models
from .test_quant_moves import check_model

NOTHING = np.zeros(0, np.float32)
COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
ROUNDINGS = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


def resized(shape, target=None, scales=None, opset=19, **attributes):
    net = models.Builder(shape, opset=opset)
    if target is not None:
        return net.node("Resize", NOTHING, NOTHING, np.array(target), axes=[2, 3], **attributes).model()
    return net.node("Resize", NOTHING, np.float32([1, 1, *scales]), **attributes).model()


@pytest.mark.parametrize(("coordinates", "rounding"), [*product(COORDINATES, ROUNDINGS)])
def test_nearest_at_any_size(coordinates, rounding):
    modes = {"coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    for target in ((8, 10), (4, 15), (12, 5), (2, 1), (6, 7), (3, 10)):
        check_model(resized((3, 4, 5), target, **modes))


@pytest.mark.parametrize("coordinates", ["half_pixel", "asymmetric", "pytorch_half_pixel", "half_pixel_symmetric"])
def test_linear_at_whole_factors(coordinates):
    for scales in ((2, 2), (3, 1), (1, 4), (4, 3)):
        graph = check_model(
            resized((3, 4, 5), scales=scales, mode="linear", coordinate_transformation_mode=coordinates)
        )
        assert graph.tensors[graph.output].shape == (3, 4 * scales[0], 5 * scales[1])


@pytest.mark.parametrize("coordinates", COORDINATES)
def test_linear_at_other_sizes(coordinates):
    """Rows and columns that each have weights of their own; a whole factor beside another one."""
    modes = {"mode": "linear", "coordinate_transformation_mode": coordinates}
    for target in ((7, 5), (8, 3), (2, 10), (3, 2)):
        check_model(resized((3, 4, 5), target, **modes))


def test_a_scale_of_no_whole_size_where_its_corners_are_not_aligned():
    """What aligned corners would be refused for, and with sizes are not."""
    graph = check_model(resized((3, 4, 5), scales=(1.3, 2), coordinate_transformation_mode="asymmetric"))
    assert graph.tensors[graph.output].shape == (3, 5, 10)
    check_model(resized((3, 4, 5), (5, 10), coordinate_transformation_mode="align_corners"))


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_one_factor_for_all_axes(policy):
    check_model(resized((3, 4, 5), (7, 8), keep_aspect_ratio_policy=policy))


def test_nearest_by_two_is_copies_and_channels_as_rows_and_columns():
    graph = check_model(resized((3, 4, 5), scales=(2, 2), coordinate_transformation_mode="asymmetric"))
    assert [layer.operator for layer in graph.layers] == ["Selection", "DepthToSpace"]
    assert graph.layers[0].channels == (0, 1, 2) * 4


@pytest.mark.parametrize("opset", [10, 11, 13, 18])
def test_older_and_newer_operators(opset):
    net = models.Builder((3, 4, 6), opset=opset)
    roi = [NOTHING] if opset > 10 else []
    check_model(net.node("Resize", *roi, np.float32([1, 1, 2, 0.5]), mode="nearest").model())
    if opset >= 18:
        check_model(
            models.Builder((3, 4, 6), opset=opset)
            .node("Resize", NOTHING, NOTHING, np.array([8, 6]), axes=[2, 3])
            .model()
        )


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode):
    check_model(models.Builder((3, 4, 6), opset=9).node("Upsample", np.float32([1, 1, 2, 3]), mode=mode).model())
    net = models.Builder((3, 4, 6), opset=7)
    network = quant.load_float(net.node("Upsample", scales=[1.0, 1.0, 2.0, 2.0], mode=mode).model())
    assert network.layers[-1].output == network.outputs[0]


def test_a_signal_is_resized():
    graph = check_model(models.Builder((3, 8), opset=19).node("Resize", NOTHING, np.float32([1, 1, 2])).model())
    assert graph.tensors[graph.output].shape == (3, 1, 16)


REFUSED = {
    "cubic": (resized((3, 4, 4), scales=(2, 2), mode="cubic"), "mode is 'cubic'; it must be nearest or linear"),
    "corners": (
        resized((3, 40, 4), scales=(2, 2), mode="linear", coordinate_transformation_mode="align_corners"),
        "interpolates 80 values at distances that all differ; at most 64 work, and any at whole factors without"
        " align_corners: export it with align_corners=False, or with mode nearest",
    ),
    "corners at a scale of no whole size": (
        resized((3, 4, 4), scales=(1.3, 2), coordinate_transformation_mode="align_corners"),
        "has align_corners and 5.2 of 4 values, which ONNX and its runtimes take differently; give sizes in place of"
        " scales",
    ),
    "channels": (
        models.Builder((3, 4, 4)).node("Resize", NOTHING, np.float32([1, 2, 1, 1])).model(),
        "resizes [1, 3, 4, 4] to [1, 6, 4, 4]; only rows and columns can be resized",
    ),
    "pieces": (
        resized((3, 201, 4), target=(300, 4)),
        "takes rows or columns in 100 pieces of evenly spaced ones; at most 64 work, and any whole factor",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_name(case):
    model, message = REFUSED[case]
    with pytest.raises(quant.ModelError) as caught:
        quant.load_float(model)
    assert str(caught.value) == f"node 'resize1' (Resize): {message}"
