"""One run of a program: what the units hand to each other, and when each was at work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Literal

from ..compiler.instruction import UNIT_OF, Instruction
from ..compiler.plan import Plan
from ..isa.program import PREFETCH, QUEUE, UNITS, Operation
from .clockwork import Channel, Clockwork
from .memory_model import MemoryPorts, ReadBus

SAME = 64
"""Shorter pauses of a unit within a layer are not shown."""

Cause = Literal["token", "weights", "half"]
"""What the array waits for, by the names of its stall counters."""

EXPECTED_LOADS = 3
"""LOADs that the loader has begun: one is being placed, two are expected."""


class Queue:
    """Instructions with the cycle at which they are visible at the far end, and when there is room for another.

    delay : cycles through it while it is empty;  ready : when its first place is free again
    follows : when the next instruction can be at the far end
    """

    def __init__(self, clock: Clockwork, depth: int) -> None:
        self.delay = depth
        self.ready = self.follows = 0
        self.items = Channel(clock)
        self.room = Channel(clock, [0] * depth)


class Run:
    """What the units share.  Each channel's items are cycles unless it says otherwise.

    timeline : for each unit, when it is on a layer, see Prediction; pauses of SAME cycles at most left out
    waits : cycles that the array waits, by layer and cause: while two are missing, for the half
    finished : when each layer is complete, by index;  last : when everything is
    """

    def __init__(self, plan: Plan, latency: int) -> None:
        self.plan, self.p, self.latency = plan, plan.parameters, latency
        self.clock = clock = Clockwork()
        self.queues = {o: Queue(clock, QUEUE) for o in Operation}
        self.orders = Queue(clock, QUEUE)  # of the weight writer
        self.fetched = Queue(clock, PREFETCH)
        self.tokens = {(a, b): Channel(clock) for a in range(len(UNITS)) for b in range(len(UNITS))}
        self.ports = MemoryPorts(clock, self.p)
        self.bus = ReadBus(clock, latency, self.ports)
        self.loads = Channel(clock, [0] * EXPECTED_LOADS)  # when another may begin
        self.arrivals = Channel(clock)  # of weights: cycles of a burst's first and last beat
        self.drawn = Channel(clock)  # beats that left the FIFO: the first and the last, begin, cycles, end
        self.begun = Channel(clock)  # when a channel tile's first weights may be swapped in
        self.loaded = Channel(clock)  # when its last ones may
        self.swapped = Channel(clock, [0])  # when they were
        self.slots = Channel(clock, [0, 0])
        self.halves = Channel(clock, [0, 0])
        self.complete = Channel(clock)
        self.timeline: dict[str, list[list[int]]] = {name: [] for name in UNITS}
        self.waits: Counter[tuple[int, Cause]] = Counter()
        self.finished: dict[int, int] = {}
        self.last = 0

    def begin(self, queue: Queue, now: int) -> Generator[Channel, None, tuple[Instruction, int]]:
        """The queue's next instruction, and the cycle from ``now`` on at which it is there and has its tokens."""
        visible, instruction = yield from queue.items.take()
        there = max(visible, queue.follows)
        begin = max(now, (yield from self.has_tokens(instruction, there)))
        if instruction.operation == Operation.ARRAY:
            self.wait(instruction, "token", begin - max(now, there + 1))
        now = begin
        self.leave(queue, now)
        return instruction, now

    def wait(self, instruction: Instruction, cause: Cause, cycles: int) -> None:
        """The array waits for ``cycles``, if that is more than 0."""
        if cycles > 0:
            self.waits[instruction.layer, cause] += cycles

    def has_tokens(self, instruction: Instruction, there: int) -> Generator[Channel, None, int]:
        """When ``instruction``, which waits since cycle ``there``, has its tokens."""
        unit = UNIT_OF.get(instruction.operation)
        if unit is None:
            return there
        for other in instruction.wait:
            token = yield from self.tokens[other, unit].take()
            there = max(there, token)
        return there + 1  # that it has them is a register

    def leave(self, queue: Queue, now: int) -> None:
        """An instruction leaves its queue in cycle ``now``."""
        queue.follows = now + 2
        queue.room.put(now)

    def end(self, instruction: Instruction, begin: int, cycle: int, work: int) -> None:
        """``instruction``, begun in cycle ``begin``, is complete in ``cycle``: it gives its tokens.

        work : its cycles of work in between
        """
        unit = UNIT_OF[instruction.operation]
        self.last = max(self.last, cycle)
        spans = self.timeline[UNITS[unit]]
        if spans and spans[-1][0] == instruction.layer and begin - spans[-1][2] <= SAME:
            spans[-1][2] = cycle
            spans[-1][3] += work
        else:
            spans.append([instruction.layer, begin, cycle, work])
        self.finished[instruction.layer] = max(self.finished.get(instruction.layer, 0), cycle)
        for other in instruction.post:
            self.tokens[unit, other].put(cycle + 1)  # counts from the next cycle on
