"""Sequences of AXI4 signals, cycle by cycle, and what axi_checker.sv must latch of each: nothing, or one fault."""

from __future__ import annotations

from dataclasses import dataclass

BUS_BYTES = 8
BASE, BYTES = 0x1_0000, 0x2F00
"""The accelerator's memory: its end is no 4 KiB boundary."""
END = BASE + BYTES
FIRST_CYCLE = 100
IDLE = {"rst": 0, "m_axi_arvalid": 0, "m_axi_awvalid": 0, "m_axi_wvalid": 0}
LAWFUL = (0, 0, 0)

Step = dict[str, int]


@dataclass(frozen=True)
class Sequence:
    """``steps``: the signals that change, a cycle each.  ``latched``: code, cycle, address."""

    steps: list[Step]
    latched: tuple[int, int, int]


def address(channel: str, at: int, beats: int = 1, *, valid: int = 1, ready: int = 1, **other: int) -> Step:
    """One cycle of "ar" or "aw"; ``other`` are payload signals that are not an aligned INCR burst's."""
    payload = {"id": 0, "addr": at, "len": beats - 1, "size": 3, "burst": 1, **other, "valid": valid, "ready": ready}
    return IDLE | {f"m_axi_{channel}{name}": value for name, value in payload.items()}


def data(last: int, *, valid: int = 1, ready: int = 1, word: int = 0x1234, strobe: int = 0xFF) -> Step:
    """One cycle of write data."""
    payload = {"data": word, "strb": strobe, "last": last, "valid": valid, "ready": ready}
    return IDLE | {f"m_axi_w{name}": value for name, value in payload.items()}


def beats(count: int) -> list[Step]:
    """The data of a lawful burst."""
    return [data(int(n == count - 1)) for n in range(count)]


def both(one: Step, other: Step) -> Step:
    """Two channels in one cycle."""
    return one | {name: value for name, value in other.items() if name not in IDLE or value}


def broken(code: int, steps: list[Step], at: int, where: int = 0) -> Sequence:
    """Rule ``code`` is broken in step ``at``, at address ``where``."""
    return Sequence(steps, (code, FIRST_CYCLE + at, where))


def lawful() -> dict[str, list[Step]]:
    """What the rules just allow."""
    page = BASE + 0x1000
    steps: dict[str, list[Step]] = {}
    for channel in ("ar", "aw"):
        for name, at, count in (
            ("ends at 4 KiB", page - 16 * BUS_BYTES, 16),
            ("begins at 4 KiB", page, 16),
            ("one beat before 4 KiB", page - BUS_BYTES, 1),
            ("at the first byte of memory", BASE, 1),
            ("16 beats to the last byte of memory", END - 16 * BUS_BYTES, 16),
            ("one beat to the last byte of memory", END - BUS_BYTES, 1),
        ):
            steps[f"{channel} {name}"] = [address(channel, at, count), *(beats(count) if channel == "aw" else [])]
        waiting = address(channel, BASE, 2, ready=0)
        other = address(channel, BASE + 64, 4, id=1)
        taken = address(channel, BASE, 2)
        steps[f"{channel} waits with the same payload"] = [waiting, waiting, taken, IDLE]
        steps[f"{channel} changes right after ready"] = [taken, other, IDLE]
        steps[f"{channel} changes while not valid"] = [
            address(channel, 3, 40, valid=0, size=1, burst=0, ready=0),
            address(channel, 5, 50, valid=0),
        ]
        steps[f"{channel} is forgotten in reset"] = [waiting, IDLE | {"rst": 1}, IDLE]
    wait = data(1, ready=0)
    single = address("aw", BASE)
    steps |= {
        "data waits with the same payload": [single, wait, wait, wait | {"m_axi_wready": 1}, IDLE],
        "data changes right after ready": [address("aw", BASE, 2), data(0), data(1, word=5, strobe=1), IDLE],
        "data changes while not valid": [data(0, valid=0, word=1), data(1, valid=0, word=2, ready=0)],
        "data is forgotten in reset": [wait, IDLE | {"rst": 1}, IDLE],
        "data with its address": [both(address("aw", BASE, 2), data(0)), data(1)],
        "data before its address": [*beats(3), *beats(1), address("aw", BASE, 3), single],
        "addresses before their data": [address("aw", BASE, 3), single, *beats(3), *beats(1)],
        "300 writes": [both(single, data(1))] * 300,
        "a read beside a write": [both(both(address("ar", BASE, 16), address("aw", END - 8)), data(1))],
    }
    return steps


