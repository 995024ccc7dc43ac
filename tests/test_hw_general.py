"""Accelerators without a network: what they have, and the programs that are compiled for them."""

import json

import pytest

from systolith import sim
from systolith.hw.build import compile_for, general_parameters, generate, generate_hardware, parameters_for
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.needs import network_needs
from systolith.hw.compiler.planner import plan
from systolith.hw.folder import FILES, read_hardware, read_manifest
from systolith.hw.isa.parameters import Parameters
from systolith.hw.manifest import Hardware
from systolith.quant import ConfigurationError, quantize

from . import models
from .branches import branches
from .hw_networks import network
from .test_hw_folder import killed_after

SIZES = {"rows": 4, "columns": 4, "activation_kib": 4, "accumulator_kib": 1, "weight_fifo_kib": 1}


@pytest.fixture(scope="module")
def accelerator(tmp_path_factory):
    folder = tmp_path_factory.mktemp("general") / "accelerator"
    generate_hardware(general_parameters(**SIZES), folder)
    return folder


@pytest.mark.parametrize(
    ("sizes", "features"),
    [
        ({}, (32, True, True, True, 4, True, True)),
        ({"columns": 8}, (32, True, True, True, 5, True, True)),
        ({"columns": 8, "sum_bits": 24, "normalization": 8}, (24, True, True, True, 8, True, True)),
        ({"columns": 3}, (32, True, True, False, 0, False, True)),
        ({"activation_bits": 9}, (32, True, True, False, 0, False, False)),
        ({"tables": False}, (32, True, True, False, 0, False, True)),
        ({"multiplier": False}, (32, False, True, True, 0, True, True)),
        ({"operands": False, "tables": False}, (32, True, False, False, 0, False, False)),
        ({"sum_bits": 18}, (18, True, True, True, 4, True, True)),
        ({"sum_bits": 17}, (17, True, True, True, 4, True, False)),
        ({"total_bits": 18}, (32, True, True, True, 4, True, True)),
        ({"total_bits": 17}, (32, True, True, True, 4, True, False)),
        ({"activation_bits": 5, "sum_bits": 12}, (12, True, True, True, 4, True, True)),
        ({"activation_bits": 5, "sum_bits": 11}, (11, True, True, True, 4, True, False)),
        ({"extrema": False}, (32, True, True, True, 4, False, True)),
        ({"products": False}, (32, True, True, True, 4, True, False)),
    ],
    ids=str,
)
def test_a_general_accelerator_has_all_that_its_sizes_allow(sizes, features):
    """A product of two maps of n bits, zero points taken off, has 2n + 2."""
    p = general_parameters(**{**SIZES, **sizes})
    found = (p.sum_bits, p.multiplier, p.operands, p.tables, p.normalization, p.extrema, p.products)
    assert found == features


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"products": True, "sum_bits": 17}, "products of 8 bits need sums of 18 bits"),
        ({"products": True, "total_bits": 17}, "products of 8 bits need sums of 18 bits"),
        ({"products": True, "activation_bits": 9}, "products need operands and at most 8 activation bits"),
        ({"extrema": True, "columns": 3}, "extrema need tables"),
    ],
    ids=str,
)
def test_what_its_sizes_do_not_allow_is_refused(sizes, message):
    with pytest.raises(ConfigurationError) as caught:
        general_parameters(**{**SIZES, **sizes})
    assert str(caught.value) == message


def test_its_folder_is_verilog_and_what_is_known_of_it(accelerator):
    assert sorted(path.name for path in accelerator.iterdir()) == ["manifest.json", "systolith.v"]
    found, _ = read_hardware(accelerator)
    assert type(found) is Hardware
    assert found.parameters == general_parameters(**SIZES)
    message = f"{accelerator} is an accelerator without a program; make one with `systolith compile MODEL.onnx --for"
    for read in (read_manifest, sim.load):
        with pytest.raises(ConfigurationError) as caught:
            read(accelerator)
        assert str(caught.value).startswith(message)


