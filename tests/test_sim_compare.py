"""The comparison on synthetic streams: each planted fault is found, counted once, and located exactly."""

import numpy as np
import pytest

from systolith.quant import ConfigurationError
from systolith.sim.benches.native import Contents, event_type
from systolith.sim.comparison.compare import KEPT, Verdict, compare
from systolith.sim.comparison.expected import (
    Expectation,
    Placed,
    encode,
    expectation,
)

WIDTH = 8
MAP_AT, SUMS_AT = 64, 256
SHAPES = {"a": (5, 3, 4), "b": (6, 1, 1)}


def layers(element_bytes=1):
    return [Placed("conv", "a", 0, SHAPES["a"], element_bytes, 128), Placed("fc", "b", 0, SHAPES["b"], 4, 0)]


WRITES = [
    [0, 0, 2, 0, 4, 0, 5, 3],  # rows 0 and 1, channels 0 to 2 and then 3 and 4
    [0, 2, 1, 0, 2, 0, 5, 3],
    [0, 2, 1, 2, 2, 0, 5, 3],
    [1, 0, 1, 0, 1, 0, 6, 2],
]


@pytest.fixture(params=[1, 2], ids=["8bit", "16bit"])
def setup(request):
    """Expectation, one image's vector, and a run in which all is well."""
    width = WIDTH
    expected = expectation(layers(request.param), WRITES, [(0, MAP_AT), (1, SUMS_AT)], width, 400)
    rng = np.random.default_rng(3)
    tensors = {"a": rng.integers(0, 256, (1, 5, 3, 4)), "b": rng.integers(-(2**31), 2**31, (1, 6, 1, 1))}
    vector = expected.vectors(tensors)[0]
    events = np.zeros(len(expected.stream), event_type(width))
    events["data"] = vector[expected.stream]
    events["count"] = expected.counts
    events["cycle"] = 1000 + np.arange(len(events))
    data = np.zeros(400, np.uint8)
    painted = expected.memory >= 0
    data[painted] = vector[expected.memory[painted]]
    return expected, vector, events, Contents(data, painted.copy(), np.full(50, 77, np.uint64)), tensors


def judge(expected, vector, events, contents, count=None) -> Verdict:
    return compare(4, expected, vector, events, len(events) if count is None else count, contents, 5000)


def test_equal_runs_have_no_difference(setup):
    *run, _ = setup
    verdict = judge(*run)
    assert (verdict.mismatches, verdict.differences) == (0, [])


def test_events_follow_rows_columns_and_groups_of_channels(setup):
    expected, *_ = setup
    each = expected.tensors[0].element_bytes
    assert len(expected.stream) == (8 + 2 + 2) * 2 + 3
    assert expected.counts[:2].tolist() == [3 * each, 2 * each]
    assert expected.counts[-3:].tolist() == [8, 8, 8]
    assert expected.stream[2, 0] == 5 * each


@pytest.mark.parametrize(("event", "element"), [(0, 0), (1, 1), (9, 0), (20, 2)])
def test_a_wrong_element_of_the_stream_is_located(setup, event, element):
    expected, vector, events, contents, tensors = setup
    each = expected.tensors[0].element_bytes
    events["data"][event, element * each] ^= 0x01
    verdict = judge(expected, vector, events, contents)
    (found,) = verdict.differences
    pixel, part = divmod(event, 2)
    row, column = divmod(pixel, 4)
    channel = 3 * part + element
    assert (found.image, found.layer, found.channel, found.row, found.column) == (4, "conv", channel, row, column)
    assert found.expected == tensors["a"][0, channel, row, column]
    assert abs(found.found - found.expected) == 1
    assert found.cycle == 1000 + event
    assert verdict.mismatches == 1
    line = f"image 4, layer 'conv', channel {channel}, row {row}, column {column}: "
    assert str(found) == line + f"expected {found.expected}, found {found.found} (cycle {1000 + event})"


def test_all_bytes_of_a_wrong_sum_count_as_one_element(setup):
    expected, vector, events, contents, tensors = setup
    events["data"][-2, 4:8] ^= 0xFF
    verdict = judge(expected, vector, events, contents)
    (found,) = verdict.differences
    assert (found.layer, found.channel, verdict.mismatches) == ("fc", 3, 1)
    assert found.expected == tensors["b"][0, 3, 0, 0]
    assert found.found == ~found.expected


def test_a_value_wrong_in_the_stream_and_in_memory_counts_once(setup):
    expected, vector, events, contents, _ = setup
    events["data"][0, 0] ^= 0x80
    contents.data[MAP_AT] ^= 0x80
    assert judge(expected, vector, events, contents).mismatches == 1


