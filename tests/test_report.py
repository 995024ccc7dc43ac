"""The HTML report: what it says of a build, with and without a simulation, a float model and images."""

import dataclasses
import html
import json
import re
import shutil
from itertools import pairwise

import html5lib
import numpy as np
import pytest

from systolith import (
    generate_build,
    quant,
    report_build,
    sim,
)
from systolith.cli import run
from systolith.hw.sealed import sha256
from systolith.sim.report import Report, read_saved

from .builds import rebuild

NETWORK = quant.Network.pattern((3, 12, 12), [[6], [8]], hidden=[10], classes=4)
SECTIONS = ["summary", "layers", "time", "timeline", "roofline", "noise", "maps", "confusion", "compared", "made"]


def measured(build):
    """A report such as `simulate` returns for ``build``, every stall 10 cycles longer than the one before."""
    manifest = json.loads((build / "manifest.json").read_text())
    cycles = manifest["predicted_cycles"] + 17
    stalls = [name.removeprefix("STALL_").lower() for name in manifest["registers"] if name.startswith("STALL_")]
    return Report(
        build=sha256((build / "manifest.json").read_bytes()),
        images=3,
        bit_exact=True,
        mismatches=0,
        cycles_per_image=float(cycles),
        predicted_cycles=manifest["predicted_cycles"],
        limit_cycles=manifest["limit_cycles"],
        mac_utilization=manifest["macs"] / (16 * cycles),
        simulated_cycles_per_second=1e5,
        simulator="verilator",
        bench="bulk",
        seed=5,
        memory_latency=30,
        build_seconds=0.0,
        simulation_seconds=1.0,
        stalls={name: 10.0 * number for number, name in enumerate(stalls, start=1)},
        layer_cycles={layer["name"]: layer["predicted_cycles"] + 1.0 for layer in manifest["layers"]},
        accuracy=0.75,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a float model, data of 24 images with labels, and the build for a 4x4 array."""
    folder = tmp_path_factory.mktemp("report")
    model = NETWORK.to_onnx(seed=4)
    x = np.random.default_rng(4).random((24, 3, 12, 12), np.float32)
    (folder / "float.onnx").write_bytes(model.SerializeToString())
    quant.save(quant.quantize(model, x), folder / "q.onnx")
    np.savez(folder / "data.npz", x=x, y=np.arange(24) % 4)
    generate_build(folder / "q.onnx", folder / "build", rows=4, columns=4)
    return folder


@pytest.fixture
def build(made, tmp_path):
    """A copy of the build that a test may change."""
    shutil.copytree(made / "build", tmp_path / "build")
    return tmp_path / "build"


def page_of(build, **options):
    """The page as text, and as a tree after a parser that forgives nothing."""
    output = build.parent / "report.html"
    report_build(build, output, **options)
    text = output.read_text()
    return text, html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def with_traffic(manifest):
    for number, layer in enumerate(manifest["layers"]):
        layer["bytes_read"], layer["bytes_written"] = layer["weight_bytes"] + 100, 10 * number
    ends = np.cumsum([layer["predicted_cycles"] for layer in manifest["layers"]]).tolist()
    starts = [0, *ends]
    spans = [[number, start, end] for number, (start, end) in enumerate(pairwise(starts))]
    manifest["timeline"] = dict.fromkeys(("loader", "array", "vector", "storer"), spans)


def section(tree, name):
    return next(item for item in tree.iter("section") if item.get("id") == name)


def cells(element):
    """Texts of a section's table bodies, row by row."""
    return [
        ["".join(cell.itertext()).strip() for cell in row if cell.tag in ("td", "th")]
        for body in element.iter("tbody")
        for row in body.iter("tr")
    ]


def words(element):
    return " ".join("".join(element.itertext()).split())


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


def test_every_layer_has_its_row_and_its_numbers(build):
    rebuild(build, change=with_traffic)
    measured(build).save(build)
    _, tree = page_of(build)
    manifest = json.loads((build / "manifest.json").read_text())
    rows = cells(section(tree, "layers"))
    assert len(rows) == len(manifest["layers"]) == 4
    with_weights = [layer for layer in NETWORK.layers if layer.weights]
    for row, layer, built in zip(rows, manifest["layers"], with_weights, strict=True):
        cycles = layer["predicted_cycles"] + 1
        assert row == [
            layer["name"],
            layer["operator"],
            row[2],
            f"{built.parameters:,}",
            f"{layer['macs']:,}",
            f"{layer['predicted_cycles']:,}",
            f"{cycles:,}",
            f"{layer['limit_cycles']:,}",
            "bus" if layer["weight_bytes"] / 8 > layer["macs"] / 16 else "array",
            f"{layer['macs'] / 16 / cycles:.1%}",
            f"{layer['bytes_read'] + layer['bytes_written']:,}",
        ]
    assert [row[2] for row in rows] == ["6×6×6", "8×3×3", "10×1×1", "4×1×1"]  # noqa: RUF001


def test_the_network_and_its_convolutions_stand_apart(build):
    report = measured(build)
    report.save(build)
    _, tree = page_of(build)
    layers = json.loads((build / "manifest.json").read_text())["layers"]
    rows = cells(section(tree, "summary"))
    assert [row[0] for row in rows] == ["whole network", "convolutions", "fully connected"]
    assert rows[0][1:] == [
        "4",
        f"{NETWORK.macs:,}",
        f"{report.cycles_per_image:,.0f}",
        f"{report.predicted_cycles:,}",
        f"{report.limit_cycles:,}",
        f"{report.mac_utilization:.1%}",
    ]
    for row, operator in zip(rows[1:], ("Conv", "Gemm"), strict=True):
        mine = [layer for layer in layers if layer["operator"] == operator]
        macs, cycles = sum(layer["macs"] for layer in mine), sum(layer["predicted_cycles"] + 1 for layer in mine)
        assert row[1:4] == [str(len(mine)), f"{macs:,}", f"{cycles:,}"]
        assert row[5:] == [f"{sum(layer['limit_cycles'] for layer in mine):,}", f"{macs / 16 / cycles:.1%}"]
    assert "bit-exact" in words(section(tree, "summary"))
    assert "75.0%accuracy" in words(section(tree, "summary"))


def test_stalls_have_their_causes_and_the_arrays_time_adds_up(build):
    report = measured(build)
    report.save(build)
    _, tree = page_of(build)
    rows = cells(section(tree, "time"))
    waits = [row for row in rows if len(row) == 4]
    assert [row[2] for row in waits] == [f"{cycles:,.0f}" for cycles in report.stalls.values()]
    assert waits[0][:2] == ["array", "a token before an instruction"]
    assert waits[1][:2] == ["array", "weights"]
    assert {row[0] for row in waits} >= {"array", "vector unit", "loader", "storer"}
    parts = [float(row[1].replace(",", "")) for row in rows if len(row) == 3]
    assert sum(parts) == pytest.approx(report.cycles_per_image, abs=len(parts))
    assert parts[0] == pytest.approx(NETWORK.macs / 16, abs=1)


def test_a_simulation_of_an_earlier_build_is_not_passed_off_as_this_ones(build):
    measured(build).save(build)
    rebuild(build, {"memory.bin": bytes((build / "memory.bin").stat().st_size)})
    _, tree = page_of(build)
    assert "generated anew after its last simulation" in words(section(tree, "summary"))
    assert "not simulated" in words(section(tree, "summary"))


def test_differences_are_shown_where_they_are(build):
    layer = json.loads((build / "manifest.json").read_text())["layers"][1]["name"]
    wrong = sim.Difference(2, layer, 3, 1, 0, -12, -11, 61204)
    dataclasses.replace(measured(build), bit_exact=False, mismatches=1234, differences=[wrong]).save(build)
    _, tree = page_of(build)
    assert "1,234 values differ" in words(section(tree, "summary"))
    rows = cells(section(tree, "compared"))
    assert rows[1][2] == str(wrong)
    assert rows[0][2] == "not among the first 1 differences"
    assert "equal" not in words(section(tree, "compared"))


def test_every_tensor_of_an_exact_run_is_equal(build):
    measured(build).save(build)
    _, tree = page_of(build)
    assert [row[1:] for row in cells(section(tree, "compared"))] == [
        ["216", "equal"],
        ["72", "equal"],
        ["10", "equal"],
        ["4", "equal"],
    ]


def test_plots_name_what_they_show(build):
    rebuild(build, change=with_traffic)
    text, tree = page_of(build)
    timeline, roofline = words(section(tree, "timeline")), words(section(tree, "roofline"))
    for unit in ("loader", "array", "vector unit", "storer"):
        assert unit in timeline
    assert "100% busy" in timeline
    assert "16 multipliers" in roofline
    assert "bus, 8 bytes a cycle" in roofline
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


def test_images_limits_how_many_are_used(made, build):
    _, tree = page_of(build, inputs=made / "data.npz", images=7)
    assert "of 7 images" in words(section(tree, "confusion"))


def test_the_page_needs_nothing_from_outside(made, build):
    rebuild(build, change=with_traffic)
    measured(build).save(build)
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
    rebuild(build, change=with_traffic)
    options = {"inputs": made / "data.npz", "float_model": made / "float.onnx"}
    assert page_of(build, **options)[0] == page_of(build, **options)[0]


def test_names_are_text_and_never_markup(build):
    nasty = "<b>&\"'$x$"
    rebuild(build, change=with_traffic)
    rebuild(build, change=lambda manifest: manifest["layers"][0].update(name=nasty))
    text, tree = page_of(build)
    assert cells(section(tree, "layers"))[0][0] == nasty
    assert nasty in words(section(tree, "timeline"))
    assert "<b>&" not in text
    assert html.escape("<b>") in text


def test_a_saved_report_is_what_was_saved(build):
    report = dataclasses.replace(
        measured(build), bit_exact=False, differences=[sim.Difference(0, "a", 1, 2, 3, 4, 5, 6, "note")]
    )
    report.save(build)
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
        (["{made}/build", "-o", "{out}", "--inputs", "{made}/wrong.npz"], "the model takes Nx3x12x12"),
        (["{made}/build", "-o", "{out}", "--inputs", "{made}/labels.npz"], "labels 3..9; the model has classes 0..3"),
        (
            ["{made}/build", "-o", "{out}", "--inputs", "{made}/data.npz", "--float", "{made}/other.onnx"],
            "takes images of (3, 16, 16), the build (3, 12, 12)",
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
