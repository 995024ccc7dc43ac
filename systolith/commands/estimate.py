"""The ``estimate`` command as a function."""

from __future__ import annotations

from typing import Any

from ..hw.build import parameters_for
from ..hw.choice import CHOSEN, choose
from ..hw.devices import device as device_of
from ..hw.estimate import Estimate, estimate_chosen, largest, room
from ..quant import ConfigurationError
from .quantize import Quantized, graph_of


def estimate_build(
    model: Quantized,
    *,
    rows: int | None = None,
    columns: int | None = None,
    device: str | None = None,
    batch: int = 1,
    unfold_input: bool | None = None,
    clock_mhz: float = 100,
    **sizes: Any,
) -> Estimate:
    """What the accelerator for the quantized ``model`` would cost and do; nothing is written.

    rows, columns : both, or neither: then the largest accelerator that fits ``device``
    device : a part by name, see hw.devices, whose family is the target
    batch, unfold_input : as in `generate_build`;  clock_mhz : for images a second and bandwidths
    sizes : what `generate_build` takes
    Raises ModelError for what is no quantized model, ConfigurationError for sizes out of range, a device that is not
    known, or if nothing fits.
    """
    part = None if device is None else device_of(device)
    if part is not None and sizes.setdefault("target", part.target) != part.target:
        raise ConfigurationError(f"{part.name} is of the target {part.target}, not {sizes['target']}")
    graph = graph_of(model)
    if rows is not None and columns is not None:
        parameters = parameters_for(graph, rows=rows, columns=columns, **sizes)
        given = {name: sizes.get(name) for name in CHOSEN}
        made = choose(graph, parameters, batch, unfold_input=unfold_input, fits=room(part), **given)
        return estimate_chosen(graph, made, batch=batch, clock_mhz=clock_mhz, device=part)
    if rows is not None or columns is not None:
        raise ConfigurationError("give both rows and columns, or neither and a device")
    if part is None:
        raise ConfigurationError("give rows and columns, or a device to fill")
    sizes.pop("target")
    return largest(graph, part, batch=batch, unfold_input=unfold_input, clock_mhz=clock_mhz, **sizes)
