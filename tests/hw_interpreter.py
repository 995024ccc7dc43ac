"""Runs a program as docs and docstrings define it: one instruction after the other, NumPy on byte arrays.

It knows the instruction set and nothing of the planner or the circuits.  It is strict where the hardware trusts the
planner: an element that counts must have been written, every access must lie inside its memory, every partial sum
must fit the accumulators, and every weight that was fetched must be used.
"""

from __future__ import annotations

from collections import defaultdict, deque
from typing import Any

import numpy as np

from systolith.hw.isa.check import sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES, PARAMETER_BITS, Parameters
from systolith.hw.isa.program import LAYOUTS, Operation, decode

SIGNED = {
    "padding", "column", "line", "first_row", "first_column", "zero_point", "low", "high", "final_low", "final_high",
    "source_zero", "operand_zero",
}  # fmt: skip
UNWRITTEN = 1 << 40
WRAP = 1 << 24


class Machine:
    """State of an accelerator and its memory; ``run`` executes the program in it."""

    def __init__(self, parameters: Parameters, memory_bytes: int) -> None:
        self.p = parameters
        self.dram = np.full(memory_bytes, 0xA5, np.uint8)
        self.dram_written = np.zeros(memory_bytes, np.int64)
        self.chip = np.full(parameters.activation_elements, UNWRITTEN, np.int64)
        self.bits = np.zeros(0, np.uint8)
        self.draining: deque[list[Any]] = deque()
        self.channels: list[np.ndarray] = []
        self.sums: np.ndarray | None = None
        self.settings: dict[str, int] = {}
        self.tables = np.zeros(512, np.int64)
        self.executed: list[Operation] = []
        self.results: list[np.ndarray] = []
        """What the vector unit wrote for each channel tile, (rows, columns, elements), in order."""
        self.reads: dict[int, list[np.ndarray]] = defaultdict(list)
        self.writes: dict[int, list[np.ndarray]] = defaultdict(list)
        """Elements of activation memory that each instruction touched and that count, by its place in the program."""

    def run(self, address: int) -> None:
        """Execute from ``address`` to END."""
        first = address
        while True:
            words = self.dram[address : address + INSTRUCTION_BYTES]
            operation, fields = decode(words.tobytes())
            for name in SIGNED & set(fields):
                width = LAYOUTS[operation][name].width
                fields[name] -= (fields[name] >> (width - 1)) << width
            fields["number"] = len(self.executed)
            self.executed.append(operation)
            if operation == Operation.END:
                break
            getattr(self, f"_{operation.name.lower()}")(fields)
            address += INSTRUCTION_BYTES
        program = self.dram[first : address + INSTRUCTION_BYTES].tobytes()
        assert program == sealed(program), "a check is wrong"
        assert not self.draining, "a vector instruction still waits for sums"
        assert not self.bits.size, "weights were fetched and not used"

    def _begin(self, f: dict[str, int]) -> None:
        assert f["fingerprint"] == self.p.fingerprint
        stamp = self.dram[:INSTRUCTION_BYTES].tobytes()
        assert decode(stamp) == (Operation.IMAGE, {"image": f["image"]})
        assert stamp == sealed(stamp)

    def _load(self, f: dict[str, int]) -> None:
        for row in range(f["rows"] + 1):
            start, count = f["dram"] + row * f["dram_step"], f["bytes"] + 1
            assert start % self.p.element_bytes == 0
            assert start + count <= len(self.dram)
            values = self.dram[start : start + count].view(f"<i{self.p.element_bytes}")
            self._place(f, f["chip"] + row * f["chip_step"], values)

    def _store(self, f: dict[str, int]) -> None:
        assert not self.draining, "a store runs ahead of the vector unit"
        each = self.p.element_bytes
        for row in range(f["rows"] + 1):
            start, chip = f["dram"] + row * f["dram_step"], f["chip"] + row * f["chip_step"]
            end = start + f["bytes"] + 1
            assert start // each % self.p.bus_elements == chip % self.p.bus_elements, "sides differ within a beat"
            assert end <= len(self.dram)
            values = self.chip[chip : chip + (end - start) // each]
            assert len(values) == (end - start) // each
            self.reads[f["number"]].append(chip + np.arange(len(values)))
            assert (values != UNWRITTEN).all(), "stores what nobody wrote"
            self.dram[start:end] = values.astype(f"<i{each}").view(np.uint8)
            self.dram_written[start:end] += 1

    def _place(self, f: dict[str, int], address: int, values: np.ndarray) -> None:
        assert address >= 0
        self.writes[f["number"]].append(address + np.arange(len(values)))
        assert address + len(values) <= len(self.chip), "writes beyond the activation memory"
        self.chip[address : address + len(values)] = values

    def _weights(self, f: dict[str, int]) -> None:
        assert f["dram"] % self.p.bus_bytes == 0
        end = f["dram"] + (f["beats"] + 1) * self.p.bus_bytes
        assert not self.bits.size, "a stream of weights begins before the one before it ended"
        self.bits = np.unpackbits(self.dram[f["dram"] : end], bitorder="little")

    def _take(self, count: int, width: int) -> np.ndarray:
        assert count * width <= len(self.bits), "the weights run out"
        taken, self.bits = self.bits[: count * width], self.bits[count * width :]
        return taken.reshape(count, width)

    def _array(self, f: dict[str, int]) -> None:
        p = self.p
        rows, columns = (len(at) for at in self._counting(f))
        assert rows * columns <= p.accumulator_depth
        assert f["passes"] + 1 == (f["kernel_rows"] + 1) * (f["kernel_columns"] + 1) * (f["chunks"] + 1)
        for tile in range(f["tiles"] + 1):
            if f["parameters"]:
                self.channels.append(self._take(p.parameter_rows * p.columns, p.word_bits))
            if f["first"]:
                assert self.sums is None, "sums that nobody drained are begun anew"
                self.sums = np.zeros((rows, columns, p.columns), np.int64)
            assert self.sums is not None
            assert self.sums.shape[:2] == (rows, columns)
            for ky in range(f["kernel_rows"] + 1):
                for kx in range(f["kernel_columns"] + 1):
                    for chunk in range(f["chunks"] + 1):
                        column = f["column"] + tile * f["tile_step"] + kx * f["kernel_column_step"] + chunk * p.rows
                        self._pass(f, ky, column)
            if f["last"]:
                self._drain(self.sums)
                self.sums = None
        if f["flush"]:
            assert len(self.bits) < 8 * p.bus_bytes, "whole beats of weights are left over"
            self.bits = self.bits[:0]

    def _counting(self, f: dict[str, int]) -> tuple[range, range]:
        """Rows and columns of windows that give results."""
        rows = range(f["skip"], f["rows"] + 1, f["row_stride"] + 1)
        return rows, range(0, f["columns"] + 1 - f["tail"], f["column_stride"] + 1)

    def _depthwise_pass(self, f: dict[str, int], weights: np.ndarray, ky: int, column: int) -> np.ndarray:
        """(rows, columns, C) of a pass whose columns have a channel each."""
        p = self.p
        assert f["tail"] < p.line_taps, "taps beyond a line's"
        dilation, rest = divmod(f["delay"] + 2 - p.line_taps, f["columns"] + 1)
        assert f["skip"] == 0 or (f["delay"] < p.line_buffer and rest == 0), "lines that are not rows"
        channels = np.arange(p.depthwise_channels)
        rows, columns = self._counting(f)
        sums = np.zeros((len(rows), len(columns), p.columns), np.int64)
        for r, c in zip(*np.nonzero(weights[:, : len(channels)]), strict=True):
            above, tap = divmod(int(r), p.line_taps)
            assert above < p.kernel_lines, "a row of no line has weights"
            y = np.array(rows)[:, None] - above * dilation
            x = np.array(columns) + tap
            assert y.min() >= 0, "a line before the pass's first"
            assert x.max() <= f["columns"], "a tap beyond the row of windows"
            line = f["line"] + ky * f["kernel_line_step"] + y * f["line_step"]
            at = column + x * f["column_step"] + int(c) // p.columns_per_multiplier * p.columns_per_multiplier
            address = (f["row"] + ky * f["kernel_row_step"] + y * f["row_step"] + at) % WRAP
            counts = (line >= 0) & (line < f["lines"]) & (at >= 0) & (at < f["row_elements"])
            assert (address[counts] < len(self.chip)).all(), "reads beyond the activation memory"
            self.reads[f["number"]].append(np.unique(address[counts]))
            pixels = np.where(counts, self.chip[address % len(self.chip)], f["padding"])
            assert (pixels != UNWRITTEN).all(), "reads what nobody wrote"
            sums[:, :, c] += pixels * weights[r, c]
        assert not weights[:, len(channels) :].any(), "a column without a channel has weights"
        return sums

    def _tile(self, packed: int) -> np.ndarray:
        """(R, C) weights of words that carry ``packed`` rows."""
        p = self.p
        assert packed <= p.packing, "rows in a word that the array cannot take apart"
        together, width = min(packed, p.row_parts), p.word_bits // packed
        words = self._take(p.rows // packed * p.columns, p.word_bits)[:, : width * packed]
        powers = 1 << np.arange(width)
        powers[-1] *= -1
        # (words, C, cycles of a word, rows at once)
        values = (words.reshape(-1, width) @ powers).reshape(p.rows // packed, p.columns, -1, together)
        return values.transpose(3, 0, 2, 1).reshape(p.rows, p.columns)

    def _pass(self, f: dict[str, int], ky: int, column: int) -> None:
        p = self.p
        weights = self._tile(1 << f["packing"])
        assert self.sums is not None
        if f["depthwise"]:
            self.sums += self._depthwise_pass(f, weights, ky, column)
            assert np.abs(self.sums).max() < 1 << (p.sum_bits - 1), "a sum overflows"
            return
        y, x = np.arange(f["rows"] + 1)[:, None, None], np.arange(f["columns"] + 1)[:, None]
        line = f["line"] + ky * f["kernel_line_step"] + y * f["line_step"]
        at = column + x * f["column_step"] + np.arange(p.rows)
        address = (f["row"] + ky * f["kernel_row_step"] + y * f["row_step"] + at) % (1 << 24)
        counts = (line >= 0) & (line < f["lines"]) & (at >= 0) & (at < f["row_elements"])
        used = counts & weights.any(axis=1)
        assert (address[used] < len(self.chip)).all(), "reads beyond the activation memory"
        self.reads[f["number"]].append(np.unique(address[used]))
        pixels = np.where(used, self.chip[address % len(self.chip)], np.where(counts, 0, f["padding"]))
        assert (pixels != UNWRITTEN).all(), "reads what nobody wrote"
        self.sums += pixels @ weights
        assert np.abs(self.sums).max() < 1 << (p.sum_bits - 1), "a sum overflows"

    def _setup(self, f: dict[str, int]) -> None:
        assert not self.draining, "settings change under a vector instruction"
        self.settings = f
        if f["load_tables"]:
            values = self.chip[f["tables"] : f["tables"] + 2048]
            assert (values != UNWRITTEN).all(), "tables that nobody loaded"
            self.reads[f["number"]].append(f["tables"] + np.arange(2048))
            self.tables = values.astype("<i1").view("<i4").astype(np.int64)

    def _vector(self, f: dict[str, int]) -> None:
        if not self.settings["from_map"]:
            self.draining.append([f, 0])
            return
        for tile in range(f["tiles"] + 1):
            s = self.settings
            first = f["source"] + tile * s["source_tile_step"]
            low, high = 0, self.p.columns
            if s["normalize"]:
                low = max(0, s["before"] - tile * s["source_tile_step"])
                high = min(high, s["depth"] - tile * s["source_tile_step"])
            columns = np.arange(self.p.columns)
            counts = (columns >= low) & (columns < high)
            # channels that are written, with their neighbours
            needed = counts & (columns < (f["last_channels"] if tile == f["tiles"] else f["channels"]) + s["size"])

            def read(address, counts=counts, needed=needed, columns=columns) -> np.ndarray:
                at = (address + columns) % WRAP
                self.reads[f["number"]].append(at[needed])
                assert (self.chip[at[needed]] != UNWRITTEN).all(), "reads what nobody wrote"
                return np.where(counts, self.chip[at % len(self.chip)] - self.settings["source_zero"], 0)

            values, none = self._reduced(f, first, read), np.zeros(self.p.columns, np.int64)
            if s["combine"] == 6:
                factors, bias, scale = self._channels(f, tile)
                self._finish(f, tile, values * factors, bias, scale)
            else:
                self._finish(f, tile, values, none, None)

    def _channels(self, f: dict[str, int], tile: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Factors, biases and scales of a map's channel tile, (C,) each: vectors of bytes, the factors' last."""
        columns = self.p.columns
        at = f["operand"] + tile * self.settings["operand_tile_step"] + np.arange(9 * columns)
        self.reads[f["number"]].append(at)
        assert (self.chip[at] != UNWRITTEN).all(), "parameters that nobody loaded"
        rows = self.chip[at].astype(np.int8).reshape(9, columns)
        whole = np.ascontiguousarray(rows[:8].T).view(np.uint8)
        bias = whole[:, :4].copy().view("<i4")[:, 0].astype(np.int64)
        mantissa = whole[:, 4:7].astype(np.float64) @ [1, 1 << 8, 1 << 16]
        return rows[8].astype(np.int64), bias, np.ldexp(mantissa, -(whole[:, 7].astype(np.int64) + 20))

    def _reduced(self, f: dict[str, int], first: int, read) -> np.ndarray:
        """The windows' maxima or totals, (rows, columns, C)."""
        s = self.settings
        result = np.zeros((f["rows"] + 1, f["columns"] + 1, self.p.columns), np.int64)
        for row in range(f["rows"] + 1):
            for column in range(f["columns"] + 1):
                found = []
                for wy in range(s["window_rows"] + 1):
                    for wx in range(s["window_columns"] + 1):
                        y = f["first_row"] + row * s["stride_rows"] + wy
                        x = f["first_column"] + column * s["stride_columns"] + wx
                        if 0 <= y < f["map_rows"] and 0 <= x < f["map_columns"]:
                            address = first + row * f["source_row_step"] + column * s["source_column_step"]
                            address += wy * f["window_row_step"] + wx * s["window_column_step"]
                            found.append(read(address))
                assert found, "a window outside the map"
                result[row, column] = np.sum(found, axis=0) if s["total"] else np.max(found, axis=0)
        return result

    def _drain(self, sums: np.ndarray) -> None:
        """The oldest vector instruction takes one channel tile's sums."""
        p = self.p
        assert self.draining, "sums that no vector instruction waits for"
        (f, tile), bits = self.draining[0], self.channels.pop(0)
        assert sums.shape[:2] == (f["map_rows"], f["map_columns"])
        flat = sums.reshape(-1, p.columns)
        first = f["source"] + tile * self.settings["source_tile_step"]
        best = self._reduced(f, first, lambda address: flat[address % WRAP])
        packed = bits.reshape(p.parameter_rows, p.columns, p.word_bits).transpose(1, 0, 2).reshape(p.columns, -1)
        words = packed[:, :PARAMETER_BITS].astype(np.uint64) @ (np.uint64(1) << np.arange(64, dtype=np.uint64))
        bias = (words & np.uint64(0xFFFFFFFF)).astype(np.uint32).view(np.int32).astype(np.int64)
        mantissa = (words >> np.uint64(32) & np.uint64(0xFFFFFF)).astype(np.float64)
        shift = (words >> np.uint64(56)).astype(np.int64)
        self._finish(f, tile, best, bias, np.ldexp(mantissa, -(shift + 20)))
        self.draining[0][1] += 1
        if tile == f["tiles"]:
            self.draining.popleft()

    def _finish(self, f: dict[str, int], tile: int, best: np.ndarray, bias: np.ndarray, scale) -> None:
        """Requantize, combine and place one channel tile's reduced windows; ``scale`` None: the settings say it."""
        p, s = self.p, self.settings
        channels = f["last_channels"] if tile == f["tiles"] else f["channels"]
        assert 1 <= channels <= p.columns
        total = (best + bias + 2**31) % 2**32 - 2**31
        if scale is None:
            scale = np.ldexp(np.full(p.columns, float(s["mantissa"])), -(s["shift"] + 20))
        if s["normalize"]:
            total, scale = self._normalized(total)
        if s["combine"] == 3:
            total = total * (self._operands(f, tile, p.columns, channels) - s["operand_zero"])
        if s["raw"]:
            kind = f"<i{p.element_bytes}"
            values = total[:, :, :channels].astype("<i4").view(kind).astype(np.int64)
        else:
            steps = total.astype(np.float32) * scale.astype(np.float32)
            odd = s["zero_point"] & 1 if s["combine"] == 3 else 0  # a tie makes the sum with the zero point even
            steps = np.clip(np.rint(steps.astype(np.float64) + odd) - odd, -(2.0**20), 2.0**20).astype(np.int64)
            values = np.clip(steps + s["zero_point"], s["low"], s["high"])[:, :, :channels]
        written = np.zeros((f["rows"] + 1, f["columns"] + 1, values.shape[2]), np.int64)
        for row in range(f["rows"] + 1):
            for column in range(f["columns"] + 1):
                address = f["chip"] + tile * s["tile_step"] + row * f["row_step"] + column * s["column_step"]
                result = values[row, column]
                if s["combine"] in (1, 2, 4, 5):
                    exact = self.tables[result & 255]
                    if s["combine"] != 1:
                        added = self._operand(f, tile, row, column, channels)
                        make = {2: np.add, 4: np.maximum, 5: np.minimum}[s["combine"]]
                        exact = make(exact, self.tables[256 + (added & 255)])
                    whole, rest = exact >> 20, exact & (2**20 - 1)
                    up = (rest > 2**19) | ((rest == 2**19) & (whole & 1 == 1))
                    result = np.clip(whole + up, s["final_low"], s["final_high"])
                self._place(f, address, result)
                written[row, column] = result
        self.results.append(written)

    def _operand(self, f: dict[str, int], tile: int, row: int, column: int, channels: int) -> np.ndarray:
        """The elements of the other map that one result is made with."""
        s = self.settings
        operand = f["operand"] + tile * s["operand_tile_step"]
        operand += row * f["operand_row_step"] + column * s["operand_column_step"]
        added = self.chip[operand : operand + channels]
        self.reads[f["number"]].append(operand + np.arange(channels))
        assert (added != UNWRITTEN).all(), "adds what nobody wrote"
        return added

    def _operands(self, f: dict[str, int], tile: int, columns: int, channels: int) -> np.ndarray:
        """``_operand`` for all results, (rows, columns, C); what is not written counts as 0."""
        found = np.zeros((f["rows"] + 1, f["columns"] + 1, columns), np.int64)
        for row in range(f["rows"] + 1):
            for column in range(f["columns"] + 1):
                found[row, column, :channels] = self._operand(f, tile, row, column, channels)
        return found

    def _normalized(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The channels themselves and their factors, from the channels with their neighbours."""
        s = self.settings
        outputs = self.p.columns - s["size"]
        own, factors = np.zeros_like(values), np.zeros(values.shape)
        for c in range(outputs):
            kept = (values[..., c : c + s["size"] + 1] ** 2).sum(axis=-1) >> s["drop"]
            assert kept.max() < 1 << 16
            exponent = np.maximum(np.floor(np.log2(np.maximum(kept, 1))).astype(np.int64) - 8, 0)
            index = np.where(exponent > 0, (exponent << 9) + (kept >> np.maximum(exponent - 1, 0)) % 512, kept)
            own[..., c] = values[..., c + s["before"]]
            factors[..., c] = self.tables[index >> 4] + self.tables[256 + ((index >> 8) << 4 | (index & 15))]
        return own, factors * 2.0 ** -(s["shift"] + 20)
