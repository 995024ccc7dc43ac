"""The slowest paths of a routed netlist: nextpnr names one, this reads all its delays, written as SDF (IEEE 1497)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

CELL = re.compile(r"^    \(INSTANCE (.*)\)$")
DELAY = re.compile(r"^ +\((INTERCONNECT|IOPATH) (\S+) (\S+) \([\d.]+:[\d.]+:([\d.]+)\) \([\d.]+:[\d.]+:([\d.]+)\)\)$")
CHECK = re.compile(r"^ +\(SETUPHOLD \(\w+ (\S+)\) \(\w+ \S+\) \([\d.]+:[\d.]+:([\d.]+)\) ")
CLOCK = re.compile(r"(CLK|WCK)\w*$")
GROUP = re.compile(r"(_(TRELLIS_FF|DP16KD|MULT18X18D|TRELLIS_DPR16X4)\b.*|_TRELLIS_FF_.*|\$DPRAM.*|[\d._]+)$")
"""What follows a register's name in that of its cell."""

Port = tuple[str, str]


@dataclass(frozen=True)
class Slowest:
    """A path between two registers or memories: ``nanoseconds`` in all, and their names without a bit's number."""

    nanoseconds: float
    begin: str
    end: str


@dataclass(frozen=True)
class _Delays:
    """In picoseconds, by the ports where they end: what leads there, and from a clock's edge; setup times."""

    into: dict[Port, list[tuple[Port, float]]]
    clocked: dict[Port, float]
    setup: dict[Port, float]


def slowest(sdf: Path, count: int) -> list[Slowest]:
    """The ``count`` slowest paths between different registers, the slowest first."""
    delays = _read(sdf)
    arrival: dict[Port, float] = {}
    origin: dict[Port, str] = {}
    order = TopologicalSorter({port: [before for before, _ in several] for port, several in delays.into.items()})
    for port in order.static_order():
        if port in delays.clocked:
            arrival[port], origin[port] = delays.clocked[port], port[0]
        for before, delay in delays.into.get(port, ()):
            if before in arrival and arrival[before] + delay > arrival.get(port, -1.0):
                arrival[port], origin[port] = arrival[before] + delay, origin[before]
    ends = sorted(((arrival[p] + setup, p) for p, setup in delays.setup.items() if p in arrival), reverse=True)
    found: dict[tuple[str, str], Slowest] = {}
    for picoseconds, port in ends:
        between = GROUP.sub("", origin[port]), GROUP.sub("", port[0])
        found.setdefault(between, Slowest(round(picoseconds / 1000, 3), *between))
        if len(found) == count:
            break
    return list(found.values())


def _read(sdf: Path) -> _Delays:
    delays = _Delays(defaultdict(list), {}, {})
    cell = ""
    for line in _lines(sdf):
        if found := CELL.match(line):
            cell = found[1]
        elif found := CHECK.match(line):
            delays.setup[cell, found[1]] = max(float(found[2]), delays.setup.get((cell, found[1]), 0.0))
        elif found := DELAY.match(line):
            kind, begin, end = found[1], found[2], found[3]
            delay = max(float(found[4]), float(found[5]))
            if kind == "INTERCONNECT":
                (from_cell, from_port), (to_cell, to_port) = begin.rsplit("/", 1), end.rsplit("/", 1)
                delays.into[to_cell, to_port].append(((from_cell, from_port), delay))
            elif CLOCK.match(begin):
                delays.clocked[cell, end] = max(delay, delays.clocked.get((cell, end), 0.0))
            else:
                delays.into[cell, end].append(((cell, begin), delay))
    return delays


def _lines(sdf: Path) -> Iterator[str]:
    """Without what escapes a character in a name."""
    with sdf.open() as text:
        for line in text:
            yield line.replace("\\", "").rstrip("\n")
