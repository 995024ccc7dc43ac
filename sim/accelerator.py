"""A generated build folder, as the simulation needs it: Verilog, memory image, registers, layout."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..hw.compiler.unfold import Unfolding
from ..quant.graph.errors import ConfigurationError

MODULE = re.compile(r"^module\s+(\w+)\b(.*?)^endmodule", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b(?:input|output)\b\s*(?:wire|reg|logic)?\s*(?:\[\s*(\d+)\s*:\s*(\d+)\s*\])?\s*(\w+)\s*[,;)\n]")

USED_REGISTERS = ("CONTROL", "STATUS", "PROGRAM", "BASE", "INTERRUPT_ENABLE", "CYCLES", "CYCLES_HIGH", "WAITS")
NEEDED = {
    "parameters", "registers", "memory", "input", "output", "layers", "writes", "predicted_cycles", "limit_cycles",
    "timeline", "activations",
}  # fmt: skip


@dataclass(frozen=True)
class Accelerator:
    """What ``generate`` wrote into ``folder``.  Addresses are bytes relative to the BASE register.

    ports : width in bits of each port of the top module
    manifest : the parsed manifest.json
    program, constants : contents of those two memory regions
    """

    folder: Path
    ports: Mapping[str, int]
    manifest: Mapping[str, Any]
    program: bytes
    constants: bytes

    @property
    def verilog(self) -> Path:
        return self.folder / "systolith.v"

    @property
    def model(self) -> Path:
        """The quantized ONNX model that was built."""
        return self.folder / "model.onnx"

    @property
    def bus_bytes(self) -> int:
        return self.ports["m_axi_rdata"] // 8

    @property
    def monitor_bytes(self) -> int:
        return self.ports["monitor_data"] // 8

    @property
    def batch(self) -> int:
        """Images in one run."""
        return int(self.manifest.get("batch", 1))

    @property
    def unfolding(self) -> Unfolding | None:
        """How the host writes the network's input; None: as it is."""
        how = self.manifest["input"].get("unfolding")
        return Unfolding(**{**how, "shape": tuple(how["shape"])}) if how else None

    @property
    def memory_bytes(self) -> int:
        return int(self.manifest["memory"]["bytes"])

    @property
    def predicted_cycles(self) -> int:
        return int(self.manifest["predicted_cycles"])

    @property
    def limit_cycles(self) -> int:
        return int(self.manifest["limit_cycles"])

    @property
    def macs(self) -> int:
        return sum(int(layer.get("macs", 0)) for layer in self.manifest["layers"])

    @property
    def cells(self) -> int:
        """Multiply-accumulate cells of the array, rows x columns."""
        return int(self.manifest["parameters"]["rows"]) * int(self.manifest["parameters"]["columns"])

    def registers(self) -> dict[str, int]:
        """Byte offset of each register.  Raises ConfigurationError if one that the benches use is missing."""
        offsets = {name: int(entry["offset"]) for name, entry in self.manifest["registers"].items()}
        for name in USED_REGISTERS:
            if name not in offsets:
                raise ConfigurationError(f"{self.folder / 'manifest.json'}: no register '{name}'")
        return offsets

    def memory(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """DRAM before the first image, (memory_bytes,): program and constants, everything else random."""
        image = rng.integers(0, 256, self.memory_bytes, dtype=np.uint8)
        for name, content in (("program", self.program), ("constants", self.constants)):
            region = self.manifest["memory"]["regions"][name]
            if len(content) > region["bytes"]:
                raise ConfigurationError(
                    f"{self.folder}: region '{name}' holds {region['bytes']} bytes, its file has {len(content)}"
                )
            image[region["address"] : region["address"] + len(content)] = np.frombuffer(content, np.uint8)
        return image


def module_ports(verilog: str, top: str) -> dict[str, int]:
    """Width in bits of each port of module ``top`` in Verilog text with literal ranges."""
    for name, body in MODULE.findall(verilog):
        if name == top:
            return {port: int(high) - int(low) + 1 if high else 1 for high, low, port in PORT.findall(body)}
    raise ConfigurationError(f"no module '{top}' in the Verilog")


def load(folder: Path) -> Accelerator:
    """Read a build folder.  Raises ConfigurationError saying which file is missing or broken."""
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: no such folder; make one with `systolith generate MODEL.onnx -o {folder}`")
    for name in ("systolith.v", "program.bin", "memory.bin", "manifest.json", "model.onnx"):
        if not (folder / name).is_file():
            raise ConfigurationError(f"{folder}: {name} is missing; make the folder again with `systolith generate`")
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        ports = module_ports((folder / "systolith.v").read_text(), "systolith")
        missing = {"m_axi_rdata", "monitor_data", "monitor_address", "monitor_count"} - ports.keys()
        if missing:
            raise ConfigurationError(f"{folder / 'systolith.v'}: no port {', '.join(sorted(missing))}")
        if absent := NEEDED - manifest.keys():
            raise ConfigurationError(f"{folder / 'manifest.json'}: no {', '.join(sorted(absent))}")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{folder}: cannot read manifest.json or systolith.v: {error}") from error
    return Accelerator(
        folder=folder,
        ports=ports,
        manifest=manifest,
        program=(folder / "program.bin").read_bytes(),
        constants=(folder / "memory.bin").read_bytes(),
    )
