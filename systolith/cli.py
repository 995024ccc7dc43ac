"""The command line: each command parses its arguments, calls one function of the public API, and prints the result.

Whatever a user can get wrong ends as one line on standard error and a status other than 0.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import __version__, board_commands, quantize_command
from .estimate_command import estimate as estimate_command
from .options import (
    AnyModel,
    Batch,
    BenchKind,
    BuildFolder,
    BusBytes,
    ColumnsPerMultiplier,
    Images,
    Json,
    Lanes,
    LineBuffer,
    Normalized,
    Packing,
    QuantizedModel,
    RowParts,
    SimulatorKind,
    SumBits,
    TargetKind,
    UnfoldInput,
    WidestActivations,
    WidestWeights,
    WordBits,
    given,
)
from .quant.graph.errors import SystolithError
from .vendor_commands import package as package_command

app = typer.Typer(
    name="systolith",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
console = Console(highlight=False, soft_wrap=True)

FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"systolith {__version__}")
        raise typer.Exit


@app.callback()
def systolith(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fixed-point CNN accelerators for FPGAs: from a trained ONNX model to bit-exact Verilog."""


@app.command()
def check(
    model: AnyModel,
    json_: Json = False,
) -> int:
    """Tell whether a model can be built: its layers as they will run, or every node that must change, and into what.

    The exit status is 0 only if nothing has to change.

    Example: `systolith check yolo.onnx`
    """
    from .commands.check import check_model, check_tables

    found = check_model(model)
    if json_:
        console.out(json.dumps(found.as_json()))
    else:
        console.print(check_tables(found))
    return 0 if found.works else FAILURE


app.command()(quantize_command.quantize)


@app.command()
def golden(
    model: Annotated[Path, typer.Argument(metavar="Q.onnx", help="Quantized model (QDQ ONNX).", show_default=False)],
    inputs: Images,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.npz", help="The file to write.")],
) -> None:
    """Compute a quantized model exactly, in integers: the values that the hardware must return.

    OUT.npz holds `y`, the outputs as float32, and `y_q`, the integers.

    Example: `systolith golden lenet5-q.onnx --inputs test.npz -o expected.npz`
    """
    from .commands.golden import run_golden

    result = run_golden(model, inputs, output, show_progress=True)
    for line in result.lines():
        console.print(escape(line))


@app.command()
def generate(
    output: BuildFolder,
    rows: Annotated[int, typer.Option(metavar="R", help="Rows of the systolic array.", show_default=False)],
    columns: Annotated[int, typer.Option(metavar="C", help="Columns of the systolic array.", show_default=False)],
    model: Annotated[
        Path | None,
        typer.Argument(metavar="[Q.onnx]", help="The quantized model; none with `--general`.", show_default=False),
    ] = None,
    general: Annotated[
        bool, typer.Option("--general", help="An accelerator for any network, with every feature: see `compile`.")
    ] = False,
    bus_bytes: BusBytes = 8,
    activation_kib: Annotated[int, typer.Option(metavar="N", help="Activation memory.")] = 64,
    accumulator_kib: Annotated[int, typer.Option(metavar="N", help="Accumulators, at four bytes a sum.")] = 32,
    weight_fifo_kib: Annotated[int, typer.Option(metavar="N", help="Weights fetched ahead.")] = 4,
    lanes: Lanes = None,
    line_buffer: LineBuffer = None,
    word_bits: WordBits = None,
    packing: Packing = None,
    row_parts: RowParts = None,
    sum_bits: SumBits = None,
    weight_bits: WidestWeights = None,
    activation_bits: WidestActivations = None,
    normalization: Normalized = None,
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Ports that show each vector that is written, for a logic analyser.")
    ] = False,
    batch: Batch = 1,
    unfold_input: UnfoldInput = None,
    target: Annotated[
        TargetKind, typer.Option(help="Whose multipliers the array names; `generic` leaves that to synthesis.")
    ] = TargetKind.GENERIC,
    columns_per_multiplier: ColumnsPerMultiplier = None,
) -> None:
    """Generate the accelerator for a quantized model: Verilog, program, weights, C header, manifest.

    With `--general`, one for any network that its memories and sums fit, as Verilog alone.

    Example: `systolith generate lenet5-q.onnx --rows 8 --columns 8 -o build/lenet5`
    """
    from .commands.generate import generate_accelerator, generate_build, hardware_lines, plan_tables

    sizes = given(
        rows=rows, columns=columns, bus_bytes=bus_bytes, activation_kib=activation_kib,
        accumulator_kib=accumulator_kib, weight_fifo_kib=weight_fifo_kib, lanes=lanes, line_buffer=line_buffer,
        word_bits=word_bits, packing=packing, row_parts=row_parts, sum_bits=sum_bits, weight_bits=weight_bits,
        activation_bits=activation_bits, normalization=normalization,
        target=target.value, columns_per_multiplier=columns_per_multiplier,
    )  # fmt: skip
    if general:
        if model or batch != 1 or unfold_input is not None:
            raise typer.BadParameter("--general takes no model, --batch or --unfold-input; `systolith compile` does")
        made = generate_accelerator(output, monitor=monitor, show_progress=True, **sizes)
        console.print("\n".join([*hardware_lines(made), f"written to {escape(str(output))}"]))
        return
    if model is None:
        raise typer.BadParameter("Missing argument 'Q.onnx'; only --general takes none")
    plan = generate_build(
        model, output, monitor=monitor, batch=batch, unfold_input=unfold_input, show_progress=True, **sizes
    )
    console.print(plan_tables(plan, output))


