"""The HTML report: what it says of a build, with and without a simulation, a float model and images."""

import html
import json
import re
import shutil

import numpy as np
import onnx
import pytest

from systolith import (
    generate_build,
    golden,
    quant,
    sim,
)
from systolith.cli import run
from systolith.sim import accelerator as accelerators
from systolith.sim.report import read_saved

from . import npz, oracle
from .builds import rebuild
from .report_builds import (
    cells,
    measured,
    page_of,
    section,
    words,
)

NETWORK = quant.Network.pattern((3, 12, 12), [[6], [8]], hidden=[10], classes=4)
SECTIONS = [
    "summary", "layers", "time", "timeline", "memory", "roofline", "noise", "bits", "maps", "confusion", "compared",
    "made",
]  # fmt: skip


def simulated(build, stalls=None, **changes):
    """What a simulation of the folder ``build`` might have measured, saved there as if it had."""
    report = measured(accelerators.load(build), stalls, **changes)
    report.save(build)
    return report


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a float model, data of 24 images with labels, and the build for a 4x4 array."""
    folder = tmp_path_factory.mktemp("report")
    model = NETWORK.to_onnx(seed=4)
    x = np.random.default_rng(4).random((24, 3, 12, 12), np.float32)
    (folder / "float.onnx").write_bytes(model.SerializeToString())
    quant.save(quant.quantize(model, x), folder / "q.onnx")
    np.savez(folder / "data.npz", x=x, y=np.arange(24) % 4)
    generate_build(folder / "q.onnx", folder / "build", rows=4, columns=4, lanes=1, unfold_input=False)
    return folder


@pytest.fixture
def build(made, tmp_path):
    """A copy of the build that a test may change."""
    shutil.copytree(made / "build", tmp_path / "build")
    return tmp_path / "build"


@pytest.fixture(scope="module")
def exact(made, tmp_path_factory):
    """What was measured of an exact run, the folder's manifest, and the page about it as text and as a tree."""
    build = tmp_path_factory.mktemp("exact") / "build"
    shutil.copytree(made / "build", build)
    report = simulated(build)
    return report, json.loads((build / "manifest.json").read_text()), *page_of(build)


def test_a_build_that_nobody_simulated_says_so(made, build):
    _, tree = page_of(build)
    assert [item.get("id") for item in tree.iter("section")] == SECTIONS
    assert "not simulated" in words(section(tree, "summary"))
    assert "No simulation of this build has been run" in words(section(tree, "summary"))
    assert "nothing has been compared" in words(section(tree, "compared"))
    assert "Stalls are counted by the hardware; a simulation shows them." in words(section(tree, "time"))
    for name, missing in (
        ("noise", "Give --float model.onnx --inputs data.npz"),
        ("maps", "Give --inputs data.npz"),
        ("confusion", "Give --inputs data.npz with labels y"),
    ):
        assert missing in words(section(tree, name)), name


def test_every_layer_has_its_row_and_its_numbers(exact):
    _, manifest, _, tree = exact
    rows = cells(section(tree, "layers"))
    assert len(rows) == len(manifest["layers"]) == 4
    with_weights = [layer for layer in NETWORK.layers if layer.weights]
    shapes = ["6×6×6", "8×3×3", "10×1×1", "4×1×1"]  # noqa: RUF001
    predicted = before = 0
    for number, (row, layer, built) in enumerate(zip(rows, manifest["layers"], with_weights, strict=True)):
        reached = [end for at, _, end, _ in manifest["timeline"]["array"] if at == number][-1]
        predicted += layer["predicted_cycles"]
        assert row == [
            f"{number + 1}{layer['name']}{layer['operator']}, {shapes[number]}",
            f"{built.parameters:,}",
            f"{layer['macs']:,}",
            f"{layer['limit_cycles']:,}",
            "bus" if layer["weight_bytes"] / 8 > layer["macs"] / 16 else "array",
            f"{reached - before:,}",
            f"{layer['macs'] / 16 / (reached - before):.1%}",
            f"{predicted:,}",
            f"{predicted + number + 1:,}",
            f"{layer['bytes_read'] + layer['bytes_written']:,}",
        ]
        before = reached


