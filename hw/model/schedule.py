"""The cycle model: when each unit does what, from the program and the memory's latency alone.

Follows the engine's own rules (queues, tokens, halves, FIFO room, bus arbitration) with its own delays, pass by pass
and burst by burst, so it takes milliseconds where simulating the hardware takes seconds.  docs/cycles.md compares them.
"""

from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

from ..compiler.instruction import UNIT_OF, Instruction
from ..compiler.plan import Plan
from ..compiler.tiling import interval, reads
from ..engine.activations import ActivationMemory
from ..engine.sizes import QUEUE, settled_cycles, vector_configuration
from ..engine.vector_configuration import SOURCE
from ..isa.parameters import BURST_BEATS, INSTRUCTION_BYTES
from ..isa.program import PREFETCH, TABLE_ENTRIES, UNITS, Operation
from .clockwork import Clockwork, Process, Signal
from .memory_model import (
    FETCH,
    LOADER,
    WEIGHTS,
    MemoryPorts,
    ReadBus,
)

QUEUE_OF = {Operation.SETUP: Operation.VECTOR}

ARRIVING = SOURCE + 2
"""Cycles from a vector's last step to its first group's entering the lanes, and one for the walk to go on."""

SAME = 64
"""Shorter pauses of a unit within a layer are not shown."""

FIFO_DELAY = 2
"""Cycles through an empty SyncFIFOBuffered."""


@dataclass(frozen=True)
class Prediction:
    """Cycles from start to done, and how many of them pass until each layer is complete after the one before.

    timeline : for each unit, when it is on a layer: [layer, first cycle, last cycle, cycles of work], pauses of SAME
    cycles at most left out.  Work: windows that enter the array, vectors that the vector unit takes, beats on the bus
    """

    cycles: int
    layer_cycles: list[int]
    timeline: dict[str, list[list[int]]]


def predict(plan: Plan, latency: int) -> Prediction:
    """Predict one image's run.

    latency : cycles from a burst's address to its first beat, and from a written burst's last beat to its response
    """
    return _Model(plan, latency).run()


class _Queue:
    """Items with the cycle at which they are visible at the far end; room for ``depth``."""

    def __init__(self, clock: Clockwork, depth: int) -> None:
        self.clock, self.depth = clock, depth
        self.items: deque[tuple[int, Instruction]] = deque()
        self.changed = Signal()

    def put(self, item: Instruction, visible: int) -> None:
        self.items.append((visible, item))
        self.clock.notify(self.changed)

    def pop(self) -> None:
        self.items.popleft()
        self.clock.notify(self.changed)


