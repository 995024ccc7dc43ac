"""Builds for tests of the report, what a simulation might have measured of them, and their pages read again."""

from pathlib import Path

import html5lib

from systolith import quant, report_build
from systolith.hw.build import parameters_for
from systolith.hw.compiler.planner import plan
from systolith.hw.describe import describe
from systolith.hw.manifest import CONTENTS, Manifest
from systolith.sim.accelerator import Accelerator
from systolith.sim.report import Report

from . import models


def accelerator_of(graph, batch=1, unfold_input=False, **sizes):
    """What a folder of ``graph`` would say, without its Verilog; sizes : Parameters' fields, rows and columns too."""
    parameters = parameters_for(graph, **sizes)
    made = plan(graph, parameters, batch, unfold_input)
    manifest = Manifest.parse(describe(made, dict.fromkeys(CONTENTS, b"")).to_bytes())
    ports = {"m_axi_rdata": 8 * parameters.bus_bytes}
    return Accelerator(Path("build"), "", ports, {}, manifest, "0" * 64, made.program_bytes(), made.dram.constants)


def quantized(model, count=4):
    """A float model in integers, calibrated on random images."""
    return quant.quantize(model, models.images(model, count), quant.Settings(ranges="minmax"))


def measured(accelerator, stalls=None, **changes):
    """A report such as `simulate` returns, a few cycles more than predicted; stalls of an image, else made up."""
    batch, cycles = accelerator.batch, accelerator.predicted_cycles + 17
    names = [name for name in accelerator.manifest.registers if name.startswith("STALL_")]
    counted = {name.removeprefix("STALL_").lower(): 10.0 * n for n, name in enumerate(names, start=1)}
    fields = {
        "build": accelerator.build,
        "images": 3 * batch,
        "bit_exact": True,
        "mismatches": 0,
        "cycles_per_image": cycles / batch,
        "predicted_cycles": round(accelerator.predicted_cycles / batch),
        "limit_cycles": round(accelerator.limit_cycles / batch),
        "mac_utilization": accelerator.macs / (accelerator.cells * cycles),
        "simulated_cycles_per_second": 1e5,
        "simulator": "verilator",
        "bench": "bulk",
        "seed": 5,
        "memory_latency": 30,
        "build_seconds": 0.0,
        "simulation_seconds": 1.0,
        "stalls": counted if stalls is None else dict.fromkeys(counted, 0.0) | stalls,
        "layer_cycles": {layer.name: layer.predicted_cycles + 1.0 for layer in accelerator.manifest.layers},
        "batch": batch,
        "accuracy": 0.75,
    }
    return Report(**fields | changes)


def page_of(build, **options):
    """The page of the folder ``build`` as text, and as a tree after a parser that forgives nothing."""
    output = build.parent / "report.html"
    report_build(build, output, **options)
    text = output.read_text()
    return text, html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def section(tree, name):
    return next(item for item in tree.iter("section") if item.get("id") == name)


def cells(element):
    """Texts of a section's table bodies, row by row."""
    return [
        ["".join(cell.itertext()).strip() for cell in row if cell.tag in ("td", "th")]
        for body in element.iter("tbody")
        for row in body.iter("tr")
    ]


def words(element):
    return " ".join("".join(element.itertext()).split())
