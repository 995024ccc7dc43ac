"""What of an ELF file a loader needs: segments and symbols.  System V ABI, chapters 4 and 5; little endian."""

import struct
from dataclasses import dataclass
from pathlib import Path

LOAD, SYMBOLS = 1, 2


@dataclass(frozen=True)
class Elf:
    """bits : 32 or 64;  segments : (address, bytes, length in memory);  undefined : symbols that nothing defines"""

    bits: int
    entry: int
    segments: list[tuple[int, bytes, int]]
    symbols: dict[str, int]
    undefined: list[str]

    @classmethod
    def read(cls, path: Path) -> "Elf":
        data = path.read_bytes()
        assert data[:4] == b"\x7fELF"
        assert data[5] == 1
        wide = data[4] == 2
        header = struct.unpack_from("<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", data, 16)
        _, machine, _, entry, programs, sections, _, _, program_size, program_count, section_size, section_count, _ = (
            header
        )
        assert machine == 243  # RISC-V
        segments = []
        for n in range(program_count):
            found = struct.unpack_from("<IIQQQQQQ" if wide else "<IIIIIIII", data, programs + n * program_size)
            kind, at, address, size, length = (found[n] for n in ((0, 2, 3, 5, 6) if wide else (0, 1, 2, 4, 5)))
            if kind == LOAD:
                segments.append((address, data[at : at + size], length))
        tables = [
            struct.unpack_from("<IIQQQQIIQQ" if wide else "<IIIIIIIIII", data, sections + n * section_size)
            for n in range(section_count)
        ]
        symbols, undefined = {}, []
        for _, _, _, _, at, size, link, _, _, each in (table for table in tables if table[1] == SYMBOLS):
            names = tables[link][4]
            for offset in range(at + each, at + size, each):  # the first one is none
                found = struct.unpack_from("<IBBHQQ" if wide else "<IIIBBH", data, offset)
                name, value, section = (found[n] for n in ((0, 4, 3) if wide else (0, 1, 5)))
                text = data[names + name : data.index(b"\0", names + name)].decode()
                if section:
                    symbols[text] = value
                else:
                    undefined.append(text)
        return cls(64 if wide else 32, entry, segments, symbols, undefined)
