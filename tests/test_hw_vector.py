"""The vector unit against golden: windows of sums and of maps, every setting, its memory port contended."""

import random
from collections import deque
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from systolith import golden
from systolith.hw.compiler.formats import ONE, fixed_scales
from systolith.hw.compiler.tables import addition_tables, extremum_tables, normalization_tables, unary_tables
from systolith.hw.engine.accumulators import Accumulators
from systolith.hw.engine.activations import ActivationMemory
from systolith.hw.engine.sizes import vector_configuration
from systolith.hw.engine.vector import VectorUnit
from systolith.hw.isa.parameters import Parameters
from systolith.hw.isa.program import (
    Combine,
    Operation,
    encode,
    vector_bits,
)
from systolith.quant import (
    AveragePool,
    Extremum,
    FeatureMap,
    MaxPool,
    Normalization,
    Table,
)
from systolith.quant.graph import product_factor

from .hw_streams import STALLS, packed, plain, run, source

BIG = 1 << 20


def parameter_rows(p, bias, mantissas, shifts):
    """Bit-sliced over weight rows: row j holds bits j * word_bits and up of every channel's 64."""
    rows = [0] * p.parameter_rows
    for c, (b, mantissa, shift) in enumerate(zip(bias, mantissas, shifts, strict=True)):
        word = (int(b) & 0xFFFFFFFF) | int(mantissa) << 32 | int(shift) << 56
        for j in range(p.parameter_rows):
            rows[j] |= (word >> (j * p.word_bits) & ((1 << p.word_bits) - 1)) << (c * p.word_bits)
    return rows


class Board:
    """Activation memory full of noise, in which maps, tables and results get places of their own."""

    def __init__(self, p, rng):
        self.p, self.rng, self.used = p, rng, 0
        reach = 1 << (8 * p.element_bytes - 1)
        self.memory = np.random.default_rng(rng.getrandbits(32)).integers(-reach, reach, p.activation_elements)

    def place(self, values):
        """Address of ``values``, a flat array."""
        address = self.space(len(values))
        self.memory[address : address + len(values)] = values
        return address

    def space(self, count):
        address = self.used + (self.rng.randint(0, 3) if self.used else 0)  # the first begins at 0
        self.used = address + count
        assert self.used <= len(self.memory)
        return address


@dataclass
class Step:
    """An instruction, and what it must leave in memory, address to element; gaps in cycles from vector to vector."""

    operation: Operation
    fields: dict
    tiles: list = field(default_factory=list)  # sums and parameters, a channel tile each
    expected: dict = field(default_factory=dict)
    gaps: list = field(default_factory=list)

    @property
    def word(self):
        return int.from_bytes(encode(self.operation, **self.fields), "little") & ((1 << 512) - 1)


