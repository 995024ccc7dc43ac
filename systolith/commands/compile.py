"""The ``compile`` command as a function: a program for an accelerator that exists."""

from __future__ import annotations

from pathlib import Path

from .. import quant
from ..hw.build import compile_for
from ..hw.compiler.plan import Plan
from ..progress import stage_bars
from .generate import STAGES
from .quantize import Quantized, model_of


def compile_build(
    model: Quantized,
    accelerator: str | Path,
    output: str | Path,
    *,
    batch: int = 1,
    unfold_input: bool | None = None,
    show_progress: bool = False,
) -> Plan:
    """Make program and memory of the quantized ``model`` for the accelerator in folder ``accelerator``.

    The folder ``output`` becomes a build like those of `generate_build`, with the accelerator's systolith.v byte for
    byte: a simulation that was compiled for one network is used for all.

    accelerator : a folder that `generate_accelerator`, `generate_build` or this function wrote
    batch, unfold_input : as in `generate_build`
    Raises ModelError for what is no quantized model, ConfigurationError naming the first layer that needs what the
    accelerator lacks, and the option that would give it.
    """
    written = model_of(model)
    graph = quant.load(written)
    file = written.SerializeToString(deterministic=True)
    with stage_bars(STAGES, show_progress) as progress:
        return compile_for(graph, file, Path(accelerator), Path(output), batch, unfold_input, progress)