def check_same(compiled, generated):
    """Two build folders are equal, but that the first one's Verilog was there before."""
    assert sorted(path.name for path in compiled.iterdir()) == sorted(FILES)
    for name in set(FILES) - {"manifest.json"}:
        assert (compiled / name).read_bytes() == (generated / name).read_bytes(), name
    manifest, _ = read_manifest(generated)
    assert not manifest.shared
    assert (compiled / "manifest.json").read_bytes() == manifest.model_copy(update={"shared": True}).to_bytes()


@pytest.mark.parametrize("graph", [network("tiny"), branches(3, 6, normalization=3)], ids=["tiny", "branches"])
def test_what_is_compiled_is_what_would_be_generated_but_for_unused_features(accelerator, tmp_path, graph):
    """The same Verilog for all; program, memory, header and manifest are those of these parameters."""
    compile_for(graph, b"model", accelerator, tmp_path / "compiled", 1)
    p = general_parameters(**SIZES)
    assert p != parameters_for(graph, **SIZES)
    generate(graph, b"model", p, tmp_path / "generated")
    check_same(tmp_path / "compiled", tmp_path / "generated")
    assert (tmp_path / "compiled" / "systolith.v").read_bytes() == (accelerator / "systolith.v").read_bytes()


def test_a_build_takes_another_network_whose_needs_it_meets(tmp_path):
    generate(network("tiny"), b"", parameters_for(network("tiny"), **SIZES, sum_bits=24), tmp_path / "first")
    compile_for(network("groups2"), b"", tmp_path / "first", tmp_path / "second")
    compile_for(network("tiny"), b"", tmp_path / "second", tmp_path / "third")
    check_same(tmp_path / "third", tmp_path / "first")


def test_all_that_an_accelerator_lacks_is_named(tmp_path):
    graph = branches(4, 6, normalization=3)
    needs = network_needs(lower(graph, 8), 8)
    shifts = needs["shift_low"], needs["shift_high"]
    narrow = {"weight_bits": 7, "sum_bits": 12, "multiplier": False, "operands": False, "tables": False}
    narrow |= {"total_bits": 13, "shift_low": shifts[0] + 1, "shift_high": shifts[1] - 1}
    generate_hardware(general_parameters(**SIZES, **narrow), tmp_path / "narrow")
    with pytest.raises(ConfigurationError) as caught:
        compile_for(graph, b"", tmp_path / "narrow", tmp_path / "build")
    lacks = str(caught.value).split("; ")
    assert [message.split("' ", 1)[1] for message in lacks] == [
        "has 8-bit weights, the array takes 7 bits (generate it with --weight-bits 8)",
        f"needs sums of {needs['sum_bits']} bits, the accumulators have 12 "
        f"(generate them with --sum-bits {needs['sum_bits']})",
        f"needs {needs['total_bits']} bits for a sum with its bias, the requantizers have 13 (generate with --general)",
        f"shifts its scales by {shifts[0]}, the requantizers by {shifts[0] + 1} and more (generate with --general)",
        f"shifts its scales by {shifts[1]}, the requantizers by at most {shifts[1] - 1} (generate with --general)",
        "has scales that are not powers of two (generate with multiplier, or quantize with --scales pow2)",
        "needs an accelerator with operands (generate it with --general)",
        "needs an accelerator with tables (generate it with --general, at most 8 activation bits and at least 4"
        " columns)",
        f"normalizes over {needs['normalization']} channels, the accelerator over 0 "
        f"(generate it with --normalization {needs['normalization']})",
    ]
    assert not (tmp_path / "build").exists()
    enough = general_parameters(**{**SIZES, **{n: v for n, v in needs.items() if n != "normalization"}})
    generate_hardware(enough, tmp_path / "enough")
    compile_for(graph, b"", tmp_path / "enough", tmp_path / "build")