class Work:
    """Settings, and a few instructions that run with them.

    kind : sums, max, total, normalize, product or affine;  combine : what comes behind;  size : of the normalization
    window : kernel and strides, by default random
    """

    def __init__(self, p, rng, board, kind, combine=Combine.NONE, *, pool=True, raw=False, size=1, window=None):
        self.p, self.rng, self.board = p, rng, board
        self.numpy = np.random.default_rng(rng.getrandbits(32))
        self.kind, self.combine, self.raw, self.size = kind, combine, raw, size
        self.before = (size - 1) // 2
        pool = pool and kind not in ("normalize", "product", "affine")
        self.spread = kind == "product" and rng.random() < 0.5
        self.kernel = (rng.randint(1, 3), rng.randint(1, 3)) if pool else (1, 1)
        self.strides = (rng.randint(1, 3), rng.randint(1, 3)) if pool else (1, 1)
        if window is not None:
            self.kernel, self.strides = window
        self.slides = kind == "total" and 2 <= self.kernel[1] <= p.sliding
        if kind == "normalize":
            full = p.columns - size + 1
        else:
            full = p.columns if rng.random() < 0.7 else rng.randint(1, p.columns)
        self.counts = [full] * rng.randint(0, 2) + [rng.randint(1, full)]
        self.full, self.depth = full, sum(self.counts)
        self.each = p.sum_elements if raw else 1
        self.pixel = self.depth * self.each + rng.choice([0, 0, 3])
        self._formats()
        self.steps = [Step(Operation.SETUP, self._settings())]
        self.steps += [self._piece() for _ in range(rng.randint(1, 2))]

    def _format(self, scale=1.0):
        reach = 1 << (self.p.activation_bits - 1)
        low, high = self.rng.choice([(-reach, reach - 1), (-reach // 2, reach - 1), (-reach, reach // 2)])
        zero_point = self.rng.choice([low, high, 0, self.rng.randint(low, high)])
        return FeatureMap("", (1, 1, 1), np.float32(scale), zero_point, low, high)

    def _scale(self):
        return self.rng.uniform(0.01, 0.06)

    def _formats(self):
        rng = self.rng
        self.source = self._format(self._scale())
        same = self.kind in ("max", "copy")
        self.middle = self.source if same else self._format(self._scale())
        self.final, self.added = self._format(self._scale()), self._format(self._scale())
        if not self.p.multiplier:
            self.middle = self.source if self.kind == "max" else self._format(2.0 ** rng.randint(-6, -4))
        self.tables = None
        if self.kind == "product":
            self._products()
        if self.combine == Combine.TABLE:
            values = self.numpy.integers(self.final.low, self.final.high + 1, self.middle.high - self.middle.low + 1)
            self.table = Table("t", "Random", "x", "y", values.astype(np.int32))
            self.tables = unary_tables(self.table, self.middle, 0, 0)
        elif self.combine in (Combine.MAXIMUM, Combine.MINIMUM):
            self.tables = extremum_tables((self.middle, self.added), (0, 0), self.final, 0)
        elif self.combine == Combine.ADD:
            self.tables = addition_tables((self.middle, self.added), (0, 0), self.final, 0, "sum")
        if self.kind == "normalize":
            reach = max(self.source.high - self.source.zero_point, self.source.zero_point - self.source.low)
            shift = max(0, (self.size * reach**2).bit_length() - 16)
            coarse = self.numpy.integers(2**20, 2**24 - 2**19, 256).astype(np.int32)
            fine = self.numpy.integers(-(2**18), 2**18, 256).astype(np.int32)
            exponent = rng.randint(22, 27)
            self.norm = Normalization("n", "x", "y", self.size, 1e-4, 0.75, 1.0, shift, exponent, coarse, fine)
            self.tables = normalization_tables(self.norm)

    def _products(self):
        """Maps whose products have a factor, a power of two where there is no other."""
        if not self.p.multiplier:
            self.source, self.added = (self._format(2.0 ** self.rng.randint(-6, -4)) for _ in range(2))
        scale = np.float32(self.source.scale * self.added.scale * 2.0 ** self.rng.randint(4, 8))
        self.middle, self.factor = self._format(scale), None
        while self.factor is None:
            if self.p.multiplier:
                self.middle = replace(self.middle, scale=np.float32(self.middle.scale * self.rng.uniform(0.9, 1.2)))
            self.factor = product_factor(self.source, self.added, self.middle)

    def _settings(self):
        rng = self.rng
        f = {
            "wait": rng.randrange(16), "post": rng.randrange(16), "from_map": self.kind != "sums",
            "total": self.kind == "total", "raw": self.raw, "combine": int(self.combine),
            "normalize": self.kind == "normalize", "slides": self.slides,
            "window_rows": self.kernel[0] - 1, "window_columns": self.kernel[1] - 1,
            "stride_rows": self.strides[0], "stride_columns": self.strides[1],
            "column_step": self.pixel, "tile_step": self.full * self.each,
            "operand_column_step": 0 if self.spread else self.depth, "operand_tile_step": self.full,
            "zero_point": self.middle.zero_point, "low": self.middle.low, "high": self.middle.high,
            "final_low": self.final.low, "final_high": self.final.high,
            # what does not matter, where it must not
            "source_zero": rng.randint(-99, 99), "mantissa": rng.getrandbits(24), "shift": rng.getrandbits(8),
            "depth": rng.getrandbits(16), "before": 0, "size": rng.getrandbits(4), "drop": rng.getrandbits(5),
            "tables": rng.getrandbits(24), "operand_zero": rng.randint(-99, 99),
        }  # fmt: skip
        step = 1 if self.kind == "sums" else self.depth
        f |= {"source_column_step": self.strides[1] * step, "window_column_step": step}
        if self.kind != "sums":
            scale = ONE
            if self.kind == "total":
                count = self.kernel[0] * self.kernel[1]
                if not self.p.multiplier:  # only powers of two
                    scale = (ONE[0], ONE[1] + rng.randint(0, 4))
                    ratio = float(2.0 ** (ONE[1] - scale[1]))
                    self.source = FeatureMap(
                        "", (1, 1, 1), np.float32(ratio * count * float(self.middle.scale)), self.source.zero_point,
                        self.source.low, self.source.high,
                    )  # fmt: skip
                ratio = np.float32(self.source.scale / np.float32(self.middle.scale * np.float32(count)))
                mantissas, shifts = fixed_scales(np.array([ratio]), "")
                scale = int(mantissas[0]), int(shifts[0])
                assert self.p.multiplier or scale[0] == ONE[0]
            if self.kind == "product":
                mantissas, shifts = fixed_scales(np.array([self.factor]), "")
                scale = int(mantissas[0]), int(shifts[0])
                f["operand_zero"] = self.added.zero_point
                assert self.p.multiplier or scale[0] == ONE[0]
            if self.kind == "affine":  # each channel has its own
                scale = rng.getrandbits(24), rng.getrandbits(8)
                f["operand_tile_step"] = 9 * self.p.columns + rng.choice([0, 5])
            f |= {"mantissa": scale[0], "shift": scale[1], "source_zero": self.source.zero_point}
            f["source_tile_step"] = self.full
        if self.kind == "normalize":
            f |= {
                "size": self.size - 1, "before": self.before, "drop": self.norm.shift,
                "shift": self.norm.exponent - 20, "depth": self.depth + self.before,
            }  # fmt: skip
        if self.tables is not None:
            f |= {"load_tables": 1, "tables": self.board.place(self.tables.astype("<i4").view("<i1"))}
        return f

    def _piece(self):
        rng, p = self.rng, self.p
        rows, columns = (
            rng.randint(k, max(4, k + 4 * axis) if self.slides else 4) for axis, k in enumerate(self.kernel)
        )
        pads = tuple(rng.randrange(k) for k in self.kernel * 2)
        pool = MaxPool("pool", "x", "y", self.kernel, self.strides, pads)
        sizes = (rows, columns)
        outputs = tuple(
            (sizes[a] + pads[a] + pads[a + 2] - self.kernel[a]) // self.strides[a] + 1 for a in (0, 1)
        )  # fmt: skip
        step = Step(
            Operation.VECTOR,
            {
                "wait": rng.randrange(16), "post": rng.randrange(16), "tiles": len(self.counts) - 1,
                "rows": outputs[0] - 1, "columns": outputs[1] - 1, "first_row": -pads[0], "first_column": -pads[1],
                "map_rows": rows, "map_columns": columns, "channels": self.full, "last_channels": self.counts[-1],
                "operand": rng.getrandbits(p.address_bits), "operand_row_step": rng.getrandbits(24),
            },
        )  # fmt: skip
        if self.kind == "sums":
            sums, bias, scale = self._sums(step, rows, columns)
            values = golden.max_pool(pool, sums[None]) + bias[:, None, None]
            pitch, origin = columns, 0
            if not self.raw:
                values = golden.requantize(values.astype(np.int32), scale, self.middle)
        else:
            values, pitch, origin = self._map(pool, rows, columns)
        # first_row and first_column may be negative: so may the address be, which wraps
        across = pads[1] if self.kind == "sums" else pads[1] * self.depth
        step.fields |= {
            "source": (origin - pads[0] * pitch - across) % (1 << 24),
            "source_row_step": self.strides[0] * pitch, "window_row_step": pitch,
        }  # fmt: skip
        if self.combine == Combine.TABLE:
            values = golden.look_up(values, self.table.values, self.middle)
        elif self.combine == Combine.ADD:
            operand = self._operand(step, outputs)
            values = golden.add(values, operand, (self.middle, self.added), self.final)
        elif self.combine in (Combine.MAXIMUM, Combine.MINIMUM):
            operand = self._operand(step, outputs)
            layer = Extremum("e", ("x", "z"), "y", "Max" if self.combine == Combine.MAXIMUM else "Min")
            values = golden.extremum(layer, values, operand, (self.middle, self.added), self.final)
        elif self.combine == Combine.MULTIPLY:
            operand = self._operand(step, outputs)
            values = golden.multiply(values, operand, (self.source, self.added), self.middle)
        elif self.combine == Combine.AFFINE:
            values = self._scaled(step, values)
        self._results(step, outputs, values[0])
        adds = self.combine not in (Combine.NONE, Combine.TABLE, Combine.AFFINE)
        whole, each = (max(self.kernel[0] * n + adds, p.lane_groups) for n in (self.kernel[1], self._columns_read()))
        step.gaps = ([whole] + [each] * (outputs[1] - 1)) * outputs[0]
        return step

    def _scaled(self, step, values):
        """Each channel with a factor, a bias and a scale, which are placed where ``step`` looks for them."""
        p, numpy = self.p, self.numpy
        tiles, apart = len(self.counts), self.steps[0].fields["operand_tile_step"]
        factors = numpy.integers(-128, 128, (tiles, p.columns))
        bias = numpy.integers(-BIG, BIG, factors.shape) >> numpy.integers(0, 20, factors.shape)
        mantissa = numpy.integers(2**23, 2**24, factors.shape) / 2**23 if p.multiplier else np.ones(factors.shape)
        scale = np.ldexp(mantissa, numpy.integers(-16, -4, factors.shape)).astype(np.float32)
        flat = numpy.integers(-128, 128, (tiles, apart))
        for tile, (mantissas, shifts) in enumerate(fixed_scales(some, "") for some in scale):
            words = (bias[tile] & 0xFFFFFFFF) | (mantissas << 32) | (shifts << 56)
            rows = np.array([[int(word) >> 8 * j & 0xFF for word in words] for j in range(8)], np.uint8).view(np.int8)
            flat[tile, : 9 * p.columns] = [*rows.reshape(-1), *factors[tile]]
        step.fields["operand"] = self.board.place(flat.reshape(-1))
        where = [(tile, channel) for tile, count in enumerate(self.counts) for channel in range(count)]
        of = (np.array([some[at] for at in where])[:, None, None] for some in (factors, bias))
        factor, added = of
        total = (values - self.source.zero_point) * factor + added
        return golden.requantize(total.astype(np.int32), np.array([scale[at] for at in where]), self.middle)

    def _columns_read(self):
        """Map columns that are read for each result but a row's first."""
        return self.strides[1] if self.slides else self.kernel[1]

    def _operand(self, step, outputs):
        """The other map, (1, channels, rows, columns), placed where ``step`` looks for it."""
        rows, columns = (1, 1) if self.spread else outputs
        gap = self.rng.choice([0, 7])
        operand = self.numpy.integers(self.added.low, self.added.high + 1, (self.depth, rows, columns))
        flat = np.zeros((rows, columns * self.depth + gap), np.int64)
        flat[:, : columns * self.depth] = operand.transpose(1, 2, 0).reshape(rows, -1)
        row_step = 0 if self.spread else flat.shape[1]
        step.fields |= {"operand": self.board.place(flat.reshape(-1)), "operand_row_step": row_step}
        return operand[None]

    def _sums(self, step, rows, columns):
        """Random accumulators and parameters, (channels, rows, columns), in tiles."""
        p, numpy = self.p, self.numpy
        limit = 1 << (p.sum_bits - 1)
        parts = []
        for count in self.counts:
            sums = numpy.integers(-limit, limit, (p.columns, rows, columns)) >> numpy.integers(0, p.sum_bits - 1)
            sums[numpy.random(sums.shape) < 0.05] = -limit
            bias = numpy.integers(-BIG, BIG, p.columns)
            mantissa = numpy.integers(2**23, 2**24, p.columns) / 2**23 if p.multiplier else np.ones(p.columns)
            scale = np.ldexp(mantissa, numpy.integers(-20, -2, p.columns)).astype(np.float32)
            carried = parameter_rows(p, bias, *fixed_scales(scale, ""))
            step.tiles.append((sums.reshape(p.columns, -1).T.tolist(), carried))
            parts.append((sums[:count], bias[:count], scale[:count]))
        return (np.concatenate(part) for part in zip(*parts, strict=True))

    def _map(self, pool, rows, columns):
        """(what requantization gives, elements from row to row, address of channel 0 as the first tile reads it)."""
        low, high = self.source.low, self.source.high
        values = self.numpy.integers(low, high + 1, (self.depth, rows, columns))
        values[self.numpy.random(values.shape) < 0.1] = low
        values[self.numpy.random(values.shape) < 0.1] = high
        pitch = columns * self.depth + self.rng.choice([0, 0, 5])
        flat = self.numpy.integers(low, high + 1, (rows, pitch))
        flat[:, : columns * self.depth] = values.transpose(1, 2, 0).reshape(rows, -1)
        origin = self.board.place(flat.reshape(-1))
        values = values[None]
        if self.kind == "max":
            result = golden.max_pool(pool, values)
        elif self.kind == "total":
            layer = AveragePool("a", "x", "y", pool.kernel, pool.strides, pool.pads, include_pad=True)
            source = FeatureMap(
                "", values.shape[1:], self.source.scale, self.source.zero_point, low, high
            )  # fmt: skip
            result = golden.average(layer, values, source, self.middle)
        elif self.kind in ("product", "affine"):
            result = values
        else:
            result = golden.normalize(self.norm, values, self.source, self.middle)
        return result, pitch, origin - self.before

    def _results(self, step, outputs, values):
        p = self.p
        row_step = outputs[1] * self.pixel + self.rng.randint(0, 5)
        chip = self.board.space(outputs[0] * row_step)
        step.fields |= {"chip": chip, "row_step": row_step}
        mask = (1 << 8 * p.element_bytes) - 1
        for y in range(outputs[0]):
            for x in range(outputs[1]):
                for c in range(self.depth):
                    at = chip + y * row_step + x * self.pixel + c * self.each
                    for part in range(self.each):
                        step.expected[at + part] = int(values[c, y, x]) >> (8 * p.element_bytes * part) & mask


def simulate(p, board, steps, stall, seed):
    """(writes with their cycle, gives with their cycle, reads)."""
    component, rng = VectorUnit(configuration=vector_configuration(p)), random.Random(seed)
    tokens = component.tokens
    tiles = deque(tile for step in steps for tile in step.tiles)
    writes, gives, taken = [], [], []
    wrap = 1 << p.address_bits
    memory = np.concatenate([board.memory, np.zeros(wrap, np.int64)])
    reads = []
    read_data, drain_data, written = (
        member.as_value() for member in (component.read_data, component.drained, component.write)
    )
    layout = component.write.shape()
    element_bits, sum_bits = len(read_data) // p.columns, len(drain_data) // p.columns

    async def surroundings(ctx):
        accumulators, fill, free_halves, free_slots, slot = [None, None], 0, 2, 2, 0
        queue, row, cycle = deque(tiles), 0, 0
        drained = deque([0] * (Accumulators.DRAIN_LATENCY - 1))  # read, and on their way
        answers = {}
        while True:
            ctx.set(tokens.ready, rng.random() >= stall)
            ready = rng.random() >= stall
            ctx.set(component.read_ready, ready)
            ctx.set(read_data, answers.pop(cycle, rng.getrandbits(len(read_data))))
            if len(drained) == Accumulators.DRAIN_LATENCY:
                ctx.set(drain_data, drained.popleft())
            # parameters arrive row by row into a free slot; then the tile's sums are complete
            complete = False
            ctx.set(component.parameter_write, 0)
            if queue and row < p.parameter_rows and free_slots and rng.random() >= stall:
                ctx.set(component.parameter_write, 1)
                ctx.set(component.parameter_row, slot * p.parameter_rows + row)
                ctx.set(component.parameter_data, queue[0][1][row])
                row += 1
                if row == p.parameter_rows:
                    free_slots -= 1
                    slot ^= 1
            elif queue and row == p.parameter_rows and free_halves and rng.random() >= stall:
                complete = True
                accumulators[fill] = queue.popleft()[0]
                fill ^= 1
                free_halves -= 1
                row = 0
            ctx.set(component.sums_ready, complete)
            half, address, write, give, give_to, half_free, slot_free, take, wait, wants, where = (
                await ctx.tick().sample(
                    component.drain_half, component.drain_address, written, tokens.give, tokens.give_to,
                    component.half_free, component.parameter_slot_free, tokens.take, tokens.wait,
                    component.read_valid, component.read_address,
                )
            )[2:]  # fmt: skip
            held = accumulators[half]
            inside = held is not None and address < len(held)
            drained.append(packed(held[address], sum_bits) if inside else rng.getrandbits(len(drain_data)))
            if wants and ready:
                reads.append((cycle, where))
                operands = memory[where : where + p.columns].tolist()
                answers[cycle + ActivationMemory.OPERAND_LATENCY] = packed(operands, element_bits)
            free_halves += half_free
            free_slots += slot_free
            assert free_halves <= 2
            assert free_slots <= 2
            if write & 1:  # valid, the layout's first bit
                writes.append((cycle, plain(layout.from_bits(write))))
            if give:
                gives.append((cycle, give_to))
            if take:
                taken.append(wait)
            cycle += 1

    async def end(ctx):
        while len(gives) < len(steps):
            await ctx.tick()
        for _ in range(40):
            await ctx.tick()
        assert ctx.get(component.idle)
        assert not ctx.get(component.read_valid)

    words = [step.word & ((1 << vector_bits(p.sliding > 0)) - 1) for step in steps]
    run(component, end, source(component.instructions, words), surroundings, cycles=60_000, clocked=True)
    assert taken == [step.fields["wait"] for step in steps]
    assert len(gives) == len(steps)
    return writes, gives, reads


def check(p, board, works, stall, seed=3):
    """Every instruction leaves what golden says and gives its tokens behind the last write; then there is silence."""
    steps = [step for work in works for step in work.steps]
    writes, gives, reads = simulate(p, board, steps, stall, seed)
    at = 0
    settings = {}
    for step, (given, give_to) in zip(steps, gives, strict=True):
        if step.operation == Operation.SETUP:
            settings = step.fields
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
        assert found == step.expected, step
        assert give_to == step.fields["post"]
        if not cycles:
            continue
        assert given >= cycles[-1] + ActivationMemory.WRITE_LATENCY, "a token before the last write"
        reads_maps = settings["from_map"] or settings["combine"] not in (Combine.NONE, Combine.TABLE)
        if not settings["raw"] and not (reads_maps and stall):
            for n, (before, after) in enumerate(pairwise(cycles), start=1):
                vector = n % len(step.gaps)
                assert not vector or after - before == step.gaps[vector]
    assert at == len(writes)
    return reads


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
WHOLE = {"operands": True, "tables": True}
READERS = {
    "1 of 4 lanes": {**WHOLE, "columns": 4, "lanes": 1},
    "all of 5 lanes": {**WHOLE, "columns": 5, "lanes": 5},
    "3 of 9 lanes": {**WHOLE, "columns": 9, "lanes": 3, "weight_bits": 5},
    "6 bits": {**WHOLE, "columns": 6, "lanes": 2, "activation_bits": 6},
    "no tables, 12 bits": {"operands": True, "columns": 5, "lanes": 2, "activation_bits": 12},
    "no tables, one column": {"operands": True, "columns": 1, "lanes": 1},
    "shift only": {**WHOLE, "columns": 8, "lanes": 3, "multiplier": False},
    "products": {"operands": True, "products": True, "columns": 5, "lanes": 2},
    "affine channels": {"operands": True, "affine": True, "columns": 5, "lanes": 2},
    "affine channels, all lanes": {"operands": True, "affine": True, "columns": 4, "lanes": 4, "weight_bits": 5},
    "affine channels by shifts": {**WHOLE, "affine": True, "columns": 4, "lanes": 3, "multiplier": False},
    "products by shifts": {**WHOLE, "products": True, "columns": 4, "lanes": 3, "multiplier": False},
    "all there is": {
        **WHOLE,
        "extrema": True,
        "products": True,
        "affine": True,
        "columns": 6,
        "lanes": 2,
        "normalization": 3,
    },
    "normalization": {**WHOLE, "columns": 5, "lanes": 2, "normalization": 3},
    "totals slide": {**WHOLE, "columns": 6, "lanes": 3, "sliding": 2},
}


def parameters(**sizes):
    return Parameters(**{"rows": 2, "sum_bits": 24, "activation_kib": 64, "accumulator_kib": 4, **sizes})


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_sums_are_pooled_and_requantized_as_golden_does(sizes, stall):
    p = parameters(**sizes)
    rng = random.Random(p.columns * 10 + p.lanes)
    board = Board(p, rng)
    works = [Work(p, rng, board, "sums", pool=kind == 1, raw=kind == 2) for kind in (0, 1, 2, 1, 0, 2, 0)]
    assert not check(p, board, works, stall), "it has no port to read"


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", READERS.values(), ids=READERS)
def test_whatever_the_settings_the_result_is_goldens(sizes, stall):
    """Sums and maps, windows, tables, vectors to add: in a random order, each with settings of its own."""
    p = parameters(**sizes)
    rng = random.Random(p.columns * 10 + p.lanes)
    board = Board(p, rng)
    combines = [Combine.NONE, Combine.TABLE, Combine.ADD] if p.tables else [Combine.NONE]
    combines += [Combine.MAXIMUM, Combine.MINIMUM] if p.extrema else []
    kinds = [(kind, combine) for kind in ("sums", "max", "total") for combine in combines]
    if p.normalization:
        kinds += [("normalize", Combine.NONE)]
    if p.products:
        kinds += [("product", Combine.MULTIPLY)] * 3
    if p.affine:
        kinds += [("affine", Combine.AFFINE)] * 3
    kinds += [("raw", Combine.NONE), ("copy", Combine.NONE), rng.choice(kinds)]
    rng.shuffle(kinds)
    works = []
    for kind, combine in kinds:
        size = rng.randint(1, p.normalization) if kind == "normalize" else 1
        pool = kind != "copy" and rng.random() < 0.8
        known = {"raw": "sums", "copy": "max"}.get(kind, kind)
        works.append(Work(p, rng, board, known, combine, pool=pool, raw=kind == "raw", size=size))
    check(p, board, works, stall)


SLIDING = {
    "1 of 3 lanes": {"operands": True, "columns": 3, "lanes": 1, "sliding": 7},
    "all lanes, and tables": {**WHOLE, "columns": 4, "lanes": 4, "sliding": 7},
    "16 columns are kept": {**WHOLE, "columns": 5, "lanes": 4, "sliding": 16},
    "no more sums than they need": {"operands": True, "columns": 2, "lanes": 2, "sliding": 7, "sum_bits": 15},
    "16 bits": {"operands": True, "columns": 4, "lanes": 4, "activation_bits": 16, "sliding": 7},
}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", SLIDING.values(), ids=SLIDING)
def test_totals_that_slide_are_goldens(sizes, stall):
    """Windows of 2 to 7 columns, whatever their rows, strides and padding, and maxima between them."""
    p = parameters(**sizes)
    rng = random.Random(p.columns * 10 + p.lanes)
    board = Board(p, rng)
    combines = [Combine.NONE, Combine.TABLE, Combine.ADD] if p.tables else [Combine.NONE]
    windows = [((rng.choice([1, 2, 3, k]), k), (rng.randint(1, 3), rng.randint(1, 2))) for k in range(2, 8)]
    windows += [((1, 2), (1, 1)), ((2, 3), (1, 5)), ((2, min(9, p.sliding)), (1, 1))]
    rng.shuffle(windows)
    works = []
    for window in windows:
        works.append(Work(p, rng, board, "total", rng.choice(combines), window=window))
        if rng.random() < 0.3:
            works.append(Work(p, rng, board, rng.choice(["sums", "max"]), rng.choice(combines)))
    assert all(work.slides for work in works if work.kind == "total")
    check(p, board, works, stall)


@pytest.mark.parametrize("least", [True, False])
def test_a_running_total_may_leave_its_bits(least):
    """Rows whose sums are far more, or less, than a sum holds: windows are exact all the same."""
    p = parameters(operands=True, columns=2, lanes=2, sliding=3, sum_bits=13)
    rng = random.Random(11)
    board = Board(p, rng)
    work = Work(p, rng, board, "total", window=((3, 3), (1, 1)))
    source = replace(work.source, low=-128, high=127, zero_point=-128 if least else 127)
    work.source = source
    constant = 127 if least else -128
    work.numpy = SimpleNamespace(integers=lambda low, high, shape: np.full(shape, constant), random=np.ones)
    work.steps = [Step(Operation.SETUP, work._settings()), *(work._piece() for _ in range(5))]
    check(p, board, [work], 0.0)


NEIGHBOURS = {
    "1 lane": {"columns": 4, "lanes": 1, "normalization": 4},
    "5 lanes": {"columns": 16, "lanes": 5, "normalization": 16},
    "all lanes": {"columns": 7, "lanes": 7, "normalization": 5},
}


@pytest.mark.parametrize("stall", STALLS)
@pytest.mark.parametrize("sizes", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_normalization_sees_a_maps_own_channels_only(sizes, stall):
    """Every size; first and last tiles, whose neighbours in memory are other pixels'."""
    p = parameters(**WHOLE, **sizes)
    rng = random.Random(p.columns)
    board = Board(p, rng)
    works = [Work(p, rng, board, "normalize", size=size) for size in range(1, p.normalization + 1)]
    works += [Work(p, rng, board, "normalize", size=rng.randint(1, p.normalization)) for _ in range(2)]
    assert {len(work.counts) for work in works} >= {1, 2}
    check(p, board, works, stall)


@pytest.mark.parametrize("stall", STALLS)
def test_tables_stay_until_others_are_loaded(stall):
    """Settings in between that use none do not disturb them."""
    p = parameters(**WHOLE, columns=6, lanes=2)
    rng = random.Random(4)
    board = Board(p, rng)
    first = Work(p, rng, board, "max", Combine.ADD)
    between = Work(p, rng, board, "sums", raw=True)
    again = Step(Operation.SETUP, {**first.steps[0].fields, "load_tables": 0, "tables": 0})
    more = [first._piece() for _ in range(3)]
    between.steps += [again, *more]
    other = Work(p, rng, board, "total", Combine.TABLE)
    check(p, board, [first, between, other], stall)


@pytest.mark.parametrize("columns", [4, 9, 16])
@pytest.mark.parametrize("stall", [0.0, 0.5, 0.9])
def test_tables_are_read_whole_and_once(columns, stall):
    p = parameters(**WHOLE, columns=columns, lanes=2)
    rng = random.Random(columns)
    board = Board(p, rng)
    work = Work(p, rng, board, "sums", Combine.TABLE)
    reads = check(p, board, [work], stall)
    first = work.steps[0].fields["tables"]
    assert [address for _, address in reads] == list(range(first, first + 2048, 4 * p.table_entries))


@pytest.mark.parametrize(("kind", "combine"), [("max", Combine.NONE), ("total", Combine.ADD), ("sums", Combine.ADD)])
def test_each_vector_is_read_once_in_order_without_waiting_between_them(kind, combine):
    """With the port to itself a read follows the other wherever a window is longer than the lanes are busy."""
    p = parameters(**WHOLE, columns=6, lanes=6)
    rng = random.Random(8)
    board = Board(p, rng)
    work = Work(p, rng, board, kind, combine)
    setup, step = work.steps[0], work.steps[1]
    work.steps = [setup, step]
    reads = check(p, board, [work], 0.0)
    loads = len(board.memory) and (512 // p.table_entries if setup.fields.get("load_tables") else 0)
    f, s = step.fields, setup.fields
    expected = []
    for tile in range(f["tiles"] + 1):
        for y in range(f["rows"] + 1):
            for x in range(f["columns"] + 1):
                if s["from_map"]:
                    corner = f["source"] + tile * s["source_tile_step"]
                    corner += y * f["source_row_step"] + x * s["source_column_step"]
                    expected += [
                        (corner + i * f["window_row_step"] + j * s["window_column_step"]) % (1 << p.address_bits)
                        for i in range(s["window_rows"] + 1)
                        for j in range(s["window_columns"] + 1)
                    ]
                if combine == Combine.ADD:
                    operand = f["operand"] + tile * s["operand_tile_step"]
                    expected.append(operand + y * f["operand_row_step"] + x * s["operand_column_step"])
    assert [address for _, address in reads[loads:]] == expected
