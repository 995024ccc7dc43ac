"""The vector unit against golden's pooling and requantization."""

import random
from collections import deque
from itertools import pairwise

import numpy as np
import pytest

from systolith import golden
from systolith.hw.activations import ActivationMemory
from systolith.hw.lowering import fixed_scales
from systolith.hw.parameters import Parameters
from systolith.hw.program import DRAIN
from systolith.hw.vector import VectorUnit
from systolith.quant import FeatureMap, MaxPool

from .hw_streams import STALLS, plain, run, source


def parameter_rows(p, bias, mantissas, shifts):
    """Bit-sliced over weight rows: row j holds bits j * weight_bits and up of every channel's 64."""
    rows = [0] * p.parameter_rows
    for c, (b, mantissa, shift) in enumerate(zip(bias, mantissas, shifts, strict=True)):
        word = (int(b) & 0xFFFFFFFF) | int(mantissa) << 32 | int(shift) << 56
        for j in range(p.parameter_rows):
            rows[j] |= (word >> (j * p.weight_bits) & ((1 << p.weight_bits) - 1)) << (c * p.weight_bits)
    return rows


class Work:
    """A random instruction, its sums, and what it must leave in memory."""

    def __init__(self, p, rng, *, raw, pool):
        kernel = (rng.randint(1, 3), rng.randint(1, 3)) if pool else (1, 1)
        strides = (rng.randint(1, 3), rng.randint(1, 3)) if pool else (1, 1)
        rows, columns = (rng.randint(k, 5) for k in kernel)
        pads = tuple(rng.randrange(k) for k in kernel * 2)
        layer = MaxPool("pool", "x", "y", kernel, strides, pads)
        sizes = (rows, columns)
        self.outputs = tuple((sizes[a] + pads[a] + pads[a + 2] - kernel[a]) // strides[a] + 1 for a in (0, 1))
        tiles = rng.randint(1, 3)
        last = rng.randint(1, p.columns)
        full = p.columns if rng.random() < 0.7 else rng.randint(1, p.columns)
        counts = [full] * (tiles - 1) + [last]
        each = p.sum_elements if raw else 1
        mask = (1 << 8 * p.element_bytes) - 1
        step = sum(counts) * each
        row_step = self.outputs[1] * step + rng.randint(0, 5)
        self.span = self.outputs[0] * row_step + 1
        chip = rng.randint(0, p.activation_elements - self.span)
        reach = 1 << (p.activation_bits - 1)
        low, high = rng.choice([(-reach, reach - 1), (-reach // 2, reach - 1)])
        zero_point = rng.choice([low, high, 0, rng.randint(low, high)])
        target = FeatureMap("y", (1, 1, 1), np.float32(1), zero_point, low, high)
        self.fields = {
            "wait": rng.randrange(16), "post": rng.randrange(16), "raw": raw, "tiles": tiles - 1,
            "rows": self.outputs[0] - 1, "columns": self.outputs[1] - 1,
            "window_rows": kernel[0] - 1, "window_columns": kernel[1] - 1,
            "stride_rows": strides[0], "stride_columns": strides[1],
            "first_row": -pads[0], "first_column": -pads[1], "map_rows": rows, "map_columns": columns,
            "first_address": -pads[0] * columns, "stride_address": strides[0] * columns,
            "chip": chip, "row_step": row_step, "column_step": step, "tile_step": full * each,
            "channels": full, "last_channels": last, "zero_point": zero_point, "low": low, "high": high,
        }  # fmt: skip
        self.fields = {n: v & ((1 << DRAIN[n].width) - 1) for n, v in self.fields.items()}
        numpy = np.random.default_rng(rng.getrandbits(32))
        self.tiles, self.expected = [], {}
        offset = 0
        for count in counts:
            limit = 1 << (p.sum_bits - 1)
            sums = numpy.integers(-limit, limit, (p.columns, rows, columns)) >> numpy.integers(0, p.sum_bits - 1)
            sums[numpy.random(sums.shape) < 0.05] = -limit
            bias = numpy.integers(-(1 << 20), 1 << 20, p.columns)
            mantissa = numpy.integers(2**23, 2**24, p.columns) / 2**23 if p.multiplier else np.ones(p.columns)
            scale = np.ldexp(mantissa, numpy.integers(-20, -2, p.columns)).astype(np.float32)
            pooled = golden.max_pool(layer, sums[None])
            values = pooled + bias[:, None, None]
            if not raw:
                values = golden.requantize(values.astype(np.int32), scale, target)
            carried = parameter_rows(p, bias, *fixed_scales(scale, ""))
            self.tiles.append((sums.reshape(p.columns, -1).T.tolist(), carried))
            for y in range(self.outputs[0]):
                for x in range(self.outputs[1]):
                    for c in range(count):
                        at = chip + y * row_step + x * step + (offset + c) * each
                        value = int(values[0, c, y, x])
                        for part in range(each):
                            self.expected[at + part] = value >> (8 * p.element_bytes * part) & mask
            offset += count
        self.interval = max(kernel[0] * kernel[1], p.lane_groups)


def simulate(p, works, stall, seed):
    """(writes with their cycle, gives with their cycle)."""
    component, rng = VectorUnit(p), random.Random(seed)
    tiles = deque(tile for work in works for tile in work.tiles)
    count = len(tiles)
    writes, gives, taken = [], [], []

    async def surroundings(ctx):
        accumulators, fill, free_halves, free_slots, slot = [None, None], 0, 2, 2, 0
        queue, row, complete, cycle, asked = deque(tiles), 0, 0, 0, None
        while True:
            ctx.set(component.tokens, rng.random() >= stall)
            if asked is not None:
                half, address = asked
                held = accumulators[half]
                inside = held is not None and address < len(held)
                ctx.set(component.drained, held[address] if inside else [rng.randrange(-99, 99)] * p.columns)
            # parameters arrive row by row into a free slot; then the tile's sums are complete
            ready = False
            ctx.set(component.parameter_write, 0)
            if queue and row < p.parameter_rows and free_slots and rng.random() >= stall:
                ctx.set(component.parameter_write, 1)
                ctx.set(component.parameter_row, slot * p.parameter_rows + row)
                ctx.set(component.parameter_data, queue[0][1][row])
                row += 1
                if row == p.parameter_rows:
                    free_slots -= 1
                    slot ^= 1
                    complete += 1
            elif queue and row == p.parameter_rows and free_halves and rng.random() >= stall:
                ready = True
                accumulators[fill] = queue.popleft()[0]
                fill ^= 1
                free_halves -= 1
                row = 0
            ctx.set(component.sums_ready, ready)
            half, address, write, give, give_to, half_free, slot_free, take = (
                await ctx.tick().sample(
                    component.drain_half, component.drain_address, component.write, component.give,
                    component.give_to, component.half_free, component.parameter_slot_free, component.take,
                )
            )[2:]  # fmt: skip
            asked = (half, address)
            free_halves += half_free
            free_slots += slot_free
            assert free_halves <= 2
            assert free_slots <= 2
            if write.valid:
                writes.append((cycle, plain(write)))
            if give:
                gives.append((cycle, give_to))
            if take:
                taken.append(cycle)
            cycle += 1

    async def end(ctx):
        while len(gives) < len(works):
            await ctx.tick()
        for _ in range(40):
            await ctx.tick()
        assert ctx.get(component.idle)

    run(component, end, source(component.instructions, [w.fields for w in works]), surroundings)
    assert count
    assert len(taken) == len(works) == len(gives)
    return writes, gives


SIZES = {
    "1 lane": {"columns": 3, "lanes": 1},
    "2 of 5 lanes": {"columns": 5, "lanes": 2},
    "all lanes": {"columns": 4, "lanes": 4},
    "one column": {"columns": 1, "lanes": 1, "weight_bits": 3},
    "16-bit weights": {"columns": 4, "lanes": 2, "weight_bits": 16},
    "5-bit weights": {"columns": 3, "lanes": 2, "weight_bits": 5},
    "2-bit weights": {"columns": 2, "lanes": 2, "weight_bits": 2},
    "12-bit activations": {"columns": 6, "lanes": 4, "activation_bits": 12, "weight_bits": 7},
    "shift only": {"columns": 3, "lanes": 2, "multiplier": False},
}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_vector_unit_matches_golden(sizes, stall):
    p = Parameters(rows=2, sum_bits=24, activation_kib=4, accumulator_kib=1, **sizes)
    rng = random.Random(p.columns * 10 + p.lanes)
    works = [Work(p, rng, raw=kind == 2, pool=kind == 1) for kind in (0, 1, 2, 1, 1, 0, 2, 0)]
    writes, gives = simulate(p, works, stall, 3)
    at = 0
    for work, (given, give_to) in zip(works, gives, strict=True):
        found, cycles = {}, []
        while at < len(writes) and writes[at][0] < given:
            cycle, write = writes[at]
            assert write["low"] < write["high"], "a write of nothing"
            for i in range(write["low"], write["high"]):
                address = write["address"] + i
                assert address not in found, "written twice"
                found[address] = write["data"][i] & ((1 << 8 * p.element_bytes) - 1)
            cycles.append(cycle)
            at += 1
        assert found == work.expected
        assert give_to == work.fields["post"]
        assert given >= cycles[-1] + ActivationMemory.WRITE_LATENCY, "a token before the last write"
        if not work.fields["raw"]:
            gaps = [b - a for a, b in pairwise(cycles)]
            per_tile = len(cycles) // len(work.tiles)
            inside = [gap for n, gap in enumerate(gaps) if (n + 1) % per_tile]
            assert inside == [work.interval] * len(inside)
    assert at == len(writes)
