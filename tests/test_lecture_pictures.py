"""The two convolution pictures: averaging blurs, differences find edges, and the Verilog makes both."""

import sys

import numpy as np
import pytest
from skimage import io

from examples.lecture import pictures


@pytest.fixture(scope="module")
def photograph():
    return pictures.photograph(96)


def variation(values):
    """Total variation per pixel."""
    return np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean()


def test_averaging_blurs(photograph):
    made = pictures.compute(photograph)
    inner = photograph[2:-2, 2:-2]
    blur = made.reals(made.blur)
    assert variation(blur) < 0.7 * variation(inner)
    assert abs(blur.mean() - inner.mean()) < 0.02


def test_edges_are_exactly_0_where_the_image_is_flat(photograph):
    flat = photograph.copy()
    flat[20:50, 20:50] = 0.5
    flat[60:80, 10:40] = 1.0
    made = pictures.compute(flat)
    weights = made.graph.layers[0].weights[1, 0]
    assert weights.sum() == 0
    edges = made.edges.astype(int) - made.zero_point
    # entry (r, c) of a map looks at pixels r + 1 .. r + 3 through the inner 3x3 of its 5x5 filter
    assert not edges[19:47, 19:47].any()
    assert not edges[59:77, 9:37].any()
    assert edges[18, 19:47].any(), "the border of a flat area is an edge"


def test_edges_follow_the_photograph(photograph):
    made = pictures.compute(photograph)
    edges = np.abs(made.reals(made.edges))
    rows, columns = np.gradient(photograph)
    steep = np.hypot(rows, columns)[2:-2, 2:-2] > 0.1
    assert steep.mean() > 0.02
    assert edges[steep].mean() > 5 * edges[~steep].mean()


def test_the_verilog_makes_the_same_pictures_bit_for_bit(photograph, tmp_path):
    made = pictures.compute(photograph[20:44, 30:54])
    report = pictures.simulate(made, tmp_path)
    assert report.bit_exact
    assert (report.images, report.mismatches) == (1, 0)
    assert made.blur.shape == made.edges.shape == (20, 20)


def test_three_pictures_are_written(photograph, tmp_path):
    written = pictures.write(pictures.compute(photograph), tmp_path)
    assert [path.name for path in written] == ["original.png", "blur.png", "edges.png"]
    sizes = [io.imread(path).shape for path in written]
    assert sizes == [(96, 96), (92, 92), (92, 92)]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["OUT", "--side", "8"], 2, "--side must be 16 to 512 pixels, not 8"),
        ([], 2, "the following arguments are required: OUT"),
    ],
)
def test_mistakes_are_one_clear_line(monkeypatch, capsys, arguments, status, message):
    monkeypatch.setattr(sys, "argv", ["pictures", *arguments])
    with pytest.raises(SystemExit) as ended:
        pictures.main()
    assert ended.value.code == status
    assert capsys.readouterr().err.splitlines()[-1].endswith(message)


def test_a_difference_is_said_and_nothing_is_written(monkeypatch, capsys, tmp_path):
    class Wrong:
        bit_exact = False
        differences = ("image 0, layer 'filters', channel 1",)

    monkeypatch.setattr(sys, "argv", ["pictures", str(tmp_path / "out"), "--side", "16"])
    monkeypatch.setattr(pictures, "simulate", lambda made, folder: Wrong)
    assert pictures.main() == 1
    assert "differs from golden: image 0, layer 'filters'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
