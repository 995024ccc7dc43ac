"""What an accelerator would cost and do, before anything is generated: area, cycles, images a second, bandwidth."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from math import log2
from typing import Any

from ..quant.graph import Graph
from ..quant.graph.errors import ConfigurationError
from .area import Area, area, measured
from .build import parameters_for
from .choice import CHOSEN, Choice, choose
from .compiler.engine_layer import EngineLayer
from .compiler.lowering import lower
from .compiler.planner import plan
from .describe import bytes_moved
from .devices import Device
from .isa.parameters import Parameters
from .manifest import LATENCY
from .model.schedule import predict
from .shares import shares

SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 32, 48, 64, 96, 128)
"""Rows and columns that the search for the largest accelerator tries."""

LONGEST = 2
"""Times that one of them may be the other."""

HALVINGS = 6
"""How often the search halves the memories before it tries a smaller array."""

MEMORIES = {"activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
"""What it halves, and the least of each."""


@dataclass(frozen=True)
class Estimate:
    """An accelerator for a network.

    area : None for a target of which no synthesis was measured
    cycles, bytes : of one image: cycles as the cycle model predicts them, bytes that cross the bus, the program not
    clock_mhz : what times and bandwidths are for;  device : the part that was named, None if none was
    unfold_input : the host writes the input unfolded;  chosen : what was not given, and why it is so
    """

    parameters: Parameters
    area: Area | None
    cycles: float
    bytes: float
    clock_mhz: float
    device: Device | None = None
    unfold_input: bool = False
    chosen: tuple[str, ...] = ()

    @property
    def images_per_second(self) -> float:
        return 1e6 * self.clock_mhz / self.cycles

    @property
    def bus_bytes_per_second(self) -> float:
        """What the bus can carry."""
        return 1e6 * self.clock_mhz * self.parameters.bus_bytes

    @property
    def used_bytes_per_second(self) -> float:
        """What images one after the other move."""
        return self.bytes * self.images_per_second

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for json.dumps."""
        figures = ("images_per_second", "bus_bytes_per_second", "used_bytes_per_second")
        shares = self.area.shares(self.device) if self.area and self.device else None
        return {**asdict(self), **{name: getattr(self, name) for name in figures}, "shares": shares}

    def lines(self) -> list[str]:
        """A summary for people."""
        p = self.parameters
        lines = [f"{array_line(p)}, {memory_line(p)}"]
        if self.area is not None:
            lines.append(f"{area_line(self.area)}, on {p.target}")
        if self.area is not None and self.device is not None:
            shares = self.area.shares(self.device)
            named = ", ".join(f"{share:.0%} of its {name.replace('_', ' ')}" for name, share in shares.items())
            lines.append(f"{self.device.name}: {named}" + ("" if self.area.fits(self.device) else "; it does not fit"))
        return [
            *lines,
            *self.chosen,
            f"{self.cycles:,.0f} cycles an image, {self.images_per_second:,.1f} images a second "
            f"at {self.clock_mhz:g} MHz",
            f"bus: {self.bus_bytes_per_second / 1e6:,.0f} MB/s, of which {self.used_bytes_per_second / 1e6:,.0f} used",
        ]


def array_line(p: Parameters) -> str:
    """The array, as ``generate`` and ``estimate`` print it."""
    line = f"{p.rows}x{p.columns} multipliers of {p.weight_bits}x{p.activation_bits} bits"
    return (
        line
        if p.columns_per_multiplier == 1
        else f"{line}, {p.columns_per_multiplier} columns to each of the {p.target}'s"
    )


def memory_line(p: Parameters) -> str:
    """The memories' sizes."""
    return (
        f"{p.activation_kib} KiB of activations, {p.accumulator_kib} KiB of accumulators, "
        f"{p.weight_fifo_kib} KiB of weight FIFO"
    )


def area_line(found: Area) -> str:
    """The area as ``generate`` and ``estimate`` print it."""
    off = "" if found.error is None else f", at most {found.error:.0%} off"
    return (
        f"about {found.luts:,} LUTs and {found.registers:,} registers (whole engines compared: {found.engines}{off}), "
        f"{found.multipliers:,} multipliers, {found.block_rams:,} block RAMs"
    )


