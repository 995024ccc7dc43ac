"""The C header's driver from Python: ``host.c`` with a build's header, on whatever carries the Python driver."""

import ctypes
import subprocess
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_float, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path

import numpy as np

LANGUAGES = {"C99": ["-x", "c", "-std=c99"], "C++11": ["-x", "c++", "-std=c++11"]}
FLAGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-shared", "-fPIC"]
SOURCE = Path(__file__).with_name("host.c")
CONTEXT = 0x5A5A5A5A
OTHER_CONSTANTS = 0xFFFF_FFF0
"""The first of SYSTOLITH_*, which follow each other."""
OTHER_PROGRAM, NO_ACCELERATOR, OTHER_BUILD, SMALL, MISPLACED = range(OTHER_CONSTANTS + 1, OTHER_CONSTANTS + 6)
NOT_HELD, NOT_FINITE, TIMEOUT, STILL_BUSY, NOT_CLEARED = range(OTHER_CONSTANTS + 6, OTHER_CONSTANTS + 11)
READ = CFUNCTYPE(c_uint32, c_void_p, c_uint32)
WRITE = CFUNCTYPE(None, c_void_p, c_uint32, c_uint32)
WAIT = CFUNCTYPE(None, c_void_p)


class CarrierStructure(ctypes.Structure):
    """``systolith_carrier_t``"""

    _fields_ = (
        *(("context", c_void_p), ("read", READ), ("write", WRITE)),
        *(("memory", c_void_p), ("address", c_uint64), ("bytes", c_uint64)),
        *(("flush", WRITE), ("invalidate", WRITE), ("wait", WAIT)),
        *(("interrupts", c_uint32), ("polls", c_uint32), ("watchdog", c_uint32)),
    )


class Structure(ctypes.Structure):
    """``systolith_t``"""

    _fields_ = (
        *(("carrier", CarrierStructure), ("cycles", c_uint64), ("array_busy", c_uint32), ("stalls", c_uint32 * 7)),
        *(("waits", c_uint32), ("stuck", c_uint32), ("differing", c_uint32), ("first", c_uint32)),
    )


def compiled(source: Path, header: Path, target: Path, language: str = "C99", optimize: str = "-O1") -> Path:
    """``source`` with the ``systolith.h`` of the folder ``header`` as a library, compiled without a warning."""
    command = ["g++", *LANGUAGES[language], *FLAGS, optimize, "-I", str(header), str(source), "-o", str(target)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return target


def pointer(array):
    return c_void_p(array.ctypes.data)


class Twin:
    """``library`` on registers and memory that ``read``, ``write`` and ``memory``, an array of bytes, are.

    flush, invalidate, wait : functions, or None for none
    """

    def __init__(
        self, library, read, write, memory, address, flush=None, invalidate=None, wait=None, interrupts=0, **numbers
    ):
        self.library = ctypes.CDLL(str(Path(library).absolute()))
        self.library.cause.restype = c_char_p
        self.library.size_of.restype = c_size_t
        for name in ("open_build", "run", "infer", "reset"):
            getattr(self.library, name).restype = c_uint32
        structures = (CarrierStructure, Structure)
        assert [self.library.size_of(n) for n in (0, 1)] == [ctypes.sizeof(s) for s in structures]
        assert memory.dtype == np.uint8
        self.memory = memory  # C keeps a pointer alone
        self.carrier = CarrierStructure(
            *(CONTEXT, READ(told(read)), WRITE(told(write)), pointer(memory), address, memory.size),
            *(WRITE(told(flush)) if flush else WRITE(), WRITE(told(invalidate)) if invalidate else WRITE()),
            *(WAIT(told(wait)) if wait else WAIT(), interrupts),
            **numbers,
        )
        self.state = Structure()

    @classmethod
    def on(cls, carried, library, **how):
        """On what carries the Python driver; ``how`` may leave functions out."""
        memory = carried.memory
        known = {"flush": memory.flush, "invalidate": memory.invalidate, "interrupts": int(carried.interrupts)}
        return cls(library, carried.device.read, carried.device.write, memory.dram, memory.address, **{**known, **how})

    def open(self, constants, program):
        """Files' bytes."""
        return self.library.open_build(
            *(ctypes.byref(self.state), ctypes.byref(self.carrier)),
            *(constants, c_uint32(len(constants)), program, c_uint32(len(program))),
        )

    def open_folder(self, folder):
        return self.open(*((folder / name).read_bytes() for name in ("memory.bin", "program.bin")))

    def infer(self, inputs, outputs):
        """inputs, outputs : float32, an array for each, (N, channels, rows, columns); outputs are written"""
        inputs = [np.ascontiguousarray(values) for values in inputs]
        assert all(values.dtype == np.float32 for values in (*inputs, *outputs))
        assert all(values.flags.c_contiguous for values in outputs)
        lists = [
            (POINTER(c_float) * len(a))(*(v.ctypes.data_as(POINTER(c_float)) for v in a)) for a in (inputs, outputs)
        ]
        return self.library.infer(ctypes.byref(self.state), lists[0], c_uint32(len(inputs[0])), lists[1])

    def run(self):
        return self.library.run(ctypes.byref(self.state))

    def reset(self):
        return self.library.reset(ctypes.byref(self.state))

    def explained(self, result, room=400):
        """What ``systolith_explain`` says, and that it writes no byte beyond ``room``."""
        line = ctypes.create_string_buffer(b"\xa5" * (room + 8), room + 8)
        self.library.explain(ctypes.byref(self.state), c_uint32(result), line, c_size_t(room))
        assert line.raw[room:] == b"\xa5" * 8
        return line.raw[:room].split(b"\0")[0].decode()


def told(function):
    """``function`` behind the context, which must be the carrier's."""

    def called(context, *arguments):
        assert context == CONTEXT
        return function(*arguments)

    return called
