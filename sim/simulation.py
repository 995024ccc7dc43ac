"""Simulate a generated accelerator on real inputs and compare every byte with golden."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import golden, quant
from ..hw.compiler.planner import plan
from ..hw.compiler.unfold import unfold
from ..hw.manifest import LATENCY as MANIFEST_LATENCY
from ..hw.manifest import Layer
from ..hw.model.schedule import predict
from ..quant.graph import Graph
from ..quant.graph.errors import ConfigurationError, DataError, SimulationError
from ..quant.graph.ports import by_name
from ..quant.graph.progress import Progress, quiet
from . import accelerator as accelerators
from . import session
from .accelerator import Accelerator
from .comparison.compare import Difference
from .comparison.expected import (
    Expectation,
    Placed,
    encode,
    expectation,
    rearranged,
)
from .comparison.job import Job
from .report import Report
from .toolchain import BenchName, Simulator, compile_simulation

KEPT_DIFFERENCES = 32
BEFORE, AFTER = 200, 50  # cycles of waveform around a difference
PROTOCOL_BASE = 0x1_0000
IDLE_CYCLES = 20_000
GENEROUS = {"bulk": 8, "protocol": 60}  # times the predicted cycles before a run counts as hung


def expect(accelerator: Accelerator, graph: Graph) -> Expectation:
    """Lay out what ``accelerator`` must write for ``graph``.  Raises ConfigurationError if they do not fit."""
    manifest = accelerator.manifest
    layers = [_placed(entry, graph, accelerator.batch) for entry in manifest.layers]
    in_memory = [(number, entry.address) for number, entry in enumerate(manifest.layers) if entry.address is not None]
    return expectation(
        layers,
        manifest.writes,
        in_memory,
        accelerator.monitor_bytes,
        accelerator.memory_bytes,
        manifest.memory.regions.constants.end,
        accelerator.batch,
    )


def predicted_cycles(accelerator: Accelerator, graph: Graph, memory_latency: int) -> int:
    """Cycles of one run as the model has them: the manifest's figure, or anew for another latency than it assumes."""
    if memory_latency == MANIFEST_LATENCY:
        return accelerator.predicted_cycles
    unfold_input = accelerator.unfolding is not None
    return predict(plan(graph, accelerator.manifest.parameters, accelerator.batch, unfold_input), memory_latency).cycles


def _placed(entry: Layer, graph: Graph, batch: int) -> Placed:
    tensor = graph.tensors.get(entry.output)
    if tensor is None:
        raise ConfigurationError(f"manifest.json lists tensor '{entry.output}', which model.onnx does not have")
    channels, rows, columns = tensor.shape
    shape = (channels, rows * (batch if entry.image is None else 1), columns)
    spread = entry.first, entry.row_step, entry.column_step
    placed = Placed(entry.name, tensor.name, 0, shape, entry.element_bytes, entry.offset, entry.image, spread)
    if (how := entry.rearranged) is None:
        return placed
    elements = rearranged(entry.shape, (how.spread.first, *how.spread.steps), how.width, how.step)
    if elements.max() >= channels * rows * columns:
        raise ConfigurationError(f"manifest.json rearranges more of '{entry.output}' than model.onnx has")
    return dataclasses.replace(placed, shape=entry.shape, elements=elements, of=tensor.shape)


