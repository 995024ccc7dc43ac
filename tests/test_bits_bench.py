"""`make bench-bits`: its widths, what each quantizer is asked for, and the rows of its table."""

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from examples.bits import ours, rows, runtime
from examples.bits.rows import FLOAT, Row
from examples.bits.settings import SETTINGS
from systolith import quant
from systolith.data import load_data

LENET5 = Path("examples/lenet5")
BY_NAME = {setting.name: setting for setting in SETTINGS}
ENDS = BY_NAME["4-bit weights, ends 8"]
NARROW = BY_NAME["4-bit weights and activations, ends 8"]


def test_the_settings_are_these():
    assert [(each.weights, each.activations, each.wide_ends, each.points) for each in SETTINGS] == [
        (8, 8, False, 0.3), (6, 8, False, 0.5), (4, 8, True, 1.0), (4, 8, False, 2.5), (4, 4, True, 3.0),
    ]  # fmt: skip
    assert [each.weights_of(end=True) for each in SETTINGS] == [8, 6, 8, 4, 8]
    assert [each.activations_of(end=True) for each in SETTINGS] == [8, 8, 8, 8, 8]
    assert [each.weights_of(end=False) for each in SETTINGS] == [8, 6, 4, 4, 4]
    assert [each.activations_of(end=False) for each in SETTINGS] == [8, 8, 8, 8, 4]


def row(quantizer, accuracy, seed=0, how="", setting=ENDS.name, **more):
    return Row("net", seed, "" if quantizer == FLOAT else setting, quantizer, accuracy, 2.0, how, **more)


def line(*found, setting=ENDS):
    return dict(zip(rows.TITLES, rows.line("net", setting, found), strict=True))


def test_a_line_is_the_mean_over_seeds_beside_its_target():
    found = [row(FLOAT, 0.90), row(FLOAT, 0.94, 1)]
    found += [row("Systolith", 0.90, unlike=1), row("Systolith", 0.93, 1, unlike=2)]
    assert line(*found) == {
        "network": "net", "setting": "4-bit weights, ends 8", "float": "92.0%",
        "Systolith": "91.5%", "ONNX Runtime": "", "Brevitas": "", "of Brevitas": "",
        "target": "91.0%", "met": "yes", "best": "", "seconds": "2 /  / ", "integers unlike": "3",
    }  # fmt: skip
    assert line(*found, row(FLOAT, 0.92, 2), row("Systolith", 0.80, 2))["met"] == "no"


def test_verdicts_wait_for_all_seeds():
    floats = [row(FLOAT, 0.9, seed) for seed in (0, 1)]
    ours = [row("Systolith", 0.9, seed) for seed in (0, 1)]
    waiting = line(*floats, *ours, row("ONNX Runtime", 0.5))
    assert (waiting["ONNX Runtime"], waiting["met"], waiting["best"]) == ("50.0% (1 of 2 seeds)", "yes", "")
    assert line(*floats, *ours[:1])["met"] == ""


@pytest.mark.parametrize(("accuracy", "met"), [(0.91, "yes"), (0.9095, "no")])
def test_what_is_met_may_lie_on_the_target(accuracy, met):
    assert line(row(FLOAT, 0.92), row("Systolith", accuracy))["met"] == met


def test_of_combinations_the_best_mean_counts_and_an_unfinished_one_does_not():
    floats, ours = ([row(name, value, seed) for seed in (0, 1)] for name, value in ((FLOAT, 0.9), ("Systolith", 0.625)))
    found = [row("Brevitas", 0.5, seed, "nearest") for seed in (0, 1)]
    found += [row("Brevitas", value, seed, "GPTQ") for seed, value in enumerate((0.5, 0.75))]
    cells = line(*floats, *ours, *found, row("Brevitas", 0.9, 0, "GPFQ"))
    assert (cells["Brevitas"], cells["of Brevitas"], cells["best"]) == ("62.5%", "GPTQ", "yes")
    assert cells["seconds"] == "2 /  / 5"  # of all ten that Brevitas took for two networks
    assert line(*floats, ours[0], row("Systolith", 0.624, 1), *found)["best"] == "no"


def test_a_refusal_stands_where_the_accuracy_would():
    cells = line(row(FLOAT, 0.9), row("Systolith", 0.9), row("ONNX Runtime", 0.0, refused="no such weights"))
    assert (cells["ONNX Runtime"], cells["met"], cells["best"]) == ("no such weights", "yes", "")