class _Model:
    def __init__(self, plan: Plan, latency: int) -> None:
        self.plan, self.p, self.latency = plan, plan.parameters, latency
        self.clock = clock = Clockwork()
        self.queues = {o: _Queue(clock, QUEUE) for o in Operation}
        self.orders = _Queue(clock, QUEUE)
        self.fetched = _Queue(clock, PREFETCH)
        self.tokens = {(a, b): 0 for a in range(4) for b in range(4)}
        self.token = Signal()
        self.ports = MemoryPorts(clock, self.p)
        self.bus = ReadBus(clock, latency, self.ports)
        self.fetch_room = PREFETCH
        self.fetch_room_changed = Signal()
        self.loads_under_way = 0
        self.load_done = Signal()
        # weights
        self.weight_room = self.p.weight_fifo_beats
        self.room_changed = Signal()
        self.arrivals: list[tuple[int, int]] = []  # (beats up to and with this burst, cycle of its first beat)
        self.arrived = Signal()
        self.loaded_at: deque[int] = deque()  # cycle at which the next weight tile may be swapped in
        self.loaded = Signal()
        self.swaps = 0
        self.swapped = Signal()
        self.slots = 2
        self.slot_changed = Signal()
        self.halves = 2
        self.half_changed = Signal()
        self.complete: deque[int] = deque()
        self.completed = Signal()
        self.finished: dict[int, int] = {}
        self.timeline: dict[str, list[list[int]]] = {name: [] for name in UNITS}
        self.last = 0

    def run(self) -> Prediction:
        for process in (
            self.bus.arbiter(),
            self.bus.memory(),
            self.fetch(),
            self.dispatch(),
            self.loader_requests(),
            self.weight_requests(),
            self.weight_writer(),
            self.sequencer(),
            self.vector(),
            self.storer(),
        ):
            self.clock.start(process)
        self.clock.run()
        ends = [self.finished[n] for n in range(len(self.plan.layers))]
        reached = list(accumulate(ends, max))
        layers = [end - start for start, end in zip([0, *reached[:-1]], reached, strict=True)]
        return Prediction(self.last + 1, layers, self.timeline)

    # waiting

    def head(self, queue: _Queue) -> Process:
        """Until the queue has an item, and it is visible."""
        while not queue.items:
            yield queue.changed
        yield queue.items[0][0]

    def take_tokens(self, instruction: Instruction) -> Process:
        needed = [(other, UNIT_OF[instruction.operation]) for other in instruction.wait]
        while any(self.tokens[pair] == 0 for pair in needed):
            yield self.token
        for pair in needed:
            self.tokens[pair] -= 1

    def give_tokens(self, instruction: Instruction, cycle: int) -> Process:
        """Runs on its own: tokens given in ``cycle`` count from the next."""
        yield cycle + 1
        for other in instruction.post:
            self.tokens[UNIT_OF[instruction.operation], other] += 1
        self.clock.notify(self.token)

    def end_of(self, instruction: Instruction, begin: int, cycle: int, work: int) -> None:
        self.last = max(self.last, cycle)
        spans = self.timeline[UNITS[UNIT_OF[instruction.operation]]]
        if spans and spans[-1][0] == instruction.layer and begin - spans[-1][2] <= SAME:
            spans[-1][2] = cycle
            spans[-1][3] += work
        else:
            spans.append([instruction.layer, begin, cycle, work])
        self.finished[instruction.layer] = max(self.finished.get(instruction.layer, 0), cycle)
        if instruction.post:
            self.clock.start(self.give_tokens(instruction, cycle))

    # program

    def fetch(self) -> Process:
        clock, beats = self.clock, INSTRUCTION_BYTES // self.p.bus_bytes
        end = Instruction(Operation.END, -1, {})
        program = [*self.plan.program, *[end] * (1 + PREFETCH)]
        yield 1
        for instruction in program:
            while self.fetch_room == 0:
                yield self.fetch_room_changed
                yield clock.now + 1
            self.fetch_room -= 1
            yield from self.bus.burst(FETCH, beats, partial(self.fetched_one, instruction))
            yield clock.now + 1

    def fetched_one(self, instruction: Instruction, first: int, last: int) -> None:
        self.fetched.put(instruction, last + FIFO_DELAY)

    def dispatch(self) -> Process:
        clock = self.clock
        while True:
            yield from self.head(self.fetched)
            instruction = self.fetched.items[0][1]
            operation = instruction.operation
            if operation == Operation.END:
                return
            if operation != Operation.BEGIN:
                targets = [self.queues[QUEUE_OF.get(operation, operation)]] + (
                    [self.orders] if operation == Operation.ARRAY else []
                )
                for queue in targets:
                    while len(queue.items) >= queue.depth:
                        yield queue.changed
                for queue in targets:
                    queue.put(instruction, clock.now + FIFO_DELAY)
            self.fetched.pop()
            self.fetch_room += 1
            clock.notify(self.fetch_room_changed)
            yield clock.now + 1

    # transfers

    def spans(self, instruction: Instruction) -> list[list[int]]:
        """Beats of each burst of each span."""
        f, bus = instruction.fields, self.p.bus_bytes
        spans = []
        for row in range(f["rows"] + 1):
            start = f["dram"] + row * f["dram_step"]
            spans.append(self.cut(start // bus, -(-(start % bus + f["bytes"]) // bus)))
        return spans

    @staticmethod
    def cut(beat: int, count: int) -> list[int]:
        bursts = []
        while count:
            size = min(count, BURST_BEATS - beat % BURST_BEATS)
            bursts.append(size)
            beat, count = beat + size, count - size
        return bursts

    def loader_requests(self) -> Process:
        clock, queue = self.clock, self.queues[Operation.LOAD]
        while True:
            yield from self.head(queue)
            instruction = queue.items[0][1]
            while self.loads_under_way > 2:  # one being placed, two expected
                yield self.load_done
            yield from self.take_tokens(instruction)
            queue.pop()
            begin = clock.now
            self.loads_under_way += 1
            yield clock.now + 2
            bursts = [beats for span in self.spans(instruction) for beats in span]
            for number, beats in enumerate(bursts):
                final = number == len(bursts) - 1
                yield from self.bus.burst(
                    LOADER, beats, partial(self.load_arrived, instruction if final else None, begin, sum(bursts))
                )
                yield clock.now + 1

    def load_arrived(self, finished: Instruction | None, begin: int, beats: int, first: int, last: int) -> None:
        if finished:
            self.loads_under_way -= 1
            self.clock.notify(self.load_done)
            self.end_of(finished, begin, last + ActivationMemory.WRITE_LATENCY, beats)

    def weight_requests(self) -> Process:
        clock, queue, bus = self.clock, self.queues[Operation.WEIGHTS], self.p.bus_bytes
        while True:
            yield from self.head(queue)
            instruction = queue.items[0][1]
            queue.pop()
            yield clock.now + 1
            for beats in self.cut(instruction.fields["dram"] // bus, instruction.fields["beats"]):
                while self.weight_room < BURST_BEATS:
                    yield self.room_changed
                self.weight_room -= beats
                yield from self.bus.burst(WEIGHTS, beats, self.weights_arrived)
                yield clock.now + 1

    def weights_arrived(self, first: int, last: int) -> None:
        before = self.arrivals[-1][0] if self.arrivals else 0
        self.arrivals.append((before + last - first + 1, last))
        self.clock.notify(self.arrived)

    # array

    def weight_writer(self) -> Process:
        """Loads weight tiles; in bits of the stream, counted from the start of each stream."""
        p, clock = self.p, self.clock
        beat_bits = 8 * p.bus_bytes
        base = burst = released = tiles = 0
        bits = 0
        while True:
            yield from self.head(self.orders)
            order = self.orders.items[0][1]
            f = order.fields
            for _ in range(f["tiles"] + 1):
                for number in range(-1 if f["parameters"] else 0, f["passes"] + 1):
                    rows = p.parameter_rows if number < 0 else p.rows
                    if number < 0:
                        while not self.slots:
                            yield self.slot_changed
                        self.slots -= 1
                    else:
                        # the tile before this one must have been swapped in
                        while self.swaps < tiles:
                            yield self.swapped
                    first = base + bits // beat_bits + 1
                    bits += rows * p.weight_row_bits
                    beat = base + -(-bits // beat_bits)
                    begin = clock.now
                    for needed in (first, beat):
                        while not self.arrivals or self.arrivals[-1][0] < needed:
                            yield self.arrived
                        while self.arrivals[burst][0] < needed:
                            burst += 1
                        end, last = self.arrivals[burst]
                        there = last - (end - needed) + FIFO_DELAY + 1
                        if needed == first:
                            begin = max(begin, there)
                    # a row a cycle, and out of the FIFO a beat a cycle
                    cycles = max(rows if number < 0 else p.pass_cycles, beat - first + 1)
                    finished = max(begin + cycles - 1, there)
                    while released < beat:  # as far as makes room for another burst
                        gone = min(released + BURST_BEATS - self.weight_room % BURST_BEATS, beat)
                        out = begin + cycles * (gone - first) // (beat - first + 1)
                        yield finished if gone == beat else min(out, finished)
                        self.weight_room += gone - released
                        released = gone
                        clock.notify(self.room_changed)
                    yield finished
                    if number >= 0:
                        tiles += 1
                        self.loaded_at.append(clock.now + 1)
                        clock.notify(self.loaded)
                    yield clock.now + 1
            if f["flush"]:
                base, bits = base + -(-bits // beat_bits), 0
            self.orders.pop()

    def sequencer(self) -> Process:
        p, clock, queue = self.p, self.clock, self.queues[Operation.ARRAY]
        settled = settled_cycles(p)
        while True:
            yield from self.head(queue)
            instruction = queue.items[0][1]
            yield from self.take_tokens(instruction)
            queue.pop()
            f, begin = instruction.fields, clock.now
            positions = (f["rows"] + 1) * (f["columns"] + 1)
            yield clock.now + 1
            for _ in range(f["tiles"] + 1):
                if f["first"]:
                    while not self.halves:
                        yield self.half_changed
                    self.halves -= 1
                for _ in range(f["passes"] + 1):
                    while not self.loaded_at:
                        yield self.loaded
                    yield self.loaded_at.popleft()
                    self.swaps += 1
                    clock.notify(self.swapped)
                    yield clock.now + positions
                if f["last"]:
                    self.complete.append(clock.now + settled + 1)
                    clock.notify(self.completed)
            self.end_of(instruction, begin, clock.now, positions * (f["passes"] + 1) * (f["tiles"] + 1))

    def vector(self) -> Process:
        p, clock, queue = self.p, self.clock, self.queues[Operation.VECTOR]
        unit = vector_configuration(p)
        written = unit.written_cycles
        while True:
            yield from self.head(queue)
            instruction = queue.items[0][1]
            yield from self.take_tokens(instruction)
            queue.pop()
            f, begin = instruction.fields, clock.now
            if instruction.operation == Operation.SETUP:
                yield clock.now + 1
                self.ports.settings = f
                lines = TABLE_ENTRIES // p.table_entries if f.get("load_tables") else 0
                if lines:
                    yield from self.ports.read(lines, 1.0)
                    yield clock.now + ARRIVING + written
                self.end_of(instruction, begin, clock.now, lines)
                yield clock.now + 1
                continue
            layer = self.plan.layers[instruction.layer]
            steps = reads(layer)
            each: float = interval(layer, p)
            outputs = (f["rows"] + 1) * (f["columns"] + 1)
            if not layer.on_array and steps >= p.lane_groups:  # it reads in every cycle
                each += self.ports.own_writes(f)
            needed = steps + int((outputs - 1) * each)
            yield clock.now + 1
            idle = done = clock.now
            for _ in range(f["tiles"] + 1):
                if layer.on_array:
                    while not self.complete:
                        yield self.completed
                    yield max(self.complete.popleft(), idle)
                    yield clock.now + p.parameter_rows + 1
                    self.slots += 1
                    clock.notify(self.slot_changed)
                first_write = clock.now + steps + ARRIVING + p.lane_groups + unit.lane.latency
                done = clock.now + needed
                self.ports.writes.append(range(first_write, done + (first_write - clock.now - steps) + 1, round(each)))
                if layer.operand or not layer.on_array:
                    maps = 1 if layer.on_array or steps < each else steps
                    yield from self.ports.read(done - clock.now, maps / each)
                else:
                    yield done
                done = clock.now
                if layer.on_array:
                    self.clock.start(self.free_half(done + SOURCE))
                yield done + 1
                idle = done + ARRIVING + p.lane_groups
            yield idle + written
            self.end_of(instruction, begin, clock.now, needed * (f["tiles"] + 1))
            yield clock.now + 1

    def free_half(self, cycle: int) -> Process:
        """Runs on its own: the last sums of a half are read some cycles after they were asked for."""
        yield cycle
        self.halves += 1
        self.clock.notify(self.half_changed)

    def storer(self) -> Process:
        clock, queue = self.clock, self.queues[Operation.STORE]
        while True:
            yield from self.head(queue)
            instruction = queue.items[0][1]
            yield from self.take_tokens(instruction)
            queue.pop()
            begin = clock.now
            spans = self.spans(instruction)
            for span in spans:
                first, beats = clock.now, sum(span)
                yield first + 1 + beats + len(span) + self.ports.put_off(first, beats)
            # read, FIFO, then the answer to the last beat
            yield clock.now + 1 + ActivationMemory.READ_LATENCY + FIFO_DELAY + self.latency
            self.end_of(instruction, begin, clock.now, sum(map(sum, spans)))
            yield clock.now + 1
