"""The ``generate`` command as functions, and its summary for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .. import quant
from ..hw.area import area, measured
from ..hw.build import general_parameters, generate, generate_hardware, parameters_for
from ..hw.choice import CHOSEN, choose
from ..hw.compiler.plan import Plan
from ..hw.estimate import area_line, array_line
from ..hw.folder import read_manifest
from ..hw.isa.parameters import Parameters
from ..progress import stage_bars
from .quantize import Quantized, model_of

STAGES = {
    "choice": "choosing lanes and the input's layout",
    "layout": "laying out the memories",
    "weave": "writing the program",
    "verilog": "writing the Verilog",
    "cycles": "predicting cycles",
}


def generate_build(
    model: Quantized,
    output: str | Path,
    *,
    rows: int,
    columns: int,
    batch: int = 1,
    unfold_input: bool | None = None,
    monitor: bool = False,
    show_progress: bool = False,
    **sizes: Any,
) -> Plan:
    """Generate the accelerator that runs the quantized ``model`` into folder ``output``, and return its plan.

    batch : images in one run, whose fully connected layers share each fetched weight
    unfold_input : the host writes the input with the rows of each window of the first convolution side by side; None:
    if that saves 1% of the cycles
    monitor : ports that show each vector that is written, for a logic analyser
    sizes : bus_bytes, activation_kib, accumulator_kib, weight_fifo_kib, lanes, and any other field of hw's
    Parameters; operand and sum widths are what the model needs unless given, lanes, packing and row_parts the fewest
    that come near the fastest: the manifest has the reasons.
    Raises ModelError for what is no quantized model, ConfigurationError for parameters out of range or a
    layer that cannot fit, naming the memory and the size that would do.
    """
    written = model_of(model)
    graph = quant.load(written)
    parameters = parameters_for(graph, rows=rows, columns=columns, **sizes)
    file = written.SerializeToString(deterministic=True)
    with stage_bars(STAGES, show_progress) as progress:
        progress("choice", 0, 1)
        given = {name: sizes.get(name) for name in CHOSEN}
        made = choose(graph, parameters, batch, unfold_input=unfold_input, **given)
        progress("choice", 1, 1)
        p, unfold = made.parameters, made.unfold_input
        return generate(graph, file, p, Path(output), batch, unfold, monitor, progress, made.reasons)


def generate_accelerator(
    output: str | Path, *, rows: int, columns: int, monitor: bool = False, show_progress: bool = False, **sizes: Any
) -> Parameters:
    """Generate an accelerator for any network into folder ``output``; `compile_build` makes programs for it.

    It has every feature that its sizes allow: maps as operands, tables (up to 8 activation bits, from 4 columns on),
    normalization over 5 channels, multipliers for the scales.

    monitor : as in `generate_build`
    sizes : as in `generate_build`; operands have 8 bits unless given, sums 32, which is enough for any network
    Returns the accelerator's parameters.  Raises ConfigurationError for parameters out of range.
    """
    parameters = general_parameters(rows=rows, columns=columns, **sizes)
    with stage_bars(STAGES, show_progress) as progress:
        generate_hardware(parameters, Path(output), monitor, progress)
    return parameters


def plan_tables(plan: Plan, output: Path) -> RenderableType:
    """Each layer's cut and predicted cycles, and where the files are."""
    facts, _ = read_manifest(output)
    table = Table(box=None, header_style="bold")
    table.add_column("layer", overflow="fold")
    for heading in ("spatial tiles", "reduction parts", "MACs", "predicted cycles", "limit"):
        table.add_column(heading, justify="right")
    keys = ("spatial_tiles", "reduction_parts", "macs", "predicted_cycles", "limit_cycles")
    for layer in facts.layers:
        table.add_row(escape(layer.name), *(f"{getattr(layer, key):,}" for key in keys))
    table.add_row("network", "", "", *(f"{getattr(facts, key):,}" for key in keys[2:]))
    what, *cost = hardware_lines(plan.parameters)
    return Group(table, *facts.chosen, f"{what}; {plan.memory_bytes:,} bytes of memory", *cost, f"written to {output}")


def hardware_lines(p: Parameters) -> list[str]:
    """What an accelerator is, and on a target what it costs."""
    what = f"{array_line(p)}, {p.sum_bits}-bit sums, {p.lanes} requantizer lanes, {p.bus_bytes}-byte bus"
    if p.packing > 1:
        what += f", up to {p.packing} rows of weights a word, {p.row_parts} at once"
    return [what, f"{area_line(area(p))}, on {p.target}"] if p.target in measured() else [what]
