"""The registers as a host sees them: offsets, meanings, and why a run failed."""

from amaranth.lib import enum

IDENTITY = 0x53595354
"""``SYST`` in ASCII."""

PAGE_BITS = 12
"""BASE and LIMIT count pages of 4,096 bytes, which no burst crosses."""


def whole_pages(size: int) -> int:
    """``size``, in bytes, rounded up to whole pages, as LIMIT takes it."""
    return -(-size >> PAGE_BITS) << PAGE_BITS


STALLS = (
    ("ARRAY_TOKEN", "array waits for a token before an instruction"),
    ("ARRAY_WEIGHTS", "array waits for weights"),
    ("ARRAY_HALF", "array waits for a free half of the accumulators"),
    ("VECTOR_TOKEN", "vector unit waits for a token before an instruction"),
    ("VECTOR_SUMS", "vector unit waits for complete sums"),
    ("LOADER_TOKEN", "loader waits for a token before an instruction"),
    ("STORER_TOKEN", "storer waits for a token before an instruction"),
)

REGISTERS = {
    "ID": (0x00, "0x53595354, reads SYST in ASCII"),
    "FINGERPRINT": (0x04, "of the parameters; a program carries the one it was planned for"),
    "FEATURES": (0x08, "bits 7:0 rows, 15:8 columns, 23:16 bus bytes, 28:24 activation bits - 1, 31:29 version"),
    "CONTROL": (0x0C, "write 1 to start, 2 to clear done and error, 4 to reset the engine"),
    "STATUS": (0x10, "bit 0 busy, 1 done, 2 error, bits 15:8 the error's cause"),
    "PROGRAM": (0x14, "byte address of the program, 64-byte aligned, before BASE is added"),
    "BASE": (0x18, "byte address added to every access, low 32 bits, 4096-byte aligned"),
    "INTERRUPT_ENABLE": (0x1C, "bit 0: raise the interrupt when a run has ended, done or with an error"),
    "CYCLES": (0x20, "cycles from start to done, low 32 bits"),
    "CYCLES_HIGH": (0x24, "the same, high 32 bits"),
    "WAITS": (0x28, "what units wait for, a bit each: now, or from an error to the next start what they did then"),
    "ARRAY_BUSY": (0x2C, "cycles in which a window entered the array"),
    **{f"STALL_{name}": (0x30 + 4 * n, f"cycles: {text}") for n, (name, text) in enumerate(STALLS)},
    "LIMIT": (0x4C, "bytes from BASE on that may be accessed, multiple of 4096; 0 after reset: none"),
    "BASE_HIGH": (0x50, "bits 7:0: bits 39:32 of BASE"),
    "WATCHDOG": (0x54, "cycles without progress after which a run ends with an error; 0: never"),
}
"""Name: (byte offset, meaning).  All 32 bits wide."""


class Cause(enum.Enum, shape=8):
    """Why a run failed."""

    NONE = 0
    READ = 1
    WRITE = 2
    OPERATION = 3
    FINGERPRINT = 4
    TOKEN = 5
    CHECK = 6
    IMAGE = 7
    RANGE = 8
    WATCHDOG = 9


CAUSES = {
    Cause.NONE.value: "no error",
    Cause.READ.value: "memory answered a read with an error",
    Cause.WRITE.value: "memory answered a write with an error",
    Cause.OPERATION.value: "the program holds an unknown operation; is the program address right?",
    Cause.FINGERPRINT.value: "the program was planned for an accelerator with other parameters",
    Cause.TOKEN.value: "the program ended with a token that no instruction took; is it damaged?",
    Cause.CHECK.value: "an instruction is damaged, missing or of another program; is the program address right?",
    Cause.IMAGE.value: "the memory image at BASE is not the one that the program was planned with",
    Cause.RANGE.value: "an access would have left the memory that BASE and LIMIT give",
    Cause.WATCHDOG.value: "nothing moved for as many cycles as WATCHDOG says",
}