def simulate_tensors(
    accelerator: Accelerator,
    graph: Graph,
    tensors: Mapping[str, NDArray[Any]],
    *,
    bench: BenchName = "bulk",
    simulator: Simulator = "verilator",
    seed: int = 0,
    memory_latency: int = 30,
    folder: Path | None = None,
    waveform: bool = True,
    progress: Progress = quiet,
) -> Report:
    """Run all images whose integers ``tensors`` hold, (images, channels, rows, columns) by tensor name.

    ``folder`` keeps logs and waveforms, by default a temporary one, which is removed if nothing failed or differed;
    ``waveform`` records one around the first difference, which compiles the Verilog once more.  Raises
    SimulationError on a hang, an error status, or a broken rule of AXI; wrong bytes are counted in the report.
    """
    if memory_latency < 2:
        raise ConfigurationError(f"memory latency must be at least 2 cycles, not {memory_latency}")
    if bench not in ("bulk", "protocol"):
        raise ConfigurationError(f"bench must be bulk or protocol, not {bench}")
    if simulator not in ("verilator", "icarus"):
        raise ConfigurationError(f"simulator must be verilator or icarus, not {simulator}")
    kept = folder or Path(tempfile.mkdtemp(prefix="systolith-run-"))
    expected = expect(accelerator, graph)
    job = _job(accelerator, expected, tensors, graph, bench, simulator, seed, memory_latency)
    batch = accelerator.batch
    images = len(job.inputs) * batch
    progress("build", 0, 1)
    compiled = compile_simulation(accelerator, bench, simulator, runs=len(job.inputs))
    progress("build", 1, 1)
    ran = session.run(compiled, job, kept, lambda done: progress("simulate", done * batch, images))
    if ran.failure:
        raise SimulationError(f"image {ran.failure.image * batch}, cycle {ran.failure.cycle}: {ran.failure.message}")
    outcomes = ran.outcomes
    differences = [item for outcome in outcomes for item in outcome.differences]
    wave = None
    if differences and waveform:
        progress("trace", 0, 1)
        wave = record_waveform(accelerator, job, bench, simulator, differences[0], kept)
        progress("trace", 1, 1)
    if folder is None and not differences:
        shutil.rmtree(kept, ignore_errors=True)
    cycles = float(np.mean([outcome.cycles for outcome in outcomes]))
    seconds = sum(outcome.seconds for outcome in outcomes)
    return Report(
        build=accelerator.build,
        images=images,
        bit_exact=not any(outcome.mismatches for outcome in outcomes),
        mismatches=sum(outcome.mismatches for outcome in outcomes),
        batch=batch,
        cycles_per_image=cycles / batch,
        predicted_cycles=round(predicted_cycles(accelerator, graph, memory_latency) / batch),
        limit_cycles=round(accelerator.limit_cycles / batch),
        mac_utilization=accelerator.macs / (accelerator.cells * cycles) if cycles else 0.0,
        simulated_cycles_per_second=sum(outcome.simulated_cycles for outcome in outcomes) / max(seconds, 1e-9),
        simulator=simulator,
        bench=bench,
        seed=seed,
        memory_latency=memory_latency,
        build_seconds=compiled.seconds,
        simulation_seconds=seconds,
        stalls={name: cycles / batch for name, cycles in _means([item.stalls for item in outcomes]).items()},
        layer_cycles=_means([item.layer_cycles for item in outcomes]),
        differences=differences[:KEPT_DIFFERENCES],
        waveform=wave,
    )


def _means(counts: list[dict[str, int]]) -> dict[str, float]:
    """By name, where every image has a count."""
    shared = [name for name in counts[0] if all(name in item for item in counts)]
    return {name: float(np.mean([item[name] for item in counts])) for name in shared}


