"""Maps that are channels of another: concatenations that grow, however spelled, write each feature once."""

from dataclasses import replace
from itertools import pairwise

import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.planner import plan
from systolith.quant import Concat, Extremum, Graph, check

from .branches import Branches
from .hw_networks import BRANCHED, check_against_golden, planned

CUT = {"rows": 4, "columns": 4, "bus_bytes": 4, "activation_kib": 4, "accumulator_kib": 1}
FITS = {"rows": 8, "columns": 8, "bus_bytes": 8, "activation_kib": 16}


class Growing(Branches):
    """Layers whose convolutions, sums and concatenations all have the input's grid; some end in a Relu or the like."""

    def _clamped(self, name: str) -> str:
        whole = self.map_of("x")
        low = self.rng.choice([whole.low, whole.low, whole.zero_point, whole.low + 5])
        self.tensors[name] = replace(whole, name=name, shape=self.map_of(name).shape, low=min(low, whole.zero_point))
        return name

    def conv(self, source, outputs=None, kernel=None, stride=1):
        return self._clamped(super().conv(source, outputs, kernel, stride))

    def sum(self, first, second):
        return self._clamped(super().sum(first, second))

    def concat(self, *sources):
        name, output = self.names()
        return self.add(Concat(name, sources, output), self.map_of("x"))

    def finished(self, *outputs: str) -> Graph:
        return check(Graph(("x",), outputs, tuple(self.layers), self.tensors))

    def random(self, count: int) -> Graph:
        """Maps joined in any order, some of them again and again, and read by all kinds of layers."""
        maps = [self.conv("x") for _ in range(2)]
        while len(self.layers) < count:
            source = self.rng.choice(maps)
            kind = self.rng.choice(["grow", "grow", "join", "half", "pool", "rows", "conv", "conv", "sum", "table"])
            if kind == "grow":  # beside what was joined last
                joined = [layer for layer in self.layers if isinstance(layer, Concat) and layer.axis == 1]
                before = self.rng.choice([(joined[-1].output,), joined[-1].inputs]) if joined else (source,)
                maps.append(self.concat(*before, maps[-1]))
            elif kind == "join":
                maps.append(self.concat(*self.rng.choices(maps, k=self.rng.randint(1, 3))))
            elif kind == "half":
                channels = self.map_of(source).shape[0]
                first = self.rng.randrange(channels)
                maps.append(self.select(source, tuple(range(first, self.rng.randint(first + 1, channels)))))
            elif kind == "pool":
                maps.append(self.max_pool(source, 3, 1, 1))
            elif kind == "conv":
                maps.append(self.conv(source))
            elif kind == "rows":  # what is below another map lies in one memory with it, and is channels no more
                self.conv(self.join(2, source, source), 3, 1)
            elif kind == "sum":
                self.sum(
                    source, self.rng.choice([m for m in maps if self.map_of(m).shape == self.map_of(source).shape])
                )
            else:
                self.table(source)
        return self.finished(self.conv(self.concat(*dict.fromkeys(maps[-3:])), 5, 1))


@pytest.mark.parametrize("hardware", [h for name, h in BRANCHED.items() if name != "shifts only"])
def test_maps_that_are_joined_again_and_again_are_what_golden_says(hardware):
    views = 0
    for seed in range(6):
        graph = Growing(seed, (3, 6, 5)).random(14)
        made = planned(graph, **{**hardware, "activation_kib": hardware.get("activation_kib", 16) + 3})
        check_against_golden(made, seed)
        views += sum(layer.first_channel + layer.target[0] < layer.source[0] for layer in made.layers)
    assert views > 12


def block(spelling: str, count: int = 4) -> tuple[Growing, list[str]]:
    """A dense block behind a convolution: each layer, 1x1 and 3x3, reads all features before it."""
    c = Growing(1, (3, 7, 6))
    features, joined = [c.conv("x", 6, 3)], []
    for _ in range(count):
        features.append(c.conv(c.conv(features[0] if not joined else joined[-1], 8, 1), 4, 3))
        before = joined[-1:] or features[:1] if spelling == "nested" else features[:-1]
        joined.append(c.concat(*before, features[-1]))
    return c, joined


@pytest.mark.parametrize("sizes", [CUT, FITS])
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("spelling", ["nested", "flat"])
def test_a_dense_block_writes_each_feature_once(spelling, batch, sizes):
    c, joined = block(spelling)
    graph = c.finished(c.conv(joined[-1], 5, 1))
    layers = lower(graph, 8)
    assert all(layer.on_array for layer in layers), "nothing is copied"
    made = [layer for layer in layers if layer.output == joined[-1]]
    firsts = [(0, 6), (6, 4), (10, 4), (14, 4), (18, 4)]
    assert sorted((layer.spread.first, layer.target[0]) for layer in made) == firsts
    read = [(layer.weights.shape[1], layer.source[0]) for layer in layers if layer.input == joined[-1]]
    assert read == [(6, 22), (10, 22), (14, 22), (18, 22), (22, 22)]
    check_against_golden(plan(graph, parameters_for(graph, **sizes), batch))


def test_any_part_side_by_side_is_read_where_it_is():
    """The larger concatenation comes first, and the smaller one is its middle."""
    c = Growing(2, (3, 6, 6))
    a, b, d, e = (c.conv("x", n, 1) for n in (3, 4, 5, 2))
    whole, middle, end = c.concat(a, b, d, e), c.concat(b, d), c.concat(d, e)
    graph = c.finished(c.concat(c.conv(whole, 4, 1), c.conv(middle, 4, 3), c.max_pool(end, 3, 1, 1)))
    layers = lower(graph, 8)
    readers = [layer for layer in layers if layer.input == whole]
    read = [(layer.first_channel, layer.weights.shape[1] if layer.on_array else layer.target[0]) for layer in readers]
    assert sorted(read) == [(0, 14), (3, 9), (7, 7)]
    check_against_golden(planned(graph, **CUT))


