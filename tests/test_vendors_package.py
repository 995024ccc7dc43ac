"""Packages as folders, and the command: whole or refused, and never over what is not ours."""

from __future__ import annotations

import json
import shutil
from typing import get_args

import pytest

import systolith
from systolith.cli import run
from systolith.hw.manifest import Hardware
from systolith.hw.sealed import sha256
from systolith.hw.vendors.litex import MODELS
from systolith.hw.vendors.package import FILES, RECORD, SAID, Vendor, read_package, write_package
from systolith.hw.vendors.words import CHECKED
from systolith.hw.whole_folder import LOCK, STAGING
from systolith.options import VendorKind
from systolith.quant import ConfigurationError

from .packages import BUILDS, RUNS, build, package

pytestmark = pytest.mark.xdist_group("vendors")


@pytest.fixture
def packed(tmp_path):
    """A package for Vivado."""
    systolith.package_build(build("tiny"), tmp_path / "out", vendor="vivado")
    return tmp_path / "out"


def command(capsys, *arguments) -> tuple[int, str, str]:
    status = run(["package", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.mark.parametrize(
    ("name", "vendor"),
    [(name, vendor) for name in BUILDS for vendor in FILES if (name, vendor) != ("general", "litex")],
)
def test_a_package_holds_its_files_and_the_builds_verilog(name, vendor):
    files = package(name, vendor)
    assert set(files) == {*FILES[vendor], RECORD} - {*MODELS}
    assert files["systolith.v"] == (build(name) / "systolith.v").read_bytes()
    record = json.loads(files[RECORD])
    assert record["build"] == sha256((build(name) / "manifest.json").read_bytes())
    assert record["files"] == {name: sha256(data) for name, data in files.items() if name != RECORD}
    assert record["megahertz"] == (125 if vendor == "vivado" else None)


def test_the_same_build_gives_the_same_package(tmp_path):
    for vendor in ("quartus", "litex"):
        write_package(build("tiny"), vendor, tmp_path / vendor, runs=RUNS if vendor == "litex" else None)
        again = {path.name: path.read_bytes() for path in (tmp_path / vendor).iterdir()}
        assert again == package("tiny", vendor)


def test_every_file_of_ours_says_how_it_was_checked():
    for vendor in FILES:
        for name, data in package("tiny", vendor).items():
            if name not in ("systolith.v", "systolith.h") and not name.endswith(".bin"):
                lines = data.decode().splitlines()[: 99 if name == RECORD else 4]
                assert any(SAID[vendor] in line for line in lines), name


def test_the_command_says_what_is_there_and_what_is_next(tmp_path, capsys):
    status, out, err = command(capsys, build("tiny"), "--for", "vivado", "-o", tmp_path / "out", "--clock", 80)
    assert (status, err) == (0, "")
    assert ", 80 MHz\n" in out
    assert CHECKED in out
    assert f"vivado -mode batch -source {tmp_path}/out/pynq_z2.tcl\n" in out
    assert "set megahertz 80\n" in (tmp_path / "out" / "kv260.tcl").read_text()
    assert "assigned-clock-rates = <80000000>" in (tmp_path / "out" / "kv260.dtso").read_text()
    status, out, err = command(capsys, build("tiny"), "--for", "quartus", "-o", tmp_path / "other")
    assert (status, err) == (0, "")
    assert "systolith_hw.tcl" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--for", "vivado", "--clock", 0], "the clock must be 1 to 500 MHz, not 0"),
        (["--for", "vivado", "--clock", 501], "the clock must be 1 to 500 MHz, not 501"),
        (
            ["--for", "quartus", "--clock", 100],
            "a clock is for the scripts of vivado; in Platform Designer you connect one",
        ),
        (
            ["--for", "vivado", "--inputs", "x.npz"],
            "images are for the firmware of litex; a package for vivado runs none",
        ),
        (["--for", "quartus", "--images", 1], "images are for the firmware of litex; a package for quartus runs none"),
        (["--for", "litex"], "the firmware for litex runs images: give some, as --inputs test.npz"),
        (["--for", "libero"], "Invalid value for '--for': "),
        ([], "Missing option '--for'"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, options, message):
    status, out, err = command(capsys, build("tiny"), "-o", tmp_path / "out", *options)
    assert status != 0
    assert err.startswith(f"systolith: error: {message}")
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_what_is_no_build_is_refused_in_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "none": "no such folder; make one with `systolith generate MODEL.onnx",
        tmp_path / "empty": "manifest.json is missing; make the folder again with",
    }
    for folder, message in cases.items():
        status, out, err = command(capsys, folder, "--for", "vivado", "-o", tmp_path / "out")
        assert (status, out, err.count("\n")) == (1, "", 1)
        assert f"{folder}: {message}" in err
    changed = tmp_path / "changed"
    shutil.copytree(build("tiny"), changed)
    (changed / "systolith.v").write_bytes(b"module systolith(); endmodule\n")
    status, _, err = command(capsys, changed, "--for", "quartus", "-o", tmp_path / "out")
    assert (status, err.count("\n")) == (1, 1)
    assert "systolith.v is not the file that manifest.json was written with" in err
    assert not (tmp_path / "out").exists()


def test_a_package_may_take_the_place_of_another(packed):
    made = systolith.package_build(build("general"), packed, vendor="quartus")
    assert {path.name for path in packed.iterdir()} == {*FILES["quartus"], RECORD} == set(made.files)
    record, contents = read_package(packed)
    assert record.vendor == "quartus"
    assert contents["systolith.v"] == (build("general") / "systolith.v").read_bytes()


NOT_OURS = {
    "a file of nobody's": (
        lambda out: (out / "notes.txt").write_text("mine"),
        "holds 'notes.txt', which is no part of a",
    ),
    "a script that was changed": (
        lambda out: (out / "kv260.tcl").write_text("mine"),
        "kv260.tcl was changed or removed",
    ),
    "a script that is gone": (lambda out: (out / "kv260.tcl").unlink(), "kv260.tcl was changed or removed since"),
    "a file of another vendor's": (
        lambda out: (out / "systolith_hw.tcl").write_text("mine"),
        "is no part of the package",
    ),
    "no record": (lambda out: (out / RECORD).unlink(), f"has no {RECORD}, so it is no package of ours"),
    "another's record": (lambda out: (out / RECORD).write_text('{"a": 1}'), "package.json: "),
    "a record that was changed": (
        lambda out: (out / RECORD).write_text((out / RECORD).read_text().replace("100", "101")),
        "'seal': the file was changed after it was written",
    ),
}


@pytest.mark.parametrize("how", NOT_OURS)
def test_what_is_not_ours_is_not_written_over(packed, how):
    change, message = NOT_OURS[how]
    change(packed)
    before = {path.name: path.read_bytes() for path in packed.iterdir()}
    with pytest.raises(ConfigurationError) as caught:
        systolith.package_build(build("tiny"), packed, vendor="vivado")
    assert message in str(caught.value)
    assert {path.name: path.read_bytes() for path in packed.iterdir()} == before


def test_the_command_line_knows_every_vendor():
    assert tuple(kind.value for kind in VendorKind) == get_args(Vendor) == tuple(FILES)


def test_a_build_is_not_written_over(tmp_path):
    folder = tmp_path / "build"
    shutil.copytree(build("tiny"), folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ConfigurationError, match=r"holds 'manifest\.json', which is no part of a package"):
        systolith.package_build(folder, folder, vendor="vivado")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_a_writer_that_was_killed_prepared_is_cleared(tmp_path):
    out = tmp_path / "out"
    (out / STAGING).mkdir(parents=True)
    (out / STAGING / "component.xml").write_text("half")
    (out / LOCK).write_text("")
    systolith.package_build(build("tiny"), out, vendor="vivado")
    assert {path.name for path in out.iterdir()} == {*FILES["vivado"], RECORD}


def test_a_build_of_another_version_is_refused(tmp_path):
    folder = tmp_path / "build"
    shutil.copytree(build("general"), folder)
    fields = json.loads((folder / "manifest.json").read_text())
    fields["registers"]["ID"]["offset"] = 0x80
    (folder / "manifest.json").write_bytes(Hardware.model_validate_json(json.dumps(fields)).to_bytes())
    with pytest.raises(
        ConfigurationError, match=r"by another version of systolith, whose registers differ; generate it"
    ):
        systolith.package_build(folder, tmp_path / "out", vendor="vivado")
