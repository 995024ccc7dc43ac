"""The build folder on disk: whole or refused by name, whoever writes, reads or is killed meanwhile."""

import errno
import os
import threading
import warnings
from pathlib import Path

import pytest

from systolith import quant
from systolith.cli import run
from systolith.hw import folder as folders
from systolith.hw import whole_folder
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.describe import describe
from systolith.hw.folder import AGAIN, FILES, LOCK, SIMULATION, read_content, read_manifest, write_folder
from systolith.hw.manifest import CONTENTS
from systolith.hw.sealed import sha256
from systolith.hw.whole_folder import STAGING
from systolith.quant import ConfigurationError, DataError, SystolithError

from .builds import rebuild
from .hw_networks import network
from .test_quant_whole import looks


@pytest.fixture(scope="module")
def variants():
    """Two builds, as write_folder takes them, that share no file."""
    graph = network("tiny")
    planned = plan(graph, parameters_for(graph, rows=4, columns=4))
    contents = [{name: f"{name} of {variant}".encode() * 999 for name in CONTENTS} for variant in "ab"]
    return [(content, describe(planned, content)) for content in contents]


def read(folder):
    """All that a reader gets of ``folder``, every file verified."""
    manifest, _ = read_manifest(folder)
    return {name: read_content(folder, name, manifest) for name in CONTENTS}


def test_a_folder_holds_what_was_written_and_nothing_else(tmp_path, variants):
    for contents, manifest in variants:
        write_folder(tmp_path / "build", contents, manifest)
        assert read(tmp_path / "build") == contents
        assert sorted(path.name for path in (tmp_path / "build").iterdir()) == sorted(FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["build"]


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_of_another_build_is_refused_by_name(tmp_path, variants, name):
    build = tmp_path / "build"
    write_folder(build, *variants[0])
    (build / name).write_bytes(variants[1][0][name])
    with pytest.raises(ConfigurationError) as caught:
        read(build)
    assert str(caught.value) == (
        f"{build / name} is not the file that manifest.json was written with; make the folder again with "
        "`systolith generate` or `systolith compile`"
    )


def test_the_manifest_of_another_build_is_refused(tmp_path, variants):
    build = tmp_path / "build"
    write_folder(build, *variants[0])
    (build / "manifest.json").write_bytes(variants[1][1].to_bytes())
    with pytest.raises(ConfigurationError, match=r"systolith\.v is not the file that manifest\.json was written with"):
        read(build)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path, variants, name):
    write_folder(tmp_path, *variants[0])
    (tmp_path / name).unlink()
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"{tmp_path}: {name} is missing; {AGAIN}"


def test_two_writers_and_a_reader_never_make_a_mixture(tmp_path, variants):
    """The reader sees one build, whole, or is told which file does not belong."""
    build, failures, seen = tmp_path / "build", [], {"whole": 0, "refused": 0}
    running = True

    def write(contents, manifest):
        try:
            for _ in range(25):
                write_folder(build, contents, manifest)
        except SystolithError as error:
            failures.append(error)

    def watch():
        while running:
            try:
                seen["whole"] += 1
                if read(build) not in [contents for contents, _ in variants]:
                    failures.append("a mixture")
            except ConfigurationError as error:
                seen["whole"] -= 1
                seen["refused"] += 1
                if not any(text in str(error) for text in ("is not the file that", "is missing", "no such folder")):
                    failures.append(error)

    reader = threading.Thread(target=watch)
    writers = [threading.Thread(target=write, args=variant) for variant in variants]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    running = False
    reader.join()
    assert failures == []
    assert seen["whole"] > 0
    assert read(build) in [contents for contents, _ in variants]
    assert sorted(path.name for path in build.iterdir()) == sorted(FILES)


def killed_after(steps, action, monkeypatch):
    """Whether a process that does ``action`` was killed before its step of this number: a write, rename or removal."""
    left = steps

    def counted(function):
        def call(*arguments, **options):
            nonlocal left
            if left == 0:
                os._exit(9)
            left -= 1
            return function(*arguments, **options)

        return call

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking beside other threads: the child only writes files
        child = os.fork()
    if child == 0:
        for name in ("open", "replace", "unlink", "mkdir", "rmdir"):
            monkeypatch.setattr(Path, name, counted(getattr(Path, name)))
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("there", [True, False], ids=["over a build", "anew"])
def test_a_writer_that_is_killed_leaves_a_build_or_what_is_refused(tmp_path, variants, monkeypatch, there):
    (old, _), (new, _) = variants
    outcomes = []
    for steps in range(100):
        build = tmp_path / str(steps)
        if there:
            write_folder(build, *variants[0])
        if not killed_after(steps, lambda build=build: write_folder(build, *variants[1]), monkeypatch):
            break
        try:
            found = read(build)
            outcomes.append("old" if found == old else "new" if found == new else "mixture")
        except ConfigurationError as error:
            named = [name for name in FILES if name in str(error)]
            outcomes.append("refused" if named or not build.exists() else str(error))
        write_folder(build, *variants[1])
        assert read(build) == new
        assert sorted(path.name for path in build.iterdir()) == sorted(FILES)
    assert set(outcomes) == ({"old", "refused", "new"} if there else {"refused", "new"})
    assert len(outcomes) > 20


