"""Random quantized graphs with branches: every operator, many scales, maps that live across layers."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np

from systolith.quant import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    Extremum,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Selection,
    Sums,
    Table,
    Tensor,
    check,
)
from systolith.quant.graph import output_shape, product_factor


class Branches:
    """Adds layers to a graph, each reading maps that are there already."""

    def __init__(
        self,
        seed: int,
        shape: tuple[int, int, int],
        *,
        normalization: int = 0,
        powers: bool = False,
        moves: bool = False,
        products: bool = False,
    ) -> None:
        """products : products, extrema and differences of maps too."""
        self.products = products
        self.rng, self.numpy = random.Random(seed), np.random.default_rng(seed)
        self.normalization, self.powers, self.moves = normalization, powers, moves
        self.tensors: dict[str, Tensor] = {}
        self.layers: list[Layer] = []
        self.feature_map("x", shape)

    def scale(self) -> np.float32:
        if self.powers:
            return np.float32(2.0 ** self.rng.randint(-6, -4))
        return np.float32(self.rng.uniform(0.01, 0.06))

    def feature_map(self, name: str, shape: tuple[int, int, int], like: FeatureMap | None = None) -> FeatureMap:
        low, high = self.rng.choice([(0, 255), (0, 255), (-128, 127), (0, 127), (3, 200)])
        zero_point = self.rng.choice([low, high, self.rng.randint(low, high)])
        made = FeatureMap(name, shape, self.scale(), zero_point, low, high)
        if like is not None:
            made = FeatureMap(name, shape, like.scale, like.zero_point, like.low, like.high)
        self.tensors[name] = made
        return made

    def map_of(self, name: str) -> FeatureMap:
        tensor = self.tensors[name]
        assert isinstance(tensor, FeatureMap)
        return tensor

    def add(self, layer: Layer, like: FeatureMap | None = None) -> str:
        shape = output_shape(layer, tuple(self.map_of(name).shape for name in layer.inputs))
        self.feature_map(layer.output, shape, like)
        self.layers.append(layer)
        return layer.output

    def names(self) -> tuple[str, str]:
        return f"l{len(self.layers)}", f"t{len(self.layers)}"

    def conv(self, source: str, outputs: int | None = None, kernel: int | None = None, stride: int = 1) -> str:
        name, output = self.names()
        channels = self.map_of(source).shape[0]
        kernel = kernel or self.rng.choice([1, 1, 3])
        groups = channels if kernel == 3 and self.rng.random() < 0.2 and not outputs else 1
        outputs = outputs or (channels if groups > 1 else self.rng.randint(1, 11))
        weights = self.numpy.integers(-127, 128, (outputs, channels // groups, kernel, kernel)).astype(np.int16)
        scales = np.full(outputs, 2.0**-8, np.float32)
        if not self.powers:
            scales = self.numpy.uniform(0.002, 0.01, outputs).astype(np.float32)
        bias = self.numpy.integers(-3000, 3000, outputs)
        pads = (kernel // 2,) * 4
        return self.add(
            Conv(name, "Conv", source, output, weights, scales, bias, (stride, stride), pads, (1, 1), groups)
        )

    def max_pool(self, source: str, kernel: int, stride: int, pad: int) -> str:
        name, output = self.names()
        layer = MaxPool(name, source, output, (kernel, kernel), (stride, stride), (pad,) * 4)
        return self.add(layer, self.map_of(source))

    def average(self, source: str, kernel: tuple[int, int], stride: int, pad: int, include_pad: bool) -> str:
        name, output = self.names()
        return self.add(AveragePool(name, source, output, kernel, (stride, stride), (pad,) * 4, include_pad))

    def table(self, source: str) -> str:
        name, output = self.names()
        before = self.map_of(source)
        after = self.feature_map(output, before.shape)
        values = self.numpy.integers(after.low, after.high + 1, before.high - before.low + 1).astype(np.int32)
        self.layers.append(Table(name, "Random", source, output, values))
        return output

    def sum(self, first: str, second: str) -> str:
        name, output = self.names()
        return self.add(Add(name, (first, second), output))

    def product(self, first: str, second: str) -> str:
        """At a scale that suits it, and has a factor."""
        name, output = self.names()
        layer = Multiply(name, (first, second), output)
        a, b = self.map_of(first), self.map_of(second)
        target = self.feature_map(output, output_shape(layer, (a.shape, b.shape)))
        scale = np.float32(a.scale * b.scale * (2.0**6 if self.powers else self.rng.uniform(40, 150)))
        while product_factor(a, b, replace(target, scale=scale)) is None:
            scale = np.nextafter(scale, np.float32(1e9))
        self.tensors[output] = replace(target, scale=scale)
        self.layers.append(layer)
        return output

    def extremum(self, first: str, second: str) -> str:
        name, output = self.names()
        return self.add(Extremum(name, (first, second), output, self.rng.choice(["Max", "Min"])))

    def gate(self, source: str) -> str:
        """Squeeze and excite: a map times a value for each of its channels."""
        channels, *size = self.map_of(source).shape
        pooled = self.max_pool(source, max(size), max(size), 0) if size[0] == size[1] else source
        if size[0] != size[1]:
            name, output = self.names()
            pooled = self.add(AveragePool(name, source, output, (size[0], size[1])))
        return self.product(*self.rng.sample([source, self.conv(pooled, channels, 1)], 2))

    def concat(self, *sources: str) -> str:
        """At a scale of its own or the first source's; never one at which a source would be clamped."""
        name, output = self.names()
        layer = Concat(name, sources, output)
        shape = output_shape(layer, tuple(self.map_of(source).shape for source in sources))
        like = self.map_of(sources[0]) if self.rng.random() < 0.4 else None
        target = self.feature_map(output, shape, like)
        while any(_clamps(self.map_of(source), target) for source in sources):
            target = self.feature_map(output, shape)
        self.layers.append(layer)
        return output

    def join(self, axis: int, *sources: str) -> str:
        """Along rows or columns, at the first source's scale."""
        name, output = self.names()
        sources = (sources[0], *(s for s in sources[1:] if not _clamps(self.map_of(s), self.map_of(sources[0]))))
        return self.add(Concat(name, sources, output, axis), self.map_of(sources[0]))

    def select(self, source: str, channels: tuple[int, ...], rows=None, columns=None) -> str:
        name, output = self.names()
        before = self.map_of(source)
        rows, columns = rows or (0, 1, before.shape[1]), columns or (0, 1, before.shape[2])
        return self.add(Selection(name, source, output, channels, rows, columns), before)

    def some(self, source: str) -> str:
        """Any channels, or a range of them in some rows and columns."""
        channels, *size = self.map_of(source).shape
        if self.rng.random() < 0.4:
            return self.select(source, tuple(self.rng.choices(range(channels), k=self.rng.randint(1, 14))))
        first = self.rng.randrange(channels)
        kept = tuple(range(first, channels, self.rng.choice([1, 1, 2])))
        if self.rng.random() < 0.4:
            return self.select(source, kept[: self.rng.randint(1, len(kept))])
        spans = []
        for length in size:
            step = self.rng.choice([1, 1, 2])
            begin = self.rng.randrange(max(1, length // 2))
            most = (length - 1 - begin) // step + 1
            spans.append((begin, step, self.rng.randint((most + 1) // 2, most)))
        return self.select(source, kept, *spans)

    def depth_to_space(self, source: str, block: tuple[int, int]) -> str:
        name, output = self.names()
        return self.add(DepthToSpace(name, source, output, block), self.map_of(source))

    def upsample(self, source: str) -> str:
        """A convolution, its parts, or copies of a map, whose channels become rows and columns."""
        block = self.rng.choice([(2, 2), (2, 2), (1, 2), (3, 1), (2, 3)])
        count, kind = block[0] * block[1], self.rng.random()
        outputs = self.rng.choice([1, 3, 8, 11])
        if kind < 0.4:
            wide = self.conv(source, outputs * count, 1)
        elif kind < 0.7:
            parts = [self.conv(source, outputs, 3) for _ in range(count)]
            first = self.map_of(parts[0])
            for part in parts[1:]:  # one grid
                self.feature_map(part, first.shape, first)
            name, output = self.names()
            wide = self.add(Concat(name, tuple(parts), output), first)
        else:
            wide = self.select(source, tuple(range(self.map_of(source).shape[0])) * count)
        made = self.depth_to_space(wide, block)
        return self.table(made) if self.rng.random() < 0.3 and not self.powers else made

    def normalize(self, source: str, size: int = 0) -> str:
        name, output = self.names()
        size = size or self.rng.randint(1, self.normalization)
        before = self.map_of(source)
        reach = max(before.high - before.zero_point, before.zero_point - before.low)
        shift = max(0, (size * reach**2).bit_length() - 16)
        coarse = self.numpy.integers(2**20, 2**23, 256).astype(np.int32)
        fine = self.numpy.integers(-(2**18), 2**18, 256).astype(np.int32)
        exponent = self.rng.randint(22, 25)
        return self.add(Normalization(name, source, output, size, 1e-4, 0.75, 1.0, shift, exponent, coarse, fine))

    def step(self) -> str:
        """One more layer, or a few that belong together, on what is there."""
        maps = [n for n, t in self.tensors.items() if isinstance(t, FeatureMap)]
        source = self.rng.choice(maps[-4:])
        shape = self.map_of(source).shape
        alike = [n for n in maps if self.map_of(n).shape == shape]
        beside = [n for n in maps if self.map_of(n).shape[1:] == shape[1:]]
        kinds = ["conv", "conv", "conv", "sum", "sum", "concat", "concat", "table", "max", "average"]
        kind = self.rng.choice([*kinds, "residual", "fire", *["normalize"] * (2 if self.normalization else 0)])
        if self.moves and self.rng.random() < 0.5:
            return self._move(source, alike, beside)
        if self.products and self.rng.random() < 0.4:
            return self.gate(source) if self.rng.random() < 0.6 else self.product(source, self.rng.choice(alike))
        if self.products and self.rng.random() < 0.3:
            return self.extremum(source, self.rng.choice(alike))
        if self.products and self.rng.random() < 0.2:
            name, output = self.names()
            return self.add(Add(name, (source, self.rng.choice(alike)), output, "Sub"))
        small = min(shape[1:]) < 3
        if kind == "sum":
            return self.sum(source, self.rng.choice(alike))
        if kind == "concat":
            return self.concat(*(self.rng.choice(beside) for _ in range(self.rng.randint(2, 3))))
        if kind == "table":
            return self.table(source)
        if kind == "max" and not small:
            return self.max_pool(source, self.rng.choice([2, 3]), self.rng.choice([1, 1, 2]), self.rng.randint(0, 1))
        if kind == "average" and not small and not self.powers:
            pad = self.rng.randint(0, 1)
            return self.average(source, (3, 2), self.rng.choice([1, 2]), pad, self.rng.random() < 0.5)
        if kind == "residual":
            return self.sum(*self.rng.sample([source, self.conv(self.conv(source), shape[0])], 2))
        if kind == "fire":
            squeezed = self.conv(source, None, 1)
            parts = [self.conv(squeezed, None, 1), self.conv(squeezed, 5, 3)]
            if not small:
                parts.append(self.conv(self.max_pool(source, 3, 1, 1), None, 1))
            return self.concat(*parts)
        if kind == "normalize":
            return self.normalize(source)
        return self.conv(source, None, None, 1 if small or self.rng.random() < 0.7 else 2)

    def _move(self, source: str, alike: list[str], beside: list[str]) -> str:
        shape = self.map_of(source).shape
        kind = self.rng.choice(["some", "some", "join", "up", "up"])
        if kind == "join" and max(shape[1:]) < 20:
            return self.join(self.rng.choice([2, 3]), source, self.rng.choice(alike))
        if kind == "up" and max(shape[1:]) < 12:
            made = self.upsample(source)
            alike = [n for n in self.tensors if self.tensors[n].shape[1:] == self.map_of(made).shape[1:] and n != made]
            return self.concat(made, self.rng.choice(alike)) if alike and self.rng.random() < 0.5 else made
        return self.some(source)

    def graph(self, layers: int) -> Graph:
        while len(self.layers) < layers:
            self.step()
        last = self.layers[-1].output
        if self.rng.random() < 0.5:
            shape = self.map_of(last).shape
            name, output = self.names()
            weights = self.numpy.integers(-127, 128, (4, *shape)).astype(np.int16)
            scales = np.full(4, 2.0**-8, np.float32)
            layer = Conv(name, "Gemm", last, output, weights, scales, np.arange(4))
            self.tensors[output] = Sums(output, (4, 1, 1), self.map_of(last).scale * scales)
            self.layers.append(layer)
            last = output
        return check(Graph(("x",), (last,), tuple(self.layers), self.tensors))


def _clamps(source: FeatureMap, target: FeatureMap) -> bool:
    same = (source.scale, source.zero_point) == (target.scale, target.zero_point)
    return same and (source.low < target.low or source.high > target.high)


def branches(seed: int, layers: int = 8, **choices: object) -> Graph:
    """A random graph of about ``layers`` layers on a small map."""
    rng = random.Random(seed)
    shape = (rng.randint(1, 9), rng.randint(3, 12), rng.randint(3, 12))
    return Branches(seed, shape, **choices).graph(layers)  # type: ignore[arg-type]
