"""The build cache: shared, whole or absent, verified, and in nobody else's hands."""

import logging
import os
import threading

import pytest

from systolith.quant.files import alone
from systolith.sim import cache


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A cache folder of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache._own.cache_clear()
    yield tmp_path
    cache._own.cache_clear()


def writes(text, log):
    def build(target):
        log.append(text)
        (target / "program").write_text(text)

    return build


def builds():
    return cache.folder() / "builds"


def test_a_second_request_does_not_build_again():
    log: list[str] = []
    entry, found = cache.obtain("k", writes("a", log))
    again, found_again = cache.obtain("k", writes("a", log))
    assert (entry, found, found_again, log) == (again, False, True, ["a"])
    assert (entry / "program").read_text() == "a"
    assert cache.find("k") == entry
    assert cache.find("other") is None


def test_a_failed_build_leaves_no_entry_and_the_next_one_works():
    def fails(target):
        (target / "half").write_text("made")
        raise RuntimeError("the compiler died")

    with pytest.raises(RuntimeError, match="the compiler died"):
        cache.obtain("k", fails)
    assert list(builds().iterdir()) == []
    log: list[str] = []
    assert cache.obtain("k", writes("b", log))[1] is False


@pytest.mark.parametrize(
    "damage",
    ["removed", "truncated", "same size", "unsealed", "seal is no json", "seal is empty", "seal is a list"],
)
def test_a_damaged_entry_is_built_again(damage):
    log: list[str] = []
    entry, _ = cache.obtain("k", writes("whole", log))
    match damage:
        case "removed":
            (entry / "program").unlink()
        case "truncated":
            (entry / "program").write_text("who")
        case "same size":
            (entry / "program").write_text("whose")
        case "unsealed":
            (entry / cache.SEAL).unlink()
        case "seal is no json":
            (entry / cache.SEAL).write_text("{")
        case "seal is empty":
            (entry / cache.SEAL).write_text("{}")
        case "seal is a list":
            (entry / cache.SEAL).write_text("[1]")
    assert cache.find("k") is None
    again, found = cache.obtain("k", writes("whole", log))
    assert (found, (again / "program").read_text(), len(log)) == (False, "whole", 2)


def test_parallel_requests_build_once():
    log: list[str] = []
    gate = threading.Barrier(4)

    def ask():
        gate.wait()
        cache.obtain("k", writes("a", log))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log == ["a"]


def test_a_build_may_ask_for_another():
    """As a simulation does for Verilator's runtime."""
    log: list[str] = []

    def outer(target):
        cache.obtain("inner", writes("inner", log))
        writes("outer", log)(target)

    cache.obtain("outer", outer)
    assert log == ["inner", "outer"]
    assert sorted(path.name for path in builds().iterdir()) == ["inner", "outer"]


def test_the_builds_used_longest_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(cache, "KEEP", 2)
    for age, key in enumerate("abc"):
        entry, _ = cache.obtain(key, writes(key, []))
        os.utime(entry, (1000 + age, 1000 + age))
    cache.obtain("d", writes("d", []))
    assert sorted(path.name for path in builds().iterdir()) == ["c", "d"]


@pytest.mark.parametrize("key", ["k", "other"])
def test_what_killed_builds_left_is_cleared_by_the_next_one(key):
    cache.obtain("first", writes("a", []))
    (builds() / f"{key}.abc123" / "work").mkdir(parents=True)
    (builds() / f"{key}.abc123" / "work" / "half.o").write_text("half")
    (builds() / f"{key}.lock").touch()
    cache.obtain("k", writes("a", []))
    assert sorted(path.name for path in builds().iterdir()) == ["first", "k"]


def test_a_build_under_way_is_left_alone():
    cache.obtain("first", writes("a", []))
    (builds() / "other.abc123").mkdir()
    with alone(builds() / "other.lock"):
        cache.obtain("k", writes("a", []))
        assert sorted(path.name for path in builds().iterdir()) == ["first", "k", "other.abc123", "other.lock"]


def test_the_key_depends_on_every_part():
    parts = {"source": "module", "flags": "-O3"}
    keys = {cache.digest(parts), cache.digest({**parts, "flags": "-O2"}), cache.digest({**parts, "source": "modula"})}
    assert len(keys) == 3
    assert cache.digest(dict(reversed(parts.items()))) == cache.digest(parts)


def test_the_folder_is_this_users_alone(home):
    assert cache.folder() == home / "systolith"
    cache.obtain("k", writes("a", []))
    for made in (cache.folder(), builds(), builds() / "k"):
        assert made.stat().st_mode & 0o777 == 0o700


def foreign(home, monkeypatch):
    (home / "systolith").mkdir(mode=0o700)
    monkeypatch.setattr("os.geteuid", lambda: os.getuid() + 1)


def open_to(bits, *parts):
    def widen(home, monkeypatch):
        (home / "systolith").mkdir(mode=0o700)
        home.joinpath(*parts).chmod(0o700 | bits)

    return widen


def linked(home, monkeypatch):
    (home / "elsewhere").mkdir(mode=0o700)
    (home / "systolith").symlink_to("elsewhere")


def spaced(home, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "a b"))


def taken(home, monkeypatch):
    (home / "systolith").write_text("a file")


def unwritable(home, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)


UNSAFE = {
    "another user's": (foreign, "'{home}/systolith' is not this user's own folder"),
    "writable by the group": (
        open_to(0o020, "systolith"),
        "'{home}/systolith' is writable by others; chmod go-w would",
    ),
    "writable by all": (open_to(0o002, "systolith"), "'{home}/systolith' is writable by others; chmod go-w would do"),
    "sticky, but writable by all": (open_to(0o1002, "systolith"), "'{home}/systolith' is writable by others; "),
    "in a folder that is": (open_to(0o002), "'{home}' is writable by others; chmod go-w would do"),
    "a link": (linked, "'{home}/systolith' is not this user's own folder"),
    "with a space": (spaced, "'{home}/a b/systolith' has a space in its name"),
    "a file": (taken, "'{home}/systolith' cannot be made: File exists"),
    "not writable": (unwritable, "'{home}/systolith' is not writable"),
}


@pytest.mark.parametrize(("make", "message"), UNSAFE.values(), ids=UNSAFE)
def test_what_others_could_change_is_not_used_but_a_new_folder(home, monkeypatch, caplog, make, message):
    make(home, monkeypatch)
    with caplog.at_level(logging.WARNING):
        chosen = cache.folder()
    assert home not in chosen.parents
    assert (chosen.stat().st_mode & 0o777, list(chosen.iterdir())) == (0o700, [])
    assert cache.folder() == chosen
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("compiled simulations are not kept: " + message.format(home=home))


def test_a_sticky_folder_above_is_as_good_as_an_own_one(home):
    home.chmod(0o1777)
    assert cache.folder() == home / "systolith"


def test_a_folder_that_somebody_prepared_by_its_name_is_not_run(home, monkeypatch, tmp_path_factory):
    """Where the user's own folder cannot be used, no name in the shared one is foreseeable."""
    shared = tmp_path_factory.mktemp("shared")
    monkeypatch.setattr("tempfile.tempdir", str(shared))
    planted = shared / f"systolith-{os.getuid()}" / "builds" / "k"
    planted.mkdir(parents=True)
    (planted / "program").write_text("planted")
    spaced(home, monkeypatch)
    log: list[str] = []
    entry, found = cache.obtain("k", writes("made", log))
    assert (found, (entry / "program").read_text()) == (False, "made")
    assert planted not in entry.parents
