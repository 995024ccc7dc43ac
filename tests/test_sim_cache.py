"""The build cache: shared, whole or absent, and never poisoned."""

import os
import threading

import pytest

from systolith.sim import cache


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def writes(text, log):
    def build(target):
        log.append(text)
        (target / "program").write_text(text)

    return build


def test_a_second_request_does_not_build_again():
    log: list[str] = []
    entry, found = cache.obtain("k", writes("a", log))
    again, found_again = cache.obtain("k", writes("a", log))
    assert (entry, found, found_again, log) == (again, False, True, ["a"])
    assert (entry / "program").read_text() == "a"


def test_a_failed_build_leaves_no_entry_and_the_next_one_works():
    def fails(target):
        (target / "half").write_text("made")
        raise RuntimeError("the compiler died")

    with pytest.raises(RuntimeError, match="the compiler died"):
        cache.obtain("k", fails)
    builds = cache.folder() / "builds"
    assert [entry.name for entry in builds.iterdir() if entry.is_dir()] == []
    log: list[str] = []
    assert cache.obtain("k", writes("b", log))[1] is False


@pytest.mark.parametrize("damage", ["removed", "truncated", "unsealed", "seal is no json", "seal is empty"])
def test_a_damaged_entry_is_built_again(damage):
    log: list[str] = []
    entry, _ = cache.obtain("k", writes("whole", log))
    match damage:
        case "removed":
            (entry / "program").unlink()
        case "truncated":
            (entry / "program").write_text("who")
        case "unsealed":
            (entry / cache.SEAL).unlink()
        case "seal is no json":
            (entry / cache.SEAL).write_text("{")
        case "seal is empty":
            (entry / cache.SEAL).write_text("{}")
    assert not cache.is_whole(entry)
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


def test_the_builds_used_longest_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(cache, "KEEP", 2)
    for age, key in enumerate("abc"):
        entry, _ = cache.obtain(key, writes(key, []))
        os.utime(entry, (1000 + age, 1000 + age))
    cache.obtain("d", writes("d", []))
    kept = {entry.name for entry in (cache.folder() / "builds").iterdir() if entry.is_dir()}
    assert kept == {"c", "d"}


def test_the_key_depends_on_every_part():
    parts = {"source": "module", "flags": "-O3"}
    keys = {cache.digest(parts), cache.digest({**parts, "flags": "-O2"}), cache.digest({**parts, "source": "modula"})}
    assert len(keys) == 3
    assert cache.digest(dict(reversed(parts.items()))) == cache.digest(parts)


def test_a_folder_with_a_space_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a b"))
    assert " " not in str(cache.folder())
