"""Program and maps on the bus: fetch and dispatch, the loader, the storer."""

from functools import partial

from ..compiler.instruction import Instruction
from ..engine.activations import ActivationMemory
from ..engine.counted_fifo import CountedFifo
from ..engine.dma import Bursts
from ..engine.fetch import Fetch
from ..engine.guard import Guard
from ..engine.loader import Loader
from ..isa.parameters import BURST_BEATS, INSTRUCTION_BYTES
from ..isa.program import PREFETCH, Operation
from .clockwork import Process
from .memory_model import FETCH, LOADER
from .run import Run

QUEUE_OF = {Operation.SETUP: Operation.VECTOR}
COMPARED = {Operation.IMAGE: 1, Operation.BEGIN: 2}
"""What goes to no unit, and its cycles at dispatch."""


def cut(beat: int, count: int) -> list[int]:
    """Beats of each burst of ``count`` beats from number ``beat`` on: none crosses a multiple of BURST_BEATS."""
    bursts = []
    while count:
        size = min(count, BURST_BEATS - beat % BURST_BEATS)
        bursts.append(size)
        beat, count = beat + size, count - size
    return bursts


def spans(instruction: Instruction, bus: int) -> list[list[int]]:
    """Beats of each burst of each span, on a bus of ``bus`` bytes."""
    f = instruction.fields
    starts = [f["dram"] + row * f["dram_step"] for row in range(f["rows"] + 1)]
    return [cut(start // bus, (start % bus + f["bytes"]) // bus + 1) for start in starts]


def fetch(run: Run) -> Process:
    beats = INSTRUCTION_BYTES // run.p.bus_bytes
    stamp, end = Instruction(Operation.IMAGE, -1, {}), Instruction(Operation.END, -1, {})
    now = 1
    for instruction in [stamp, *run.plan.program, *[end] * (1 + PREFETCH)]:
        room = yield from run.fetched.room.take()
        now = max(now, room + 1)
        now = yield from run.bus.burst(FETCH, beats, now, partial(_fetched, run, instruction))


def _fetched(run: Run, instruction: Instruction, cycles: tuple[int, int]) -> None:
    run.fetched.items.put((cycles[1] + Fetch.latency(run.p.bus_bytes), instruction))


def dispatch(run: Run) -> Process:
    now = 0
    while True:
        visible, instruction = yield from run.fetched.items.take()
        now = max(now, visible)
        operation = instruction.operation
        if operation == Operation.END:
            return
        if operation not in COMPARED:
            targets = [run.queues[QUEUE_OF.get(operation, operation)]]
            if operation == Operation.ARRAY:
                targets.append(run.orders)
            for queue in targets:
                room = yield from queue.room.take()
                now = max(now, room, queue.ready)
            for queue in targets:
                queue.items.put((now + queue.delay, instruction))
                queue.ready = now + 2
        run.fetched.room.put(now)
        now += COMPARED.get(operation, 1)


def loader(run: Run) -> Process:
    queue, now = run.queues[Operation.LOAD], 0
    while True:
        room = yield from run.loads.take()
        instruction, begin = yield from run.begin(queue, max(now, room))
        now = begin + 1 + Bursts.LATENCY
        bursts = _placed(run, instruction)
        for beats, element in bursts[:-1]:
            now = yield from run.bus.burst(LOADER, beats, now, None, element)
        beats, element = bursts[-1]
        loaded = partial(_loaded, run, instruction, begin, sum(beats for beats, _ in bursts))
        now = yield from run.bus.burst(LOADER, beats, now, loaded, element)


def _placed(run: Run, instruction: Instruction) -> list[tuple[int, int]]:
    """Of each burst its beats, and where on chip the first of them begins."""
    p, f, bursts = run.p, instruction.fields, []
    for row, span in enumerate(spans(instruction, p.bus_bytes)):
        inside = (f["dram"] + row * f["dram_step"]) % p.bus_bytes
        element = f["chip"] + row * f["chip_step"] - inside // p.element_bytes
        for beats in span:
            bursts.append((beats, element))
            element += beats * p.bus_elements
    return bursts


def _loaded(run: Run, instruction: Instruction, begin: int, beats: int, cycles: tuple[int, int]) -> None:
    run.loads.put(run.clock.now)
    run.end(instruction, begin, cycles[1] + Loader.LATENCY + ActivationMemory.WRITE_LATENCY, beats)


def storer(run: Run) -> Process:
    clock, queue, now = run.clock, run.queues[Operation.STORE], 0
    ahead = Bursts.LATENCY + Guard.LATENCY
    while True:
        visible, instruction = yield from queue.items.take()
        taken = max(now, visible, queue.follows)
        run.leave(queue, taken)
        # its first burst is made ready meanwhile
        begin = max((yield from run.has_tokens(instruction, taken + 1)), taken + 1 + ahead)
        yield begin - 1
        bursts = spans(instruction, run.p.bus_bytes)
        for n, span in enumerate(bursts):
            element = instruction.fields["chip"] + n * instruction.fields["chip_step"]
            element -= element % run.p.bus_elements
            now = clock.now
            for beats in span:
                now += 1 + run.ports.put_off(now, beats)
                for beat in range(beats):
                    now = run.ports.readable(element + beat * run.p.bus_elements, now) + 1
                element += beats * run.p.bus_elements
                yield now
        # read, FIFO, then the answer to the last beat
        complete = clock.now + 1 + ActivationMemory.READ_LATENCY + CountedFifo.LATENCY + run.latency
        run.end(instruction, begin, complete, sum(map(sum, bursts)))
        now = complete + 1