def test_rows_come_back_and_the_table_replaces_the_one_between_the_marks(tmp_path):
    page, kept = tmp_path / "page.md", tmp_path / "results.json"
    found = [row(FLOAT, 0.9), row("Systolith", 0.9, unlike=0)]
    assert rows.load(kept) == []
    rows.save(found, kept)
    assert rows.load(kept) == found
    page.write_text(f"before\n{rows.BEGIN}old\n{rows.END}after\n")
    rows.write(found, page)
    assert page.read_text() == f"before\n{rows.BEGIN}{rows.markdown(found)}{rows.END}after\n"
    assert len(rows.markdown(found).splitlines()) == 2 + len(SETTINGS)


@pytest.fixture(scope="module")
def lenet5(tmp_path_factory):
    """The float model, and what stands for what it is quantized to."""
    folder = tmp_path_factory.mktemp("bits")
    model = folder / "lenet5.onnx"
    model.write_bytes((LENET5 / "lenet5.onnx").read_bytes())
    quant.save(quant.quantize(model, load_data(LENET5 / "calibration.npz").x), folder / "made.onnx")
    return model, folder / "made.onnx"


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_systolith_is_asked_for_the_widths_of_the_setting(setting, lenet5, monkeypatch):
    """And what golden makes of the file is compared with ONNX Runtime: where one output is moved it is counted."""
    asked, (model, made) = {}, lenet5
    images = load_data(LENET5 / "test.npz").x[:4]
    moved = np.eye(1, 10, 3, dtype=np.float32)

    def quantize_model(model, calibration, output, **options):
        asked.update(options)
        output.write_bytes(made.read_bytes())

    right = ours.run_onnxruntime
    monkeypatch.setattr(ours, "quantize_model", quantize_model)
    monkeypatch.setattr(ours, "run_onnxruntime", lambda *given: right(*given) + moved)
    found = ours.measure("lenet5", 2, setting, model, images, (images, np.zeros(4, np.int64)), "best")
    wide = dict.fromkeys(ours.ends(model), "8:8") if setting.wide_ends else {}
    assert asked == {
        "weight_bits": setting.weights, "activation_bits": setting.activations, "bits": wide,
        "effort": "best", "seed": 2,
    }  # fmt: skip
    assert (found.key, found.unlike) == (("lenet5", 2, setting.name, "Systolith", ""), 4)


def test_the_ends_are_the_first_and_the_last_layer_with_weights(lenet5):
    graph = quant.load(lenet5[1])
    weighted = [layer.name for layer in quant.load_float(lenet5[0]).layers if hasattr(layer, "weights")]
    assert ours.ends(lenet5[0]) == (weighted[0], weighted[-1])
    assert len(weighted) == sum(isinstance(layer, quant.Conv) for layer in graph.layers) > 2


def three_layers() -> onnx.ModelProto:
    """Three convolutions of 1x1 in a row."""
    names = ["image", "one", "two", "logits"]
    nodes = [helper.make_node("Conv", [names[turn], f"weights{turn}"], [names[turn + 1]]) for turn in range(3)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", 3, 4, 4)) for name in ("image", "logits")]
    arrays = np.random.default_rng(0).random((3, 3, 3, 1, 1), np.float32)
    weights = [onnx.numpy_helper.from_array(array, f"weights{turn}") for turn, array in enumerate(arrays)]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The type of the zero point of each tensor that is quantized."""
    stored = {each.name: each.data_type for each in model.graph.initializer}
    found = [node for node in model.graph.node if node.op_type == "DequantizeLinear"]
    return {node.input[0].removesuffix("_quantized").removesuffix("_QuantizeLinear_Output"): stored[node.input[2]]
            for node in found}  # fmt: skip


@pytest.mark.parametrize("setting", [ENDS, NARROW], ids=lambda setting: setting.name)
def test_onnx_runtime_gets_the_same_widths(setting, tmp_path):
    model, made = tmp_path / "m.onnx", tmp_path / "q.onnx"
    onnx.save(three_layers(), model)
    runtime.quantize(model, made, setting, np.random.default_rng(0).random((4, 3, 4, 4), np.float32))
    inner = TensorProto.UINT4 if setting is NARROW else TensorProto.UINT8
    wanted = {
        "image": TensorProto.UINT8, "one": inner, "two": TensorProto.UINT8,
        "weights0": TensorProto.INT8, "weights1": TensorProto.INT4, "weights2": TensorProto.INT8,
    }  # fmt: skip
    found = types_of(onnx.load(made))
    assert {name: found[name] for name in wanted} == wanted


def test_onnx_runtime_is_not_asked_for_weights_that_it_has_not():
    none = np.zeros((0, 3, 4, 4), np.float32), np.zeros(0, np.int64)
    found = runtime.measure("net", 0, BY_NAME["6-bit weights"], Path("absent.onnx"), none[0], none)
    assert dataclasses.asdict(found)["refused"] == "weights of 4 or 8 bits only"
