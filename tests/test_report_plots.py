"""The report's plots: names by what they name, clear of lines, points and each other; heights that say much."""

import math
from itertools import combinations

import pytest
from matplotlib.path import Path

from systolith.hw.manifest import Work
from systolith.report import memory_plot, roofline, timeline_plot
from systolith.report.drawing import WIDTH, fitting
from systolith.report.layers import layer_rows
from systolith.report.memory import occupancy

from . import models
from .lenet import lenet5
from .report_builds import accelerator_of, quantized

NETWORKS = ["lenet5", "inception", "dense", "residual"]


@pytest.fixture(scope="module", params=NETWORKS)
def built(request):
    """What a folder says, and its layers."""
    graph = lenet5("float")[0] if request.param == "lenet5" else quantized(models.branched(request.param))
    accelerator = accelerator_of(graph, rows=8, columns=8, bus_bytes=8)
    return accelerator, layer_rows(accelerator, graph, None)


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, before they are written."""
    found = []
    for module in (memory_plot, roofline, timeline_plot):
        monkeypatch.setattr(module, "svg", lambda figure, *_: found.append(figure))
    return found


def boxes(texts):
    """Where texts stand, those that say something, in pixels."""
    return {text.get_text(): text.get_window_extent() for text in texts if text.get_text()}


def test_names_in_the_roofline_cover_no_line_no_point_and_no_other_name(built, figures):
    accelerator, rows = built
    roofline.roofline(rows, accelerator.bus_bytes)
    (axes,) = figures[0].axes
    names = boxes(text for text in axes.texts if not text.get_rotation())
    assert len(names) > len({row.name for row in rows if row.macs}) / 3, "most have a name, and the ceiling has one"
    assert set(names) <= {row.name for row in rows} | {"64 multipliers"}
    (line,) = axes.lines
    roof = Path(axes.transData.transform(line.get_xydata()))
    marks = [point for dots in axes.collections for point in axes.transData.transform(dots.get_offsets())]
    legend = axes.get_legend().get_window_extent()
    for name, box in names.items():
        assert not roof.intersects_bbox(box, filled=False), name
        assert not any(box.contains(*mark) for mark in marks), name
        assert not box.overlaps(legend), name
        assert axes.bbox.x0 <= box.x0, name
        assert box.x1 <= axes.bbox.x1 + 1, name
    assert not [pair for pair in combinations(names, 2) if names[pair[0]].overlaps(names[pair[1]])]


def test_the_grid_strikes_through_no_text_of_the_roofline(built, figures):
    accelerator, rows = built
    roofline.roofline(rows, accelerator.bus_bytes)
    (axes,) = figures[0].axes
    for text in axes.texts:
        paper = text.get_bbox_patch()
        assert paper is not None, text
        assert paper.get_facecolor() == (1, 1, 1, 1)
        assert text.get_zorder() > axes.lines[0].get_zorder() > axes.get_xgridlines()[0].get_zorder()


def test_the_slope_is_named_along_the_slope(built, figures):
    accelerator, rows = built
    roofline.roofline(rows, accelerator.bus_bytes)
    (axes,) = figures[0].axes
    (text,) = [text for text in axes.texts if text.get_rotation()]
    (x, y), (right, top) = axes.transData.transform(axes.lines[0].get_xydata()[:2])
    assert text.get_text() == "bus, 8 bytes a cycle"
    assert text.get_rotation() == pytest.approx(math.degrees(math.atan2(top - y, right - x)))


def test_names_in_the_timeline_stand_above_their_layers_and_apart(built, figures):
    accelerator, rows = built
    timeline = dict(accelerator.manifest.timeline)
    timeline_plot.timeline(timeline, rows, accelerator.predicted_cycles)
    (axes,) = figures[0].axes
    above = boxes(text for text in axes.texts if "works" not in text.get_text())
    assert above
    assert not [pair for pair in combinations(above, 2) if above[pair[0]].overlaps(above[pair[1]])]
    bars = [patch.get_window_extent() for patch in axes.patches]
    for name, box in above.items():
        assert not any(box.overlaps(bar) for bar in bars), name
        found = [row for row in rows if row.name.startswith(name.removesuffix("…"))]
        spans = [[item for item in timeline["array"] if item.layer == row.number] for row in found]
        middle = axes.transData.inverted().transform(((box.x0 + box.x1) / 2, box.y0))[0]
        assert any(span and span[0].start <= middle <= span[-1].end for span in spans), name


def test_a_unit_that_waits_is_drawn_low(figures):
    """Of 1,000 cycles the array works in 900, the vector unit in 50, whatever it has in hand."""
    none = accelerator_of(lenet5("float")[0], rows=8, columns=8, bus_bytes=8)
    rows = layer_rows(none, lenet5("float")[0], None)
    found = {
        "array": [Work(0, 0, 1000, 900)],
        "vector": [Work(0, 0, 1000, 50)],
        "loader": [],
        "storer": [Work(4, 990, 1000, 0)],
    }
    timeline_plot.timeline(found, rows, 1000)
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts if "works" in text.get_text()] == [
        "works 0.0%",
        "works 0.0%",
        "works 5.0%",
        "works 90.0%",
    ]
    tops = [patch.get_path().get_extents().height for patch in axes.patches]
    assert tops == pytest.approx([0.7, 0.7 * 0.05, 0.7, 0.7 * 0.9])


def test_the_memory_shows_every_block_where_it_lies(built, figures):
    accelerator, rows = built
    occupied = occupancy(accelerator)
    memory_plot.memory(occupied, rows, accelerator.manifest.parameters.accumulator_depth)
    chart, sums = figures[0].axes
    drawn = []
    for patch in chart.patches:
        corners = patch.get_path().vertices.reshape(-1, 5, 2)
        drawn += [(*c.min(axis=0).tolist(), *c.max(axis=0).tolist()) for c in corners]
    assert len(drawn) == len(occupied.blocks)
    least = 64 / memory_plot.SEEN
    for block in occupied.blocks:
        near = [
            box
            for box in drawn
            if box[0] == block.first + 0.5
            and box[2] == block.last + 1.5
            and box[1] <= block.address / 1024 <= box[1] + least
            and box[3] >= (block.address + block.bytes) / 1024
        ]
        assert near, block
    assert all(0 <= low < high <= 64 for _, low, _, high in drawn)
    heights = [patch.get_path().vertices[:, 1].max() for patch in sums.patches]
    assert max(heights) == pytest.approx(100 * max(row.positions for row in rows) / 512)
    names = boxes(text for text in chart.texts)
    assert all(text.get_window_extent().width < WIDTH * 72 for text in chart.texts)
    assert not [pair for pair in combinations(names, 2) if names[pair[0]].overlaps(names[pair[1]])]


def test_a_name_is_cut_to_what_fits_or_left_out():
    assert fitting("inception_3a", 60, 60) == "inception_3a"
    assert fitting("inception_3a_reduced", 100, 60) == "inception_3…"
    assert fitting("inception_3a_reduced", 100, 30) == ""
