"""Device-tree source as nested dictionaries: what an overlay needs of the format, and nothing that it does not allow.

Devicetree Specification v0.4, section 6 (Devicetree Source Format).
"""

from __future__ import annotations

import re
from typing import Any

_TOKENS = re.compile(
    r"(?P<skip>\s+|//[^\n]*|/\*.*?\*/)"
    r'|(?P<token>/dts-v1/|/plugin/|"[^"\n]*"|&\w+|0x[0-9a-fA-F]+|[#\w,.+@-]+|[{};=<>])',
    re.DOTALL,
)
_NODE = re.compile(r"[A-Za-z][\w,.+-]{0,30}(@[0-9a-f]+)?|&\w+")
_PROPERTY = re.compile(r"[#\w,.+?-]{1,31}")


def _tokens(text: str) -> list[str]:
    found, position = [], 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        assert match, f"nothing of a device tree: {text[position : position + 20]!r}"
        if match["token"]:
            found.append(match["token"])
        position = match.end()
    return found[::-1]


def parse(text: str) -> dict[str, Any]:
    """The nodes of an overlay by their names, each a dictionary of properties and nodes.

    A property is True if it has no value, else a string or a list of cells, a cell an integer or ``&label``.  Raises
    AssertionError where the source is none.
    """
    left = _tokens(text)
    for word in ("/dts-v1/", ";", "/plugin/", ";"):
        _take(left, word)
    made: dict[str, Any] = {}
    while left:
        name = _take(left)
        assert name not in made, f"{name} is there twice"
        made[name] = _node(left, name)
    return made


def _take(left: list[str], wanted: str = "") -> str:
    assert left, f"ends where {wanted or 'more'} should come"
    token = left.pop()
    assert wanted in ("", token), f"{token} where {wanted} should be"
    return token


def _node(left: list[str], name: str) -> dict[str, Any]:
    assert _NODE.fullmatch(name), f"{name} is no name of a node"
    made: dict[str, Any] = {}
    _take(left, "{")
    while (inner := _take(left)) != "}":
        assert inner not in made, f"{inner} is there twice"
        if left and left[-1] == "{":
            made[inner] = _node(left, inner)
            continue
        assert _PROPERTY.fullmatch(inner), f"{inner} is no name of a property"
        made[inner] = True
        if left and left[-1] == "=":
            _take(left, "=")
            made[inner] = _value(left)
        _take(left, ";")
    _take(left, ";")
    return made


def _value(left: list[str]) -> str | list[int | str]:
    first = _take(left)
    if first.startswith('"'):
        return first.strip('"')
    assert first == "<", f"{first} is no value"
    cells: list[int | str] = []
    while (cell := _take(left)) != ">":
        assert cell.startswith("&") or re.fullmatch(r"0x[0-9a-fA-F]+|\d+", cell), f"{cell} is no cell"
        cells.append(cell if cell.startswith("&") else int(cell, 0))
    return cells
