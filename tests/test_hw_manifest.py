"""The manifest as a record: it comes back as it went; whatever else its file holds is refused by the field's name."""

import json
import random

import numpy as np
import pytest

from systolith.cli import run
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.describe import describe
from systolith.hw.manifest import CONTENTS, Manifest
from systolith.quant import ConfigurationError

from .copy_accelerator import write_copy
from .hw_networks import network


@pytest.fixture(scope="module")
def manifest():
    """The manifest of a small network whose input is unfolded, two images in a run."""
    graph = network("conv_pool_overlap")
    planned = plan(graph, parameters_for(graph, rows=4, columns=4), 2, True)
    return describe(planned, dict.fromkeys(CONTENTS, b""))


def changed(manifest, change, sealed=True):
    """The file's bytes after ``change`` of its fields; with a seal that is right for them if ``sealed``."""
    fields = json.loads(manifest.to_bytes())
    change(fields)
    if not sealed:
        return json.dumps(fields, indent=1).encode() + b"\n"
    return Manifest.model_validate_json(json.dumps(fields)).to_bytes()


def test_a_manifest_comes_back_as_it_went(manifest):
    data = manifest.to_bytes()
    again = Manifest.parse(data)
    assert again.to_bytes() == data
    assert again.model_dump(exclude={"seal"}) == manifest.model_dump(exclude={"seal"})


def at(*path):
    """An edit that replaces what lies at ``path`` by its last item."""

    def change(fields):
        for key in path[:-2]:
            fields = fields[key]
        fields[path[-2]] = path[-1]

    return change


def without(*path):
    def change(fields):
        for key in path[:-1]:
            fields = fields[key]
        del fields[path[-1]]

    return change


HUGE = 10**18

EDITS = {
    "another format": (at("format", 1), "'format' is '1', which another version writes"),
    "no format": (without("format"), "'format': Field required"),
    "text for a number": (at("batch", "2"), "'batch': Input should be a valid integer"),
    "a fraction": (at("layers", 0, "macs", 1.5), "'layers.0.macs': Input should be a valid integer"),
    "a truth": (at("layers", 0, "macs", True), "'layers.0.macs': Input should be a valid integer"),
    "nothing": (at("memory", None), "'memory': Input should be an object"),
    "not a number": (at("inputs", 0, "scale", float("nan")), "'inputs.0.scale': Input should be a finite number"),
    "infinity": (at("inputs", 0, "scale", float("inf")), "'inputs.0.scale': Input should be a finite number"),
    "a negative size": (at("memory", "bytes", -1), "'memory.bytes': Input should be greater than or equal to 0"),
    "a negative region": (
        at("memory", "regions", "input", "bytes", -4096),
        "'memory.regions.input': -4096 bytes at ",
    ),
    "an absurd region": (at("memory", "regions", "scratch", "bytes", HUGE), "'memory.regions.scratch': "),
    "an absurd memory": (at("memory", "bytes", HUGE), f"'memory': bytes is {HUGE}, but the regions end at "),
    "regions that meet": (
        at("memory", "regions", "program", "address", 0),
        "'memory': regions 'constants' and 'program' overlap",
    ),
    "a region of no name": (at("memory", "regions", "stack", {"address": 0, "bytes": 0}), "'memory.regions.stack': "),
    "a missing key": (without("layers", 0, "address"), "'layers.0.address': Field required"),
    "an extra key": (at("layers", 0, "colour", 1), "'layers.0.colour': Extra inputs are not permitted"),
    "a long extra key": (at("k" * 10**5, 1), f"'{'k' * 60}': Extra inputs are not permitted"),
    "no layers": (at("layers", []), "'layers': Tuple should have at least 1 item"),
    "an odd element": (at("layers", 0, "element_bytes", 3), "'layers.0.element_bytes': Input should be 1, 2 or 4"),
    "an image of no batch": (at("layers", 0, "image", 2), "layers.0.image is 2 of a batch of 2"),
    "parameters out of range": (at("parameters", "rows", 0), "rows must be 1 to 128, not 0"),
    "a parameter that is none": (at("parameters", "speed", 9), "'parameters.speed': "),
    "a step of no size": (at("inputs", 0, "unfolding", "stride", 0), "'inputs.0.unfolding': a size of it is below 1"),
    "another unfolding": (at("inputs", 0, "unfolding", "kernel_rows", 2), "input has shape "),
    "an input elsewhere": (at("inputs", 0, "address", 0), "lies outside memory's region 'input', or over another"),
    "an input of another size": (at("inputs", 0, "shape", [1, 1, 1]), " bytes, but its shape needs 2"),
    "another batch": (at("batch", 3), "' has 2 images, but batch is 3"),
    "another total": (at("macs", 1), "macs is 1, but the layers have "),
    "a layer that is not there": (at("writes", 0, 0, 99), "writes names layer 99 of "),
    "work on no layer": (at("timeline", "array", 0, 0, 99), "timeline.array names layer 99 of "),
    "a short write": (at("writes", 0, [0, 0]), "'writes.0.2': Field required"),
    "a code that is none": (at("causes", "x", ""), "'causes.x.[key]': String should match pattern"),
    "a file that is none": (at("files", "notes.txt", "0" * 64), "'files.notes.txt.[key]': Input should be "),
    "a file without a hash": (without("files", "memory.bin"), "files has no 'memory.bin'"),
    "no hash": (at("files", "memory.bin", "x"), "'files.memory.bin': String should match pattern"),
    "a register at an odd place": (at("registers", "ID", "offset", 2), "'registers.ID.offset': Input should be a mul"),
}