def test_a_layer_of_the_vector_unit_alone_has_a_dash_for_its_limit(tmp_path):
    """A pooling that stands first, so that no convolution takes it in."""
    model = quant.Network((3, 12, 12)).max_pool(2).conv(4, 3).to_onnx()
    quant.save(quant.quantize(model, np.random.default_rng(4).random((4, 3, 12, 12), np.float32)), tmp_path / "q.onnx")
    generate_build(tmp_path / "q.onnx", tmp_path / "build", rows=4, columns=4)
    _, tree = page_of(tmp_path / "build")
    (row, _) = cells(section(tree, "layers"))
    assert row[0].endswith("MaxPool, 3×6×6")  # noqa: RUF001
    dash = "\N{EN DASH}"
    assert row[1:5] == ["0", "0", dash, "vector unit"]
    assert row[6] == dash


def test_the_network_and_its_convolutions_stand_apart(exact):
    report, manifest, _, tree = exact
    rows = cells(section(tree, "summary"))
    assert [row[0] for row in rows] == ["whole network", "convolutions", "fully connected"]
    assert rows[0][1:] == [
        "4",
        f"{NETWORK.macs:,}",
        f"{report.limit_cycles:,}",
        f"{report.cycles_per_image:,.0f}",
        f"{report.mac_utilization:.1%}",
    ]
    ends = {layer: end for layer, _, end, _ in manifest["timeline"]["array"]}
    for row, (first, last) in zip(rows[1:], ((0, 1), (2, 3)), strict=True):
        mine = manifest["layers"][first : last + 1]
        macs, cycles = sum(layer["macs"] for layer in mine), ends[last] - ends.get(first - 1, 0)
        limit = sum(layer["limit_cycles"] for layer in mine)
        assert row[1:] == ["2", f"{macs:,}", f"{limit:,}", f"{cycles:,}", f"{macs / 16 / cycles:.1%}"]
    assert "bit-exact" in words(section(tree, "summary"))
    assert "75.0%accuracy on the simulated images" in words(section(tree, "summary"))


def test_stalls_have_their_causes_and_the_arrays_time_adds_up(exact):
    report, manifest, _, tree = exact
    rows = cells(section(tree, "time"))
    waits = [row for row in rows if len(row) == 4]
    assert [row[2] for row in waits] == [f"{cycles:,.0f}" for cycles in report.stalls.values()]
    assert waits[0][:2] == ["array", "a token before an instruction"]
    assert waits[1][:2] == ["array", "weights"]
    assert {row[0] for row in waits} >= {"array", "vector unit", "loader", "storer"}
    parts = [float(row[1].replace(",", "")) for row in rows if len(row) == 3]
    assert sum(parts) == pytest.approx(report.cycles_per_image, abs=len(parts))
    assert parts[0] == pytest.approx(NETWORK.macs / 16, abs=1)
    entered = sum(work for *_, work in manifest["timeline"]["array"])
    assert parts[0] + parts[1] == pytest.approx(entered, abs=1)


def test_a_simulation_of_an_earlier_build_is_not_passed_off_as_this_ones(build):
    simulated(build)
    rebuild(build, {"memory.bin": bytes((build / "memory.bin").stat().st_size)})
    _, tree = page_of(build)
    assert "generated anew after its last simulation" in words(section(tree, "summary"))
    assert "not simulated" in words(section(tree, "summary"))


def test_differences_are_shown_where_they_are(build):
    layer = json.loads((build / "manifest.json").read_text())["layers"][1]["name"]
    wrong = sim.Difference(2, layer, 3, 1, 0, -12, -11, 61204)
    simulated(build, bit_exact=False, mismatches=1234, differences=[wrong])
    _, tree = page_of(build)
    assert "1,234 values differ" in words(section(tree, "summary"))
    rows = cells(section(tree, "compared"))
    assert rows[1][2] == str(wrong)
    assert rows[0][2] == "not among the first 1 differences"
    assert "equal" not in words(section(tree, "compared"))


def test_every_tensor_of_an_exact_run_is_equal(exact):
    *_, tree = exact
    assert [row[1:] for row in cells(section(tree, "compared"))] == [
        ["216", "equal"],
        ["72", "equal"],
        ["10", "equal"],
        ["4", "equal"],
    ]


