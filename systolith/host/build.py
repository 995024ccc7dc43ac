"""A build folder as a driver needs it, read with Python alone, and refused if a byte of it is not what was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..quant.graph.errors import ConfigurationError
from ..quant.graph.host import step_of
from .arrays import Port, Unfolding

FORMAT = 5
"""Of the manifest."""
PAGE = 4096
"""The registers BASE and LIMIT count in pages of so many bytes."""
AGAIN = "make the folder again with `systolith generate` or `systolith compile`, or copy it whole"
BEGIN, IMAGE = 1, 9
"""Codes of the instructions that name the accelerator and the memory image; docs/program.md."""
REGISTERS = ("ID", "FINGERPRINT", "CONTROL", "STATUS", "PROGRAM", "BASE", "BASE_HIGH", "LIMIT", "WATCHDOG", "CYCLES")


@dataclass(frozen=True)
class Build:
    """What `systolith generate` wrote into ``folder``.

    registers : byte offsets by name;  causes : of an error, texts by number;  waits : texts of the bits of WAITS
    program, constants : contents of these regions of memory, at ``program_address`` and ``constants_address``
    memory_bytes : that the accelerator touches, from its base on;  fingerprint : of the accelerator
    batch : images in a run;  predicted_cycles : of a run
    """

    folder: Path
    registers: Mapping[str, int]
    causes: Mapping[int, str]
    waits: tuple[str, ...]
    fingerprint: int
    program: bytes
    program_address: int
    constants: bytes
    constants_address: int
    memory_bytes: int
    batch: int
    predicted_cycles: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def limit(self) -> int:
        """``memory_bytes`` in whole pages, which are handed to the accelerator."""
        return -(-self.memory_bytes // PAGE) * PAGE

    @classmethod
    def load(cls, folder: str | Path) -> Build:
        """Raises ConfigurationError naming the file of ``folder`` that is missing, damaged or of another build."""
        folder = Path(folder)
        manifest = _manifest(folder)
        if "memory" not in manifest:
            raise ConfigurationError(
                f"{folder} is an accelerator without a program; make one with `systolith compile MODEL.onnx "
                f"--for {folder} -o BUILD`"
            )
        contents = {name: _content(folder, name, manifest) for name in ("program.bin", "memory.bin")}
        program, constants = contents["program.bin"], contents["memory.bin"]
        regions = manifest["memory"]["regions"]
        for name, data in (("program", program), ("constants", constants)):
            if len(data) != regions[name]["bytes"]:
                raise ConfigurationError(f"{folder}: region '{name}' and its file differ in size; {AGAIN}")
        if program[:1] != bytes([BEGIN]) or constants[:1] != bytes([IMAGE]) or program[5:9] != constants[1:5]:
            raise ConfigurationError(f"{folder}: program.bin was not made with memory.bin; {AGAIN}")
        registers = {name: register["offset"] for name, register in manifest["registers"].items()}
        if missing := [name for name in REGISTERS if name not in registers]:
            raise ConfigurationError(f"{folder}: manifest.json has no register '{missing[0]}'; {AGAIN}")
        return cls(
            folder=folder,
            registers=registers,
            causes={int(number): text for number, text in manifest["causes"].items()},
            waits=tuple(manifest["waits"]),
            fingerprint=int.from_bytes(program[1:5], "little"),
            program=program,
            program_address=regions["program"]["address"],
            constants=constants,
            constants_address=regions["constants"]["address"],
            memory_bytes=manifest["memory"]["bytes"],
            batch=manifest["batch"],
            predicted_cycles=manifest["predicted_cycles"],
            inputs=tuple(map(_port, manifest["inputs"])),
            outputs=tuple(map(_port, manifest["outputs"])),
        )


def _manifest(folder: Path) -> dict[str, Any]:
    """What manifest.json holds, whose seal is right."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(_read(path))
    except ValueError as error:
        raise ConfigurationError(f"{path} is not JSON; {AGAIN}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ConfigurationError(f"{path} was written by another version of systolith; {AGAIN}")
    fields = {name: value for name, value in manifest.items() if name != "seal"}
    if manifest.get("seal") != hashlib.sha256(json.dumps(fields).encode()).hexdigest():
        raise ConfigurationError(f"{path} was changed after it was written; {AGAIN}")
    return fields


def _content(folder: Path, name: str, manifest: Mapping[str, Any]) -> bytes:
    data = _read(folder / name)
    if hashlib.sha256(data).hexdigest() != manifest["files"].get(name):
        raise ConfigurationError(f"{folder / name} is not the file that manifest.json was written with; {AGAIN}")
    return data


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read '{path}': {error.strerror or error}") from error


def _port(fields: Mapping[str, Any]) -> Port:
    array, sums = fields["array"], fields["kind"] == "sums"
    unfolding = fields.get("unfolding")
    return Port(
        name=array["name"],
        array_shape=tuple(array["shape"]),
        steps=tuple(step_of(step["operator"], step["attributes"]) for step in array["steps"]),
        address=fields["address"],
        size=fields["bytes"],
        shape=tuple(fields["shape"]),
        element_bytes=fields["element_bytes"],
        offset=fields["offset"],
        scales=tuple(fields["scales"]) if sums else (fields["scale"],),
        shifts=None if not sums or fields["shifts"] is None else tuple(fields["shifts"]),
        zero_point=0 if sums else fields["zero_point"],
        low=-(2**31) if sums else fields["low"],
        high=2**31 - 1 if sums else fields["high"],
        unfolding=Unfolding(**{**unfolding, "shape": tuple(unfolding["shape"])}) if unfolding else None,
    )
