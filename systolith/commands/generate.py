"""The ``generate`` command as a function, and its summary for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .. import quant
from ..hw.area import area, measured
from ..hw.build import generate, parameters_for
from ..hw.compiler.plan import Plan
from ..hw.estimate import area_line
from ..hw.folder import read_manifest
from ..progress import stage_bars
from .quantize import Quantized, model_of

STAGES = {
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
    unfold_input: bool = False,
    show_progress: bool = False,
    **sizes: Any,
) -> Plan:
    """Generate the accelerator that runs the quantized ``model`` into folder ``output``, and return its plan.

    batch : images in one run, whose fully connected layers share each fetched weight
    unfold_input : the host writes the input with the rows of each window of the first convolution side by side
    sizes : bus_bytes, activation_kib, accumulator_kib, weight_fifo_kib, lanes, and any other field of hw's
    Parameters; operand and sum widths are what the model needs unless given.
    Raises ModelError for what is no quantized model, ConfigurationError for parameters out of range or a
    layer that cannot fit, naming the memory and the size that would do.
    """
    written = model_of(model)
    graph = quant.load(written)
    parameters = parameters_for(graph, rows=rows, columns=columns, **sizes)
    file = written.SerializeToString(deterministic=True)
    with stage_bars(STAGES, show_progress) as progress:
        return generate(graph, file, parameters, Path(output), batch, unfold_input, progress)


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
    p = plan.parameters
    cost = [f"{area_line(area(p))}, on {p.target}"] if p.target in measured() else []
    return Group(
        table,
        f"{p.rows}x{p.columns} multipliers of {p.weight_bits}x{p.activation_bits} bits, {p.sum_bits}-bit sums, "
        f"{p.lanes} requantizer lanes, {p.bus_bytes}-byte bus; {plan.memory_bytes:,} bytes of memory",
        *cost,
        f"written to {output}",
    )
