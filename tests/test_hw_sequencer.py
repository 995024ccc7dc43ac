"""The sequencer's windows against nested loops."""

import random

import pytest

from systolith.hw.engine.sequencer import Sequencer, Window
from systolith.hw.isa.parameters import ACCUMULATOR_HAZARD, Parameters
from systolith.hw.isa.program import PASSES

from .hw_streams import STALLS, plain, run, source

WRAP = 1 << 24


def sequencer(p):
    return Sequencer(
        rows=p.rows, activation_bits=p.activation_bits, accumulator_depth=p.accumulator_depth, address_bits=24
    )


def signed(value, bits):
    return value - (1 << bits) if value >> (bits - 1) & 1 else value


def windows(p, instruction):
    """What the docstring's loops visit and gives a result: (tile, pass, passes, row, column, inside, position) of each
    window, and its place among all windows of the pass.
    """
    i = instruction
    kernel = [
        (ky, kx, chunk)
        for ky in range(i["kernel_rows"] + 1)
        for kx in range(i["kernel_columns"] + 1)
        for chunk in range(i["chunks"] + 1)
    ]
    for tile in range(i["tiles"] + 1):
        for number, (ky, kx, chunk) in enumerate(kernel):
            position, place = 0, -1
            for y in range(i["rows"] + 1):
                for x in range(i["columns"] + 1):
                    line = i["line"] + ky * i["kernel_line_step"] + y * i["line_step"]
                    column = i["column"] + tile * i["tile_step"] + kx * i["kernel_column_step"] + chunk * p.rows
                    column += x * i["column_step"]
                    row = i["row"] + ky * i["kernel_row_step"] + y * i["row_step"]
                    inside = 0 <= line < i["lines"]
                    place += 1
                    counts = y >= i["skip"] and (y - i["skip"]) % (i["row_stride"] + 1) == 0
                    if counts and x % (i["column_stride"] + 1) == 0 and x <= i["columns"] - i["tail"]:
                        found = tile, number, len(kernel), row % WRAP, signed(column % WRAP, 24), inside, position
                        yield *found, place
                        position += 1