def test_an_accelerator_without_extrema_or_products_says_so():
    net = models.Builder((3, 6, 6)).conv(3, 4, 3).relu()
    source = net.current
    larger = net.join("Max", source, net.at(source).conv(4, 4, 1).current).current
    model = net.join("Mul", larger, source).model()
    graph = quantize(model, models.images(model, 4))
    with pytest.raises(ConfigurationError) as caught:
        plan(graph, general_parameters(**SIZES, extrema=False, products=False))
    assert str(caught.value).split("; ") == [
        "layer 'conv2+max1' takes the larger or the smaller of two maps, which needs an accelerator with extrema"
        " (generate it with --general, at most 8 activation bits and at least 4 columns)",
        "layer 'mul1' multiplies two maps, which needs an accelerator with products (generate it with --general, at"
        " most 8 activation bits)",
    ]


def test_wider_activations_are_refused(accelerator, tmp_path):
    with pytest.raises(ConfigurationError, match=r"needs 10 bits; generate with at least 10 activation bits$"):
        compile_for(network("tiny", "float", 8, 10), b"", accelerator, tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_another_versions_accelerator_is_refused(accelerator, tmp_path):
    generate_hardware(general_parameters(**SIZES), tmp_path / "old")
    fields = json.loads((accelerator / "manifest.json").read_text())
    for name in ("registers", "causes", "waits"):
        changed = {**fields, name: fields[name][1:] if name == "waits" else dict(list(fields[name].items())[1:])}
        (tmp_path / "old" / "manifest.json").write_bytes(Hardware.model_validate_json(json.dumps(changed)).to_bytes())
        with pytest.raises(ConfigurationError) as caught:
            compile_for(network("tiny"), b"", tmp_path / "old", tmp_path / "build")
        assert str(caught.value) == (
            f"{tmp_path / 'old'} was generated by another version of systolith, whose {name} differ; generate it again"
        )


def test_a_changed_verilog_is_refused(tmp_path):
    generate_hardware(general_parameters(**SIZES), tmp_path / "general")
    with (tmp_path / "general" / "systolith.v").open("a") as file:
        file.write("// edited")
    with pytest.raises(ConfigurationError, match=r"systolith.v is not the file that manifest.json was written with"):
        compile_for(network("tiny"), b"", tmp_path / "general", tmp_path / "build")


def test_files_that_no_accelerator_has_are_refused(accelerator):
    fields = json.loads((accelerator / "manifest.json").read_text())
    for files, message in (({}, "files has no 'systolith.v'"), ({"program.bin": "0" * 64}, "files has 'program.bin'")):
        changed = {**fields, "files": {**(fields["files"] if files else {}), **files}}
        with pytest.raises(ConfigurationError, match=message):
            Hardware.parse(json.dumps(changed).encode())


def test_an_accelerator_takes_the_place_of_a_build_and_the_other_way_round(tmp_path, monkeypatch):
    """Whole or refused by name, wherever its writer is killed; nothing of the other is left."""
    p, graph = general_parameters(**SIZES), network("tiny")
    folder = tmp_path / "folder"
    seen = set()
    for steps in range(100):
        generate(graph, b"", p, folder)
        (folder / "simulation.json").write_text("{}")
        ended = not killed_after(steps, lambda: generate_hardware(p, folder), monkeypatch)
        try:
            seen.add(type(read_hardware(folder)[0]).__name__)
        except ConfigurationError as error:
            assert "manifest.json is missing" in str(error)  # noqa: PT017
            seen.add("refused")
        if ended:
            break
    assert seen == {"Manifest", "Hardware"}
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "systolith.v"]
    compile_for(graph, b"", folder, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_fingerprints_tell_accelerators_apart(accelerator, tmp_path):
    p = general_parameters(**SIZES)
    plan = compile_for(network("tiny"), b"", accelerator, tmp_path / "build")
    assert plan.parameters.fingerprint == p.fingerprint
    others = [{"sum_bits": 31}, {"normalization": 3}, {"multiplier": False, "normalization": 0}]
    prints = {Parameters(**{**vars(p), **other}).fingerprint for other in others}
    assert len(prints | {p.fingerprint}) == 4
    assert plan.program[0].fields["fingerprint"] == p.fingerprint
