"""The activation memory's ports, all at once, against an array of integers; and who goes first."""

import random

import numpy as np
import pytest

from systolith.hw.engine.activations import ActivationMemory
from systolith.hw.engine.sizes import memory_format
from systolith.hw.isa.parameters import Parameters

from .hw_streams import packed, plain, run, set_at_once

SIZES = [
    {"rows": 5, "columns": 3, "bus_bytes": 8},
    {"rows": 5, "columns": 3, "bus_bytes": 8, "operands": True},
    {"rows": 3, "columns": 8, "bus_bytes": 16, "activation_bits": 16, "operands": True},
    {"rows": 2, "columns": 12, "bus_bytes": 4, "lanes": 5, "operands": True},
    {"rows": 9, "columns": 1, "bus_bytes": 4, "activation_bits": 5, "operands": True},
    {"rows": 1, "columns": 1, "bus_bytes": 4, "activation_bits": 12, "operands": True},
    {"rows": 3, "columns": 17, "bus_bytes": 4, "activation_kib": 2, "operands": True},
    {"rows": 4, "columns": 4, "lanes": 4, "bus_bytes": 8, "operands": True},
    {"rows": 4, "columns": 4, "lanes": 4, "bus_bytes": 4, "operands": True},
    {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 3, "operands": True},
    {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 3},
]


def activations(p):
    return ActivationMemory(
        memory=memory_format(p),
        banks=p.banks,
        line=p.line,
        rows=p.rows,
        columns=p.columns,
        bus_elements=p.bus_elements,
        activation_bits=p.activation_bits,
        operands=p.operands,
    )


