"""The build folder: Verilog, program, constants, C header and manifest for one quantized graph."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..quant.graph import Conv, FeatureMap, Graph
from ..quant.graph.errors import ConfigurationError
from ..quant.graph.progress import Progress, quiet
from .compiler.lowering import has_lowest_weight, lower, needed_sum_bits
from .compiler.plan import Plan
from .compiler.planner import plan
from .describe import describe
from .devices import MULTIPLIERS
from .engine.emit import emit_verilog
from .folder import check_folder, write_folder
from .header import c_header
from .isa.parameters import Parameters, pairs_fit
from .manifest import Content


def parameters_for(graph: Graph, *, rows: int, columns: int, **sizes: Any) -> Parameters:
    """Parameters with the narrowest operands, sums and requantizers that ``graph`` needs.

    On an ecp5, columns are paired where the largest part has too few multipliers for the array, if the weights allow.

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
    parameters = Parameters(rows=rows, columns=columns, activation_bits=activation_bits, **chosen)
    pairs = parameters.target == "ecp5" and rows * columns > MULTIPLIERS["ecp5"]
    if "paired" in sizes or not pairs or not pairs_fit(activation_bits, parameters.weight_bits):
        return parameters
    return replace(parameters, paired=not any(has_lowest_weight(layer, parameters.weight_bits) for layer in layers))


def generate(
    graph: Graph,
    model: bytes,
    parameters: Parameters,
    output: Path,
    batch: int = 1,
    unfold_input: bool = False,
    progress: Progress = quiet,
) -> Plan:
    """Write the build folder ``output`` for ``graph``, which the file of contents ``model`` holds; see write_folder.

    batch, unfold_input : see plan;  progress : stages "layout", "weave", "verilog" and "cycles"

    Raises ConfigurationError where a layer cannot fit, DataError where the folder cannot be written.
    """
    check_folder(output)
    planned = plan(graph, parameters, batch, unfold_input, progress)
    progress("verilog", 0, 1)
    verilog = emit_verilog(parameters).encode()
    progress("verilog", 1, 1)
    files: dict[Content, bytes] = {
        "systolith.v": verilog,
        "program.bin": planned.program_bytes(),
        "memory.bin": planned.dram.constants,
        "systolith.h": c_header(planned).encode(),
        "model.onnx": model,
    }
    progress("cycles", 0, 1)
    described = describe(planned, files)
    progress("cycles", 1, 1)
    write_folder(output, files, described)
    return planned
