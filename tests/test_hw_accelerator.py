"""Both ends of every connection in the accelerator have the same shape: Amaranth would convert silently."""

import pytest
from amaranth import Fragment, Shape

from systolith.hw.engine.accelerator import Accelerator
from systolith.hw.isa.parameters import Parameters

SIZES = [
    {"rows": 5, "columns": 3, "bus_bytes": 8},
    {"rows": 3, "columns": 8, "bus_bytes": 16, "activation_bits": 12, "weight_bits": 5, "sum_bits": 21},
    {"rows": 1, "columns": 1, "bus_bytes": 4, "activation_bits": 4, "lanes": 1},
]


def elaborated(**sizes):
    """Amaranth warns of what nobody elaborates."""
    accelerator = Accelerator(parameters=Parameters(**sizes))
    Fragment.get(accelerator, platform=None)
    return accelerator


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_both_ends_have_one_shape(sizes):
    accelerator = elaborated(**sizes)
    fetch, loader, stream, reads = accelerator.fetch, accelerator.loader, accelerator.weight_stream, accelerator.reads
    storer, memory = accelerator.storer, accelerator.activations
    sequencer, window, array = accelerator.sequencer, accelerator.window, accelerator.array
    gearbox, writer = accelerator.gearbox, accelerator.writer
    accumulators, vector = accelerator.accumulators, accelerator.vector
    connections = [
        (fetch.requests.payload, reads.requests[0].payload),
        (loader.requests.payload, reads.requests[1].payload),
        (stream.requests.payload, reads.requests[2].payload),
        (reads.beats[0].payload, fetch.beats.payload),
        (reads.beats[1].payload, loader.beats.payload),
        (reads.beats[2].payload, stream.arriving.payload),
        (stream.beats.payload, gearbox.beats.payload),
        (fetch.load.payload, loader.instructions.payload),
        (fetch.weights.payload, stream.instructions.payload),
        (fetch.array.payload, sequencer.instructions.payload),
        (fetch.vector.payload, vector.instructions.payload),
        (fetch.store.payload, storer.instructions.payload),
        (sequencer.window, window.window),
        (sequencer.control, accumulators.control),
        (window.address, memory.window_address),
        (window.low, memory.window_low),
        (window.high, memory.window_high),
        (window.padding, memory.padding),
        (memory.pixels, array.pixels),
        (array.sums, accumulators.sums),
        (vector.drain_address, accumulators.drain_address),
        (accumulators.drained, vector.drained),
        (vector.write, memory.write),
        (loader.write, memory.write),
        (storer.read_address, memory.read_address),
        (memory.read_data, storer.read_data),
        (writer.parameter_row, vector.parameter_row),
        (gearbox.words.payload, writer.rows.payload),
        (writer.rows.payload, vector.parameter_data),
    ]
    connections += [
        (side.tokens.wait, counters.wait)
        for side, counters in zip((loader, sequencer, vector, storer), accelerator.tokens.units, strict=True)
    ]
    for source, target in connections:
        assert source.shape() == target.shape(), (source, target)
    # the writer is blind to what a row holds
    for source, target in ((writer.weights, array.weights), (writer.weight_row, array.weight_row)):
        assert Shape.cast(source.shape()).width == Shape.cast(target.shape()).width
