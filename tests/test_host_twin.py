"""The C header's driver beside the Python driver, on one interpreted accelerator: outputs, checks, causes, caches."""

import re
from dataclasses import replace

import numpy as np
import pytest

from systolith import golden
from systolith.host import Accelerator, Build, HostError
from systolith.quant.graph.host import apply_steps

from .host_device import ADDRESS, Carried, build_folder
from .host_twin import (
    LANGUAGES,
    MISPLACED,
    NO_ACCELERATOR,
    NOT_CLEARED,
    NOT_FINITE,
    NOT_HELD,
    OTHER_BUILD,
    OTHER_CONSTANTS,
    OTHER_PROGRAM,
    SMALL,
    SOURCE,
    STILL_BUSY,
    TIMEOUT,
    Twin,
    compiled,
)
from .hw_networks import network
from .test_host_driver import MODELS, calibrated

STALLED = "array waits for weights, vector unit waits for complete sums"


def arranged(build, ran):
    """The reals of a run by the Python driver, the host's steps behind it left out, as the header's driver does."""
    return [replace(port, steps=(), array_shape=port.shape).reals(ran.integers[port.name]) for port in build.outputs]


def maps(build, images):
    """``images`` behind the host's steps."""
    return [apply_steps(port.steps, port.checked(images[port.name], False)) for port in build.inputs]


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_the_python_drivers(name, tmp_path):
    graph, images, _, how = calibrated(name)
    plan = build_folder(graph, tmp_path / "build", **how)
    build = Build.load(tmp_path / "build")
    with Accelerator(Carried(plan), build) as accelerator:
        expected = arranged(build, accelerator.execute(images))
    carrier = Carried(plan, cached=True)
    twin = Twin.on(carrier, compiled(SOURCE, tmp_path / "build", tmp_path / "host.so"))
    assert twin.open_folder(tmp_path / "build") == 0
    found = [np.full(values.shape, 7, np.float32) for values in expected]
    assert twin.infer(maps(build, images), found) == 0
    for values, right in zip(found, expected, strict=True):
        assert values.dtype == right.dtype == np.float32
        np.testing.assert_array_equal(values, right)
    assert carrier.device.runs == -(-5 // build.batch)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """(plan, folder, library, images, golden's reals as maps)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny")
    made = build_folder(graph, folder / "build")
    images = np.random.default_rng(3).normal(size=(3, *graph.map_of(graph.input).shape)).astype(np.float32)
    reals = golden.output(graph, images)[0].reshape(3, *graph.tensors[graph.output].shape)
    return made, folder / "build", compiled(SOURCE, folder / "build", folder / "host.so"), images, reals


def opened(tiny, carrier, **how):
    twin = Twin.on(carrier, tiny[2], polls=50, **how)
    assert twin.open_folder(tiny[1]) == 0
    return twin


def inferred(tiny, twin):
    """(what the call returned, the outputs)"""
    found = np.full(tiny[4].shape, 7, np.float32)
    return twin.infer([tiny[3]], [found]), found


def exact(tiny, twin):
    result, found = inferred(tiny, twin)
    return result == 0 and np.array_equal(found, tiny[4])


def test_ties_extremes_and_a_bias_that_stays_float(tmp_path):
    graph = network("tiny")
    last = graph.tensors[graph.output]
    shifts = np.linspace(-3, 3, len(last.scales), dtype=np.float32)
    layers = [replace(layer, bias=0 * layer.bias) if layer.output == graph.output else layer for layer in graph.layers]
    tensors = {**graph.tensors, graph.output: replace(last, shifts=shifts)}
    graph = replace(graph, tensors=tensors, layers=tuple(layers))
    source = graph.map_of(graph.input)
    rng = np.random.default_rng(8)
    steps = rng.integers(-140, 140, (40, *source.shape)) + rng.choice([0.5, -0.5, 0.25, -0.49], (40, *source.shape))
    images = steps.astype(np.float32) * source.scale
    images[:, 0, 0, :4] = [3e38, -3e38, 1e30, -0.0]
    made = build_folder(graph, tmp_path / "build")
    twin = Twin.on(Carried(made), compiled(SOURCE, tmp_path / "build", tmp_path / "host.so"))
    assert twin.open_folder(tmp_path / "build") == 0
    found = np.zeros((40, *last.shape), np.float32)
    assert twin.infer([images], [found]) == 0
    np.testing.assert_array_equal(found.reshape(40, -1), golden.output(graph, images)[0].reshape(40, -1))


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_was_counted_is_there(tiny, tmp_path, language):
    carrier = Carried(tiny[0])
    library = compiled(SOURCE, tiny[1], tmp_path / "host.so", language, "-O2")
    twin = Twin.on(carrier, library, flush=None, invalidate=None, watchdog=12345, interrupts=1)
    assert twin.open_folder(tiny[1]) == 0
    assert carrier.device.written == ["CONTROL"]
    assert carrier.device.values["STATUS"] == 0
    assert exact(tiny, twin)
    state = twin.state
    assert (state.cycles, state.array_busy, list(state.stalls)) == (1003, 500, [0, 7, 0, 0, 0, 0, 0])
    assert (state.waits, state.stuck) == (0, 0)
    values = carrier.device.values
    assert (values["WATCHDOG"], values["INTERRUPT_ENABLE"]) == (12345, 1)
    carrier.device.values["CYCLES_HIGH"] = 3
    assert exact(tiny, twin)
    assert state.cycles == 1006 + (3 << 32)


def said_by_python(tiny, carrier, act=lambda accelerator: None):
    """What the Python driver says, with the folder as the header names it."""
    with pytest.raises(HostError) as caught:
        act(Accelerator(carrier, tiny[1], timeout=0.05))
    return str(caught.value)


def test_what_does_not_fit_is_refused_before_anything_is_written(tiny):
    made, folder = tiny[:2]
    whole = -(-made.memory_bytes // 4096) * 4096

    def wrong(**values):
        carrier = Carried(made)
        carrier.device.values |= values
        return carrier

    for carrier, result in (
        (wrong(ID=0xFFFFFFFF), NO_ACCELERATOR),
        (wrong(FINGERPRINT=1), OTHER_BUILD),
        (Carried(made, size=8192), SMALL),
        (Carried(made, size=whole - 1), SMALL),
        (Carried(made, address=0x800), MISPLACED),
        (Carried(made, address=(1 << 40) - 4096), MISPLACED),
    ):
        before = carrier.memory.dram.copy()
        twin = Twin.on(carrier, tiny[2])
        assert twin.open_folder(folder) == result
        np.testing.assert_array_equal(carrier.memory.dram, before)
        assert carrier.device.written == []
        python = said_by_python(tiny, carrier)
        for theirs, ours in ((f"{folder} needs", "the build needs"), (f"{folder} is for", "the build is for")):
            python = python.replace(theirs, ours)
        assert twin.explained(result) == python


def test_files_that_are_not_the_builds_are_refused(tiny):
    _, folder = tiny[:2]
    constants, program = ((folder / name).read_bytes() for name in ("memory.bin", "program.bin"))

    def flipped(data, at):
        return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]

    wrong = [(OTHER_CONSTANTS, flipped(constants, at), program) for at in (0, 100, len(constants) - 1)]
    wrong += [(OTHER_PROGRAM, constants, flipped(program, at)) for at in (0, 5, len(program) - 1)]
    wrong += [(OTHER_CONSTANTS, constants[:-1], program), (OTHER_PROGRAM, constants, program + b"\0")]
    wrong += [(OTHER_CONSTANTS, b"", program), (OTHER_CONSTANTS, program, constants)]
    for result, *pair in wrong:
        carrier = Carried(tiny[0])
        twin = Twin.on(carrier, tiny[2])
        assert twin.open(*pair) == result
        assert carrier.device.written == []
        name = "memory.bin" if result == OTHER_CONSTANTS else "program.bin"
        assert twin.explained(result) == f"{name} is not of the build that this header is of"


def test_a_hang_names_who_waits_for_what_and_the_next_run_works(tiny):
    carrier = Carried(tiny[0])
    looks = []
    twin = opened(tiny, carrier, wait=lambda: looks.append(1))
    carrier.device.hangs = 0b0010010
    assert inferred(tiny, twin)[0] == TIMEOUT
    assert len(looks) == 49
    said = twin.explained(TIMEOUT)
    assert said == f"the accelerator has not ended after 50 looks at STATUS; {STALLED}"
    python = said_by_python(tiny, carrier, lambda accelerator: accelerator.run(tiny[3]))
    assert said.replace("50 looks at STATUS", "0.05 s") == python
    carrier.device.hangs = 0
    assert exact(tiny, twin)


def test_memory_that_does_not_answer_any_more_is_told(tiny):
    carrier = Carried(tiny[0])
    twin = opened(tiny, carrier)
    carrier.device.hangs, carrier.device.dead = 0b0100000, True
    assert inferred(tiny, twin)[0] == TIMEOUT
    ends = "; memory does not answer its last accesses, so only a reset of the whole board helps"
    assert re.fullmatch(
        rf"the accelerator has not ended .*; loader waits for a token [^;]*{ends}", twin.explained(TIMEOUT)
    )
    assert twin.reset() == STILL_BUSY
    assert re.fullmatch(
        r"the accelerator is busy after a reset after 50 looks at STATUS.*" + ends, twin.explained(STILL_BUSY)
    )
    carrier.device.values["STATUS"], carrier.device.hangs, carrier.device.dead = 0, 0, False
    clear = carrier.device.control
    carrier.device.control = lambda value: clear(value & ~2)
    assert inferred(tiny, twin)[0] == NOT_CLEARED
    assert "does not forget its last run after 50 looks" in twin.explained(NOT_CLEARED)


def test_an_error_has_its_cause_and_the_next_run_works(tiny):
    carrier = Carried(tiny[0])
    twin = opened(tiny, carrier)
    for cause in (6, 9, 77):
        carrier.device.fails = cause
        result = inferred(tiny, twin)[0]
        assert result == 4 | cause << 8
        assert carrier.device.values["STATUS"] == 0
        carrier.device.fails, python = cause, Carried(tiny[0])
        python.device.fails = cause
        assert twin.explained(result) == said_by_python(tiny, python, lambda accelerator: accelerator.run(tiny[3]))
        assert twin.library.cause(result).decode() in twin.explained(result)
    carrier.device.fails = 0
    assert exact(tiny, twin)


@pytest.mark.parametrize("status", [0, 1, 3, 5])
def test_a_run_has_ended_when_status_is_done_or_error_and_not_busy(tiny, status):
    """On registers that keep what is written."""
    made = tiny[0]
    carrier = Carried(made)
    carrier.device.control = lambda value: None
    twin = Twin.on(carrier, tiny[2], polls=50)
    twin.state.carrier = twin.carrier
    carrier.device.values["STATUS"] = status
    carrier.device.written.clear()
    assert twin.run() == TIMEOUT
    setup = ["BASE", "BASE_HIGH", "LIMIT", "PROGRAM", "WATCHDOG", "INTERRUPT_ENABLE"]
    assert carrier.device.written == [*setup, "CONTROL", "CONTROL"]
    values = [
        ADDRESS & 0xFFFF_FFFF,
        ADDRESS >> 32,
        -(-made.memory_bytes // 4096) * 4096,
        made.regions["program"].address,
    ]
    assert [carrier.device.values[name] for name in setup] == [*values, 1_000_000, 0]
    assert twin.state.stuck == (status != 0)


def test_a_line_is_cut_where_the_room_ends(tiny):
    twin = Twin.on(Carried(tiny[0], size=8192), tiny[2])
    result = twin.open_folder(tiny[1])
    whole = twin.explained(result)
    for room in range(1, len(whole) + 3):
        assert twin.explained(result, room) == whole[: room - 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tiny, value):
    carrier = Carried(tiny[0])
    twin = opened(tiny, carrier)
    images = tiny[3].copy()
    images[2, -1, -1, -1] = value
    found = np.zeros(tiny[4].shape, np.float32)
    assert twin.infer([images], [found]) == NOT_FINITE
    assert carrier.device.runs == 0
    assert twin.explained(NOT_FINITE) == "an input holds a value that is not a finite float32"


def test_a_stale_cache_is_kept_in_step(tiny):
    assert exact(tiny, opened(tiny, Carried(tiny[0], cached=True)))


def test_a_carrier_without_flush_or_invalidate_would_be_seen(tiny):
    """The cache of the test above is one: without either the outputs are wrong, or the load says so."""
    cached = Carried(tiny[0], cached=True)
    twin = Twin.on(cached, tiny[2], flush=None)
    assert twin.open_folder(tiny[1]) == NOT_HELD
    python = Carried(tiny[0], cached=True)
    python.memory.flush = lambda offset, count: None
    assert twin.explained(NOT_HELD) == said_by_python(tiny, python)
    for name in ("flush", "invalidate"):  # once the build is there
        carrier = Carried(tiny[0], cached=True)
        twin = opened(tiny, carrier)
        setattr(twin.state.carrier, name, type(getattr(twin.state.carrier, name))())
        result, found = inferred(tiny, twin)
        assert result == 0
        assert not np.array_equal(found, tiny[4])


def test_memory_that_drops_a_byte_is_found(tiny):
    for name, region in (("memory.bin", "constants"), ("program.bin", "program")):
        carrier = Carried(tiny[0], cached=True)
        at = tiny[0].regions[region].address + 70
        flush = carrier.memory.flush

        def flushed(offset, count, flush=flush, behind=carrier.memory.behind, at=at):
            flush(offset, count)
            behind[at] ^= offset <= at < offset + count

        twin = Twin.on(carrier, tiny[2], flush=flushed)
        assert twin.open_folder(tiny[1]) == NOT_HELD
        size = tiny[0].regions[region].bytes
        ends = f"1 of {size:,} bytes of {name} differ, the first at 0x{carrier.memory.address + at:x}"
        assert twin.explained(NOT_HELD) == f"memory does not hold what was written: {ends}"