def estimate(
    graph: Graph,
    parameters: Parameters,
    *,
    batch: int = 1,
    unfold_input: bool = False,
    clock_mhz: float = 100,
    device: Device | None = None,
    chosen: tuple[str, ...] = (),
) -> Estimate:
    """What the accelerator with ``parameters`` takes, and how fast it runs ``graph``.

    batch, unfold_input : see plan;  clock_mhz : above 0;  device : to compare the area with;  chosen : see Estimate
    Raises ConfigurationError where a layer cannot fit, or the clock is none.
    """
    if not 0 < clock_mhz < 1e5:
        raise ConfigurationError(f"the clock must be above 0 and below 100000 MHz, not {clock_mhz:g}")
    p = parameters
    planned = plan(graph, p, batch, unfold_input)
    moved = sum(read + written for read, written in bytes_moved(planned))
    return Estimate(
        parameters=p,
        area=area(p) if p.target in measured() else None,
        cycles=predict(planned, LATENCY).cycles / planned.batch,
        bytes=moved / planned.batch,
        clock_mhz=clock_mhz,
        device=device,
        unfold_input=unfold_input,
        chosen=chosen,
    )


def estimate_chosen(graph: Graph, made: Choice, **how: Any) -> Estimate:
    """As ``estimate``, for what was chosen."""
    return estimate(graph, made.parameters, unfold_input=made.unfold_input, chosen=made.reasons, **how)


def room(device: Device | None) -> Callable[[Parameters], bool] | None:
    """Whether an accelerator fits ``device``; None without one."""
    return None if device is None else lambda p: area(p).fits(device)


def largest(
    graph: Graph,
    device: Device,
    *,
    batch: int = 1,
    unfold_input: bool | None = None,
    clock_mhz: float = 100,
    **sizes: Any,
) -> Estimate:
    """The accelerator with most multipliers that fits ``device`` and runs ``graph``.

    Of those with as many the squarest, of that the one with the largest memories, and then the lanes: see ``choose``.

    sizes : any of Parameters' fields but rows and columns; memories are upper bounds
    Raises ConfigurationError, saying what is missing, if none fits.
    """
    template = parameters_for(graph, rows=16, columns=16, target=device.target, **sizes)
    smallest, problem = None, None
    given: dict[str, int] = {name: sizes[name] for name in CHOSEN if name in sizes}
    layers = lower(graph, template.activation_bits)
    for p in _candidates(template, given.get("lanes", 0), None if "columns_per_multiplier" in sizes else layers):
        found = area(p)
        if found.fits(device):
            try:
                made = choose(graph, p, batch, unfold_input=unfold_input, fits=room(device), **given)
                return estimate_chosen(graph, made, batch=batch, clock_mhz=clock_mhz, device=device)
            except ConfigurationError as error:  # a layer does not fit these memories
                problem = error
        elif smallest is None or found.luts < smallest[1].luts:
            smallest = (p, found)
    if problem is not None or smallest is None:
        raise ConfigurationError(f"no accelerator that fits {device.name} runs this network: {problem}") from problem
    p, found = smallest
    shares = found.shares(device)
    name = max(shares, key=lambda name: shares[name])
    raise ConfigurationError(
        f"no accelerator for this network fits {device.name}: {p.rows}x{p.columns} with {memory_line(p)} "
        f"takes {getattr(found, name):,} {name.replace('_', ' ')} of {getattr(device, name):,}"
    )


def _candidates(template: Parameters, lanes: int, layers: Sequence[EngineLayer] | None) -> Iterator[Parameters]:
    """Accelerators like ``template`` in the order of preference.

    layers : for which columns may share multipliers; None: as the template's do
    """
    arrays = [(r, c) for r in SIDES for c in SIDES if max(r, c) <= LONGEST * min(r, c)]
    for rows, columns in sorted(arrays, key=lambda a: (-a[0] * a[1], abs(log2(a[0] / a[1])), a)):
        for halving in range(HALVINGS):
            memories = {name: max(least, getattr(template, name) >> halving) for name, least in MEMORIES.items()}
            try:
                p = replace(template, rows=rows, columns=columns, lanes=lanes, **memories)
            except ConfigurationError:
                continue  # sizes that do not go together
            for together in [p.columns_per_multiplier] if layers is None else shares(layers, p):
                yield replace(p, columns_per_multiplier=together)
