"""Program and memory image name each other, so that the engine can refuse either with another's."""

import hashlib
from dataclasses import replace

from ..isa.check import sealed
from ..isa.parameters import INSTRUCTION_BYTES
from ..isa.program import Operation, encode
from .plan import Plan


def stamped(plan: Plan) -> Plan:
    """``plan`` with the same 32 bits in BEGIN and in the stamp that begins its constants.

    They are a hash of both: programs that differ only in what is no constant (a clamp, a stride) differ in it too.
    """
    begin, *rest = plan.program
    content = b"".join(instruction.encode() for instruction in plan.program) + plan.dram.constants
    identity = int.from_bytes(hashlib.sha256(content).digest()[:4], "little")
    stamp = sealed(encode(Operation.IMAGE, image=identity))
    return replace(
        plan,
        program=(replace(begin, fields={**begin.fields, "image": identity}), *rest),
        dram=replace(plan.dram, constants=stamp + plan.dram.constants[INSTRUCTION_BYTES:]),
    )
