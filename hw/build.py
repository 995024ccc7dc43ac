"""Build folders: an accelerator's Verilog, and for a quantized graph its program, constants, C header and manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..quant.graph import Conv, FeatureMap, Graph
from ..quant.graph.progress import Progress, quiet
from .choice import CHOSEN, choose
from .compiler.affine import affine, affine_pays
from .compiler.engine_layer import EngineLayer
from .compiler.formats import ONE
from .compiler.kernel_steps import kernel
from .compiler.lowering import lower
from .compiler.needs import network_needs
from .compiler.plan import Plan
from .compiler.planner import plan
from .compiler.sliding import slides
from .compiler.thin import thinned
from .describe import check_version, describe, describe_hardware
from .engine.emit import emit_verilog
from .folder import check_folder, read_content, read_hardware, write_folder
from .header import c_header
from .isa.parameters import MOST_SLIDING, Parameters, affine_bits, product_bits
from .manifest import Content
from .shares import shared

LINE_BUFFER = 512
"""Pixels in a line of the buffer for depthwise convolutions, unless given: what most families' block RAM holds."""

SUMS = ("sum_bits", "total_bits")
NORMALIZATION = 5
"""Channels that a general accelerator can normalize over: as AlexNet, ZF Net and GoogLeNet do."""


def general_parameters(*, rows: int, columns: int, **sizes: Any) -> Parameters:
    """Parameters with every feature that the sizes allow: for any network whose sums fit ``sum_bits``, 32 by default.

    sizes : any of Parameters' other fields, which then are as given
    """
    bits = sizes.get("activation_bits", 8)
    tables = sizes.get("tables", bits <= 8 and columns >= 4)
    normalization = min(NORMALIZATION, columns) if tables and sizes.get("multiplier", True) else 0
    sums = min(sizes.get(name, 32) for name in SUMS)
    products = sizes.get("operands", True) and bits <= 8 and sums >= product_bits(bits)
    features: dict[str, Any] = {"operands": True, "tables": tables, "extrema": tables, "products": products}
    features["affine"] = _allow_affine(sizes, bits)
    features["line_buffer"] = LINE_BUFFER
    features["sliding"] = MOST_SLIDING if sizes.get("operands", True) else 0
    features["normalization"] = normalization
    return Parameters(rows=rows, columns=columns, **{**features, **sizes})


def parameters_for(graph: Graph, *, rows: int, columns: int, **sizes: Any) -> Parameters:
    """Parameters with the narrowest operands, sums and requantizers that ``graph`` needs, and what speeds a layer up.

    Columns share multipliers where that costs nothing, and where the largest part has too few: see ``shares``.

    sizes : any of Parameters' other fields, which then are as given (bus_bytes, activation_kib, lanes, ...)
    """
    maps = [t for t in graph.tensors.values() if isinstance(t, FeatureMap)]
    bits = sizes.get("activation_bits", max(2, max(t.bits for t in maps)))
    weights = max((layer.weight_bits for layer in graph.layers if isinstance(layer, Conv)), default=2)
    chosen = {"rows": rows, "columns": columns, "activation_bits": bits, "weight_bits": weights, **sizes}
    scales = chosen.pop("affine", None)
    features = {"operands", "tables", "extrema", "products", "normalization", "sliding"}  # what they need is not chosen
    Parameters(**{name: value for name, value in chosen.items() if name not in features})
    layers = lower(graph, bits)

    def narrowest(layers: Sequence[EngineLayer]) -> Parameters:
        needs = network_needs(layers, bits)
        least = affine_bits(bits) if "affine" in chosen else 8
        return Parameters(**{**needs, **{n: max(least, needs[n]) for n in SUMS}, **chosen})

    parameters = narrowest(layers)
    if scales is None:
        scales = _allow_affine(sizes, bits) and affine_pays(layers, parameters)
    if scales:
        chosen = {"operands": True, **chosen, "affine": True}
        layers = affine(layers, parameters)
        parameters = narrowest(layers)
    _, thin = thinned(layers, graph, _copying(parameters, sizes))
    if any(layer.rearranged for layer in thin):
        parameters = narrowest(thin)
    if "line_buffer" not in sizes:
        parameters = _buffered(parameters, layers)
    if "sliding" not in sizes:
        parameters = _slid(parameters, layers)
    return parameters if "columns_per_multiplier" in sizes else shared(layers, parameters)


def _buffered(p: Parameters, layers: Sequence[EngineLayer]) -> Parameters:
    """With a line buffer, if one of ``layers`` is faster with it."""
    buffered = replace(p, line_buffer=LINE_BUFFER)
    return buffered if any(kernel(layer.geometry, buffered).depthwise for layer in layers) else p


