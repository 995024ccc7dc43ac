"""What the report says of bits that were chosen: of weights, of feature maps, by budgets and by a loss."""

from __future__ import annotations

import numpy as np
import pytest

from systolith import generate_build, quant
from systolith.bit_choice import KEY, BitChoice, MapChoice, Sensitivity, notes
from systolith.report import bits
from systolith.sensitivity import decibels

from . import models
from .report_builds import page_of, section, words

MODEL = models.Builder((3, 8, 8)).conv(3, 4, 3).relu().conv(4, 4, 3).relu().flatten().gemm(64, 3).model()
WEIGHTS = (Sensitivity("conv1", 108, 8, 4, {4: 0.01, 6: 0.001}), Sensitivity("gemm", 192, 8, 8, {4: 0.1, 6: 0.02}))
MAPS = (Sensitivity("conv1", 144, 8, 5, {3: 0.2, 5: 0.01}),)
PATH, MAP_PATH = ((8.0, 0.0), (6.56, 0.01)), ((8.0, 0.0), (5.0, 0.01), (3.0, 0.2))
OF_WEIGHTS = BitChoice(6.56, WEIGHTS, PATH, (), "points")
BUDGETS = BitChoice(6.56, WEIGHTS, PATH, (), "points", MapChoice(5.0, MAPS, MAP_PATH))
MAPS_ALONE = BitChoice(8.0, (), (), (), "dB", MapChoice(5.0, MAPS, MAP_PATH))
LOSS = BitChoice(6.56, WEIGHTS, PATH, ((6.05, 1.5),), "dB", MapChoice(5.0, MAPS, (), 6.05))
OLD = (
    '{"mean":6.56,"sensitivities":[{"layer":"conv1","weights":108,"widest":8,"bits":4,"noise":{"4":0.01,"6":0.001}}],'
    '"path":[[8.0,0.0],[6.56,0.01]],"losses":[],"unit":"points"}'
)
PLOTS = {
    "weights": (notes(OF_WEIGHTS), ["sensitivity-weights", "size"]),
    "weights and maps": (notes(BUDGETS), ["sensitivity-weights", "sensitivity-maps", "size"]),
    "maps alone": (notes(MAPS_ALONE), ["sensitivity-maps", "size"]),
    "a loss of both": (notes(LOSS), ["sensitivity-weights", "sensitivity-maps", "size"]),
    "before maps were chosen": ({KEY: OLD}, ["sensitivity-weights", "size"]),
    "nothing": ({}, []),
}


@pytest.mark.parametrize("name", PLOTS)
def test_the_page_has_a_plot_of_what_was_chosen(name, tmp_path):
    told, expected = PLOTS[name]
    graph = quant.quantize(MODEL, models.images(MODEL, 4))
    (tmp_path / "q.onnx").write_bytes(quant.to_onnx(graph, told).SerializeToString())
    generate_build(tmp_path / "q.onnx", tmp_path / "build", rows=4, columns=4, lanes=1)
    _, tree = page_of(tmp_path / "build")
    part = section(tree, "bits")
    plots = [item.get("aria-label") for item in part.iter("{http://www.w3.org/2000/svg}svg")]
    said = {
        "sensitivity-weights": "noise of the outputs by the bits of each layer's weights alone",
        "sensitivity-maps": "noise of the outputs by the bits of each layer's maps alone",
        "size": "noise expected by the mean bits",
    }
    assert plots == [said[plot] for plot in expected]
    ids = [item.get("id") for item in part.iter() if item.get("id")]
    assert len(ids) == len(set(ids))
    text = words(part)
    assert ("Elements of feature maps have 5.00 bits on average" in text) == ("sensitivity-maps" in expected)
    assert ("each layer's feature map" in text) == ("Elements of feature maps" in text)
    assert ("Give quantize a --budget or a --loss" in text) == (name == "nothing")


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, before they are written."""
    found = []
    monkeypatch.setattr(bits, "svg", lambda figure, *_: found.append(figure))
    return found


def lines(axes) -> dict[str, list[tuple[float, float]]]:
    return {line.get_label(): [tuple(point) for point in np.asarray(line.get_xydata()).tolist()] for line in axes.lines}


def test_sensitivity_has_a_line_for_each_width_and_a_mark_where_it_was_chosen(figures):
    bits.sensitivity(MAPS, "maps")
    (axes,) = figures[0].axes
    assert lines(axes) == {
        "3 bits": [(0, decibels(0.2))],
        "5 bits": [(0, decibels(0.01))],
        "chosen": [(0, decibels(0.01))],
    }
    assert axes.get_ylabel() == "dB of the outputs by maps alone"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (OF_WEIGHTS, {"signal to noise expected, dB": [(6.56, 20)], "chosen": [(6.56, 0), (6.56, 1)]}),
        (
            BUDGETS,
            {
                "signal to noise expected of weights, dB": [(6.56, 20)],
                "chosen of weights": [(6.56, 0), (6.56, 1)],
                "signal to noise expected of maps, dB": [(5, 20), (3, decibels(0.2))],
                "chosen of maps": [(5, 0), (5, 1)],
            },
        ),
        (
            MAPS_ALONE,
            {
                "signal to noise expected of maps, dB": [(5, 20), (3, decibels(0.2))],
                "chosen of maps": [(5, 0), (5, 1)],
            },
        ),
        (
            LOSS,
            {
                "signal to noise expected of weights and maps, dB": [(6.56, 20)],
                "chosen of weights and maps": [(6.05, 0), (6.05, 1)],
            },
        ),
    ],
    ids=["weights", "budgets", "maps", "loss"],
)
def test_size_has_a_line_for_each_descent(choice, expected, figures):
    bits.size(choice)
    axes, *losses = figures[0].axes
    assert lines(axes) == expected
    assert [lines(other) for other in losses] == ([{"loss measured, dB": [(6.05, 1.5)]}] if choice.losses else [])
