"""Compare what one image made the accelerator write with what it must write; say where they differ."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .contents import Contents
from .expected import Expectation, Place

KEPT = 16


@dataclass(frozen=True)
class Difference:
    """One wrong element, in the integers of the quantized graph, or one access that should not be.

    ``cycle`` counts from the end of reset.  ``note`` says what is wrong where it is not the value.
    """

    image: int
    layer: str
    channel: int | None
    row: int | None
    column: int | None
    expected: int | None
    found: int | None
    cycle: int
    note: str = ""

    def __str__(self) -> str:
        place = f"image {self.image}"
        if self.layer:
            place += f", layer '{self.layer}'"
        if self.channel is not None:
            place += f", channel {self.channel}, row {self.row}, column {self.column}"
        said = f"{place}: " + (self.note or f"expected {self.expected}, found {self.found}")
        return f"{said} (cycle {self.cycle})"


@dataclass
class Verdict:
    """All differences of one image: how many elements are wrong, and the first KEPT of them."""

    mismatches: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, difference: Difference, count: int = 1) -> None:
        self.mismatches += count
        if len(self.differences) < KEPT:
            self.differences.append(difference)


def compare(
    image: int,
    expectation: Expectation,
    vector: NDArray[np.uint8],
    events: NDArray[np.void],
    event_count: int,
    contents: Contents,
    now: int,
) -> Verdict:
    """Every byte of the monitor's stream and of DRAM, in a run that begins with ``image``.

    ``vector`` is this image's expected vector with its 0 at the end; ``event_count`` may exceed the events kept;
    ``now`` is the cycle at which the image ended.
    """
    verdict = Verdict()
    reported = _compare_stream(verdict, image, expectation, vector, events, event_count, now)
    _compare_memory(verdict, image, expectation, vector, contents, now, reported)
    return verdict


def layer_cycles(expectation: Expectation, events: NDArray[np.void], started: int, ended: int) -> dict[str, int]:
    """Cycles of each layer, from the last value of all before it to its own last; what is left goes to the last one.

    A layer that ended while one before it was still at work has none.  Empty if the stream of ``events`` is not as long
    as expected.
    """
    if len(events) < len(expectation.stream):
        return {}
    ends = np.full(len(expectation.layers), started, np.int64)
    np.maximum.at(ends, expectation.makers, events["cycle"][: len(expectation.makers)].astype(np.int64))
    ends = np.maximum.accumulate(ends)
    ends[-1] = ended
    return dict(zip(expectation.layers, np.diff(ends, prepend=started).tolist(), strict=True))


def _compare_stream(
    verdict: Verdict,
    image: int,
    expectation: Expectation,
    vector: NDArray[np.uint8],
    events: NDArray[np.void],
    event_count: int,
    now: int,
) -> NDArray[np.int64]:
    wanted = len(expectation.stream)
    both = min(wanted, len(events))
    same_count = events["count"][:both] == expectation.counts[:both]
    aligned = both if same_count.all() else int(np.argmin(same_count))
    index = expectation.stream[:aligned]
    found = events["data"][:aligned]
    numbers, lanes = np.nonzero(found != vector[index])
    firsts = expectation.elements(index[numbers, lanes])
    reported, order = np.unique(firsts, return_index=True)
    for at in np.sort(order)[:KEPT].tolist():
        event, lane = int(numbers[at]), int(lanes[at])
        maker = expectation.layers[expectation.makers[event]]
        place = replace(expectation.locate(int(firsts[at])), layer=maker)
        start = lane - int(index[event, lane]) + place.first  # an element's bytes are neighbours in an event
        verdict.add(
            _value(image, place, vector, found[event, start : start + place.element_bytes], int(events["cycle"][event]))
        )
    verdict.mismatches += max(0, reported.size - KEPT)
    if aligned < wanted or event_count > wanted:
        lost = max(abs(wanted - event_count), 1)
        verdict.add(_stream_broken(image, expectation, events, event_count, aligned, now), lost)
    return reported


def _stream_broken(
    image: int, expectation: Expectation, events: NDArray[np.void], event_count: int, aligned: int, now: int
) -> Difference:
    wanted = len(expectation.stream)
    cycle = int(events["cycle"][aligned]) if aligned < len(events) else now
    totals = f"{event_count} vectors written in all, {wanted} expected"
    if aligned >= wanted:
        return Difference(image, "", None, None, None, None, None, cycle, f"an extra vector after the last; {totals}")
    place = expectation.locate(int(expectation.stream[aligned, 0]))
    count = int(expectation.counts[aligned])
    what = (
        f"expected a vector of {count} bytes, found one of {int(events['count'][aligned])}; {totals}"
        if aligned < len(events)
        else f"this vector and what follows were never written; {totals}"
    )
    return _absent(image, place, cycle, what)


def _compare_memory(
    verdict: Verdict,
    image: int,
    expectation: Expectation,
    vector: NDArray[np.uint8],
    contents: Contents,
    now: int,
    reported: NDArray[np.int64],
) -> None:
    granule = -(-contents.data.size // max(1, contents.stamps.size))
    start = expectation.start
    painted = expectation.memory >= 0
    written, data = contents.written[start:], contents.data[start:]
    wrong = painted & written & (data != vector[expectation.memory])
    for mask, note in ((wrong, ""), (painted & ~written, "never written to memory")):
        addresses = np.nonzero(mask)[0]
        firsts = expectation.elements(expectation.memory[addresses])
        new = ~np.isin(firsts, reported)
        addresses = addresses[new]
        unique, order = np.unique(firsts[new], return_index=True)
        for at in np.sort(order)[:KEPT].tolist():
            address = int(addresses[at])
            place = expectation.locate(int(expectation.memory[address]))
            first = address - int(expectation.memory[address]) + place.first
            found = data[first : first + place.element_bytes]
            if note:
                verdict.add(_absent(image, place, now, f"{note} (address {start + first:#x})"))
            else:
                stamp = int(contents.stamps[(start + address) // granule])
                verdict.add(_value(image, place, vector, found, stamp))
        verdict.mismatches += max(0, unique.size - KEPT)
        reported = np.concatenate([reported, unique])
    extra = np.concatenate([np.nonzero(contents.written[:start])[0], start + np.nonzero(written & ~painted)[0]])
    if extra.size:
        address = int(extra[0])
        note = f"{extra.size} bytes written that belong to no output, the first at address {address:#x}"
        cycle = int(contents.stamps[address // granule])
        verdict.add(Difference(image, "", None, None, None, None, None, cycle, note), int(extra.size))


def _value(image: int, place: Place, vector: NDArray[np.uint8], found: NDArray[np.uint8], cycle: int) -> Difference:
    wanted = _integer(vector[place.first : place.first + place.element_bytes], place.offset)
    return Difference(
        image + place.image,
        place.layer,
        place.channel,
        place.row,
        place.column,
        wanted,
        _integer(found, place.offset),
        cycle,
    )


def _absent(image: int, place: Place, cycle: int, note: str) -> Difference:
    return Difference(image + place.image, place.layer, place.channel, place.row, place.column, None, None, cycle, note)


def _integer(data: NDArray[np.uint8], offset: int) -> int:
    return int.from_bytes(data.tobytes(), "little", signed=True) + offset
