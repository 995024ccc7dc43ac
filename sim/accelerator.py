"""A generated build folder, as the simulation needs it: Verilog, memory image, registers, layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import quant
from ..hw.compiler.unfold import Unfolding
from ..hw.folder import read_content, read_manifest
from ..hw.manifest import CONTENTS, Manifest
from ..quant.graph import Graph
from ..quant.graph.errors import ConfigurationError

MODULE = re.compile(r"^module\s+(\w+)\b(.*?)^endmodule", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"\b(?:input|output)\b\s*(?:wire|reg|logic)?\s*(?:\[\s*(\d+)\s*:\s*(\d+)\s*\])?\s*(\w+)\s*[,;)\n]")
INSIDE = re.compile(r"^  wire (?:\[(\d+):0\] )?monitor__(\w+);$", re.MULTILINE)
"""The monitor's signals in the top module, where it has no ports for them."""

USED_REGISTERS = (
    "CONTROL",
    "STATUS",
    "PROGRAM",
    "BASE",
    "BASE_HIGH",
    "LIMIT",
    "INTERRUPT_ENABLE",
    "CYCLES",
    "CYCLES_HIGH",
    "WAITS",
)


@dataclass(frozen=True)
class Accelerator:
    """What ``generate`` wrote into ``folder``.  Addresses are bytes relative to the BASE register.

    ports : width in bits of each port of the top module;  monitor : of the monitor's signals, ports or not
    manifest : the record of manifest.json;  build : its SHA-256, and so the name of this build
    program, constants : contents of those two memory regions
    """

    folder: Path
    verilog: str
    ports: Mapping[str, int]
    monitor: Mapping[str, int]
    manifest: Manifest
    build: str
    program: bytes
    constants: bytes

    @cached_property
    def graph(self) -> Graph:
        """The quantized graph that was built.  Raises ModelError or ConfigurationError if its file is damaged."""
        graph = quant.load(self.folder / "model.onnx")
        read_content(self.folder, "model.onnx", self.manifest)  # again: it is still what `load` has seen
        return graph

    @property
    def bus_bytes(self) -> int:
        return self.ports["m_axi_rdata"] // 8

    @property
    def monitor_bytes(self) -> int:
        return self.monitor["data"] // 8

    @property
    def batch(self) -> int:
        """Images in one run."""
        return self.manifest.batch

    @property
    def unfolding(self) -> Unfolding | None:
        """How the host writes the network's input; None: as it is."""
        return self.manifest.inputs[0].unfolding  # only a network of one input has one

    @property
    def memory_bytes(self) -> int:
        return self.manifest.memory.bytes

    @property
    def predicted_cycles(self) -> int:
        return self.manifest.predicted_cycles

    @property
    def limit_cycles(self) -> int:
        return self.manifest.limit_cycles

    @property
    def macs(self) -> int:
        return self.manifest.macs

    @property
    def cells(self) -> int:
        """Multiply-accumulate cells of the array, rows x columns."""
        return self.manifest.parameters.rows * self.manifest.parameters.columns

    def registers(self) -> dict[str, int]:
        """Byte offset of each register.  Raises ConfigurationError if one that the benches use is missing."""
        offsets = {name: register.offset for name, register in self.manifest.registers.items()}
        for name in USED_REGISTERS:
            if name not in offsets:
                raise ConfigurationError(f"{self.folder / 'manifest.json'}: no register '{name}'")
        return offsets

    def memory(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """DRAM before the first image, (memory_bytes,): program and constants, everything else random."""
        image = rng.integers(0, 256, self.memory_bytes, dtype=np.uint8)
        regions = self.manifest.memory.regions
        for region, content in ((regions.program, self.program), (regions.constants, self.constants)):
            image[region.address : region.end] = np.frombuffer(content, np.uint8)
        return image


def module_ports(verilog: str, top: str) -> dict[str, int]:
    """Width in bits of each port of module ``top`` in Verilog text with literal ranges."""
    for name, body in MODULE.findall(verilog):
        if name == top:
            return {port: int(high) - int(low) + 1 if high else 1 for high, low, port in PORT.findall(body)}
    raise ConfigurationError(f"no module '{top}' in the Verilog")


def load(folder: Path) -> Accelerator:
    """Read a build folder.  Raises ConfigurationError saying which file is missing, broken or of another build."""
    manifest, build = read_manifest(folder)
    contents = {name: read_content(folder, name, manifest) for name in CONTENTS}
    try:
        verilog = contents["systolith.v"].decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{folder / 'systolith.v'} is no text: {error}") from error
    ports = module_ports(verilog, manifest.top)
    if "m_axi_rdata" not in ports:
        raise ConfigurationError(f"{folder / 'systolith.v'}: no port m_axi_rdata")
    monitor = {name: int(high or 0) + 1 for high, name in INSIDE.findall(verilog)}
    monitor |= {port.removeprefix("monitor_"): bits for port, bits in ports.items() if port.startswith("monitor_")}
    if missing := {"valid", "address", "count", "data"} - monitor.keys():
        raise ConfigurationError(f"{folder / 'systolith.v'}: its monitor has no {', '.join(sorted(missing))}")
    regions = manifest.memory.regions
    program, constants = contents["program.bin"], contents["memory.bin"]
    for name, region, content in (("program", regions.program, program), ("constants", regions.constants, constants)):
        if len(content) != region.bytes:
            raise ConfigurationError(f"{folder}: region '{name}' has {region.bytes} bytes, its file {len(content)}")
    return Accelerator(folder, verilog, ports, monitor, manifest, build, program, constants)