@app.command("compile")
def compile_(
    model: QuantizedModel,
    accelerator: Annotated[
        Path, typer.Option("--for", metavar="BUILD", help="The accelerator's folder.", show_default=False)
    ],
    output: BuildFolder,
    batch: Batch = 1,
    unfold_input: UnfoldInput = None,
) -> None:
    """Make program, weights, C header and manifest of a quantized model for an accelerator that exists.

    Its Verilog is kept byte for byte, so one bitstream, and one compiled simulation, runs all its networks.

    Example: `systolith compile resnet8-q.onnx --for build/general -o build/resnet8`
    """
    from .commands.compile import compile_build
    from .commands.generate import plan_tables

    plan = compile_build(model, accelerator, output, batch=batch, unfold_input=unfold_input, show_progress=True)
    console.print(plan_tables(plan, output))


app.command("estimate")(estimate_command)
app.command("package")(package_command)


@app.command()
def simulate(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="Folder that `generate` wrote.", show_default=False)],
    inputs: Images,
    images: Annotated[
        int | None, typer.Option(metavar="N", help="Only the first N images; by default all.", show_default=False)
    ] = None,
    bench: Annotated[
        BenchKind, typer.Option(help="`bulk` is fast; `protocol` stalls and delays each channel at random.")
    ] = BenchKind.BULK,
    simulator: Annotated[SimulatorKind, typer.Option(help="`icarus` must be installed.")] = SimulatorKind.VERILATOR,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the stalls, and of memory that nobody wrote.")] = 0,
    memory_latency: Annotated[
        int, typer.Option(metavar="N", help="Cycles from a read's address to its data, in the bulk bench.")
    ] = 30,
    json_: Json = False,
) -> int:
    """Simulate generated Verilog on real inputs and compare every byte of every layer with golden.

    The exit status is 0 only if all of them are equal.

    Example: `systolith simulate build/lenet5 --inputs test.npz --images 100`
    """
    from .commands.simulate import report_tables, simulate_build

    report = simulate_build(
        build,
        inputs,
        images=images,
        bench=bench.value,
        simulator=simulator.value,
        seed=seed,
        memory_latency=memory_latency,
        show_progress=not json_,
    )
    if json_:
        console.out(json.dumps(report.as_json()))
    else:
        console.print(report_tables(report))
    return 0 if report.bit_exact else FAILURE


app.command()(board_commands.run)
app.command()(board_commands.board)


@app.command()
def report(
    build: Annotated[Path, typer.Argument(metavar="BUILD", help="Folder that `generate` wrote.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="REPORT.html", help="The file to write.", show_default=False)
    ],
    float_: Annotated[
        Path | None,
        typer.Option("--float", metavar="MODEL.onnx", help="The float model: adds each tensor's error, its accuracy."),
    ] = None,
    inputs: Annotated[
        Path | None,
        typer.Option(metavar="DATA.npz", help="`x` adds feature maps, labels `y` the confusion matrix."),
    ] = None,
    images: Annotated[int, typer.Option(metavar="N", help="Use the first N images at most.")] = 100,
    clock_mhz: Annotated[
        float | None,
        typer.Option(metavar="F", help="A clock in MHz: adds milliseconds and images a second.", show_default=False),
    ] = None,
) -> None:
    """Write one HTML page about a build: layers, cycles, stalls, memory, plots, advice, and what `simulate` measured.

    Example: `systolith report build/lenet5 -o report.html --float lenet5.onnx --inputs test.npz`
    """
    from .commands.report import report_build

    result = report_build(
        build, output, float_model=float_, inputs=inputs, images=images, clock_mhz=clock_mhz, show_progress=True
    )
    for line in result.lines():
        console.print(escape(line))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits with status 0 only if the command succeeded, and silently with 1 if nobody reads."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is shown escaped
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status, after one line on standard error for whatever a user got wrong."""
    command = typer.main.get_command(app)
    try:
        status = command.main(args=arguments, prog_name="systolith", standalone_mode=False)
    except SystolithError as error:
        return _fail(str(error), FAILURE)
    except (OSError, MemoryError) as error:
        return _fail(str(error) or "out of memory", FAILURE)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except Exception as error:  # typer does not export its usage errors; whatever is not one goes on
        if not hasattr(error, "format_message"):  # not one of typer's own usage errors
            raise
        return _fail(error.format_message(), USAGE)
    if status == INTERRUPTED:  # which newer versions of typer return
        return _fail("interrupted", INTERRUPTED)
    return status if isinstance(status, int) else 0


def _fail(message: str, status: int) -> int:
    line = " ".join(message.split())
    if line:  # typer's "no arguments" has printed the help and says nothing more
        print(f"systolith: error: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