def _allow_affine(sizes: Mapping[str, Any], bits: int) -> bool:
    """Whether an accelerator of ``sizes``, with activations of ``bits`` bits, may scale channels of maps."""
    wide = min(sizes.get(name, 32) for name in SUMS) >= affine_bits(bits)
    return wide and bool(sizes.get("operands", True)) and bits <= 8


def _slid(p: Parameters, layers: Sequence[EngineLayer]) -> Parameters:
    """With totals that slide, if one of ``layers`` is faster with them, as wide as the widest of those."""
    if not p.operands:
        return p
    slid = replace(p, sliding=MOST_SLIDING)
    windows = (layer.geometry.pool for layer in layers if slides(layer.geometry, slid))
    return replace(p, sliding=max((window.kernel[1] for window in windows if window), default=0))


def _copying(parameters: Parameters, sizes: Mapping[str, Any]) -> Parameters:
    """``parameters`` with what the vector unit needs for copies of maps, unless ``sizes`` say that it is not there."""
    least = parameters.activation_bits + 2
    if not sizes.get("operands", True) or any(sizes.get(name, least) < least for name in SUMS):
        return parameters
    wider: dict[str, Any] = {name: max(least, getattr(parameters, name)) for name in SUMS}
    wider |= {"shift_low": min(parameters.shift_low, ONE[1]), "shift_high": max(parameters.shift_high, ONE[1])}
    return replace(parameters, operands=True, **{n: v for n, v in wider.items() if n not in sizes})


def generate(
    graph: Graph,
    model: bytes,
    parameters: Parameters,
    output: Path,
    batch: int = 1,
    unfold_input: bool = False,
    monitor: bool = False,
    progress: Progress = quiet,
    chosen: tuple[str, ...] = (),
) -> Plan:
    """Write the build folder ``output`` for ``graph``, which the file of contents ``model`` holds; see write_folder.

    batch, unfold_input : see plan;  monitor : see emit_verilog;  chosen : what was and why, for the manifest
    progress : stages "layout", "weave", "verilog" and "cycles"

    Raises ConfigurationError where a layer cannot fit, DataError where the folder cannot be written.
    """
    check_folder(output)
    planned = plan(graph, parameters, batch, unfold_input, progress)
    _write(planned, _verilog(parameters, monitor, progress), model, output, progress, chosen)
    return planned


def generate_hardware(parameters: Parameters, output: Path, monitor: bool = False, progress: Progress = quiet) -> None:
    """Write the folder ``output`` of an accelerator without a program, for ``compile_for``.

    monitor : see emit_verilog;  progress : stage "verilog"

    Raises DataError where the folder cannot be written.
    """
    check_folder(output)
    files: dict[Content, bytes] = {"systolith.v": _verilog(parameters, monitor, progress)}
    write_folder(output, files, describe_hardware(parameters, files))


def compile_for(
    graph: Graph,
    model: bytes,
    accelerator: Path,
    output: Path,
    batch: int = 1,
    unfold_input: bool | None = False,
    progress: Progress = quiet,
) -> Plan:
    """Write the build folder ``output`` for ``graph``, with the Verilog of the folder ``accelerator`` byte for byte.

    unfold_input : see plan; None: chosen

    The rest as in ``generate``.  Raises ConfigurationError where the accelerator lacks what a layer needs, or is
    another version's.
    """
    check_folder(output)
    found, _ = read_hardware(accelerator)
    verilog = read_content(accelerator, "systolith.v", found)
    check_version(accelerator, found, verilog)
    there = {name: getattr(found.parameters, name) for name in CHOSEN}
    choice = choose(graph, found.parameters, batch, unfold_input=unfold_input, **there)
    planned = plan(graph, found.parameters, batch, choice.unfold_input, progress)
    _write(planned, verilog, model, output, progress, choice.reasons, shared=True)
    return planned


def _verilog(parameters: Parameters, monitor: bool, progress: Progress) -> bytes:
    progress("verilog", 0, 1)
    verilog = emit_verilog(parameters, monitor=monitor).encode()
    progress("verilog", 1, 1)
    return verilog


def _write(
    planned: Plan,
    verilog: bytes,
    model: bytes,
    output: Path,
    progress: Progress,
    chosen: tuple[str, ...],
    shared: bool = False,
) -> None:
    program = planned.program_bytes()
    files: dict[Content, bytes] = {
        "systolith.v": verilog,
        "program.bin": program,
        "memory.bin": planned.dram.constants,
        "systolith.h": c_header(planned, program).encode(),
        "model.onnx": model,
    }
    progress("cycles", 0, 1)
    described = describe(planned, files, shared, chosen)
    progress("cycles", 1, 1)
    write_folder(output, files, described)
