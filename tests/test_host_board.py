"""The board's top, simulated down to its serial pins, and the same driver on it as on a board."""

import json
import os
import pty
import socket
import time
import tty

import numpy as np
import pytest

from systolith import cli, golden, quant
from systolith.host import Accelerator, SerialLine
from systolith.host import serial_line as line_module
from systolith.host.frames import NO_SESSION, ORDER, Frame
from systolith.hw.board.board import Board
from systolith.hw.build import compile_for, generate, parameters_for
from systolith.quant.graph.errors import HostError
from systolith.sim import accelerator as accelerators
from systolith.sim.board import SimulatedBoard
from systolith.sim.carrier import SimulatedAccelerator
from systolith.sim.simulation import predicted_cycles

from .cable import Cable
from .hw_networks import ANY_SCALES, network
from .lenet import lenet5

pytestmark = pytest.mark.xdist_group("simulated board")
SIZES = {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 8, "accumulator_kib": 4, "weight_fifo_kib": 1}
SIZES |= {"target": "ecp5", **ANY_SCALES}
DIGITS = 2
MEMORY_BYTES = 81920


@pytest.fixture(scope="module")
def lenet(tmp_path_factory):
    """(folder, digits, golden's reals)"""
    graph, digits = lenet5("float")
    folder = tmp_path_factory.mktemp("lenet")
    quant.save(graph, folder / "q.onnx")
    generate(graph, (folder / "q.onnx").read_bytes(), parameters_for(graph, **SIZES), folder / "build")
    return folder / "build", digits[:DIGITS], golden.output(graph, digits[:DIGITS])[0]


@pytest.fixture(scope="module")
def tiny(lenet, tmp_path_factory):
    """A small network for the same accelerator: (folder, images, golden's reals)"""
    graph = network("tiny")
    folder = tmp_path_factory.mktemp("tiny")
    quant.save(graph, folder / "q.onnx")
    compile_for(graph, (folder / "q.onnx").read_bytes(), lenet[0], folder / "build")
    images = np.random.default_rng(3).normal(size=(2, *graph.map_of(graph.input).shape)).astype(np.float32)
    return folder / "build", images, golden.output(graph, images)[0]


@pytest.fixture(scope="module")
def board(lenet):
    """A board that stays on from test to test, by the socket that its pins end in."""
    here, there = socket.socketpair()
    source = accelerators.load(lenet[0])
    with here, there, SimulatedBoard(source, memory_bytes=MEMORY_BYTES, line=there.fileno()):
        yield here


def test_digits_on_the_accelerator_alone(lenet):
    folder, digits, reals = lenet
    with Accelerator(SimulatedAccelerator(folder), folder, timeout=120) as accelerator:
        ran = accelerator.execute(digits)
    np.testing.assert_array_equal(next(iter(ran.reals.values())), reals)
    assert ran.cycles_per_image == pytest.approx(ran.predicted_cycles, rel=0.01)


def test_what_the_engine_says_is_told_and_the_next_run_is_exact(lenet):
    folder, digits, reals = lenet
    carrier = SimulatedAccelerator(folder)
    impatient = Accelerator(carrier, folder, timeout=60, watchdog=10)  # memory takes 30 cycles to answer
    message = r"^the run failed: nothing moved for as many cycles as WATCHDOG says; "
    with pytest.raises(HostError, match=message):
        impatient.run(digits)
    with Accelerator(carrier, folder, timeout=60) as accelerator:
        carrier.memory.write(0, bytes(64))
        with pytest.raises(HostError, match=r"^the run failed: the memory image at BASE is not the one"):
            accelerator.run(digits)
        carrier.memory.write(0, accelerator.build.constants[:64])
        np.testing.assert_array_equal(accelerator.run(digits[:1]), reals[:1])


