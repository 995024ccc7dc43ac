"""Memory models for the testbenches of whoever reads and writes DRAM."""

from __future__ import annotations

import random
from typing import Any

from .hw_streams import Bench

PAGE = 4096
LONGEST = 16


def byte(address: int) -> int:
    """Content of every memory here: pseudo-random, different at each address."""
    return ((address ^ address >> 13 ^ address >> 21) * 2654435761) >> 11 & 0xFF


def beat_of(address: int, bus_bytes: int) -> int:
    """The bus word at ``address``, bus-aligned."""
    return sum(byte(address + i) << 8 * i for i in range(bus_bytes))


def check_burst(address: int, beats: int, bus_bytes: int) -> None:
    """The rules of AXI4 bursts that all units here keep (IHI 0022, A3.4.1)."""
    assert address % bus_bytes == 0
    assert 1 <= beats <= LONGEST
    last = address + beats * bus_bytes - 1
    assert address // PAGE == last // PAGE, "a burst crosses 4 KiB"


def answers(requests: Any, beats: Any, bus_bytes: int, log: list[Any], *, stall: float, seed: int) -> Bench:
    """Plays the read master for one user: takes bursts, returns their beats in order after random time."""
    rng = random.Random(seed)

    async def bench(ctx: Any) -> None:
        queue: list[dict[str, int]] = []
        offered = False
        while True:
            ready = rng.random() >= stall
            offered = offered or (bool(queue) and rng.random() >= stall)  # what is offered stays
            ctx.set(requests.ready, ready)
            ctx.set(beats.valid, offered)
            ctx.set(beats.payload, queue[0] if offered else {"data": rng.getrandbits(8 * bus_bytes), "last": 0})
            _, _, valid, burst, taken = await ctx.tick().sample(requests.valid, requests.payload, beats.ready)
            if offered and taken:
                queue.pop(0)
                offered = False
            if valid and ready:
                address, count, final = int(burst.address), int(burst.length) + 1, int(burst.final)
                check_burst(address, count, bus_bytes)
                log.append((address, count, final))
                for n in range(count):
                    word = beat_of(address + n * bus_bytes, bus_bytes)
                    queue.append({"data": word, "last": int(final and n == count - 1)})

    return bench
