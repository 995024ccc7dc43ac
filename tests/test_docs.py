"""What the pages say of the sources: files that they name exist, and their picture of the folders is the tested one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .test_imports import ALLOWED, TOP

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PATH = re.compile(r"`([\w/]+\.(?:py|sv|cpp|html\.j2))`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    sources = {
        path.relative_to(ROOT).as_posix() for top in (*TOP, "tests", "examples") for path in (ROOT / top).rglob("*")
    }
    # A page about one folder may name a file in it alone.
    known = sources | {source.rpartition("/")[2] for source in sources}
    assert set(PATH.findall(page.read_text())) - known == set()


def drawn() -> dict[str, set[str]]:
    """What each folder may import directly, as docs/contributing.md draws it: ``imported ◀── importers`` a line."""
    found: dict[str, set[str]] = {}
    for line in (ROOT / "docs" / "contributing.md").read_text().splitlines():
        if re.match(r"[\w., ]+◀── ", line):
            imported, importers = (set(part.split(", ")) for part in re.split(r"\s*◀──\s*", line))
            for importer in importers:
                found.setdefault(importer, set()).update(imported)
    return found


def test_the_picture_of_the_folders_is_what_imports_may_do():
    arrows = drawn()
    assert set(arrows) | {folder for folder, allowed in ALLOWED.items() if not allowed} == set(ALLOWED)
    for folder, allowed in ALLOWED.items():
        reached, left = set(), [folder]
        while left:
            new = arrows.get(left.pop(), set()) - reached
            reached |= new
            left += new
        assert arrows.get(folder, set()) <= allowed <= reached, folder
