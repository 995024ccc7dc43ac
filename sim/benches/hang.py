"""Say why nothing happens any more: which unit waits for which token."""

from __future__ import annotations

from ..comparison.job import Job
from .registers import RegisterError, Registers


async def describe_hang(job: Job, registers: Registers, stuck: int) -> str:
    """One line for ``stuck`` of recorder.sv (bit 0 idle, bit 1 too long), from the accelerator's WAITS register."""
    if stuck & 1:
        what = f"the accelerator hangs: nothing moved for {job.patience} cycles"
    else:
        what = f"the accelerator is not done after {job.limit} cycles"
    try:
        waits = await registers.read(job.registers["WAITS"])
        status = await registers.read(job.registers["STATUS"])
    except RegisterError as error:
        return f"{what}, and its registers do not answer ({error})"
    texts = [text for bit, text in enumerate(job.waits) if waits >> bit & 1]
    return f"{what}: {'; '.join(texts) if texts else 'no unit waits for a token'} (STATUS {status:#x})"
