"""The array and the vector unit."""

from ..compiler.sliding import interval, lead, reads, whole_reads
from ..engine.register_slice import RegisterSlice
from ..engine.sizes import settled_cycles, vector_configuration
from ..engine.vector_configuration import ASKED, SOURCE
from ..isa.program import AFFINE_ROWS, TABLE_ENTRIES, Operation
from .clockwork import Process
from .run import Run

ISSUED = RegisterSlice.LATENCY
"""Cycles that a step waits to be issued."""

ARRIVING = ISSUED + SOURCE + 2
"""Cycles from a vector's last step to its first group's entering the lanes, and one for the walk to go on."""

CHANNELS_THERE = 2
"""Cycles from the last vector of channels' parameters to the first of the map."""


def sequencer(run: Run) -> Process:
    """Begins channel tiles and ends them; the passes in between wait for weights alone: see weight_writer."""
    queue, halves = run.queues[Operation.ARRAY], run.halves
    settled = settled_cycles(run.p)
    now = 0
    while True:
        instruction, begin = yield from run.begin(queue, now)
        f, now = instruction.fields, begin + 1
        positions = (f["rows"] + 1) * (f["columns"] + 1)
        for _ in range(f["tiles"] + 1):
            if f["first"]:
                half = yield from halves.take()
                run.wait(instruction, "half", half + 1 - now)
                now = max(now, half + 1)
            if f["passes"]:
                run.begun.put(now)
            loaded = yield from run.loaded.take()
            if not f["passes"]:
                run.wait(instruction, "weights", loaded - now - 1)
            now = max(now, loaded)
            run.swapped.put(now)
            now += positions
            if f["last"]:
                run.complete.put(now + settled + 1)
        run.end(instruction, begin, now, positions * (f["passes"] + 1) * (f["tiles"] + 1))


def vector(run: Run) -> Process:
    p, clock, ports, queue = run.p, run.clock, run.ports, run.queues[Operation.VECTOR]
    unit = vector_configuration(p)
    written = unit.written_cycles
    now = 0
    while True:
        instruction, begin = yield from run.begin(queue, now)
        f, now = instruction.fields, begin + 1
        if instruction.operation == Operation.SETUP:
            ports.settings = f
            lines = TABLE_ENTRIES // p.table_entries if f.get("load_tables") else 0
            if lines:
                yield now + 1
                yield from ports.read(lines, 1.0)
                now = clock.now + ARRIVING + written
            run.end(instruction, begin, now, lines)
            now += 1
            continue
        layer = run.plan.layers[instruction.layer]
        first, steps = whole_reads(layer.geometry), reads(layer.geometry, p)
        each: float = interval(layer.geometry, p)
        rows, columns = f["rows"] + 1, f["columns"] + 1
        if not layer.on_array and steps >= p.lane_groups:  # it reads in every cycle
            each += ports.own_writes(f)
        begins = lead(layer.geometry, p)
        needed = first + int((rows * columns - 1) * each) + (rows - 1) * begins
        idle = now
        for tile in range(f["tiles"] + 1):
            if layer.on_array:
                complete = yield from run.complete.take()
                now = max(complete, idle) + p.parameter_rows + 1
                run.slots.put(now)
            if layer.affine:
                yield max(now, idle)
                yield from ports.read(AFFINE_ROWS, 1.0)
                now = clock.now + CHANNELS_THERE
            yield now
            first_write = now + first + ARRIVING + p.lane_groups + unit.lane.latency
            done = now + needed
            if begins:
                for row in range(rows):
                    start = first_write + row * int(columns * each + begins)
                    ports.write(f, tile, range(start, start + int(columns * each), round(each)), row)
            else:
                ports.write(f, tile, range(first_write, done + (first_write - now - first) + 1, round(each)))
            if layer.operand or not layer.on_array:
                maps = 1 if layer.on_array or steps < each else steps
                yield from ports.read(done - now, maps / each)
                done = clock.now
            if layer.on_array:
                run.halves.put(done + ISSUED + ASKED + 1)
            now, idle = done + 1, done + ARRIVING + p.lane_groups
        run.end(instruction, begin, idle + written, needed * (f["tiles"] + 1))
        now = idle + written + 1
