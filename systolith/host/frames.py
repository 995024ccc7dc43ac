"""The serial link's frames: what docs/boards.md says of them, as octets.

SLIP marks their ends (RFC 1055).  The check is the CRC-32 of ISO/IEC 13239 (HDLC), which zlib and Ethernet use too.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

END, ESCAPE = b"\xc0", b"\xdb"
ESCAPED_END, ESCAPED_ESCAPE = b"\xdb\xdc", b"\xdb\xdd"
SYNC, READ_REGISTERS, WRITE_REGISTERS, READ_MEMORY, WRITE_MEMORY = range(5)
OKAY, DAMAGED, NO_SESSION, ORDER, REFUSED = range(5)
VERSION = 0x4C594E31
DATA_WORDS = 64
"""In a frame at most."""
HEADER = struct.Struct("<BBHI")
CHECK = struct.Struct("<I")


@dataclass(frozen=True)
class Frame:
    """A request or an answer.

    sequence : 0 to 255;  kind : command or status;  count : of words asked for or answered
    address : in bytes, which an answer repeats;  data : whole words
    """

    sequence: int
    kind: int
    count: int
    address: int
    data: bytes = b""

    def to_octets(self) -> bytes:
        """As they go over the line, between two delimiters: the first ends whatever came before."""
        content = HEADER.pack(self.sequence, self.kind, self.count, self.address) + self.data
        content += CHECK.pack(zlib.crc32(content))
        escaped = content.replace(ESCAPE, ESCAPED_ESCAPE).replace(END, ESCAPED_END)
        return END + escaped + END

    @classmethod
    def from_octets(cls, octets: bytes) -> Frame | None:
        """What stood between two delimiters; None if it is damaged."""
        parts = octets.split(ESCAPE)
        if any(part[:1] not in (ESCAPED_END[1:], ESCAPED_ESCAPE[1:]) for part in parts[1:]):
            return None
        content = parts[0] + b"".join((END if part[:1] == ESCAPED_END[1:] else ESCAPE) + part[1:] for part in parts[1:])
        if len(content) < HEADER.size + CHECK.size or zlib.crc32(content[:-4]) != CHECK.unpack(content[-4:])[0]:
            return None
        sequence, kind, count, address = HEADER.unpack_from(content)
        data = content[HEADER.size : -CHECK.size]
        return cls(sequence, kind, count, address, data) if len(data) == 4 * count else None