def test_plots_name_what_they_show(exact):
    _, _, text, tree = exact
    timeline, roofline = words(section(tree, "timeline")), words(section(tree, "roofline"))
    for unit in ("loader", "array", "vector unit", "storer"):
        assert unit in timeline
    assert len(re.findall(r"works \d+\.\d%", timeline)) == 4
    assert "16 multipliers" in roofline
    assert "bus, 8 bytes a cycle" in roofline
    assert "activations, KiB" in words(section(tree, "memory"))
    ids = {item.get("id") for item in tree.iter() if item.get("id")}
    links = re.findall(r'href="#([^"]*)"', text)
    assert {f"layer-{number}" for number in range(4)} <= set(links)
    assert set(links) <= ids, "every link inside the page leads somewhere"
    assert len(re.findall(r'\bid="', text)) == len(ids), "no id is used twice"


def test_images_add_maps_noise_and_confusion(made, build):
    text, tree = page_of(build, inputs=made / "data.npz", float_model=made / "float.onnx")
    noise = cells(section(tree, "noise"))
    graph = quant.load(made / "q.onnx")
    assert [row[0] for row in noise] == list(graph.tensors)
    decibels = [float(row[3]) for row in noise]
    assert all(20 < value < 80 for value in decibels)
    confusion = cells(section(tree, "confusion"))
    assert sum(int(value) for row in confusion for value in row[1:] if value) == 24
    assert all(sum(int(value) for value in row[1:] if value) == 6 for row in confusion), "six images of each label"
    pictures = section(tree, "maps").iter("img")
    assert next(pictures).get("alt") == "input, red, green, blue"
    assert text.count("data:image/png;base64,") == 1 + 6 + 6 + 8 + 8


def test_the_float_models_accuracy_stands_beside_the_integers(made, build):
    """Both on the same images, neither on those of the simulation."""
    simulated(build)
    data = npz.read(made / "data.npz")
    graph = quant.load(made / "q.onnx")
    found = golden.output(graph, data["x"])[0].reshape(24, 4).argmax(axis=1)
    exact = oracle.run(onnx.load(made / "float.onnx"), data["x"]).reshape(24, 4).argmax(axis=1)
    labels = np.where(np.arange(24) < 20, exact, (exact + 1) % 4)  # 20 of 24 right in float
    np.savez(made / "labelled.npz", x=data["x"], y=labels)
    options = {"inputs": made / "labelled.npz", "float_model": made / "float.onnx"}
    _, tree = page_of(build, **options)
    right = np.mean(found == labels)
    said = f"{right:.1%}accuracy in integers; 83.3% in float, on the same 24 images"
    assert said in words(section(tree, "summary"))
    assert "75.0%" not in words(section(tree, "summary"))
    agreeing = np.sum(found == exact)
    assert f"float model classifies 83.3% of them so; the two agree on {agreeing}." in words(section(tree, "confusion"))
    _, tree = page_of(build, inputs=made / "labelled.npz")
    assert "float" not in words(section(tree, "confusion"))


def test_a_clock_makes_milliseconds_of_cycles(exact, build):
    _, tree = page_of(build, clock_mhz=200.0)
    cycles = json.loads((build / "manifest.json").read_text())["predicted_cycles"]
    assert 4_000 < cycles < 20_000
    said = f"{cycles / 200e3:.3g} msan image, {200e6 / cycles:,.0f} images a second, at 200 MHz"
    assert said in words(section(tree, "summary"))
    assert " ms" not in words(section(exact[-1], "summary"))


def test_advice_is_given_on_the_page_and_on_the_command_line(build, capsys):
    simulated(build, stalls={})
    _, tree = page_of(build)
    reason = (
        "The array is partly idle in 'conv1+pool1', whose windows fill few rows: 1,134 cycles an image, 26.7% of them."
    )
    promise = "With --unfold-input the cycle model predicts 3,671 instead of 4,234."
    assert f"{reason} {promise}" in words(section(tree, "summary"))
    assert run(["report", str(build), "-o", str(build.parent / "report.html")]) == 0
    assert f"{reason} {promise}" in " ".join(capsys.readouterr().out.split())
    simulated(build, stalls={}, cycles_per_image=2600.0)  # of a limit of 2,525
    assert "The array" not in words(section(page_of(build)[1], "summary"))


def test_images_limits_how_many_are_used(made, build):
    _, tree = page_of(build, inputs=made / "data.npz", images=7)
    assert "of 7 images" in words(section(tree, "confusion"))