def program(rng, count):
    """Random instructions whose sums begin and end as the planner lets them."""
    instructions, is_open = [], False
    for _ in range(count):
        if not is_open:
            shape = {"rows": rng.randint(0, 4), "columns": rng.randint(0, 4)}
            depthwise = {"skip": 0, "row_stride": 0, "column_stride": 0, "tail": 0}
            if rng.random() < 0.5:  # some windows bring pixels alone
                depthwise = {n: rng.randint(0, 2) for n in depthwise}
                depthwise = {n: min(depthwise[n], shape["columns" if n == "tail" else "rows"]) for n in depthwise}
        first = not is_open
        last = rng.random() < 0.6
        is_open = not last
        small = {n: rng.randint(0, 2) for n in ("kernel_rows", "kernel_columns", "chunks")}
        instructions.append(
            {
                **shape,
                **depthwise,
                **small,
                "first": first,
                "last": last,
                "tiles": rng.randint(0, 2) if first and last else 0,
                "wait": rng.randint(0, 15),
                "post": rng.randint(0, 15),
                "padding": rng.randint(-128, 127),
                "column": rng.choice([-40, -7, 0, 3, 1000, WRAP // 2 - 3]),
                "column_step": rng.choice([0, 1, 6, 255]),
                "kernel_column_step": rng.choice([1, 9, WRAP - 2]),
                "tile_step": rng.choice([0, 8, 77]),
                "row": rng.choice([0, 5, WRAP - 9, rng.randrange(WRAP)]),
                "row_step": rng.choice([1, 33, WRAP - 1]),
                "kernel_row_step": rng.choice([0, 12, 4000]),
                "line": rng.choice([-3, 0, 2, 30000, -(1 << 15)]),
                "line_step": rng.choice([0, 1, 4, 255]),
                "kernel_line_step": rng.choice([1, 2, 255]),
                "lines": rng.choice([1, 3, 32767]),
                "row_elements": rng.randint(1, WRAP - 1),
            }
        )
    if is_open:
        instructions[-1]["last"] = True
    return instructions


def encoded(instruction):
    return {n: v & ((1 << PASSES[n].width) - 1) for n, v in instruction.items()}


def simulate(p, instructions, stall, seed):
    """Everything that happened, with its cycle, by name; checks what must hold in every cycle."""
    component, rng = sequencer(p), random.Random(seed)
    port = component.tokens
    log = {name: [] for name in ("window", "swap", "take", "give", "tile_last")}
    halves = {"used": 0, "filled": 0}
    total = sum(len(list(windows(p, i))) for i in instructions)

    async def surroundings(ctx):
        cycle, owed, swapped = 0, 0, -ACCUMULATOR_HAZARD
        while True:
            ctx.set(port.ready, rng.random() >= stall)
            ctx.set(component.loaded, cycle - swapped >= ACCUMULATOR_HAZARD and rng.random() >= stall)
            free = owed > 0 and rng.random() >= stall
            ctx.set(component.half_free, free)
            owed -= free
            values = await ctx.tick().sample(
                component.control, component.window, component.swap, component.loaded, port.take, port.wait,
                port.ready, port.give, port.give_to, component.tile_last, component.idle, component.held,
            )  # fmt: skip
            control, window, swap, loaded, take, wait, tokens, give, give_to, tile_last, idle, held = values[2:]
            if control.valid:
                log["window"].append((cycle, plain(window), plain(control)))
                assert not idle
            assert swap == (loaded and not held)
            if swap:
                log["swap"].append(cycle)
                swapped = cycle
            if take:
                assert tokens
                log["take"].append(wait)
            if give:
                log["give"].append((cycle, give_to))
            if tile_last:
                log["tile_last"].append(cycle)
                owed += 1
            halves["filled"] = owed
            assert owed <= 2, "a half was filled that nobody had emptied"
            cycle += 1

    async def end(ctx):
        while len(log["window"]) < total:
            await ctx.tick()
        for _ in range(40):
            await ctx.tick()
        assert len(log["window"]) == total
        assert ctx.get(component.idle)

    run(component, end, source(component.instructions, [encoded(i) for i in instructions]), surroundings)
    return log


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("rows", [1, 5])
def test_windows_match_the_loops(rows, stall, seed):
    p = Parameters(rows=rows, columns=3, accumulator_kib=1)
    instructions = program(random.Random(seed), 12)
    log = simulate(p, instructions, stall, seed)
    at, half, swaps, lasts, finishes = 0, 0, [], [], []
    for i in instructions:
        for tile, number, passes, row, column, inside, position, place in windows(p, i):
            cycle, window, control = log["window"][at]
            expected = {"row": row, "column": column, "inside": inside, "row_elements": i["row_elements"]}
            assert window == {**expected, "padding": i["padding"]}
            assert control == {"valid": 1, "first": i["first"] and number == 0, "half": half, "address": position}
            if position == 0:
                first = cycle - place
                swaps.append(first - 1)
                if number == passes - 1:  # its last window, whether or not it gives a result
                    end = first + (i["rows"] + 1) * (i["columns"] + 1) - 1
                    if i["last"]:
                        lasts.append(end)
                    if tile == i["tiles"]:
                        finishes.append((end, i["post"]))
            assert cycle == first + place, "a pass was interrupted"
            at += 1
            following = log["window"][at][2]["address"] if at < len(log["window"]) else 0
            if number == passes - 1 and following == 0 and i["last"]:
                half ^= 1
    assert log["swap"] == swaps
    assert log["tile_last"] == lasts
    assert log["give"] == finishes
    assert log["take"] == [i["wait"] for i in instructions]


def test_passes_follow_each_other_without_a_bubble():
    p = Parameters(rows=4, columns=3, accumulator_kib=1)
    # one tile an instruction: a free half is always there
    every = {"skip": 0, "row_stride": 0, "column_stride": 0, "tail": 0}
    shape = {"columns": ACCUMULATOR_HAZARD - 1, "tiles": 0, "first": True, "last": True, **every}
    instructions = [{**i, **shape} for i in program(random.Random(5), 6)]
    log = simulate(p, instructions, 0.0, 0)
    cycles = [cycle for cycle, *_ in log["window"]]
    at = 0
    for i in instructions:
        count = len(list(windows(p, i)))
        assert cycles[at : at + count] == list(range(cycles[at], cycles[at] + count))
        if at:
            assert cycles[at] - cycles[at - 1] == 2
        at += count


def test_a_third_tile_waits_for_a_free_half():
    p = Parameters(rows=2, columns=2, accumulator_kib=1)
    component, seen = sequencer(p), []

    async def bench(ctx):
        ctx.set(component.tokens.ready, 1)
        ctx.set(component.loaded, 1)
        ctx.set(component.instructions.payload, {"first": 1, "last": 1, "tiles": 3, "columns": 2})
        ctx.set(component.instructions.valid, 1)
        await ctx.tick()
        ctx.set(component.instructions.valid, 0)
        for cycle in range(60):
            ctx.set(component.half_free, cycle == 30)
            _, _, control, waiting = await ctx.tick().sample(component.control, component.waiting)
            seen.append((bool(control.valid), int(control.half), bool(waiting.half)))

    run(component, bench)
    assert [half for valid, half, _ in seen if valid] == [0] * 3 + [1] * 3 + [0] * 3
    assert not any(valid for valid, _, _ in seen[10:31])
    assert all(waiting for _, _, waiting in seen[10:30])


def test_a_third_instruction_waits_for_a_free_half():
    component, seen = sequencer(Parameters(rows=2, columns=2, accumulator_kib=1)), []
    fields = {"first": 1, "last": 1, "columns": 2}

    async def bench(ctx):
        ctx.set(component.tokens.ready, 1)
        ctx.set(component.loaded, 1)
        for cycle in range(60):
            ctx.set(component.half_free, cycle == 30)
            _, _, valid, idle = await ctx.tick().sample(component.control.valid, component.idle)
            seen.append((bool(valid), bool(idle)))

    run(component, bench, source(component.instructions, [fields] * 3))
    assert [cycle for cycle, (valid, _) in enumerate(seen) if valid and cycle > 10] == [33, 34, 35]
    assert not any(idle for _, idle in seen[10:36])
    assert sum(valid for valid, _ in seen) == 9


@pytest.mark.parametrize(("rows", "kib"), [(1, 1), (5, 1), (8, 64)])
def test_window_finds_address_and_padding(rows, kib):
    p = Parameters(rows=rows, columns=3, activation_kib=kib)
    component = Window(rows=rows, activation_bits=p.activation_bits, address_bits=p.address_bits)
    rng = random.Random(rows)
    cases, found = [], []
    for _ in range(600):
        elements = rng.choice([1, rows, 3 * rows + 1, rng.randrange(1, 1 << 22)])
        near = rng.choice([-rows, elements, 0, elements - rows, rng.randrange(-(1 << 22), 1 << 22)])
        column = near + rng.randint(-2, 2)
        cases.append((rng.randrange(WRAP), column, rng.randrange(2), elements, rng.randint(-128, 127)))

    async def bench(ctx):
        for case in [*cases, *[cases[0]] * Window.LATENCY]:
            names = ("row", "column", "inside", "row_elements", "padding")
            ctx.set(component.window, dict(zip(names, case, strict=True)))
            outputs = (component.address, component.low, component.high, component.padding)
            found.append((await ctx.tick().sample(*outputs))[2:])

    run(component, bench)
    for (row, column, inside, elements, padding), (address, low, high, pad) in zip(
        cases, found[Window.LATENCY :], strict=True
    ):
        assert (address, pad) == ((row + column) % (1 << p.address_bits), padding)
        mask = [inside and 0 <= column + i < elements for i in range(rows)]
        assert [low <= i < high for i in range(rows)] == mask


def test_a_pass_says_from_its_first_window_on_whether_it_is_depthwise():
    component, seen = Sequencer(rows=3, activation_bits=8, accumulator_depth=8, address_bits=8, line_buffer=16), []
    modes = [(0, 3), (1, 9), (1, 4), (0, 1), (1, 15)]
    fields = [{"first": 1, "last": 1, "columns": 5, "depthwise": mode, "delay": delay} for mode, delay in modes]

    async def bench(ctx):
        ctx.set(component.tokens.ready, 1)
        ctx.set(component.loaded, 1)
        ctx.set(component.half_free, 1)
        for _ in range(60):
            outputs = (component.control.valid, component.depthwise, component.delay)
            seen.append((await ctx.tick().sample(*outputs))[2:])

    run(component, bench, source(component.instructions, fields))
    assert [(mode, delay) for valid, mode, delay in seen if valid] == [mode for mode in modes for _ in range(6)]
