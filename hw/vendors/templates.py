"""Texts for vendors' tools, from the templates beside this file."""

from importlib.resources import files

import jinja2


def render(template: str, **values: object) -> bytes:
    """``template``, such as ``vivado.tcl.j2``, filled in; UTF-8.  A value that is missing raises."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    text = (files(__package__) / template).read_text(encoding="utf-8")
    return environment.from_string(text).render(values).encode()
