"""What becomes a part of the layer that makes a map, and what must stay a layer of its own."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from systolith.hw.build import parameters_for
from systolith.hw.compiler.formats import storage
from systolith.hw.compiler.lowering import lower
from systolith.hw.compiler.widths import needed_sum_bits, needed_total_bits
from systolith.hw.isa.program import Combine
from systolith.quant import ConfigurationError, FeatureMap, Multiply, Table, check
from systolith.quant.graph import Graph

from .branches import Branches, branches
from .graphs import conv_graph
from .hw_networks import BRANCHED, branched, check_against_golden, elements, graph_names, planned

HARDWARE = {"rows": 4, "columns": 6, "bus_bytes": 8, "accumulator_kib": 1}


def lowered(chain, output=None):
    """The engine's layers of a chain's graph, after its plan was compared with golden."""
    graph = check(Graph(("x",), (output or chain.layers[-1].output,), tuple(chain.layers), chain.tensors))
    made = planned(graph, **HARDWARE)
    check_against_golden(made)
    layers = lower(graph, 8)
    assert {n for it in made.layers for n in graph_names(it)} == {n for it in layers for n in graph_names(it)}
    return layers


def names(layers):
    return [layer.name for layer in layers]


def chain(seed=0, shape=(5, 7, 6)):
    return Branches(seed, shape, normalization=3)


def test_pooling_and_a_table_become_parts_of_the_convolution():
    c = chain()
    c.table(c.max_pool(c.conv("x", 7, 3), 2, 2, 0))
    (layer,) = lowered(c)
    assert (layer.name, layer.combine, layer.on_array) == ("l0+l1+l2", Combine.TABLE, True)
    assert layer.pool.kernel == (2, 2)
    assert (layer.input, layer.output) == ("x", "t2")


def test_a_pooling_behind_a_table_reads_its_map():
    c = chain()
    c.max_pool(c.table(c.conv("x", 7, 3)), 2, 2, 0)
    layers = lowered(c)
    assert names(layers) == ["l0+l1", "l2"]
    assert [layer.on_array for layer in layers] == [True, False]


def test_a_second_pooling_is_a_layer_of_its_own():
    c = chain()
    c.max_pool(c.max_pool(c.conv("x", 7, 3), 2, 1, 0), 2, 1, 0)
    assert names(lowered(c)) == ["l0+l1", "l2"]


def test_a_second_table_reads_the_firsts_map():
    c = chain()
    c.table(c.table(c.conv("x", 7, 3)))
    layers = lowered(c)
    assert names(layers) == ["l0+l1", "l2"]
    assert layers[1].combine == Combine.TABLE


@pytest.mark.parametrize("follower", ["max", "table", "sum"])
def test_a_map_with_two_readers_is_made_as_it_is(follower):
    c = chain()
    made = c.conv("x", 5, 3)
    last = {"max": lambda: c.max_pool(made, 3, 1, 1), "table": lambda: c.table(made), "sum": lambda: c.sum(made, "x")}
    c.sum(last[follower](), c.conv(made, 5, 1))
    layers = lowered(c)
    assert layers[0].name == "l0"
    assert layers[0].output == made


def test_the_networks_output_is_made_as_it_is():
    c = chain()
    made = c.conv("x", 5, 3)
    c.table(made)
    layers = lowered(c, output=made)
    assert (layers[0].name, layers[0].output) == ("l0", made)
    assert not layers[1].on_array


def test_a_map_used_twice_by_one_sum_is_made_as_it_is():
    c = chain()
    made = c.conv("x", 5, 3)
    c.sum(made, made)
    layers = lowered(c)
    assert names(layers) == ["l0", "l1"]
    assert layers[1].inputs == (made, made)


def test_raw_sums_are_never_changed():
    graph = conv_graph((4, 5, 5), np.ones((3, 4, 1, 1)), target=None)
    (layer,) = lower(graph, 8)
    assert layer.raw
    assert layer.combine == Combine.NONE
    assert layer.format is None


@pytest.mark.parametrize("kernels", [(3, 1), (1, 1)])
@pytest.mark.parametrize("order", [0, 1])
def test_a_sum_becomes_a_part_of_the_convolution_with_more_passes_or_of_the_later_one(order, kernels):
    """Where the vector unit has time; of two alike the later waits for the other anyway.  Tables A and B change places
    with the inputs."""
    c = chain()
    first, second = (c.conv("x", 5, kernel) for kernel in kernels)
    c.sum(*((first, second), (second, first))[order])
    layers = lowered(c)
    assert names(layers) == (["l1", "l0+l2"] if kernels == (3, 1) else ["l0", "l1+l2"])
    assert layers[1].operand == (second if kernels == (3, 1) else first)
    assert layers[1].combine == Combine.ADD


def test_a_sum_of_the_input_reads_it_behind_the_convolution():
    c = chain()
    c.sum("x", c.conv("x", 5, 3))
    (layer,) = lowered(c)
    assert (layer.name, layer.input, layer.operand, layer.inputs) == ("l0+l1", "x", "x", ("x", "x"))


def test_an_operand_that_is_made_later_comes_before_the_layer_that_adds_it():
    """The first sum belongs to the convolution, whose place then is behind what it adds."""
    c = chain()
    early = c.conv("x", 5, 3)
    late = c.table(c.average("x", (3, 3), 1, 1, False))  # its tables are taken
    c.sum(early, late)
    layers = lowered(c)
    assert names(layers) == ["l1+l2", "l0+l3"]
    assert layers[1].operand == late


def test_a_sum_of_two_maps_that_nobody_makes_alone_is_a_layer_of_the_vector_unit():
    c = chain()
    first, second = c.conv("x", 5, 3), c.conv("x", 5, 1)
    c.sum(first, second)
    c.sum(c.conv(first, 5, 1), c.conv(second, 5, 1))
    layers = lowered(c, output=c.sum("t2", "t5"))
    by_name = {layer.name: layer for layer in layers}
    assert not by_name["l2"].on_array
    assert by_name["l2"].inputs == (first, second)


def test_parts_of_a_concatenation_are_written_by_those_who_make_them():
    c = chain(3)
    parts = c.conv("x", 4, 1), c.conv("x", 6, 3), c.conv(c.max_pool("x", 3, 1, 1), 3, 1)
    output = c.concat(*parts)
    layers = [layer for layer in lowered(c) if layer.output == output]
    assert sorted((layer.spread.first, layer.target[0]) for layer in layers) == [(0, 4), (4, 6), (10, 3)]
    assert all(layer.on_array for layer in layers)
    whole = c.map_of(output)
    for layer in layers:  # a part at another scale goes through a table
        source = c.map_of(parts[(0, 4, 10).index(layer.spread.first)])
        same = (source.scale, source.zero_point) == (whole.scale, whole.zero_point)
        assert layer.combine == (Combine.NONE if same else Combine.TABLE)


def test_the_same_map_twice_in_a_concatenation_is_copied_twice():
    c = chain(5)
    made = c.conv("x", 4, 1)
    output = c.concat(made, made)
    layers = lowered(c)
    assert names(layers)[0] == "l0"
    assert sorted(layer.spread.first for layer in layers if layer.output == output) == [0, 4]
    assert sum(layer.on_array for layer in layers) == 1


def test_a_concatenation_copies_a_map_that_a_sum_reads_too():
    c = chain(6)
    first, second = c.conv("x", 4, 1), c.conv("x", 4, 3)
    output = c.concat(first, second)
    c.sum(output, c.concat(first, c.conv(c.sum(first, first), 4, 1)))
    layers = lowered(c)
    copies = [layer for layer in layers if layer.input == first and not layer.on_array and not layer.operand]
    assert len(copies) == 2


def test_concatenations_of_concatenations():
    """The inner one is a map with many makers: copied as a whole, with its table where it has one, else once less."""
    tables = 0
    for seed in range(8):
        c = chain(seed)
        inner = c.concat(c.conv("x", 3, 1), c.conv("x", 5, 3))
        output = c.concat(inner, c.conv("x", 2, 1), inner)
        c.max_pool(output, 3, 1, 1)
        layers = lowered(c)
        grids = [(c.map_of(name).scale, c.map_of(name).zero_point) for name in (inner, output)]
        tables += grids[0] != grids[1]
        firsts = [0, 8, 10] if grids[0] != grids[1] else [0, 3, 8, 10]
        assert sorted(x.spread.first for x in layers if x.output == output) == firsts
        assert sum(x.output == inner for x in layers) == (2 if grids[0] != grids[1] else 0)
    assert 0 < tables < 8


def test_a_sum_goes_into_a_concatenation_with_its_tables_moved():
    """The same scale, another offset: entries and clamp move, nothing is looked up twice."""
    found = 0
    for seed in range(40):
        c = chain(seed)
        total = c.sum(c.conv("x", 5, 3), c.conv("x", 5, 1))
        source = c.map_of(total)
        low, high = (source.low, source.high) if source.high - source.low > 200 else (source.low - 1, source.high)
        if seed % 2:
            low, high = (0, 255) if source.low >= 0 else (-128, 127)
        output = c.concat(total, c.conv("x", 3, 1))
        c.tensors[output] = FeatureMap(output, (8, 7, 6), source.scale, source.zero_point, low, high)
        layers = lowered(c)
        (layer,) = [x for x in layers if x.output == output and x.spread.first == 0]
        assert layer.combine == Combine.ADD
        assert layer.name == "l0+l2"
        found += storage(source, 8).offset != storage(c.map_of(output), 8).offset
    assert found


def test_normalization_and_averages_stand_alone():
    c = chain()
    c.normalize(c.average(c.conv("x", 7, 3), (2, 2), 1, 0, False))
    layers = lowered(c)
    assert names(layers) == ["l0", "l1", "l2"]
    assert [layer.on_array for layer in layers] == [True, False, False]


def test_a_table_behind_an_average_becomes_a_part_of_it_and_behind_a_normalization_does_not():
    c = chain()
    c.table(c.average("x", (2, 2), 1, 0, False))
    assert names(lowered(c)) == ["l0+l1"]
    c = chain()
    c.table(c.normalize("x"))
    assert names(lowered(c)) == ["l0", "l1"]


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_every_layer_and_every_element_is_made_once(hardware):
    for graph, made in branched(hardware, range(400, 420)):
        parts = {name for layer in made.layers for name in graph_names(layer)}
        assert parts == {layer.name for layer in graph.layers}
        counts = {}
        for drained in made.drained:
            layer = made.layers[drained.layer]
            size = prod(made.graph.tensors[layer.output].shape)
            written = counts.setdefault(layer.output, np.zeros(size, np.int64))
            written[elements(layer, drained)] += 1
        beside = {layer.output for layer in made.layers if layer.rearranged}
        assert {*counts} - beside <= {layer.output for layer in graph.layers}
        assert all((written == 1).all() for written in counts.values())


@pytest.mark.parametrize(("low", "high", "offset"), [
    (0, 255, 128), (-128, 127, 0), (0, 127, 0), (0, 128, 128), (1, 256, 129), (3, 200, 130), (2, 201, 130),
    (-200, -100, -72), (100, 355, 228), (-129, 126, -1), (-129, 120, -2),
])  # fmt: skip
def test_maps_are_moved_into_their_bits_by_an_even_number_if_there_is_one(low, high, offset):
    form = storage(FeatureMap("x", (1, 1, 1), np.float32(1), low, low, high), 8)
    assert (form.offset, form.low, form.high, form.zero_point) == (offset, low - offset, high - offset, low - offset)
    assert form.low >= -128
    assert form.high <= 127


def narrow(c, name):
    """The map ``name`` as one of 3..200, which is stored less 130."""
    c.tensors[name] = replace(c.map_of(name), zero_point=120, low=3, high=200)
    return name


def largest(c):
    """Rides on the second convolution."""
    return narrow(c, c.extremum(c.conv("x", 12, 3), c.conv("x", 12, 3)))


MOVES = {
    "rows of a convolution": lambda c: c.select(narrow(c, c.conv("x", 12, 3)), tuple(range(12)), rows=(1, 2, 3)),
    "rows of a table": lambda c: c.select(narrow(c, c.table("x")), tuple(range(5)), rows=(1, 2, 3)),
    "channels": lambda c: c.select(narrow(c, c.conv("x", 12, 3)), tuple(range(3, 9))),
    "scattered channels": lambda c: c.select(narrow(c, c.conv("x", 12, 3)), (7, 2, 9, 0, 5, 11)),
    "pixels of a convolution": lambda c: c.depth_to_space(narrow(c, c.conv("x", 64, 1)), (2, 2)),
    "pixels of an average": lambda c: c.depth_to_space(narrow(c, c.average("x", (2, 2), 1, 1, True)), (5, 1)),
    "pixels of a maximum": lambda c: c.depth_to_space(largest(c), (6, 2)),
    "a maximum, joined": lambda c: c.concat(largest(c), c.conv("x", 3, 3)),
}


@pytest.mark.parametrize("move", MOVES.values(), ids=MOVES)
def test_what_only_moves_integers_may_have_a_wider_output(move):
    """One of 0..255, which is stored less 128, whoever makes it."""
    c = chain()
    moved = move(c)
    grid = c.map_of(c.layers[-1].inputs[0])
    c.tensors[moved] = replace(grid, name=moved, shape=c.map_of(moved).shape, low=0, high=255)
    c.conv(moved, 4, 1)
    lowered(c)


def test_channels_that_are_an_output_are_copied_though_a_layer_could_read_them_where_they_are():
    c = chain()
    part = c.select(c.conv("x", 12, 3), tuple(range(3, 9)))
    c.conv(part, 4, 1)
    assert names(lowered(c)) == ["l0", "l2"]
    assert names(lowered(c, part)) == ["l0", "l1", "l2"]


def test_channels_of_channels_are_read_where_they_are():
    c = chain()
    c.conv(c.select(c.select(c.conv("x", 12, 3), tuple(range(3, 11))), (2, 3, 4, 5)), 4, 1)
    assert names(lowered(c)) == ["l0", "l3"]


def narrow_product(low: int) -> Graph:
    """A product whose output has 4 bits from ``low`` on; the hardware's ties depend on the parity of its zero point."""
    maps = [FeatureMap(name, (4, 6, 6), np.float32(0.25), zero, 0, 15) for name, zero in (("x", 4), ("z", 3))]
    target = FeatureMap("y", (4, 6, 6), np.float32(0.5), low + 5, low, low + 15)
    layers = Table("t", "Relu", "x", "z", np.arange(16, dtype=np.int32)), Multiply("m", ("x", "z"), "y")
    return check(Graph(("x",), ("y",), layers, {tensor.name: tensor for tensor in (*maps, target)}))