def _job(
    accelerator: Accelerator,
    expected: Expectation,
    tensors: Mapping[str, NDArray[Any]],
    graph: Graph,
    bench: BenchName,
    simulator: Simulator,
    seed: int,
    memory_latency: int,
) -> Job:
    manifest = accelerator.manifest
    largest = max(layer.predicted_cycles for layer in manifest.layers)
    generous = GENEROUS[bench]
    return Job(
        simulator=simulator,
        bus_bytes=accelerator.bus_bytes,
        monitor_bytes=accelerator.monitor_bytes,
        memory=accelerator.memory(np.random.default_rng(seed)),
        base=PROTOCOL_BASE if bench == "protocol" else 0,
        program_address=manifest.memory.regions.program.address,
        input_address=manifest.memory.regions.input.address,
        inputs=_inputs(accelerator, tensors),
        expectation=expected,
        vectors=expected.vectors(tensors),
        registers=accelerator.registers(),
        causes=manifest.causes,
        waits=list(manifest.waits),
        memory_latency=memory_latency,
        patience=IDLE_CYCLES + 2 * largest + 10 * memory_latency,
        limit=generous * accelerator.predicted_cycles * max(1, memory_latency // 30) + 10 * IDLE_CYCLES,
        seed=seed,
    )


def _inputs(accelerator: Accelerator, tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    """What the host writes for each run, (runs, bytes of the region of inputs)."""
    region, batch = accelerator.manifest.memory.regions.input, accelerator.batch
    parts = []
    for source in accelerator.manifest.inputs:
        images = np.asarray(tensors[source.tensor])
        images = unfold(images, source.unfolding) if source.unfolding else images
        data = encode(images, source.element_bytes, source.offset)
        parts.append((source.address - region.address, data.reshape(-1, data.shape[1] * batch)))
    written = np.zeros((len(parts[0][1]), region.bytes), np.uint8)
    for start, part in parts:
        written[:, start : start + part.shape[1]] = part
    return written


def record_waveform(
    accelerator: Accelerator, job: Job, bench: BenchName, simulator: Simulator, difference: Difference, folder: Path
) -> Path | None:
    """Run again up to ``difference`` with a tracing build, and keep a VCD (FST from Icarus) of the cycles around it.

    The run repeats everything from the first image, so that the same fault appears in the same cycle.
    """
    last = difference.image // accelerator.batch + 1
    compiled = compile_simulation(accelerator, bench, simulator, runs=last, trace=True)
    window = (max(1, difference.cycle - BEFORE), difference.cycle + AFTER)
    again = dataclasses.replace(job, inputs=job.inputs[:last], vectors=job.vectors[:last], trace=window)
    traced = folder / "waveform"
    session.run(compiled, again, traced)
    waves = [wave for wave in (traced / "wave.vcd", traced / "wave.fst") if wave.is_file()]
    return waves[0] if waves else None


def simulate(
    build: Path | str | Accelerator,
    x: NDArray[Any] | Mapping[str, NDArray[Any]],
    *,
    labels: NDArray[Any] | None = None,
    images: int | None = None,
    bench: BenchName = "bulk",
    simulator: Simulator = "verilator",
    seed: int = 0,
    memory_latency: int = 30,
    folder: Path | None = None,
    progress: Progress = quiet,
) -> Report:
    """Simulate the accelerator ``build``, or in that folder, on ``x``, (images, channels, rows, columns) float32.

    Where the network has several inputs, ``x`` holds an array for each, by the names of ``Graph.inputs``.
    ``images`` takes only the first so many; ``labels``, (images,) integers, adds the accuracy of the first output.
    Raises ConfigurationError or DataError for bad input, SimulationError for a hang or a broken rule.
    """
    source = build if isinstance(build, Accelerator) else accelerators.load(Path(build))
    graph = source.graph
    arrays = by_name(x, graph.inputs)
    for name, values in arrays.items():
        quant.check_images(values, graph.map_of(name).shape, "x" if len(arrays) == 1 else f"'{name}'")
    held = len(arrays[graph.inputs[0]])
    if images is not None and not 1 <= images <= held:
        raise DataError(f"images must be 1 to {held}, as many as the data holds, not {images}")
    count = held if images is None else images
    if count % source.batch:
        raise DataError(f"the build runs {source.batch} images at once; give a multiple of them, not {count}")
    some = {name: values[:count] for name, values in arrays.items()}
    tensors = golden.run(graph, golden.quantize_inputs(graph, some))
    report = simulate_tensors(
        source,
        graph,
        tensors,
        bench=bench,
        simulator=simulator,
        seed=seed,
        memory_latency=memory_latency,
        folder=folder,
        progress=progress,
    )
    if labels is None:
        return report
    scores = golden.scores(graph, tensors[graph.outputs[0]])
    return dataclasses.replace(report, accuracy=float(np.mean(scores.argmax(axis=1) == labels[:count])))
