"""Tcl for vendors' tools, run by a real interpreter in which each command that is not Tcl's own is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HARNESS = """
set recorded [open $::env(CALLS) w]
rename unknown {}
proc unknown {args} {
    set words {}
    foreach word $args {
        lappend words [binary encode hex [encoding convertto utf-8 $word]]
    }
    puts $::recorded [join $words ,]
    flush $::recorded
    set answer ::answer::[lindex $args 0]
    if {[llength [info commands $answer]]} {
        return [$answer {*}[lrange $args 1 end]]
    }
    return ""
}
namespace eval ::answer {}
"""
END = """
if {[catch {source $::env(SCRIPT)} message]} {
    puts stderr $message
}
"""


PYTHON = [sys.executable, "-c", "import sys, tkinter; tkinter.Tcl().evalfile(sys.argv[1])"]
"""An interpreter that runs a file of Tcl, where there is no ``tclsh``."""


@dataclass(frozen=True)
class Ran:
    """What a script did: each call of a command that is not Tcl's own, and the error that it ended with, or nothing."""

    calls: list[list[str]]
    error: str
    said: str


def interpreter() -> list[str]:
    """The command that runs a file of Tcl: ``tclsh``, or the interpreter that Python brings with tkinter."""
    if found := shutil.which("tclsh"):
        return [found]
    return PYTHON


def run(script: bytes, answers: str, folder: Path, command: list[str] | None = None) -> Ran:
    """Run ``script`` in ``folder``.

    answers : Tcl; a procedure ``::answer::NAME`` says what the command NAME returns, which else is nothing
    """
    for name, text in (("script.tcl", script), ("harness.tcl", (HARNESS + answers + END).encode())):
        (folder / name).write_bytes(text)
    ran = subprocess.run(
        [*(command or interpreter()), folder / "harness.tcl"],
        cwd=folder,
        env={**os.environ, "CALLS": str(folder / "calls"), "SCRIPT": str(folder / "script.tcl")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    calls = folder / "calls"
    assert calls.exists(), f"no Tcl runs here; get one with `apt install tcl`: {ran.stderr}"
    lines = [line.split(",") for line in calls.read_text().splitlines()]
    return Ran([[bytes.fromhex(word).decode() for word in line] for line in lines], ran.stderr.strip(), ran.stdout)


def array(name: str, values: dict[str, str]) -> str:
    """Tcl that sets ``name(KEY)`` for each key; keys and values hold no braces."""
    return "\n".join(f"set {{{name}({key})}} {{{value}}}" for key, value in values.items()) + "\n"
