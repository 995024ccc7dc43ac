"""The check in each instruction's last four bytes: a CRC of 32 bits, begun with the check of the instruction before it.

So it covers an instruction's other 60 bytes and, through the chain, everything before it in its program: a damaged,
missing, repeated or foreign instruction fails its own check or that of the one behind it.  The polynomial is none of
the usual ones, because those were chosen for long messages, and have about 16 terms, of which each is a gate for every
bit that comes in a cycle.  In an instruction's 512 bits this one, with 6 terms, finds what CRC-32C does: every error of
up to 5 bits (tests/test_hw_program.py has the proof), any odd number of bits, and any burst of 32; of the rest all but
one in 2^32 (Koopman 2002 on what polynomials find).  Of the 31,465 with 6 terms it costs the least gates at 8 bytes a
cycle: 138 LUTs of 4 inputs, CRC-32C 362.
"""

from functools import cache

from .parameters import INSTRUCTION_BYTES

POLYNOMIAL = 0xA1084000
"""x^32 + x^17 + x^12 + x^7 + x^2 + 1, the lowest bit first."""
SEED = 0xFFFFFFFF
"""What a chain begins with: the image's stamp, and BEGIN."""
CHECK_BYTES = 4


@cache
def _table() -> tuple[int, ...]:
    """The register after each byte, from 0."""
    made = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        made.append(byte)
    return tuple(made)


def crc(state: int, data: bytes) -> int:
    """The CRC register, 32 bits, after ``data``; ``state`` before."""
    table = _table()
    for byte in data:
        state = table[(state ^ byte) & 0xFF] ^ state >> 8
    return state


def sealed(program: bytes) -> bytes:
    """A chain of whole instructions with their checks; what stood in their place does not count."""
    made, state = [], SEED
    for at in range(0, len(program), INSTRUCTION_BYTES):
        fields = program[at : at + INSTRUCTION_BYTES - CHECK_BYTES]
        state = crc(state, fields)
        made += [fields, state.to_bytes(CHECK_BYTES, "little")]
    return b"".join(made)
