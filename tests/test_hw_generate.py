"""The build folder: all files or none, the same bytes every time, a header that a C compiler takes."""

import json
import subprocess

import pytest

from systolith import quant
from systolith.hw.build import generate, parameters_for
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.planner import plan
from systolith.hw.folder import FILES
from systolith.hw.isa.register_map import REGISTERS
from systolith.quant import ConfigurationError, Normalization

from .branches import Branches
from .hw_networks import check_against_golden, network

SIZES = {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 2}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "q.onnx"
    quant.save(network("tiny"), path)
    return path


def build(model, folder, **sizes):
    graph = quant.load(model)
    return generate(graph, model.read_bytes(), parameters_for(graph, **{**SIZES, **sizes}), folder)


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
    graph = network("conv_pool_overlap")
    path = tmp_path / "q.onnx"
    quant.save(graph, path)
    parameters = parameters_for(graph, rows=4, columns=24, activation_kib=4, accumulator_kib=1)
    with pytest.raises(ConfigurationError, match=r"one pooling window needs 9 .* of 1 KiB holds 5; 2 KiB would do"):
        generate(graph, path.read_bytes(), parameters, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_manifest_and_the_header_agree(model, tmp_path):
    made = build(model, tmp_path / "build")
    manifest = json.loads((tmp_path / "build" / "manifest.json").read_text())
    header = (tmp_path / "build" / "systolith.h").read_text()
    for name, (offset, _) in REGISTERS.items():
        assert manifest["registers"][name]["offset"] == offset
        assert f"#define SYSTOLITH_{name} 0x{offset:02x}u" in header
    for name, region in manifest["memory"]["regions"].items():
        assert f"#define SYSTOLITH_{name.upper()}_ADDRESS {region['address']}u" in header
    program = (tmp_path / "build" / "program.bin").read_bytes()
    assert manifest["memory"]["regions"]["program"]["bytes"] == len(program)
    assert sum(layer["macs"] for layer in manifest["layers"]) == made.graph.macs


@pytest.mark.parametrize("language", [["-x", "c", "-std=c99"], ["-x", "c++", "-std=c++11"]], ids=["C99", "C++11"])
def test_compilers_take_the_header_without_a_warning(model, tmp_path, language):
    build(model, tmp_path / "build")
    source = tmp_path / "host.c"
    source.write_text(
        '#include "systolith.h"\n'
        "int main(void) { static systolith_t a; systolith_input_t x[SYSTOLITH_INPUT_ROWS];\n"
        "  systolith_output_t y[SYSTOLITH_OUTPUT_CHANNELS]; (void)x; (void)y;\n"
        "  return systolith_run(&a) != 0u; }\n"
    )
    flags = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I", str(tmp_path / "build")]
    done = subprocess.run(["g++", *language, *flags, str(source)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_of_powers_of_two_needs_no_multiplier():
    assert not parameters_for(network("plain", "pow2"), **SIZES).multiplier
    assert parameters_for(network("plain", "float"), **SIZES).multiplier


@pytest.mark.parametrize(
    ("kernel", "stride", "pad", "include_pad", "multiplier"),
    [
        ((4, 8), 1, 0, False, False),  # of the whole map, as a global average is
        ((2, 2), 2, 0, False, False),
        ((2, 2), 1, 1, True, False),
        ((2, 2), 2, 1, False, False),  # windows of 1, 2 and 4 elements
        ((4, 4), 1, 1, False, True),  # windows of 9 and 12
        ((3, 1), 1, 0, False, True),
    ],
)
def test_an_average_needs_a_multiplier_only_for_counts_that_occur(kernel, stride, pad, include_pad, multiplier):
    chain = Branches(0, (6, 4, 8), powers=True)
    chain.sum(
        chain.average("x", kernel, stride, pad, include_pad), chain.average("x", kernel, stride, pad, include_pad)
    )
    graph = chain.graph(0)
    p = parameters_for(graph, rows=4, columns=4)
    assert p.multiplier == multiplier
    check_against_golden(plan(graph, p))


def normalized(size):
    """A map that is normalized over ``size`` channels, and added to itself."""
    chain = Branches(size, (6, 5, 5), normalization=size)
    output = chain.normalize("x", size)
    chain.sum(output, output)
    return chain.graph(0)


FEATURES = {
    "operands, tables, normalization": (normalized(4), True, True, True),
    "operands": (network("pool3_stride1"), True, False, False),
    "nothing": (network("conv_pool_overlap"), False, False, False),
}


@pytest.mark.parametrize("case", FEATURES.values(), ids=FEATURES)
def test_an_accelerator_has_what_its_network_needs(case):
    graph, operands, tables, normalization = case
    p = parameters_for(graph, rows=4, columns=4)
    assert (p.operands, p.tables) == (operands, tables)
    sizes = [layer.size for layer in graph.layers if isinstance(layer, Normalization)]
    assert p.normalization == max(sizes, default=0)
    assert bool(p.normalization) == normalization
    plan(graph, p)
    wider = parameters_for(graph, rows=4, columns=4, operands=True, tables=True, normalization=4, multiplier=True)
    assert (wider.operands, wider.tables, wider.normalization) == (True, True, 4)


OPERANDS = "layer '{}' needs an accelerator with operands (generate it with --general)"
TABLES = (
    "layer '{}' needs an accelerator with tables (generate it with --general, at most 8 activation bits and at least 4"
    " columns)"
)
SPAN = "layer '{}' normalizes over 3 channels, the accelerator over %d (generate it with --normalization 3)"


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("sums", {"operands": False, "tables": False, "normalization": 0}, f"{OPERANDS}; {TABLES}"),
        ("sums", {"tables": False, "normalization": 0}, TABLES),
        ("normalized", {"normalization": 0}, SPAN % 0),
        ("normalized", {"normalization": 2}, SPAN % 2),
    ],
)
def test_an_accelerator_without_what_its_network_needs_is_refused(name, without, message):
    chain = Branches(1, (6, 5, 5))
    chain.sum("x", chain.conv("x", 6, 3))
    graph = chain.graph(0) if name == "sums" else normalized(3)
    layer = lower(graph, 8)[0].name
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, parameters_for(graph, rows=4, columns=4, **without))
    assert str(caught.value) == message.format(layer, layer)


def test_generate_tells_how_far_it_is(tmp_path):
    """Each stage begins with nothing done, goes on and ends with all, one stage after the other."""
    said = []
    graph = network("tiny")
    parameters = parameters_for(graph, rows=4, columns=4, activation_kib=1)
    plan = generate(graph, b"", parameters, tmp_path / "build", progress=lambda *how: said.append(how))
    assert [*dict.fromkeys(stage for stage, _, _ in said)] == ["layout", "weave", "verilog", "cycles"]
    for stage, total in (("layout", 1), ("weave", len(plan.layers)), ("verilog", 1), ("cycles", 1)):
        assert [how[1:] for how in said if how[0] == stage] == [(done, total) for done in range(total + 1)]
    assert said == sorted(said, key=lambda how: ["layout", "weave", "verilog", "cycles"].index(how[0]))