def test_a_write_that_fails_leaves_the_folder_as_it_was(tmp_path, variants, monkeypatch):
    build, made = tmp_path / "build", []
    write_folder(build, *variants[0])
    before = looks(tmp_path)

    def full(path, data):
        made.append(path)
        if len(made) % 3 == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        path.write_bytes(data)

    monkeypatch.setattr(whole_folder, "create", full)
    for output in (build, tmp_path / "other"):
        with pytest.raises(DataError) as caught:
            write_folder(output, *variants[1])
        assert str(caught.value) == f"cannot write '{output}': No space left on device"
    assert looks(tmp_path) == before


STRANGERS = {
    "a file": lambda build: (build / "letter.txt").write_text("keep me"),
    "a folder": lambda build: (build / "letter.txt").mkdir(),
    "a folder of our name": lambda build: (build / "systolith.v").mkdir(),
    "a link of our name": lambda build: (build / "memory.bin").symlink_to("/dev/null"),
    "a pipe of our name": lambda build: os.mkfifo(build / "model.onnx"),
    "a file where builds are prepared": lambda build: (build / STAGING).write_text("keep me"),
    "a link where builds are prepared": lambda build: (build / STAGING).symlink_to("."),
}


@pytest.mark.parametrize("make", STRANGERS.values(), ids=STRANGERS)
def test_what_is_not_ours_is_left_alone(tmp_path, variants, make):
    make(tmp_path)
    before = looks(tmp_path)
    (stranger,) = before
    with pytest.raises(ConfigurationError) as caught:
        write_folder(tmp_path, *variants[0])
    assert str(caught.value) == (
        f"{tmp_path} holds '{stranger}', which is no part of a build; give an empty or new folder"
    )
    assert looks(tmp_path) == before


def test_what_is_not_ours_is_left_alone_inside_a_dead_writers_folder_too(tmp_path, variants):
    (tmp_path / STAGING).mkdir()
    (tmp_path / STAGING / "letter.txt").write_text("keep me")
    with pytest.raises(ConfigurationError, match=rf"{STAGING} holds 'letter\.txt', which is no part of a build"):
        write_folder(tmp_path, *variants[0])
    assert (tmp_path / STAGING / "letter.txt").read_text() == "keep me"


def test_what_killed_writers_left_is_cleared(tmp_path, variants):
    (tmp_path / STAGING).mkdir()
    (tmp_path / STAGING / "memory.bin").write_bytes(b"half")
    (tmp_path / LOCK).touch()
    (tmp_path / SIMULATION).write_bytes(b"of an earlier build")
    for left in quant.files.leftovers(tmp_path / SIMULATION):
        left.write_bytes(b"")
    write_folder(tmp_path, *variants[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_a_link_to_a_folder_is_followed(tmp_path, variants):
    (tmp_path / "real").mkdir()
    (tmp_path / "build").symlink_to("real")
    write_folder(tmp_path / "build", *variants[0])
    assert (tmp_path / "build").is_symlink()
    assert read(tmp_path / "real") == variants[0][0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_text("keep me"), "{path} is a file; give a folder for the build"),
        (os.mkfifo, "{path} is a file; give a folder for the build"),
        (lambda path: path.symlink_to("missing/build"), "cannot write '{path}': there is no folder '{missing}'; make "),
    ],
    ids=["a file", "a pipe", "a link into nothing"],
)
def test_an_output_that_is_no_folder_is_left_alone(tmp_path, variants, make, message):
    make(tmp_path / "build")
    before = looks(tmp_path)
    with pytest.raises(SystolithError) as caught:
        write_folder(tmp_path / "build", *variants[0])
    assert str(caught.value).startswith(message.format(path=tmp_path / "build", missing=tmp_path / "missing"))
    assert looks(tmp_path) == before


def test_a_simulation_of_a_build_that_was_replaced_is_not_saved(tmp_path, variants):
    write_folder(tmp_path, *variants[0])
    _, build = read_manifest(tmp_path)
    folders.save_simulation(tmp_path, b"{}", build)
    assert (tmp_path / SIMULATION).read_bytes() == b"{}"
    write_folder(tmp_path, *variants[1])
    assert not (tmp_path / SIMULATION).exists()
    with pytest.raises(DataError) as caught:
        folders.save_simulation(tmp_path, b"{}", build)
    assert str(caught.value) == f"{tmp_path} was generated anew while it was simulated; simulate it again"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", CONTENTS)
def test_no_command_takes_a_mixture_for_a_build(tmp_path, variants, capsys, name):
    write_folder(tmp_path / "build", *variants[0])
    (tmp_path / "build" / name).write_bytes(b"of another build")
    assert run(["report", str(tmp_path / "build"), "-o", str(tmp_path / "report.html")]) == 1
    assert f"{name} is not the file that manifest.json was written with" in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_rebuilt_folders_of_these_tests_are_whole(tmp_path, variants):
    write_folder(tmp_path, *variants[0])
    rebuild(tmp_path, {"memory.bin": b"other"})
    manifest, build = read_manifest(tmp_path)
    assert manifest.files["memory.bin"] == sha256(b"other")
    assert build == sha256((tmp_path / "manifest.json").read_bytes())
