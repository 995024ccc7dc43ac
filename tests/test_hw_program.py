"""Instructions: what is encoded comes back, and nothing that does not fit is encoded."""

import random

import pytest

from systolith.hw.isa.check import CHECK_BYTES, SEED, crc, sealed
from systolith.hw.isa.parameters import INSTRUCTION_BYTES
from systolith.hw.isa.program import (
    BITS,
    CHANNEL,
    DRAIN,
    LAYOUTS,
    SETTINGS,
    SLIDING_SETTINGS,
    Operation,
    decode,
    encode,
    settings_layout,
    vector_bits,
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


@pytest.mark.parametrize("code", [0, 10, 255])
def test_an_unknown_operation_is_an_error_and_zeros_are_one(code):
    with pytest.raises(ValueError, match=f"{code} is not a valid Operation"):
        decode(bytes([code]) + bytes(63))


def test_channel_parameters_fill_their_bits():
    assert CHANNEL.size == 64


def test_the_vector_units_queue_holds_both_of_its_instructions():
    for sliding in (False, True):
        assert max(DRAIN.size, settings_layout(sliding).size) == vector_bits(sliding) <= BITS


def test_settings_without_totals_that_slide_are_the_first_bits_of_those_with_them():
    places = [(name, field.offset, field.width) for name, field in SLIDING_SETTINGS]
    assert places[:-1] == [(name, field.offset, field.width) for name, field in SETTINGS]
    assert places[-1] == ("slides", SETTINGS.size, 1)


def test_every_instruction_leaves_room_for_its_check():
    assert BITS <= 8 * (INSTRUCTION_BYTES - CHECK_BYTES)


def test_the_check_is_a_remainder():
    """By long division: the seed is added to the message's first 32 bits, each byte's lowest bit first."""
    rng = random.Random(8)
    divisor = sum(1 << power for power in (32, 17, 12, 7, 2, 0))
    for size in (4, 9, 64):
        message = rng.randbytes(size)
        bits = "".join(f"{byte:08b}"[::-1] for byte in message)
        rest = (int(bits, 2) ^ 0xFFFFFFFF << 8 * size - 32) << 32
        while rest.bit_length() > 32:
            rest ^= divisor << rest.bit_length() - 33
        assert f"{crc(SEED, message):032b}" == f"{rest:032b}"[::-1]


def test_a_sealed_program_is_a_chain():
    """Each check is the register behind its 60 bytes, begun with the check before; sealing twice changes nothing."""
    rng = random.Random(3)
    program = b"".join(encode(Operation.LOAD, dram=rng.getrandbits(32)) for _ in range(5))
    made = sealed(program)
    assert sealed(made) == made
    state = SEED
    for at in range(0, len(made), INSTRUCTION_BYTES):
        fields, check = made[at : at + 60], int.from_bytes(made[at + 60 : at + 64], "little")
        assert fields == program[at : at + 60]
        assert check == (state := crc(state, fields))


def test_every_error_of_up_to_five_bits_in_an_instruction_is_found():
    """The register is linear: 0 behind an instruction whose flipped bits' registers add up to 0, which none here do."""
    lone = [crc(0, (1 << bit).to_bytes(INSTRUCTION_BYTES, "little")) for bit in range(8 * INSTRUCTION_BYTES)]
    assert all(value.bit_count() % 2 for value in lone), "one, three, five: an odd sum of odd parities is not 0"
    pairs = {one ^ other for n, one in enumerate(lone) for other in lone[:n]}
    assert 0 not in pairs, "two"
    assert len(pairs) == len(lone) * (len(lone) - 1) // 2, "four: no two pairs are equal"


def test_tokens_lie_at_the_same_place_in_every_instruction_that_takes_them():
    """What takes them is looked for before anybody knows which operation it is."""
    for operation in (Operation.LOAD, Operation.ARRAY, Operation.VECTOR, Operation.SETUP, Operation.STORE):
        word = int.from_bytes(encode(operation, wait=0b1010, post=0b0101), "little")
        assert word == int(operation) | 0b1010 << 8 | 0b0101 << 12
