"""Build folders around tests/rtl/copy.v: a one-layer "network" whose output is its input."""

from __future__ import annotations

import struct
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from systolith.hw.isa.parameters import Parameters
from systolith.hw.manifest import FORMAT
from systolith.quant.graph import FeatureMap, Graph, MaxPool

from .builds import seal

FAULTS = {
    "hang": 0, "error": 1, "corrupt": 2, "cross": 3, "drop": 4, "last": 5, "outside": 6, "change": 7,
    "unwritten": 8, "silent": 9, "long": 10,
}  # fmt: skip
REGISTERS = {
    "ID": 0, "CONTROL": 0x0C, "STATUS": 0x10, "PROGRAM": 0x14, "BASE": 0x18, "INTERRUPT_ENABLE": 0x1C,
    "CYCLES": 0x20, "CYCLES_HIGH": 0x24, "STALL_READ": 0x28, "WAITS": 0x2C, "LIMIT": 0x30, "BASE_HIGH": 0x34,
}  # fmt: skip
VERILOG = Path(__file__).parent / "rtl" / "copy.v"


def copy_graph(rows: int, columns: int, channels: int) -> Graph:
    shape = (channels, rows, columns)
    tensors = {name: FeatureMap(name, shape, np.float32(1), 128, 0, 255) for name in ("x", "y")}
    return Graph(("x",), ("y",), (MaxPool("copy", "x", "y", (1, 1)),), tensors)


def copy_images(graph: Graph, images: int, seed: int = 1) -> dict[str, NDArray[Any]]:
    x = np.random.default_rng(seed).integers(0, 256, (images, *graph.map_of("x").shape))
    return {"x": x, "y": x.copy()}


def write_copy(
    folder: Path,
    *,
    bus_bytes: int = 8,
    rows: int = 13,
    columns: int = 17,
    fault: str = "",
    beat: int = 0,
    target: int = 0x2000,
) -> Graph:
    """A build folder for (bus_bytes, rows, columns) maps; ``fault`` is planted at ``beat``."""
    graph = copy_graph(rows, columns, bus_bytes)
    size = rows * columns * bus_bytes
    source = 0x0F80  # crosses 4 KiB
    verilog = VERILOG.read_text().replace("parameter BUS_BYTES = 8", f"parameter BUS_BYTES = {bus_bytes}")
    verilog = verilog.replace("[8*BUS_BYTES-1:0]", f"[{8 * bus_bytes - 1}:0]").replace(
        "[BUS_BYTES-1:0]", f"[{bus_bytes - 1}:0]"
    )
    flags = (1 << FAULTS[fault] if fault else 0) | beat << 16
    if fault == "cross":
        source = 0x0FC0
    spread = {"first": 0, "row_step": columns * bus_bytes, "column_step": bus_bytes}
    shape = {"shape": [bus_bytes, rows, columns], "element_bytes": 1, "offset": 128}
    place = {"bytes": size, "images": 1, "layout": "NHWC", "host": [], "kind": "map", **shape}
    array = {"shape": [bus_bytes, rows, columns], "steps": []}
    place |= {"scale": 1.0, "zero_point": 128, "low": 0, "high": 255}
    regions = {"program": (0x40, 16), "constants": (0x80, 0), "input": (source, size), "output": (target, size)}
    regions["scratch"] = (target + size, 64)
    nothing = (
        "macs",
        "weight_bytes",
        "bytes_read",
        "bytes_written",
        "spatial_tiles",
        "reduction_parts",
        "tile_positions",
    )
    manifest = {
        "format": FORMAT,
        "top": "systolith",
        "parameters": asdict(Parameters(rows=2, columns=2, bus_bytes=bus_bytes, operands=True)),
        "registers": {name: {"offset": offset, "description": name} for name, offset in REGISTERS.items()},
        "causes": {"3": "the program asks for an error"},
        "waits": ["reader idle", "fetcher waits for 'program'", "writer waits for token 'room' from nobody"],
        "memory": {
            "bytes": target + size + 64,
            "regions": {name: {"address": address, "bytes": count} for name, (address, count) in regions.items()},
        },
        "batch": 1,
        "shared": False,
        "chosen": [],
        "inputs": [{"tensor": "x", "address": source, **place, "array": {"name": "x", **array}, "unfolding": None}],
        "outputs": [{"tensor": "y", "address": target, **place, "array": {"name": "y", **array}}],
        "layers": [
            {
                "name": "copy",
                "output": "y",
                "image": None,
                "address": target,
                "operator": "MaxPool",
                **shape,
                **spread,
                "predicted_cycles": 300,
                "limit_cycles": rows * columns,
                **dict.fromkeys(nothing, 0),
            }
        ],
        "macs": 0,
        "predicted_cycles": rows * columns + 110,
        "limit_cycles": rows * columns,
        "instructions": {},
        "tokens": {},
        "timeline": {unit: [] for unit in ("loader", "array", "vector", "storer")},
        "writes": [[0, 0, rows, 0, columns, 0, bus_bytes, bus_bytes]],
        "activations": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "systolith.v").write_text(verilog)
    (folder / "program.bin").write_bytes(struct.pack("<4I", source, target, rows * columns, flags))
    (folder / "memory.bin").write_bytes(b"")
    (folder / "model.onnx").write_bytes(b"")
    (folder / "systolith.h").write_bytes(b"")
    seal(folder, manifest)
    return graph