@pytest.mark.parametrize("low", [-8, -6, 0, 2])
def test_products_whose_ties_stay_are_goldens(low):
    check_against_golden(planned(narrow_product(low), rows=4, columns=4))


@pytest.mark.parametrize("low", [-7, 1])
def test_products_whose_ties_would_move_are_refused(low):
    with pytest.raises(ConfigurationError) as caught:
        planned(narrow_product(low), rows=4, columns=4)
    assert str(caught.value) == (
        "layer 'm' makes products whose integers fill all 4 bits from an odd one on, where ties go the wrong way"
        " (requantize its output so that they begin at an even one)"
    )
    check_against_golden(planned(narrow_product(low), rows=4, columns=4, activation_bits=5))


def test_a_map_that_is_too_wide_is_refused():
    with pytest.raises(ConfigurationError) as caught:
        storage(FeatureMap("x", (1, 1, 1), np.float32(1), 0, 0, 256), 8)
    assert str(caught.value) == "tensor 'x' needs 9 bits; generate with at least 9 activation bits"


def test_sums_of_windows_fit_the_accumulators_width():
    """Of maps at their ends: the widest total that a window can have."""
    for kernel in ((1, 1), (2, 3), (7, 7)):
        c = Branches(1, (2, 9, 9))
        c.average("x", kernel, 1, 0, False)
        (layer,) = lowered(c)
        most = kernel[0] * kernel[1] * 255
        bits = needed_sum_bits(layer, 8)
        assert most < 1 << (bits - 1)
    assert parameters_for(branches(3, 6), rows=4, columns=4).sum_bits >= 10


def test_the_bias_counts_for_what_the_requantizers_take():
    """Sums reach (100 + 27) * 128 = 16,256, and with the bias 81,792: 15 and 18 bits with the sign."""
    weights = np.array([100, -27]).reshape(1, 2, 1, 1)
    (layer,) = lower(conv_graph((2, 3, 3), weights), 8)
    layer = replace(layer, bias=np.array([-65_536]))
    assert (needed_sum_bits(layer, 8), needed_total_bits(layer, 8)) == (15, 18)
    assert needed_total_bits(replace(layer, bias=np.array([65_536 - 16_256 - 1])), 8) == 17
    assert needed_total_bits(replace(layer, bias=np.array([65_536 - 16_256])), 8) == 18