def test_a_wrong_byte_in_memory_is_located_with_its_time(setup):
    expected, vector, events, contents, tensors = setup
    each = expected.tensors[0].element_bytes
    contents.data[MAP_AT + (2 * 4 * 5 + 1 * 5 + 3) * each] ^= 2
    contents.stamps[:] = np.arange(50)
    (found,) = judge(expected, vector, events, contents).differences
    assert (found.layer, found.channel, found.row, found.column) == ("conv", 3, 2, 1)
    assert found.expected == tensors["a"][0, 3, 2, 1]
    assert found.cycle == (MAP_AT + 48 * each) // 8


def test_a_byte_that_was_never_written_is_found_even_if_it_is_right(setup):
    expected, vector, events, contents, _ = setup
    contents.written[SUMS_AT + 5] = False
    (found,) = judge(expected, vector, events, contents).differences
    assert (found.layer, found.channel) == ("fc", 1)
    assert str(found) == (
        "image 4, layer 'fc', channel 1, row 0, column 0: never written to memory (address 0x104) (cycle 5000)"
    )


def test_bytes_written_beside_the_outputs_are_found(setup):
    expected, vector, events, contents, _ = setup
    contents.written[10:13] = True
    verdict = judge(expected, vector, events, contents)
    assert verdict.mismatches == 3
    assert str(verdict.differences[0]) == (
        "image 4: 3 bytes written that belong to no output, the first at address 0xa (cycle 77)"
    )


def test_a_lost_vector_is_reported_where_the_stream_breaks(setup):
    expected, vector, events, contents, _ = setup
    verdict = judge(expected, vector, np.delete(events, 5), contents)
    assert verdict.mismatches > 0
    assert any(found.note and found.row == 0 and found.column == 2 for found in verdict.differences)


def test_a_stream_that_ends_early_names_the_first_vector_that_is_missing(setup):
    expected, vector, events, contents, _ = setup
    (found,) = judge(expected, vector, events[:-2], contents).differences
    assert (found.layer, found.channel, found.cycle) == ("fc", 2, 5000)
    assert found.note == "this vector and what follows were never written; 25 vectors written in all, 27 expected"


def test_vectors_beyond_the_last_are_counted_even_if_they_were_not_kept(setup):
    expected, vector, events, contents, _ = setup
    verdict = judge(expected, vector, events, contents, count=len(events) + 7)
    assert verdict.mismatches == 7
    assert verdict.differences[0].note == "an extra vector after the last; 34 vectors written in all, 27 expected"


def test_many_differences_are_counted_and_the_first_are_kept(setup):
    expected, vector, events, contents, _ = setup
    events["data"][:24] ^= (vector[expected.stream[:24]] * 0 + 1) * (expected.stream[:24] != expected.size)
    verdict = judge(expected, vector, events, contents)
    assert verdict.mismatches == 60
    assert len(verdict.differences) == KEPT
    assert [found.cycle for found in verdict.differences] == sorted(found.cycle for found in verdict.differences)


def test_a_later_map_at_the_same_address_is_the_one_compared():
    pair = [Placed(name, name, 0, (4, 1, 1), 1, 0) for name in ("first", "second")]
    expected = expectation(pair, [], [(0, 0), (1, 2)], WIDTH, 8)
    assert expected.memory.tolist() == [0, 1, 4, 5, 6, 7, -1, -1]


def test_values_that_do_not_fit_their_bytes_are_refused():
    with pytest.raises(ConfigurationError, match=r"^values -128\.\.128 do not fit 1 bytes with offset 0$"):
        encode(np.array([-128, 128]).reshape(1, 2, 1, 1), 1, 0)


def test_encoding_is_dense_nhwc_little_endian():
    tensor = np.arange(8).reshape(1, 2, 2, 2)
    assert encode(tensor, 1, 4).view(np.int8).tolist() == [[-4, 0, -3, 1, -2, 2, -1, 3]]
    assert encode(tensor, 2, 0).tolist() == [[0, 0, 4, 0, 1, 0, 5, 0, 2, 0, 6, 0, 3, 0, 7, 0]]


def test_writes_outside_a_layer_are_refused():
    with pytest.raises(ConfigurationError, match=r"layer 'conv': writes .* lie outside its output"):
        expectation(layers(), [[0, 2, 2, 0, 4, 0, 5, 3]], [], WIDTH, 400)


def test_an_expectation_is_the_same_for_every_image():
    expected: Expectation = expectation(layers(), WRITES, [(0, MAP_AT)], WIDTH, 400)
    rng = np.random.default_rng(0)
    tensors = {"a": rng.integers(0, 256, (3, 5, 3, 4)), "b": rng.integers(-5, 5, (3, 6, 1, 1))}
    vectors = expected.vectors(tensors)
    assert vectors.shape == (3, 60 + 24 + 1)
    assert not vectors[:, -1].any()
    assert (vectors[1, :5].view(np.int8).astype(int) + 128 == tensors["a"][1, :, 0, 0]).all()
