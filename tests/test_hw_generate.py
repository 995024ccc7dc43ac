"""The build folder: all files or none, the same bytes every time, a header that a C compiler takes."""

import json
import subprocess

import pytest

from systolith import quant
from systolith.hw.generate import FILES, generate, parameters_for
from systolith.hw.registers import REGISTERS
from systolith.quant import ConfigurationError

from .hw_networks import network

SIZES = {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "q.onnx"
    quant.save(network("tiny"), path)
    return path


def build(model, folder, **sizes):
    graph = quant.load(model)
    return generate(graph, model, parameters_for(graph, **{**SIZES, **sizes}), folder)


def test_a_build_holds_these_files_and_no_others(model, tmp_path):
    build(model, tmp_path / "build")
    assert sorted(p.name for p in (tmp_path / "build").iterdir()) == sorted(FILES)
    assert [p.name for p in tmp_path.iterdir()] == ["build"]


def test_the_same_input_gives_the_same_bytes(model, tmp_path):
    build(model, tmp_path / "a")
    build(model, tmp_path / "b")
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_a_build_replaces_an_earlier_one(model, tmp_path):
    build(model, tmp_path / "build")
    build(model, tmp_path / "build", columns=3)
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    assert manifest["parameters"]["columns"] == 3


def test_a_folder_of_something_else_is_left_alone(model, tmp_path):
    (tmp_path / "letter.txt").write_text("keep me")
    with pytest.raises(ConfigurationError, match=r"holds 'letter.txt', which is no part of a build"):
        build(model, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]


def test_nothing_is_written_when_a_layer_cannot_fit(tmp_path):
    graph = network("pool3_stride2_pad1")
    path = tmp_path / "q.onnx"
    quant.save(graph, path)
    parameters = parameters_for(graph, rows=4, columns=24, activation_kib=4, accumulator_kib=1)
    with pytest.raises(ConfigurationError, match=r"one pooling window needs 9 .* of 1 KiB holds 5; 2 KiB would do"):
        generate(graph, path, parameters, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_manifest_and_the_header_agree(model, tmp_path):
    plan = build(model, tmp_path / "build")
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    header = (tmp_path / "build" / "systolith.h").read_text()
    for name, (offset, _) in REGISTERS.items():
        assert manifest["registers"][name]["offset"] == offset
        assert f"#define SYSTOLITH_{name} 0x{offset:02x}u" in header
    for name, region in manifest["memory"]["regions"].items():
        assert f"#define SYSTOLITH_{name.upper()}_ADDRESS {region['address']}u" in header
    program = (tmp_path / "build" / "program.bin").read_bytes()
    assert manifest["memory"]["regions"]["program"]["bytes"] == len(program)
    assert sum(layer["macs"] for layer in manifest["layers"]) == plan.graph.macs


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++", "-std=c++11"]], ids=["C99", "C++11"])
def test_compilers_take_the_header_without_a_warning(model, tmp_path, language):
    build(model, tmp_path / "build")
    source = tmp_path / "host.c"
    source.write_text(
        '#include "systolith.h"\n'
        "int main(void) { static volatile uint32_t registers[64]; systolith_input_t x[SYSTOLITH_INPUT_ROWS];\n"
        "  systolith_output_t y[SYSTOLITH_OUTPUT_CHANNELS]; (void)x; (void)y;\n"
        "  return systolith_run(registers, 0u) != 0u; }\n"
    )
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", str(tmp_path / "build")]
    done = subprocess.run(["g++", *language, *flags, str(source)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_of_powers_of_two_needs_no_multiplier():
    assert not parameters_for(network("plain", "pow2"), **SIZES).multiplier
    assert parameters_for(network("plain", "float"), **SIZES).multiplier
