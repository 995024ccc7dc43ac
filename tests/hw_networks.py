"""Quantized test networks, and a plan's result from the interpreter beside golden's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, lru_cache
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx

from systolith import golden
from systolith.hw.build import parameters_for
from systolith.hw.compiler.engine_layer import EngineLayer
from systolith.hw.compiler.instruction import Drained
from systolith.hw.compiler.plan import Plan
from systolith.hw.compiler.planner import plan
from systolith.hw.isa.parameters import Parameters
from systolith.quant import (
    ConfigurationError,
    Conv,
    FeatureMap,
    Graph,
    Settings,
    Sums,
    load_float,
    quantize,
)

from . import models
from .branches import branches
from .graphs import integers
from .hw_interpreter import Machine

NAMES = (*models.SINGLE, "tiny")
ANY_SCALES = {name: getattr(Parameters, name) for name in ("total_bits", "shift_low", "shift_high")}
"""Sizes of requantizers that serve every network, so that networks share one Verilog and one compiled simulation."""

BRANCHED = {
    "4x4, all cut": {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 5, "accumulator_kib": 1},
    "8x8, all fits": {"rows": 8, "columns": 8, "bus_bytes": 8},
    "5x6, wide bus": {"rows": 5, "columns": 6, "bus_bytes": 16, "activation_kib": 8, "accumulator_kib": 2, "lanes": 4},
    "3x16, small": {"rows": 3, "columns": 16, "bus_bytes": 8, "activation_kib": 6, "lanes": 3, "accumulator_kib": 1},
    "shifts only": {"rows": 6, "columns": 5, "bus_bytes": 8, "activation_kib": 6, "accumulator_kib": 1, "powers": True},
}
"""Accelerators for random branches: how many maps stay on chip, and how many tiles there are, differ."""


@cache
def network(name: str, scales: str = "float", weight_bits: int = 8, activation_bits: int = 8) -> Graph:
    """One of ``NAMES`` (or "cifar"), quantized."""
    model = getattr(models, name)() if hasattr(models, name) else models.single(name)
    return quantized(model, scales=scales, weight_bits=weight_bits, activation_bits=activation_bits)


def quantized(model: onnx.ModelProto, **how: Any) -> Graph:
    """``model`` quantized with ``how`` of Settings and ranges that four random images reach."""
    with TemporaryDirectory() as folder:
        onnx.save(model, Path(folder) / "model.onnx")
        graph = load_float(Path(folder) / "model.onnx")
    return quantize(graph, models.images(model, 4), Settings(ranges="minmax", **how))


def narrowed(graph: Graph, widths: Iterable[int]) -> Graph:
    """``graph`` with weights of ``widths`` in turn, bits, layer by layer: the leading bits of what they were."""
    layers, tensors, turn = [], dict(graph.tensors), cycle(widths)
    for layer in graph.layers:
        if isinstance(layer, Conv) and (dropped := layer.weight_bits - next(turn)) > 0:
            scales = layer.weight_scales * np.float32(2**dropped)
            weights, bias = layer.weights >> dropped, layer.bias >> dropped
            layer = replace(layer, weights=weights, weight_scales=scales, bias=bias)
            if isinstance(sums := tensors[layer.output], Sums):
                tensors[layer.output] = replace(sums, scales=sums.scales * np.float32(2**dropped))
        layers.append(layer)
    return replace(graph, layers=tuple(layers), tensors=tensors)


def branched(
    hardware: dict[str, int], seeds: Iterable[int], layers: int = 8, **choices: object
) -> Iterator[tuple[Graph, Plan]]:
    """Random branches, drawn by the ``choices`` of Branches, planned for one of ``BRANCHED``; most of them must fit."""
    powers = bool(hardware.get("powers", False))
    chosen = list(seeds)[:: 3 if powers else 1]  # sums of powers of two are full of ties, slow to decide
    found = [_branch(tuple(hardware.items()), seed, layers, **choices) for seed in chosen]
    yield from filter(None, found)
    fits = len(found) - found.count(None)
    assert 2 * fits > len(found), f"{fits} of {len(found)} graphs fit"


@lru_cache(maxsize=256)
def _branch(
    hardware: tuple[tuple[str, int], ...], seed: int, layers: int, **choices: object
) -> tuple[Graph, Plan] | None:
    """One of them, which several tests look at; None if it does not fit."""
    sizes = dict(hardware)
    powers = bool(sizes.pop("powers", False))
    normalization = 0 if powers else min(sizes["columns"], 5)
    graph = branches(seed, layers, **{"powers": powers, "normalization": normalization, **choices})
    try:
        return graph, planned(graph, **sizes)
    except ConfigurationError as error:
        assert "would do" in str(error) or "fit no tables" in str(error), error  # noqa: PT017
        return None


def planned(graph: Graph, **sizes: int) -> Plan:
    return plan(graph, parameters_for(graph, **sizes))


def element_offset(tensor: FeatureMap, bits: int) -> int:
    """What an element in memory is less than the integer, from the contract: none, or what fits; even, if one is."""
    reach = 1 << (bits - 1)
    if -reach <= tensor.low and tensor.high < reach:
        return 0
    fitting = range(tensor.high - reach + 1, tensor.low + reach + 1)
    return max((offset for offset in fitting if offset % 2 == 0), default=fitting[-1])


def memory_of(values: np.ndarray, tensor, bits: int) -> np.ndarray:
    """``values``, (C, rows, columns), as they lie in memory, uint8."""
    dense = values.astype(np.int64).transpose(1, 2, 0)
    if not isinstance(tensor, FeatureMap):
        return np.ascontiguousarray(dense.astype("<i4")).reshape(-1).view(np.uint8)
    kind = "<i1" if bits <= 8 else "<i2"
    return np.ascontiguousarray((dense - element_offset(tensor, bits)).astype(kind)).reshape(-1).view(np.uint8)


def execute(made: Plan, image: np.ndarray) -> Machine:
    """The machine after the program ran on ``image``, integers (C, rows, columns)."""
    machine = Machine(made.parameters, made.memory_bytes)
    source = made.graph.map_of(made.graph.input)
    for name, content in (
        ("constants", np.frombuffer(made.dram.constants, np.uint8)),
        ("program", np.frombuffer(made.program_bytes(), np.uint8)),
        ("input", memory_of(image, source, made.parameters.activation_bits)),
    ):
        region = made.regions[name]
        assert len(content) == region.bytes
        machine.dram[region.address : region.address + region.bytes] = content
    machine.run(made.regions["program"].address)
    return machine


def run_both(made: Plan, graph: Graph, seed: int) -> tuple[dict[str, np.ndarray], Machine]:
    """Golden's tensors of ``graph``, (1, C, rows, columns), and the machine after the run.

    In a run of several images ``graph`` is the batched one: golden computes each image of the original by itself.
    """
    if made.batch == 1:
        image = integers(graph, 1, seed)
        return golden.run(graph, image), execute(made, image[0])
    single = made.single
    images = integers(single, made.batch, seed)
    found = golden.run(single, images)
    expected = {}
    for name in graph.tensors:
        original, _, number = name.rpartition("@")
        if name in found:
            expected[name] = np.concatenate(list(found[name]), axis=1)[None]
        elif original in found:
            expected[name] = found[original][int(number)][None]
    return expected, execute(made, np.concatenate(list(images), axis=1))


def elements(layer: EngineLayer, drained: Drained) -> np.ndarray:
    """Of the output tensor, rows x columns x channels: those that ``drained`` holds, (rows, columns, channels)."""
    rows, columns, channels = (
        np.arange(first, first + count) for first, count in (drained.rows, drained.columns, drained.channels)
    )
    spread = layer.spread
    across = columns[:, None] * spread.column_step + channels
    return layer.output_at + spread.first + rows[:, None, None] * spread.row_step + across


def graph_names(layer: EngineLayer) -> list[str]:
    """Of the graph's layers in ``layer``, which may be a part of them."""
    return re.sub(r"\.rest$|\.rows\d+$", "", layer.name).split("+")


