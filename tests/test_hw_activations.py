"""The activation memory's three ports, all at once, against an array of integers."""

import random

import numpy as np
import pytest

from systolith.hw.activations import ActivationMemory
from systolith.hw.parameters import Parameters

from .hw_streams import plain, run

SIZES = [
    {"rows": 5, "columns": 3, "bus_bytes": 8},
    {"rows": 3, "columns": 8, "bus_bytes": 16, "activation_bits": 16},
    {"rows": 2, "columns": 12, "bus_bytes": 4, "lanes": 5},
    {"rows": 9, "columns": 1, "bus_bytes": 4, "activation_bits": 5},
    {"rows": 1, "columns": 1, "bus_bytes": 4, "activation_bits": 12},
    {"rows": 4, "columns": 4, "bus_bytes": 8, "activation_kib": 3},
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_ports_at_the_same_time(sizes):
    p = Parameters(**{"activation_kib": 1, **sizes})
    component, rng = ActivationMemory(p), random.Random(p.line)
    wrap, elements = 1 << p.address_bits, p.activation_elements
    width = len(component.write.data)
    bits = 8 * p.element_bytes
    memory = np.zeros(elements, np.int64)  # signed elements
    changing = {}  # element: cycle from which its new value is to be seen
    windows, reads, checked = {}, {}, {"window": 0, "padding": 0, "read": 0, "refused": 0}
    focus = [0, elements // 2, elements - 2 * p.line]  # few places, so that ports meet

    def settled(address, cycle):
        return changing.get(address, 0) <= cycle

    async def bench(ctx):
        pending, last_writes = [], []
        for cycle in range(1500):
            for due, address, value in [w for w in pending if w[0] <= cycle]:
                memory[address] = value
                pending.remove((due, address, value))

            # write: any length at any alignment; a start before 0 whose first elements do not count is fine
            write = rng.random() < 0.5
            low = rng.randint(0, width)
            high = rng.randint(low, width)
            start = rng.choice(focus) + rng.randint(0, 2 * p.line)
            start = min(max(start, 0), elements - width) - (low if start == 0 or rng.random() < 0.1 else 0)
            start = max(start, -low)
            data = [rng.choice([0, (1 << bits) - 1, 1 << (bits - 1), rng.getrandbits(bits)]) for _ in range(width)]
            ctx.set(
                component.write,
                {"valid": write, "address": start % wrap, "low": low, "high": high, "data": data},
            )
            for i in range(low, high) if write else ():
                value = data[i] - (data[i] >> (bits - 1) << bits)
                pending.append((cycle + ActivationMemory.WRITE_LATENCY, start + i, value))
                changing[start + i] = cycle + ActivationMemory.WRITE_LATENCY
            last_writes.append(write)

            # window: any address; what lies outside the memory is masked
            at = rng.choice(focus) + rng.randint(-p.rows, 2 * p.line)
            first, last = rng.randint(0, p.rows), rng.randint(0, p.rows)
            first = max(first, -at)
            last = min(last, elements - at)
            first, last = min(first, p.rows), max(last, 0)
            reach = 1 << (p.activation_bits - 1)
            padding = rng.choice([0, -reach, rng.randint(0, reach - 1)])
            ctx.set(component.window_address, at % wrap)
            ctx.set(component.window_low, first)
            ctx.set(component.window_high, last)
            ctx.set(component.padding, padding)
            windows[cycle + ActivationMemory.WINDOW_LATENCY] = [
                (padding if not first <= i < last else None if not settled(at + i, cycle) else int(memory[at + i]))
                for i in range(p.rows)
            ]

            # storer
            where = min(rng.choice(focus) + rng.randint(0, 2 * p.line), elements - 1)
            asks = rng.random() < 0.5
            ctx.set(component.read_valid, asks)
            ctx.set(component.read_address, where)
            _, _, ready, pixels, content = await ctx.tick().sample(
                component.read_ready, component.pixels, component.read_data
            )
            if asks and ready:
                piece = where - where % p.bus_elements
                span = range(piece, piece + p.bus_elements)
                reads[cycle + ActivationMemory.READ_LATENCY] = [
                    int(memory[e]) if settled(e, cycle) else None for e in span
                ]
            assert ready == (cycle < 2 or not last_writes[cycle - 2]), "only a write in its third cycle refuses a read"
            checked["refused"] += not ready

            mask = (1 << p.activation_bits) - 1
            for found, expected in zip(plain(pixels), windows.pop(cycle, [None] * p.rows), strict=True):
                if expected is not None:
                    assert (found - expected) & mask == 0, (cycle, found, expected)
                    checked["window"] += 1
            for i, expected in enumerate(reads.pop(cycle, [])):
                if expected is not None:
                    assert plain(content) >> (i * bits) & ((1 << bits) - 1) == expected & ((1 << bits) - 1)
                    checked["read"] += 1

    run(component, bench)
    assert checked["window"] > 700
    assert checked["read"] > 150
    assert checked["refused"] > 100
