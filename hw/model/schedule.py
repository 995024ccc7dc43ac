"""The cycle model: when each unit does what, from the program and the memory's latency alone.

Follows the engine's own rules (queues, tokens, halves, FIFO room, bus arbitration) with its own delays, pass by pass
and burst by burst, so it takes milliseconds where simulating the hardware takes seconds.  docs/cycles.md compares them.
"""

from dataclasses import dataclass
from itertools import accumulate
from typing import get_args

from ..compiler.plan import Plan
from .compute import sequencer, vector
from .run import Cause, Run
from .transfers import dispatch, fetch, loader, storer
from .weight_path import weight_requests, weight_writer

IDLE_SEEN = 2
"""Cycles from the last unit's last to the end of the run: that all are idle is a register."""


@dataclass(frozen=True)
class Prediction:
    """Cycles from start to done, and how many of them pass until each layer is complete after the one before.

    timeline : for each unit, when it is on a layer: [layer, first cycle, last cycle, cycles of work], short pauses left
    out.  Work: windows that enter the array, vectors that the vector unit takes, beats on the bus
    waits : cycles of each layer in which the array waits for a token, for weights, for a half of the accumulators
    """

    cycles: int
    layer_cycles: list[int]
    timeline: dict[str, list[list[int]]]
    waits: dict[str, list[int]]


def predict(plan: Plan, latency: int) -> Prediction:
    """Predict one image's run.

    latency : cycles from a burst's address to its first beat, and from a written burst's last beat to its response
    """
    run = Run(plan, latency)
    for unit in (fetch, dispatch, loader, weight_requests, weight_writer, sequencer, vector, storer):
        run.clock.start(unit(run))
    run.bus.start()
    run.clock.run()
    ends = [run.finished[n] for n in range(len(plan.layers))]
    reached = list(accumulate(ends, max))
    layers = [end - start for start, end in zip([0, *reached[:-1]], reached, strict=True)]
    waits = {cause: [run.waits[n, cause] for n in range(len(plan.layers))] for cause in get_args(Cause)}
    return Prediction(run.last + IDLE_SEEN, layers, run.timeline, waits)