def rearranged(whole: np.ndarray, layer: EngineLayer) -> np.ndarray:
    """The tensor that ``layer`` writes and the graph does not have, of ``whole``, which it has; both (1, C, y, x)."""
    channels, rows, columns = layer.target
    how, flat = layer.rearranged, whole[0].transpose(1, 2, 0).reshape(-1)
    made = np.zeros((1, channels, rows, columns), whole.dtype)
    for channel in range(channels):
        turn, inside = divmod(channel, how.width)
        for row in range(rows):
            start = how.spread.first + row * how.spread.row_step + turn * how.step + inside
            made[0, channel, row] = flat[start :: how.spread.column_step][:columns]
    return made


def channels_read(layer: EngineLayer) -> slice:
    """Of each pixel of its input, those that ``layer`` reads."""
    count = layer.weights.shape[1] * layer.groups if layer.on_array else layer.convolved[0]
    return slice(layer.first_channel, layer.first_channel + count)


def check_against_golden(made: Plan, seed: int = 0) -> Machine:
    """Every vector that is written, and the output in memory, equal golden's; no other byte is touched."""
    graph, bits = made.graph, made.parameters.activation_bits
    expected, machine = run_both(made, graph, seed)
    for layer in made.layers:
        if layer.rearranged:
            own = f"{layer.tensor}@{layer.image}"
            whole = (
                expected[own] if own in expected else np.split(expected[layer.tensor], made.batch, 2)[layer.image or 0]
            )
            expected[layer.output] = rearranged(whole, layer)
    for drained, result in zip(made.drained, machine.results, strict=True):
        layer = made.layers[drained.layer]
        name = layer.output
        flat = expected[name][0].transpose(1, 2, 0).reshape(-1)
        wanted = flat[elements(layer, drained)].astype(np.int64)
        each = result.shape[2] // drained.channels[1]
        kind = made.parameters.element_bytes
        found = result if each == 1 else result.astype(f"<i{kind}").view("<i4")
        offset = element_offset(graph.tensors[name], bits) if isinstance(graph.tensors[name], FeatureMap) else 0
        np.testing.assert_array_equal(found, wanted - offset, err_msg=layer.name)
    region = made.dram.maps[graph.output]
    found = machine.dram[region.address : region.address + region.bytes]
    np.testing.assert_array_equal(found, memory_of(expected[graph.output][0], graph.tensors[graph.output], bits))
    written = np.zeros(made.memory_bytes, bool)
    for name, region in made.dram.maps.items():
        written[region.address : region.address + region.bytes] |= name != graph.input
    np.testing.assert_array_equal(machine.dram_written > 0, written)
    return machine