@pytest.mark.parametrize(("change", "message"), EDITS.values(), ids=EDITS)
def test_a_field_that_is_wrong_is_named(manifest, change, message):
    with pytest.raises(ConfigurationError) as caught:
        Manifest.parse(changed(manifest, change, sealed=False))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Invalid JSON: EOF while parsing a value"),
        (b"[" * 10**6, "Invalid JSON: recursion limit exceeded"),
        (b'{"batch": ' + b"9" * 10**5 + b"}", "Invalid JSON: number out of range"),
        (b"\xff\xfe", "Invalid JSON: "),
        (b"[]", "Input should be an object"),
        (b"{}", "'format': Field required"),
    ],
    ids=["empty", "deep", "huge", "no text", "a list", "no fields"],
)
def test_what_is_no_manifest_at_all_is_said(data, message):
    with pytest.raises(ConfigurationError) as caught:
        Manifest.parse(data)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [at("predicted_cycles", 1), at("layers", 0, "name", "other"), at("parameters", "lanes", 2), without("seal")],
    ids=["cycles", "name", "lanes", "seal"],
)
def test_a_change_that_no_field_betrays_breaks_the_seal(manifest, change):
    with pytest.raises(ConfigurationError) as caught:
        Manifest.parse(changed(manifest, change, sealed=False))
    assert str(caught.value) == "'seal': the file was changed after it was written"


def test_the_same_fields_in_other_words_break_the_seal(manifest):
    data = manifest.to_bytes()
    doubled = data.replace(b"{\n", b'{\n "batch": 1,\n', 1)
    for other in (data + b"\n", data.replace(b" ", b""), doubled):
        with pytest.raises(ConfigurationError, match="'seal': the file was changed"):
            Manifest.parse(other)


def leaves(value, path=()):
    """Paths of all that ``value`` holds."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from leaves(inner, (*path, key))


def test_no_edit_ends_in_anything_but_an_error_of_ours(manifest):
    choose = random.Random(3)
    paths = list(leaves(json.loads(manifest.to_bytes())))
    others = (None, True, -1, 0, 1 << 40, HUGE, 10**30, 0.5, "", "\ud800", [], {}, [[[]]], {"": {}})
    for path in choose.sample(paths, 60):
        for other in others:
            data = changed(manifest, at(*path, other), sealed=False)
            if data == manifest.to_bytes():
                continue
            with pytest.raises(ConfigurationError):
                Manifest.parse(data)


@pytest.mark.parametrize("command", ["simulate", "report"])
def test_the_command_line_names_the_file_the_field_and_what_to_do(tmp_path, capsys, command):

    write_copy(tmp_path / "build")
    np.savez(tmp_path / "data.npz", x=np.zeros((1, 8, 13, 17), np.float32))
    path = tmp_path / "build" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"macs": 0', b'"macs": -1', 1))
    options = {"simulate": ["--inputs", tmp_path / "data.npz"], "report": ["-o", tmp_path / "report.html"]}[command]
    status = run([command, str(tmp_path / "build"), *map(str, options)])
    printed = capsys.readouterr()
    assert (status, printed.out) == (1, "")
    assert printed.err == (
        f"systolith: error: {path}: 'layers.0.macs': Input should be greater than or equal to 0; make the folder again "
        "with `systolith generate` or `systolith compile`\n"
    )
