"""``make bench-models``: networks that people put on FPGAs, from torch's exporters to simulated bytes.

For each: whether it goes through from both exporters; integers that differ from ONNX Runtime's on the file that is
written, its optimizations off and on; how far quantization moves it, beside ONNX Runtime's own quantizer on the same
images; predicted cycles at 16x16 beside the limit; then, the shortest first, the simulation of an image, whole or
smaller.  Rows that the folder's results.json has are kept, unless their networks are named.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from systolith import SystolithError, compile_build, generate_accelerator, quantize_model, run_golden, simulate_build
from systolith.hw.folder import read_manifest

from . import peer, rows, runtime
from .networks import EXAMPLES, Example, export
from .rows import Exporter, Row

ACCELERATOR = "accelerator"  # of all networks: one Verilog, one compiled simulation
WHOLE = 5_000_000  # cycles up to which a network is simulated on its own input


def measure(name: str, exporter: Exporter, folder: Path) -> Row:
    """All figures of the network ``name`` but the simulation's; files in ``folder``."""
    example, path = EXAMPLES[name], folder / f"{name}-{exporter}"
    model, quantized, theirs = (path.with_name(f"{path.name}{end}.onnx") for end in ("", "-q", "-peer"))
    if not model.exists():
        export(name, exporter, model)
    inputs = example.inputs(sum(example.counts), example.shape)
    calibration, test = np.split(inputs, [example.counts[0]])
    row = Row(name, exporter, example.shape)
    try:
        graph = quantize_model(model, calibration, quantized).graph
        ran = run_golden(quantized, test)
        compile_build(quantized, folder / ACCELERATOR, path, unfold_input=False)
    except SystolithError as error:
        return replace(row, refused=str(error))
    manifest, _ = read_manifest(path)
    exact = runtime.run(model, test)
    integers, outputs, levels = peer.differences(quantized, test[:1])
    row = replace(row, layers=len(graph.layers), macs=graph.macs, ours=runtime.decibels(exact, [*ran.reals.values()]))
    row = replace(row, integers=integers, outputs=outputs, off=levels["off"], on=levels["all"])
    row = replace(row, cycles=manifest.predicted_cycles, limit=manifest.limit_cycles)
    try:
        runtime.quantize(model, calibration, theirs)
        found = runtime.run(theirs, test)
    except runtime.REFUSALS as error:
        print(f"{name}: ONNX Runtime's quantizer: {error}")
        return row
    return replace(row, theirs=runtime.decibels(exact, found))


def simulated(row: Row, folder: Path) -> Row:
    """``row`` with the simulation of one image, of a smaller one if the network is long."""
    example: Example = EXAMPLES[row.name]
    path, shape = folder / f"{row.name}-{row.exporter}", example.shape
    if row.cycles > WHOLE and example.small is not None:
        path, shape = path.with_name(f"{path.name}-small"), example.small
        model = path.with_name(f"{path.name}.onnx")
        if not model.exists():
            export(row.name, row.exporter, model, small=True)
        small = quantize_model(model, example.inputs(example.counts[0], shape))
        compile_build(small, folder / ACCELERATOR, path, unfold_input=False)
    report = simulate_build(path, example.inputs(1, shape))
    return replace(row, wrong=report.mismatches, simulated=shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="for models, builds and results.json")
    parser.add_argument("names", nargs="*", help="networks, by default all")
    parser.add_argument("--no-simulation", action="store_true")
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    options = parser.parse_intermixed_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    if not (options.folder / ACCELERATOR).exists():
        generate_accelerator(options.folder / ACCELERATOR, rows=16, columns=16, bus_bytes=16, activation_kib=512)
    results = options.folder / "results.json"
    kept = {(row.name, row.exporter): row for row in rows.load(results)}
    names = options.names or [*EXAMPLES]
    asked = [
        (name, EXAMPLES[name].exporters[turn]) for turn in range(2) for name in names
        if turn < len(EXAMPLES[name].exporters)
    ]  # fmt: skip

    def note(row: Row, what: str, since: float) -> None:
        kept[row.name, row.exporter] = row
        rows.save(kept.values(), results)
        print(f"{row.name} {row.exporter}: {row.refused or what}, {time.monotonic() - since:.0f} s", flush=True)

    for name, exporter in asked:
        if options.names or (name, exporter) not in kept:
            began = time.monotonic()
            note(measure(name, exporter, options.folder), "measured", began)
    for row in sorted((kept[key] for key in asked), key=lambda row: row.cycles):
        if not options.no_simulation and row.wrong is None and not row.refused:
            began = time.monotonic()
            note(simulated(row, options.folder), "simulated", began)
    ordered = [kept[name, exporter] for name in EXAMPLES for exporter in EXAMPLES[name].exporters
               if (name, exporter) in kept]  # fmt: skip
    if options.write:
        rows.write(ordered, options.write)
    print(rows.markdown(ordered))


if __name__ == "__main__":
    main()