def test_the_command_line(lenet, tmp_path, capsys):
    folder, digits, reals = lenet
    np.savez(tmp_path / "digits.npz", x=digits, y=reals.argmax(axis=1))
    assert cli.run(["run", str(folder), "--inputs", str(tmp_path / "digits.npz"), "--images", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["on"], said["images"], said["equal"], said["accuracy"]) == ("sim", 1, True, 1.0)
    (found,) = said["outputs"].values()
    np.testing.assert_array_equal(np.array(found, np.float32), reals[:1])
    assert said["cycles_per_image"] == pytest.approx(said["predicted_cycles"], rel=0.01)


def test_digits_through_the_serial_pins(lenet):
    """Golden's outputs, in the cycles that the model predicts for the latency of block RAM."""
    folder, digits, reals = lenet
    source = accelerators.load(folder)
    with (
        SimulatedBoard(source, memory_bytes=MEMORY_BYTES) as simulated,
        Accelerator(SerialLine(simulated.port), folder, timeout=120) as accelerator,
    ):
        ran = accelerator.execute(digits)
    np.testing.assert_array_equal(next(iter(ran.reals.values())), reals)
    predicted = predicted_cycles(source, source.graph, Board.LATENCY)
    assert ran.cycles_per_image == pytest.approx(predicted, rel=0.01)


@pytest.mark.parametrize(
    ("rate", "seeds"),
    [
        (0.001, range(2)),
        (0.003, range(2, 4)),
        pytest.param(0.003, range(4, 34), marks=pytest.mark.matrix),
        pytest.param(0.01, range(34, 64), marks=pytest.mark.matrix),
    ],
)
def test_a_bad_line_never_gives_a_wrong_answer(tiny, board, rate, seeds):
    """Octets are dropped, flipped and doubled: the same answers, or an error."""
    folder, images, reals = tiny
    damaged, whole, failures = 0, 0, []
    for seed in seeds:
        with Cable(board, rate=rate, seed=seed) as cable:
            try:
                with Accelerator(SerialLine(cable.port, patience=0.1), folder, timeout=60) as accelerator:
                    found = accelerator.run(images)
            except HostError as error:
                failures.append(str(error))
                continue
            finally:
                damaged += cable.damaged
        np.testing.assert_array_equal(found, reals)
        whole += 1
    assert all("no answer" in failure for failure in failures)
    assert damaged >= 10
    assert whole
    print(f"{damaged} octets damaged, {whole} of {len(seeds)} sessions whole, the others end with an error")


def runs_for_ever(carrier, folder, images):
    with Accelerator(carrier, folder, timeout=60) as accelerator:
        while True:
            accelerator.run(images)


@pytest.mark.parametrize("octets", [3, 1000, 4000])
def test_a_cable_that_is_pulled_is_told_and_the_next_session_works(tiny, board, octets):
    folder, images, reals = tiny
    with Cable(board, pulled_after=octets) as cable:
        message = rf"^the serial line '{cable.port}' broke: .*; is the cable in\?$"
        with pytest.raises(HostError, match=message):
            runs_for_ever(SerialLine(cable.port), folder, images)
        assert cable.carried >= octets
    with Cable(board) as cable, Accelerator(SerialLine(cable.port), folder, timeout=60) as accelerator:
        np.testing.assert_array_equal(accelerator.run(images), reals)


def test_memory_of_any_alignment(tiny, board):
    with Cable(board) as cable:
        line = SerialLine(cable.port)
        memory = line.memory
        assert (memory.address, memory.size, memory.checked) == (0, MEMORY_BYTES, True)
        random = np.random.default_rng(8)
        kept = bytearray(random.bytes(800))
        memory.write(4096, bytes(kept))
        for _ in range(6):
            start, count = int(random.integers(0, 400)), int(random.integers(1, 300))
            data = random.bytes(count)
            memory.write(4096 + start, data)
            kept[start : start + count] = data
            assert memory.read(4096 + start, count) == data
        assert memory.read(4096, 800) == kept
        with pytest.raises(HostError, match=r"refuses request 4 of 1 words at 0x14000, with status 4"):
            memory.write(MEMORY_BYTES, b"1234")
        line.close()


def test_a_session_that_lost_an_answer_begins_anew(board):
    """Nobody knows whether the request was done, so the sequence is set again."""
    with Cable(board) as cable:
        line = SerialLine(cable.port)
        line.memory.write(0, b"1234")
        line._attempts = 0
        with pytest.raises(HostError, match="no answer"):
            line.memory.write(0, b"5678")
        line._attempts = 20
        assert line.memory.read(0, 4) == b"1234"
        line.close()


def test_a_build_that_is_too_large_is_refused(lenet, board):
    with Cable(board) as cable:
        line = SerialLine(cable.port)
        line.memory.size = 65536
        with pytest.raises(HostError, match=r"needs 79,\d\d\d bytes, the region has 65,536$"):
            Accelerator(line, lenet[0])


def test_nobody_answers():
    terminal, user = pty.openpty()
    tty.setraw(user)
    port = os.ttyname(user)
    message = rf"^no answer from a board at '{port}', 115,200 baud, to 3 attempts or 6 without a word; are port"
    with pytest.raises(HostError, match=message):
        SerialLine(port, baud=115_200, patience=0.01, attempts=3)
    os.close(user)
    os.close(terminal)
    with pytest.raises(HostError, match=r"^cannot open the serial port '/dev/nowhere': "):
        SerialLine("/dev/nowhere")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (NO_SESSION, r"^the board at 'x' was reset; open it again$"),
        (ORDER, r"^the board at 'x' refuses request 3 of 2 words at 0x8, with status 3; does another program"),
    ],
)
def test_what_a_board_says_is_told(status, message):
    line = line_module.SerialLine.__new__(line_module.SerialLine)
    line._name, line._sequence, line._in_step = "x", 0, True
    line._exchange = lambda request: Frame(request.sequence, status, 0, request.address)
    with pytest.raises(HostError, match=message):
        line.ask(3, 8, count=2)


@pytest.mark.matrix
@pytest.mark.parametrize(("rate", "seed"), [(0.0, 0), (0.001, 1), (0.001, 2), (0.001, 3)])
def test_twenty_digits_on_a_bad_line(lenet, board, rate, seed):
    folder = lenet[0]
    graph, digits = lenet5("float")
    started = time.monotonic()
    with Cable(board, rate=rate, seed=seed) as cable:
        line = SerialLine(cable.port, patience=0.1)
        with Accelerator(line, folder, timeout=300) as accelerator:
            found = accelerator.run(digits[:20])
    np.testing.assert_array_equal(found, golden.output(graph, digits[:20])[0])
    seconds = time.monotonic() - started
    print(f"{cable.carried:,} octets, {cable.damaged} damaged, {line.repeated} requests repeated, {seconds:.0f} s")
