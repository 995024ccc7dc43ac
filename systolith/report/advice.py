"""What to change, if anything: the largest loss that a simulation measured, and an option that the model says helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..sim.accelerator import Accelerator
from ..sim.report import Report
from .layers import LayerRow

NEAR = 1.05
"""Cycles over the limit, up to which there is nothing to advise."""
GAIN = 0.01
"""Share of the cycles that a loss must have, and that a change must save."""
MOST_BATCH, MOST_BUS_BYTES = 256, 64


@dataclass(frozen=True)
class Change:
    """One option of ``generate`` at another value, or one that takes none, as True."""

    option: str
    value: int | bool

    def __str__(self) -> str:
        flag = "--" + self.option.replace("_", "-")
        return flag if self.value is True else f"{flag} {self.value}"


@dataclass(frozen=True)
class Loss:
    """``cycles`` of each image that the array loses, why, and what might help, the likeliest first."""

    why: str
    cycles: float
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Advice:
    """The loss, the change, and the cycles of an image that the cycle model predicts before and after."""

    loss: Loss
    share: float
    change: Change
    before: float
    after: float

    @property
    def reason(self) -> str:
        return f"The array {self.loss.why}: {self.loss.cycles:,.0f} cycles an image, {self.share:.1%} of them."

    @property
    def promise(self) -> str:
        return f"the cycle model predicts {self.after:,.0f} instead of {self.before:,.0f}"

    def __str__(self) -> str:
        return f"{self.reason} With {self.change} {self.promise}."


def advise(
    accelerator: Accelerator, rows: Sequence[LayerRow], report: Report, predict: Callable[[Change], float | None]
) -> Advice | None:
    """Advice about the largest loss for which one change helps; None near the limit, or if no change does.

    predict : cycles of an image after a change, None where it cannot be built
    Only measurements without random stalls of the memory say something about the accelerator.
    """
    cycles = report.cycles_per_image
    if report.bench != "bulk" or cycles * report.batch <= NEAR * accelerator.limit_cycles:
        return None
    before = accelerator.predicted_cycles / report.batch
    for loss in sorted(losses(accelerator, rows, report), key=lambda loss: -loss.cycles):
        if loss.cycles < GAIN * cycles:
            return None
        for change in loss.changes:
            after = predict(change)
            if after is not None and after <= (1 - GAIN) * before:
                return Advice(loss, loss.cycles / cycles, change, before, after)
    return None


def losses(accelerator: Accelerator, rows: Sequence[LayerRow], report: Report) -> list[Loss]:
    """The array's stalls as measured, and its rows that the first layer leaves idle."""
    p = accelerator.manifest.parameters
    wider = _doubled("bus_bytes", p.bus_bytes, MOST_BUS_BYTES)
    lanes = _doubled("lanes", p.lanes, p.columns)
    passing = accelerator.manifest.memory.regions.scratch.bytes > 0
    activations = _doubled("activation_kib", p.activation_kib)
    alone = any(not row.macs for row in rows)
    return [
        Loss(
            "waits for a free half of the accumulators, because the vector unit is behind",
            _stall(report, "half"),
            lanes,
        ),
        Loss(
            "waits for maps or for results of layers before",
            _stall(report, "token"),
            (*(activations if passing else ()), *(lanes if alone else ()), *wider),
        ),
        _weights(accelerator, rows, report, wider),
        *_idle_rows(accelerator, rows),
    ]


def _stall(report: Report, cause: str) -> float:
    return report.stalls[f"array_{cause}"]


def _doubled(option: str, value: int, most: int | None = None) -> tuple[Change, ...]:
    """Twice as much, at most ``most``; nothing if it is that already."""
    more = 2 * value if most is None else min(2 * value, most)
    return (Change(option, more),) if more > value else ()


def _weights(accelerator: Accelerator, rows: Sequence[LayerRow], report: Report, wider: tuple[Change, ...]) -> Loss:
    """Waiting for weights: the bus is the limit of layers that use each weight seldom, or tiles fetch them again."""
    waited = _stall(report, "weights")
    bound = sum((row.limit or 0) - row.macs / row.cells for row in rows if row.bound == "bus") / report.batch
    if 2 * bound >= waited:
        batch = _doubled("batch", 2 * report.batch, MOST_BATCH)
        return Loss("waits for weights of layers that use each too seldom for this bus", waited, (*batch, *wider))
    p = accelerator.manifest.parameters
    activations, sums = _doubled("activation_kib", p.activation_kib), _doubled("accumulator_kib", p.accumulator_kib)
    full = 2 * max(row.positions for row in rows) > p.accumulator_depth
    memories = (*sums, *activations) if full else (*activations, *sums)
    return Loss("waits for weights that come again for each tile of a map", waited, (*memories, *wider))


def _idle_rows(accelerator: Accelerator, rows: Sequence[LayerRow]) -> list[Loss]:
    """What the network's first layer leaves idle, unless its input is unfolded already."""
    first = rows[0]
    if accelerator.unfolding is not None or not first.macs:
        return []
    entering = sum(item.work for item in accelerator.manifest.timeline.array if item.layer == first.number)
    idle = entering - first.macs / first.cells
    return [
        Loss(f"is partly idle in '{first.name}', whose windows fill few rows", idle, (Change("unfold_input", True),))
    ]
