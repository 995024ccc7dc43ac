"""Instructions: what is encoded comes back, and nothing that does not fit is encoded."""

import random

import pytest

from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import (
    BITS,
    CHANNEL,
    DRAIN,
    LAYOUTS,
    SETTINGS,
    VECTOR_BITS,
    Operation,
    decode,
    encode,
)


def fields_of(operation):
    return {name: field.width for name, field in LAYOUTS[operation] if name != "operation"}


@pytest.mark.parametrize("operation", LAYOUTS)
def test_fields_come_back(operation):
    rng = random.Random(int(operation))
    for _ in range(50):
        fields = {n: rng.choice([0, 1, (1 << w) - 1, rng.getrandbits(w)]) for n, w in fields_of(operation).items()}
        instruction = encode(operation, **fields)
        assert len(instruction) == INSTRUCTION_BYTES
        assert decode(instruction) == (operation, fields)


@pytest.mark.parametrize("operation", LAYOUTS)
def test_each_field_has_its_own_bits(operation):
    seen = int(encode(operation)[0])
    for name, width in fields_of(operation).items():
        bits = int.from_bytes(encode(operation, **{name: (1 << width) - 1}), "little") - int(operation)
        assert bits.bit_count() == width
        assert seen & bits == 0
        seen |= bits
    assert seen < 1 << BITS <= 1 << 8 * INSTRUCTION_BYTES


@pytest.mark.parametrize(("operation", "name"), [(o, n) for o in LAYOUTS for n in fields_of(o)])
def test_a_value_that_does_not_fit_is_refused(operation, name):
    width = fields_of(operation)[name]
    for value in (1 << width, -(1 << (width - 1)) - 1, 1 << 60):
        with pytest.raises(ValueError, match=rf"^{operation.name}\.{name} = {value} does not fit {width} bits$"):
            encode(operation, **{name: value})
    lowest = -(1 << (width - 1))
    assert decode(encode(operation, **{name: lowest}))[1][name] == 1 << (width - 1)


def test_unknown_fields_are_refused():
    with pytest.raises(ValueError, match=r"^STORE has no field \['tiles'\]$"):
        encode(Operation.STORE, tiles=1)
    with pytest.raises(ValueError, match=r"^END has no field \['wait'\]$"):
        encode(Operation.END, wait=1)


def test_end_is_zeros_and_an_unknown_operation_is_an_error():
    assert encode(Operation.END) == bytes(INSTRUCTION_BYTES)
    with pytest.raises(ValueError, match="9 is not a valid Operation"):
        decode(bytes([9]) + bytes(63))


def test_channel_parameters_fill_their_bits():
    assert CHANNEL.size == 64


def test_the_vector_units_queue_holds_both_of_its_instructions():
    assert max(DRAIN.size, SETTINGS.size) == VECTOR_BITS <= BITS


def test_tokens_lie_at_the_same_place_in_every_instruction_that_takes_them():
    """What takes them is looked for before anybody knows which operation it is."""
    for operation in (Operation.LOAD, Operation.ARRAY, Operation.VECTOR, Operation.SETUP, Operation.STORE):
        word = int.from_bytes(encode(operation, wait=0b1010, post=0b0101), "little")
        assert word == int(operation) | 0b1010 << 8 | 0b0101 << 12
