"""The table of known networks: its lines, where they go, and the comparison with ONNX Runtime that they count."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from examples.models import peer, rows
from examples.models.rows import Row
from systolith import quant

from . import npz

ROW = Row("net", "script", (1, 8, 8), "", 3, 1_250_000, 4_000, 0, (2, 1), (0, 0), 30.04, 29.0, 1_500, 1_000)
LENET5 = Path("examples/lenet5")


def test_a_line_has_a_figure_of_each_exporter_where_they_differ():
    other = dataclasses.replace(ROW, exporter="dynamo", theirs=None, wrong=0, simulated=(1, 4, 4), on=(7, 2))
    assert rows.markdown([ROW, other]).splitlines()[2] == (
        "| net | script, dynamo | 1x8x8 | 3 | 1.2 | 0"
        " | 2 of 4,000 | 0 / 7 of 4,000 by 2 | 30.0 | 29.0 / refused | 1,500 | 1.50"
        " | no / exact, 1x4x4 |"
    )


def test_a_refusal_stands_where_the_figures_would():
    refused = Row("net", "dynamo", (1, 8, 8), "node 'a': LSTM is not supported")
    line = rows.markdown([ROW, refused]).splitlines()[2]
    assert line == "| net | script, dynamo | 1x8x8 | goes through / node 'a': LSTM is not supported |" + "  |" * 9


def test_the_table_replaces_the_one_between_the_marks_and_rows_come_back(tmp_path):
    page, kept = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(f"before\n{rows.BEGIN}old\n{rows.END}after\n")
    rows.write([ROW], page)
    assert page.read_text() == f"before\n{rows.BEGIN}{rows.markdown([ROW])}{rows.END}after\n"
    assert rows.load(kept) == []
    rows.save([ROW], kept)
    assert rows.load(kept) == [ROW]


@pytest.fixture
def lenet5(tmp_path) -> tuple[Path, np.ndarray]:
    images = npz.read(LENET5 / "test.npz")["x"][:2]
    path = tmp_path / "q.onnx"
    quant.save(quant.quantize(LENET5 / "lenet5.onnx", images), path)
    return path, images


def test_golden_and_onnx_runtime_agree_layer_by_layer(lenet5):
    path, images = lenet5
    maps = [tensor for tensor in quant.load(path).tensors.values() if isinstance(tensor, quant.FeatureMap)]
    integers = len(images) * sum(int(np.prod(tensor.shape)) for tensor in maps)
    assert peer.differences(path, images) == (integers, 0, {"off": (0, 0), "all": (0, 0)})


def test_what_golden_computes_otherwise_is_counted(lenet5, monkeypatch):
    path, images = lenet5
    right = peer.golden.run

    def one_wrong(graph, inputs):
        found = right(graph, inputs)
        last = [name for name in found if isinstance(graph.tensors[name], quant.FeatureMap)][-1]
        found[last].flat[0] ^= 4
        found[graph.output].flat[0] += 1
        return found

    monkeypatch.setattr(peer.golden, "run", one_wrong)
    _, outputs, levels = peer.differences(path, images)
    assert (outputs, levels) == (1, {"off": (1, 4), "all": (1, 4)})


def test_each_layer_reads_goldens_maps(lenet5, monkeypatch):
    """One wrong integer of the first map is one, and what the next layer makes of it besides."""
    path, images = lenet5
    right = peer.golden.run

    def first_wrong(graph, inputs):
        found = right(graph, inputs)
        found[graph.layers[0].output].flat[0] ^= 64
        return found

    monkeypatch.setattr(peer.golden, "run", first_wrong)
    _, outputs, levels = peer.differences(path, images)
    assert outputs == 0
    assert all(count > 1 for count, _ in levels.values())