def copies(c: Growing, *outputs: str) -> int:
    """Layers of the vector unit alone; the graph is compared with golden."""
    graph = c.finished(*outputs)
    check_against_golden(planned(graph, **CUT))
    return sum(not layer.on_array for layer in lower(graph, 8))


def test_what_is_no_part_of_the_larger_map_is_copied():
    """Each beside a twin that is none."""

    def two(grid: bool = True, order: tuple[int, ...] = (0, 1), again: tuple[int, ...] = (0, 1)) -> int:
        c = Growing(3, (3, 6, 6))
        parts = [c.conv("x", 4, 1), c.conv("x", 4, 3)]
        first = c.concat(*(parts[n] for n in order))
        if not grid:
            c.tensors[first] = replace(c.map_of(first), scale=c.map_of(first).scale * 2)
        later = c.concat(*(parts[n] for n in again), c.conv(first, 3, 1))
        return copies(c, c.conv(later, 3, 1))

    assert two() == 0
    assert two(order=(1, 0)) == 2, "in another order"
    assert two(again=(0,)) == 1, "only one of them"
    assert two(grid=False) == 2, "on another grid: one copy of each, through tables"


def test_an_operand_and_an_output_are_whole_maps():
    for reader in ("conv", "sum", "output"):
        c = Growing(4, (3, 6, 6))
        part = c.conv("x", 4, 1)
        joined = c.concat(part, c.conv("x", 4, 3))
        other = c.sum(part, c.conv("x", 4, 1)) if reader == "sum" else c.conv(part, 4, 1)
        last = c.conv(c.concat(c.conv(joined, 4, 1), other), 3, 1)
        if reader == "output":
            graph = c.finished(part, last)
            assert sum(not layer.on_array for layer in lower(graph, 8)) == 1
        else:
            assert copies(c, last) == (reader == "sum")


def test_features_are_in_order_in_memory():
    """A part's part is where it was."""
    c, joined = block("nested", 3)
    half = c.select(joined[1], tuple(range(8, 14)))
    outer = c.concat(c.conv(half, 5, 1), joined[-1])
    graph = c.finished(c.conv(outer, 3, 1))
    layers = lower(graph, 8)
    made = sorted(layer.spread.first for layer in layers if layer.output == outer)
    assert [b - a for a, b in pairwise([*made, 23])] == [5, 6, 4, 4, 4]
    (reader,) = [layer for layer in layers if layer.weights.shape[1:2] == (6,) and layer.weights.shape[0] == 5]
    assert reader.first_channel == 13
    check_against_golden(planned(graph, **CUT))


def test_a_map_below_another_is_no_longer_channels_of_the_first():
    """Only the join along rows reads what was joined along channels, but a part of that is read elsewhere."""
    c = Growing(6, (3, 6, 6))
    part = c.conv("x", 4, 1)
    joined = c.concat(part, c.conv("x", 4, 3))
    below = c.conv(c.join(2, joined, c.conv("x", 8, 1)), 4, 1)
    last = c.join(2, below, c.conv(part, 4, 1))
    assert copies(c, c.conv(last, 3, 1)) == 1


def test_what_tables_round_is_not_moved_by_an_odd_number():
    """A sum whose ties would go to the other side in memory is copied, not stored otherwise."""
    for low, moved in ((-127, False), (-128, True)):
        c = Growing(7, (3, 6, 6))
        c.tensors["x"] = replace(c.map_of("x"), low=low, high=low + 255, zero_point=0)
        total = c.sum(c.conv("x", 4, 1), c.conv("x", 4, 1))
        c.tensors[total] = replace(c.map_of(total), low=-100, high=100)
        joined = c.concat(total, c.conv("x", 4, 3))
        last = c.concat(c.conv(total, 3, 1), c.conv(joined, 3, 1))
        assert (copies(c, c.conv(last, 3, 1)) == 0) == moved


def test_readers_before_the_join_follow_what_is_stored_otherwise():
    """A Relu's map, whose elements the larger one stores with another offset: its pads, and what a pooling reads."""
    c = Growing(8, (3, 6, 6))
    c.tensors["x"] = replace(c.map_of("x"), low=0, high=255, zero_point=90)
    part = c.conv("x", 4, 1)
    c.tensors[part] = replace(c.map_of(part), low=90)
    padded, pooled = c.conv(part, 4, 3), c.conv(c.max_pool(part, 3, 1, 1), 4, 1)
    averaged = c.average(part, (3, 3), 1, 1, True)
    joined = c.concat(part, c.conv("x", 4, 3))
    others = c.concat(*(c.conv(name, 4, 1) for name in (padded, pooled, averaged, joined)))
    graph = c.finished(c.conv(others, 3, 1))
    made = planned(graph, **CUT)
    assert sum(layer.input == joined for layer in made.layers) == 4
    check_against_golden(made)


def test_a_map_that_is_an_operand_already_stays_whole():
    """A maximum whose second map is made later reads the first as its operand."""
    c = Growing(9, (3, 6, 6))
    part = c.conv("x", 4, 1)
    later = c.conv(part, 4, 3)
    name, output = c.names()
    highest = c.add(Extremum(name, (part, later), output, "Max"), c.map_of("x"))
    joined = c.concat(part, c.conv("x", 4, 3))
    assert copies(c, c.conv(c.concat(c.conv(highest, 3, 1), c.conv(joined, 3, 1)), 3, 1)) == 1