def test_the_page_needs_nothing_from_outside(made, build):
    simulated(build)
    text, tree = page_of(build, inputs=made / "data.npz", float_model=made / "float.onnx")
    assert "http" not in text
    assert "//" not in re.sub(r"base64,[A-Za-z0-9+/=]*", "", text)
    assert "<script" not in text
    assert not re.search(r"\bon\w+=", text)
    assert "@import" not in text
    for item in tree.iter():
        for attribute in ("src", "href", "{http://www.w3.org/1999/xlink}href"):
            assert item.get(attribute, "#").startswith(("#", "data:image/png;base64,")), item.tag
    assert len(text) < 3_000_000


def test_the_same_build_gives_the_same_page(made, build):
    options = {"inputs": made / "data.npz", "float_model": made / "float.onnx"}
    assert page_of(build, **options)[0] == page_of(build, **options)[0]


def test_names_are_text_and_never_markup(tmp_path):
    nasty = "<b>&\"'$x$"
    model = NETWORK.to_onnx(seed=4)
    model.graph.node[0].name = nasty
    quant.save(quant.quantize(model, np.random.default_rng(4).random((4, 3, 12, 12), np.float32)), tmp_path / "q.onnx")
    generate_build(tmp_path / "q.onnx", tmp_path / "build", rows=4, columns=4)
    text, tree = page_of(tmp_path / "build")
    assert cells(section(tree, "layers"))[0][0].startswith(f"1{nasty}")
    assert nasty in words(section(tree, "timeline"))
    assert "<b>&" not in text
    assert html.escape("<b>") in text


def test_a_saved_report_is_what_was_saved(build):
    report = simulated(build, bit_exact=False, differences=[sim.Difference(0, "a", 1, 2, 3, 4, 5, 6, "note")])
    assert read_saved(build) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"build": "x", "differences": [], "waveform": null}', '{"build": 1'])
def test_a_damaged_simulation_file_is_one_clear_line(build, capsys, text):
    (build / "simulation.json").write_text(text)
    status = run(["report", str(build), "-o", str(build.parent / "report.html")])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (1, 1)
    assert "simulation.json: not what this version's `systolith simulate` writes" in error
    assert not (build.parent / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{made}/nothing", "-o", "{out}"], "no such folder; make one with `systolith generate"),
        (["{made}/build", "-o", "{made}"], "it is a folder; name a file in it"),
        (["{made}/build", "-o", "{made}/no/report.html"], "make it first"),
        (["{made}/build", "-o", "{out}", "--float", "{made}/float.onnx"], "give --inputs DATA.npz too"),
        (["{made}/build", "-o", "{out}", "--inputs", "{made}/data.npz", "--images", "0"], "images must be at least 1"),
        (["{made}/build", "-o", "{out}", "--clock-mhz", "0"], "the clock must be above 0 MHz, such as 100, not 0"),
        (["{made}/build", "-o", "{out}", "--clock-mhz", "nan"], "the clock must be above 0 MHz, such as 100, not nan"),
        (["{made}/build", "-o", "{out}", "--inputs", "{made}/wrong.npz"], "the model takes Nx3x12x12"),
        (["{made}/build", "-o", "{out}", "--inputs", "{made}/labels.npz"], "labels 3..9; the model has classes 0..3"),
        (
            ["{made}/build", "-o", "{out}", "--inputs", "{made}/data.npz", "--float", "{made}/other.onnx"],
            "takes 'image' of (3, 16, 16), the build 'image' of (3, 12, 12)",
        ),
    ],
)
def test_mistakes_are_one_clear_line_and_write_nothing(made, tmp_path, capsys, arguments, message):
    np.savez(made / "wrong.npz", x=np.zeros((1, 3, 12, 11), np.float32))
    np.savez(made / "labels.npz", x=np.zeros((2, 3, 12, 12), np.float32), y=np.array([3, 9]))
    (made / "other.onnx").write_bytes(NETWORK.on((3, 16, 16)).to_onnx().SerializeToString())
    out = tmp_path / "report.html"
    status = run(["report", *(argument.format(made=made, out=out) for argument in arguments)])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (1, 1)
    assert message in error
    assert not out.exists()


def test_the_command_says_what_it_wrote(made, build, capsys):
    out = build.parent / "report.html"
    assert run(["report", str(build), "-o", str(out), "--inputs", str(made / "data.npz")]) == 0
    assert " ".join(capsys.readouterr().out.split()).startswith(f"{out}: 4 layers, not simulated, ")
