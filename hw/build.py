"""The build folder: Verilog, program, constants, C header and manifest for one quantized graph."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from ..quant.files import check_target
from ..quant.graph import Conv, FeatureMap, Graph
from ..quant.graph.errors import ConfigurationError
from .compiler.lowering import lower, needed_sum_bits
from .compiler.plan import Plan
from .compiler.planner import plan
from .describe import describe
from .engine.emit import emit_verilog
from .header import c_header
from .isa.parameters import Parameters

FILES = ("systolith.v", "program.bin", "memory.bin", "systolith.h", "manifest.json", "model.onnx")
SIMULATION = "simulation.json"
"""What ``simulate`` leaves in a build folder: a new build's is not there yet."""


def parameters_for(graph: Graph, *, rows: int, columns: int, **sizes: Any) -> Parameters:
    """Parameters with the narrowest operands, sums and requantizers that ``graph`` needs.

    sizes : any of Parameters' other fields, which then are as given (bus_bytes, activation_kib, lanes, ...)
    """
    maps = [t for t in graph.tensors.values() if isinstance(t, FeatureMap)]
    activation_bits = sizes.pop("activation_bits", max(2, max(t.bits for t in maps)))
    chosen: dict[str, Any] = {
        "weight_bits": max((layer.weight_bits for layer in graph.layers if isinstance(layer, Conv)), default=2),
        **sizes,
    }
    features = {"operands", "tables", "normalization"}  # what they need is not chosen yet
    Parameters(
        rows=rows,
        columns=columns,
        activation_bits=activation_bits,
        **{name: value for name, value in chosen.items() if name not in features},
    )
    layers = lower(graph, activation_bits)
    sums = [layer.normalization.size for layer in layers if layer.normalization]
    chosen.setdefault("operands", any(layer.reads_maps for layer in layers))
    chosen.setdefault("tables", any(layer.tables is not None for layer in layers))
    chosen.setdefault("normalization", max(sums, default=0))
    chosen.setdefault("sum_bits", max(8, max(needed_sum_bits(layer, activation_bits) for layer in layers)))
    chosen.setdefault("multiplier", not all(layer.shifts_only for layer in layers))
    if chosen["sum_bits"] > 32:
        raise ConfigurationError(
            f"the sums need {chosen['sum_bits']} bits; 32 is the most: use fewer weight or activation bits"
        )
    return Parameters(rows=rows, columns=columns, activation_bits=activation_bits, **chosen)


def generate(
    graph: Graph, model: Path | bytes, parameters: Parameters, output: Path, batch: int = 1, unfold_input: bool = False
) -> Plan:
    """Write the build folder ``output`` for ``graph``, read from the file ``model`` or its bytes; whole or not at all.

    batch, unfold_input : see plan

    Raises ConfigurationError where a layer cannot fit, DataError where the folder cannot be written.
    """
    planned = plan(graph, parameters, batch, unfold_input)
    files = {
        "program.bin": planned.program_bytes(),
        "memory.bin": planned.dram.constants,
        "systolith.h": c_header(planned).encode(),
        "manifest.json": describe(planned).to_bytes(),
        "model.onnx": model if isinstance(model, bytes) else model.read_bytes(),
        "systolith.v": emit_verilog(parameters).encode(),
    }
    _replace_folder(output, files)
    return planned


def _replace_folder(output: Path, files: dict[str, bytes]) -> None:
    """Put ``files`` into ``output`` through a folder beside it, so that no half-written build is ever seen there.

    Only a folder that holds nothing but an earlier build is replaced.
    """
    check_target(output / "manifest.json" if output.is_dir() else output)
    if output.exists():
        if not output.is_dir():
            raise ConfigurationError(f"{output} is a file; give a folder for the build")
        strangers = sorted(entry.name for entry in output.iterdir() if entry.name not in (*FILES, SIMULATION))
        if strangers:
            raise ConfigurationError(
                f"{output} holds '{strangers[0]}', which is no part of a build; give an empty or new folder"
            )
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        staging.chmod(0o755)
        for name, content in files.items():
            (staging / name).write_bytes(content)
        if output.exists():
            for name in files:
                (staging / name).replace(output / name)
            (output / SIMULATION).unlink(missing_ok=True)
            staging.rmdir()
        else:
            staging.rename(output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