@pytest.mark.parametrize("writes", [0.15, 0.5])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_ports_at_the_same_time(sizes, writes):
    p = Parameters(**{"activation_kib": 1, **sizes})
    component, rng = activations(p), random.Random(p.line)
    wrap, elements = 1 << p.address_bits, p.activation_elements
    width = len(component.write.data)
    bits = 8 * p.element_bytes
    memory = np.zeros(elements, np.int64)  # signed elements
    changing = {}  # element: cycle from which its new value is to be seen
    windows, reads, operands = {}, {}, {}
    layout = component.write.shape()
    checked = dict.fromkeys(("window", "read", "operand", "refused", "turns", "yielded", "both", "loaded", "beside"), 0)
    focus = [0, elements // 2, elements - 2 * p.line]  # few places, so that ports meet

    def banks(first, count):
        return {e // p.line % p.banks for e in range(first, first + count)}

    def settled(address, cycle):
        return changing.get(address, 0) <= cycle

    def seen(span, cycle):
        return [int(memory[e]) if settled(e, cycle) else None for e in span]

    async def bench(ctx):
        pending, last_writes = [], []
        where = operand = None  # what the storer and the vector unit ask for, until they get it
        load = None  # what the loader would write, until it may: its first element and the others' values
        turns = 0  # of the vector unit, since the storer's last
        for cycle in range(3000):
            for due, address, value in [w for w in pending if w[0] <= cycle]:
                memory[address] = value
                pending.remove((due, address, value))

            # write: any length at any alignment; a start before 0 whose first elements do not count is fine
            write = rng.random() < writes
            low = rng.randint(0, width)
            high = rng.randint(max(low, 1), width)
            start = rng.choice(focus) + rng.randint(0, 2 * p.line)
            start = min(max(start, 0), elements - width) - (low if start == 0 or rng.random() < 0.1 else 0)
            start = max(start, -low)
            data = [rng.choice([0, (1 << bits) - 1, 1 << (bits - 1), rng.getrandbits(bits)]) for _ in range(width)]
            word = {"valid": write, "address": start % wrap, "low": low, "high": high, "data": packed(data, bits)}
            written = sum(value << layout[name].offset for name, value in word.items())
            for i in range(low, high) if write else ():
                value = data[i] - (data[i] >> (bits - 1) << bits)
                pending.append((cycle + ActivationMemory.WRITE_LATENCY, start + i, value))
                changing[start + i] = cycle + ActivationMemory.WRITE_LATENCY
            last_writes.append(banks(start + low, high - low) if write else set())

            # beats: most of them where one begins
            if load is None and rng.random() < 0.5:
                to = min(rng.choice(focus) + rng.randint(0, 2 * p.line), elements - p.bus_elements)
                to -= to % p.bus_elements if rng.random() < 0.7 else 0
                first = rng.randint(0, p.bus_elements - 1)
                last = rng.randint(first + 1, p.bus_elements)
                load = to, first, last, [rng.getrandbits(bits) for _ in range(p.bus_elements)]
            beat = 0
            if load is not None:
                to, first, last, values = load
                word = {"valid": 1, "address": to, "low": first, "high": last, "data": packed(values, bits)}
                beat = sum(value << layout[name].offset for name, value in word.items())
                whole = to % p.bus_elements == 0
                apart = whole and not banks(to, p.bus_elements) & banks(start, high)
                taken = not write or apart

            # window: any address; what lies outside the memory is masked
            at = rng.choice(focus) + rng.randint(-p.rows, 2 * p.line)
            lower, upper = rng.randint(0, p.rows), rng.randint(0, p.rows)
            lower = min(max(lower, -at), p.rows)
            upper = max(min(upper, elements - at), 0)
            reach = 1 << (p.activation_bits - 1)
            padding = rng.choice([0, -reach, rng.randint(0, reach - 1)])
            windows[cycle + ActivationMemory.WINDOW_LATENCY] = [
                (padding if not lower <= i < upper else None if not settled(at + i, cycle) else int(memory[at + i]))
                for i in range(p.rows)
            ]

            # storer and vector unit: each keeps asking until it is served
            if where is None and rng.random() < 0.6:
                where = min(rng.choice(focus) + rng.randint(0, 2 * p.line), elements - 1)
            if operand is None and rng.random() < 0.8:
                operand = min(rng.choice(focus) + rng.randint(0, 2 * p.line), elements - p.columns)
            inputs = {
                "write": written, "load": beat, "window_address": at % wrap, "window_low": lower, "window_high": upper,
                "padding": padding, "read_valid": where is not None, "operand_valid": operand is not None,
                "read_address": rng.randrange(elements) if where is None else where,
                "operand_address": rng.randrange(elements) if operand is None else operand,
            }  # fmt: skip
            set_at_once(ctx, inputs, component)
            _, _, ready, operand_ready, load_ready, pixels, content, vector = await ctx.tick().sample(
                component.read_ready, component.operand_ready, component.load_ready, component.pixels,
                component.read_data, component.operand_data,
            )  # fmt: skip
            if load is not None:
                assert load_ready == taken
                if taken:
                    checked["loaded"] += 1
                    checked["beside"] += write
                    for i in range(first, last):
                        value = values[i] - (values[i] >> (bits - 1) << bits)
                        pending.append((cycle + ActivationMemory.WRITE_LATENCY, to + i, value))
                        changing[to + i] = cycle + ActivationMemory.WRITE_LATENCY
                    last_writes[-1] = last_writes[-1] | banks(to + first, last - first)
                    load = None
            # a write takes its banks in its third cycle, then the vector unit, but for the storer's turn
            writing = last_writes[cycle - 2] if cycle >= 2 else set()
            asks = banks(where, 1) if where is not None else set()
            wants = banks(operand, p.columns) if p.operands and operand is not None else set()
            mine, theirs = bool(wants) and not wants & writing, bool(asks) and not asks & writing
            checked["refused"] += bool(asks | wants) and not (mine or theirs)
            meet = bool(wants & asks)
            checked["both"] += mine and theirs and not meet
            if meet:  # the turn decides, even if who has it must wait for a write
                earlier = turns < ActivationMemory.PATIENCE
                mine, theirs = mine and earlier, theirs and not earlier
                checked["turns"] += mine
                checked["yielded"] += theirs
            if asks:
                assert ready == theirs
            if wants:
                assert operand_ready == mine
            if mine and meet:
                turns += 1
            if mine:
                operands[cycle + ActivationMemory.OPERAND_LATENCY] = seen(range(operand, operand + p.columns), cycle)
                operand = None
            if theirs:
                piece = where - where % p.bus_elements
                reads[cycle + ActivationMemory.READ_LATENCY] = seen(range(piece, piece + p.bus_elements), cycle)
                where, turns = None, 0

            mask = (1 << p.activation_bits) - 1
            for found, expected in zip(plain(pixels), windows.pop(cycle, [None] * p.rows), strict=True):
                if expected is not None:
                    assert (found - expected) & mask == 0, (cycle, found, expected)
                    checked["window"] += 1
            for i, expected in enumerate(reads.pop(cycle, [])):
                if expected is not None:
                    assert plain(content) >> (i * bits) & ((1 << bits) - 1) == expected & ((1 << bits) - 1)
                    checked["read"] += 1
            for i, expected in enumerate(operands.pop(cycle, [])):
                if expected is not None:
                    assert vector[i] == expected, (cycle, i)
                    checked["operand"] += 1

    run(component, bench)
    assert checked["window"] > 700
    assert checked["read"] > 150
    assert checked["refused"] > 30
    assert checked["loaded"] > 300
    assert checked["beside"] > 10, "of another bank's"
    if p.operands:
        assert checked["operand"] > 150
        assert checked["turns"] > 50, "the vector unit goes first"
        assert checked["yielded"] > 5, "but for every fourth turn"
        assert checked["both"] > 50, "each in its bank"


def test_the_storer_gets_every_fourth_turn():
    """In a bank that all ask for without pause, behind its writes; in another, every cycle."""
    component = activations(Parameters(rows=4, columns=4, activation_kib=1, operands=True))
    assert len(component.write.data) == 8
    served = []

    async def bench(ctx):
        ctx.set(component.read_valid, 1)
        ctx.set(component.operand_valid, 1)
        ctx.set(component.write.high, 4)
        for cycle in range(300):
            ctx.set(component.write.valid, cycle >= 100 and cycle % 2)
            ctx.set(component.read_address, 8 if cycle >= 200 else 0)
            _, _, storer, vector = await ctx.tick().sample(component.read_ready, component.operand_ready)
            served.append({(0, 0): "w", (0, 1): "v", (1, 0): "s", (1, 1): "b"}[storer, vector])

    run(component, bench)
    assert "".join(served[:100]) == "vvvs" * 25
    assert "".join(served[:200]).replace("w", "") == "vvvs" * 37 + "vvv"
    assert served[105:200:2] == ["w"] * 48
    assert served[:200].count("w") == 49
    assert "".join(served[202:]) == "bs" * 49