def bursts() -> dict[str, Sequence]:
    """Each rule of a burst's address, read and written; judged when it is taken."""
    page = BASE + 0x1000
    faults: list[tuple[int, str, int, int, dict[str, int]]] = [
        *((2, f"burst type {kind}", BASE, 1, {"burst": kind}) for kind in (0, 2, 3)),
        *((3, f"{1 << size} bytes a beat", BASE, 1, {"size": size}) for size in (0, 2, 4, 7)),
        (4, "17 beats", BASE, 17, {}),
        (4, "256 beats", BASE, 256, {}),
        (5, "two beats around 4 KiB", page - BUS_BYTES, 2, {}),
        (5, "16 beats, the last behind 4 KiB", page - 15 * BUS_BYTES, 16, {}),
        (6, "not aligned by 4", BASE + 4, 1, {}),
        (6, "not aligned by 1", BASE + 1, 1, {}),
        (7, "below the memory", BASE - BUS_BYTES, 1, {}),
        (7, "at address 0", 0, 1, {}),
        (7, "behind the memory", END, 1, {}),
        (7, "one beat over the end", END - 15 * BUS_BYTES, 16, {}),
        (7, "4 GiB above the memory", BASE + 2**32, 1, {}),
        (7, "at the last address", 2**40 - BUS_BYTES, 1, {}),
    ]
    found = {}
    for channel, first in (("ar", 16), ("aw", 32)):
        for code, name, at, count, other in faults:
            taken = address(channel, at, count, **other)
            waits = taken | {f"m_axi_{channel}ready": 0}
            found[f"{channel} {name}"] = broken(first + code, [IDLE, waits, waits, taken, IDLE], 3, at)
    return found


def handshakes() -> dict[str, Sequence]:
    """Valid dropped, and each signal of a payload changed, while it waits."""
    found = {}
    for channel, code in (("ar", 10), ("aw", 12)):
        wait = address(channel, BASE + 64, 2, ready=0)
        gone = wait | {f"m_axi_{channel}valid": 0}
        found[f"{channel}valid dropped"] = broken(code, [IDLE, wait, wait, gone], 3, BASE + 64)
        for name, value in (("id", 1), ("addr", BASE + 128), ("len", 2), ("size", 2), ("burst", 0)):
            changed = wait | {f"m_axi_{channel}{name}": value}
            where = BASE + (128 if name == "addr" else 64)
            found[f"{channel}{name} changed"] = broken(code + 1, [wait, wait, changed, changed], 2, where)
    wait = data(0, ready=0)
    found["wvalid dropped"] = broken(14, [wait, wait, wait | {"m_axi_wvalid": 0}], 2)
    for name, value in (("data", 1 << 63), ("strb", 0x7F), ("last", 1)):
        found[f"w{name} changed"] = broken(15, [wait, wait, wait | {f"m_axi_w{name}": value}], 2)
    return found


def lasts() -> dict[str, Sequence]:
    """wlast too early and too late, with the address before and behind; a burst that does not end."""
    three, one = address("aw", BASE, 3), address("aw", BASE)
    return {
        "wlast early": broken(8, [three, data(0), data(1), IDLE], 3),
        "wlast late": broken(8, [one, data(0), data(1), IDLE], 3),
        "wlast early, data first": broken(8, [data(0), data(1), three, IDLE], 3),
        "wlast early in the second burst": broken(8, [one, three, data(1), data(0), data(1), IDLE], 5),
        "wlast early after 300 writes": broken(8, [*[both(one, data(1))] * 300, three, data(1), IDLE], 302),
        "no wlast in 17 beats": broken(9, [address("aw", BASE, 16), *[data(0)] * 17], 17),
        "wlast at the 17th beat": broken(9, [*[data(0)] * 16, data(1)], 16),
    }


def firsts() -> dict[str, Sequence]:
    """Only the first is kept."""
    below = address("ar", BASE - 8)
    return {
        "a second fault": broken(23, [below, address("aw", END, burst=0), address("ar", BASE, burst=0)], 0, BASE - 8),
    }


SEQUENCES: dict[str, Sequence] = {
    **{name: Sequence(steps, LAWFUL) for name, steps in lawful().items()},
    **bursts(),
    **handshakes(),
    **lasts(),
    **firsts(),
}
