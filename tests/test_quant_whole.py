"""Files are written whole, by one writer at a time, and only ever in place of a regular file."""

import errno
import os
import socket
import stat
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from filelock import FileLock

from systolith import quant
from systolith.cli import run
from systolith.quant import DataError, files, write_whole

from . import models


def looks(folder):
    """What lies in ``folder``: kind, mode, link, content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        link = os.readlink(path) if path.is_symlink() else ""
        content = path.read_bytes() if stat.S_ISREG(info.st_mode) else b""
        found[path.name] = (stat.S_IFMT(info.st_mode), stat.S_IMODE(info.st_mode), link, content)
    return found


def fifo(path):
    os.mkfifo(path)


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(path))


def device(path):
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root makes devices")


def link_to(make):
    def link(path):
        make(path.with_name("real"))
        path.symlink_to("real")

    return link


def loop(path):
    path.symlink_to(path.name)


SPECIAL = "it is a device, a pipe or a socket; name a file"
TARGETS = {
    "a pipe": (fifo, SPECIAL),
    "a socket": (unix_socket, SPECIAL),
    "a device": (device, SPECIAL),
    "a link to a pipe": (link_to(fifo), SPECIAL),
    "a link to a device": (link_to(device), SPECIAL),
    "a folder": (Path.mkdir, "it is a folder; name a file in it"),
    "a link to a folder": (link_to(Path.mkdir), "it is a folder; name a file in it"),
    "a link to itself": (loop, "Too many levels of symbolic links"),
}


@pytest.mark.parametrize(("make", "message"), TARGETS.values(), ids=TARGETS)
def test_only_a_regular_file_is_replaced(tmp_path, monkeypatch, make, message):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    make(Path("out"))
    before = looks(tmp_path)
    for write in (files.check_target, lambda path: write_whole(path, b"new")):
        with pytest.raises(DataError) as caught:
            write("out")
        assert str(caught.value) == f"cannot write 'out': {message}"
    assert looks(tmp_path) == before


def test_a_file_that_may_not_be_written_is_left_alone(tmp_path, monkeypatch):
    target = tmp_path / "out"
    target.write_bytes(b"old")
    monkeypatch.setattr("os.access", lambda path, mode: path != target)  # root may write everything
    with pytest.raises(DataError) as caught:
        write_whole(target, b"new")
    assert str(caught.value) == f"cannot write '{target}': it is read-only"
    assert looks(tmp_path)["out"][3] == b"old"


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to nothing yet"])
def test_a_link_is_followed(tmp_path, there):
    (tmp_path / "folder").mkdir()
    if there:
        (tmp_path / "folder" / "real").write_bytes(b"old")
    (tmp_path / "out").symlink_to("folder/real")
    write_whole(tmp_path / "out", b"new")
    assert (tmp_path / "out").is_symlink()
    assert sorted(looks(tmp_path)) == ["folder", "out", "real"]
    assert (tmp_path / "folder" / "real").read_bytes() == b"new"


def test_a_new_file_is_as_the_umask_says_and_an_old_one_as_it_was(tmp_path):
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "new", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640
    (tmp_path / "new").chmod(0o604)
    write_whole(tmp_path / "new", b"1")
    assert looks(tmp_path) == {"new": (stat.S_IFREG, 0o604, "", b"1")}


def test_what_a_killed_writer_left_is_cleared(tmp_path):
    new, lock = files.leftovers(tmp_path / "out")
    new.write_bytes(b"hal")
    lock.touch()
    write_whole(tmp_path / "out", b"whole")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_bytes() == b"whole"


@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, step):
    write_whole(tmp_path / "out", b"old")
    before = looks(tmp_path)

    def fails(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os if step == "fsync" else Path, step, fails)
        with pytest.raises(DataError) as caught:
            write_whole(tmp_path / "out", b"new")
    assert str(caught.value) == f"cannot write '{tmp_path / 'out'}': No space left on device"
    assert looks(tmp_path) == before


def test_a_folder_that_appears_meanwhile_is_left_alone(tmp_path, monkeypatch):
    target = tmp_path / "out"
    monkeypatch.setattr(files, "create", lambda path, data: (path.write_bytes(data), target.mkdir()))
    with pytest.raises(DataError, match=r"cannot write '.*out': Is a directory$"):
        write_whole(target, b"new")
    assert looks(tmp_path).keys() == {"out"}
    assert target.is_dir()


def test_a_pipe_that_appears_before_the_lock_is_held_is_left_alone(tmp_path, monkeypatch):
    beside = files.leftovers
    monkeypatch.setattr(files, "leftovers", lambda target: (os.mkfifo(target), beside(target))[1])
    with pytest.raises(DataError) as caught:
        write_whole(tmp_path / "out", b"new")
    assert str(caught.value) == f"cannot write '{tmp_path / 'out'}': {SPECIAL}"
    assert looks(tmp_path).keys() == {"out"}


def test_only_one_is_inside_at_a_time(tmp_path):
    inside, most, done = 0, 0, 0

    def enter():
        nonlocal inside, most, done
        for _ in range(5):
            with files.alone(tmp_path / "lock"):
                inside += 1
                most = max(most, inside)
                time.sleep(0.005)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 20)
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_gone_before_it_is_released(tmp_path, monkeypatch):
    """Afterwards the file might be the next one's, and a third would make another."""
    seen = []

    class Watched(FileLock):
        def release(self, *arguments, **options):
            seen.append((tmp_path / "lock").exists())
            super().release(*arguments, **options)

    monkeypatch.setattr(files, "FileLock", Watched)
    with files.alone(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()
    assert seen[:1] == [False]


def test_who_does_not_get_the_lock_says_so_and_leaves_it(tmp_path):
    with files.alone(tmp_path / "lock"):
        with pytest.raises(DataError) as caught, files.alone(tmp_path / "lock", patience=0):
            raise AssertionError("two are inside")
        assert (tmp_path / "lock").exists()
    assert str(caught.value) == f"another process holds '{tmp_path / 'lock'}'; try again when it has ended"


@pytest.mark.parametrize(
    "command",
    ["quantize model.onnx --calibration data.npz", "golden q.onnx --inputs data.npz", "report build"],
)
def test_no_command_replaces_a_pipe(tmp_path, monkeypatch, capsys, command):
    monkeypatch.chdir(tmp_path)
    model = models.tiny()
    onnx.save(model, "model.onnx")
    images = models.images(model, 2)
    np.savez("data.npz", x=images)
    quant.save(quant.quantize(model, images), "q.onnx")
    os.mkfifo("out")
    before = looks(tmp_path)
    assert run([*command.split(), "-o", "out"]) == 1
    assert capsys.readouterr().err == f"systolith: error: cannot write 'out': {SPECIAL}\n"
    assert looks(tmp_path) == before
