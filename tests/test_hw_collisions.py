"""Memories that give garbage where a read meets a write of the same cycle: networks do not see it.

So a synthesizer may use block RAMs as they are (``no_rw_check``, see hw/engine/memory_attributes.py).
"""

import re

import pytest

from systolith import golden, quant, sim
from systolith.hw.build import generate, parameters_for

from .branches import branches
from .builds import rebuild
from .graphs import integers
from .hw_networks import ANY_SCALES, planned
from .lenet import lenet5

MARK = r"^ *\(\* no_rw_check = [^\n]*\*\)\n"
MEMORY = re.compile(MARK + r" *reg \[(\d+):0\] (\S+) \[\d+:0\];$(.*?)^ *assign ", re.M | re.S)
WRITE = re.compile(r"(?:if \(([^\n]+)\)|begin)\n +(\S+?)\[((?:[^\[\]]|\[[^\]]*\])+)\](?: ?\[(\d+)(?::(\d+))?\])? <= ")
READ = re.compile(r"^( +_\d+_ <= )(\S+?)\[(.+)\];$", re.M)
SIZES = {"weight_bits": 8, "activation_bits": 8, "activation_kib": 4, "accumulator_kib": 1, "weight_fifo_kib": 1}
FEATURES = {"operands": True, "tables": True, "normalization": 4, "sum_bits": 26, **ANY_SCALES}
BRANCHED = {**SIZES, **FEATURES, "rows": 4, "columns": 4}


def colliding(verilog):
    """The same circuit, but for the bits that are read while they are written: inverted.  And how many memories."""
    count = 0

    def change(match):
        nonlocal count
        count += 1
        width, name, body = int(match[1]) + 1, match[2], match[0]
        writes = [w for w in WRITE.findall(body) if w[1] == name]
        assert writes, name

        def read(line):
            assert line[2] == name
            value = f"{line[2]}[{line[3]}]"
            for enable, _, address, high, low in writes:
                high, low = (int(high), int(low or high)) if high else (width - 1, 0)
                mask = f"{width}'h{(1 << high + 1) - (1 << low):x}"
                value += f" ^ (({enable or 1}) && ({address}) == ({line[3]}) ? {mask} : {width}'h0)"
            return f"{line[1]}{value};"

        changed, reads = READ.subn(read, body)
        assert reads, name
        return changed

    return MEMORY.sub(change, verilog), count


def run(graph, sizes, folder):
    generate(graph, b"", parameters_for(graph, **sizes), folder / "build")
    verilog, memories = colliding((folder / "build" / "systolith.v").read_text())
    rebuild(folder / "build", {"systolith.v": verilog.encode()})
    images = golden.run(graph, integers(graph, 2, seed=5))
    return sim.simulate_tensors(sim.load(folder / "build"), graph, images), memories


def fitting(count):
    """Random graphs with branches that fit."""
    seed = 0
    while count:
        seed += 1
        graph = branches(seed, 9, normalization=4)
        try:
            planned(graph, **BRANCHED)
        except quant.ConfigurationError:
            continue
        count -= 1
        yield graph


def test_lenet5_is_exact_on_memories_whose_collisions_give_garbage(tmp_path):
    report, memories = run(lenet5("float")[0], {**SIZES, "rows": 4, "columns": 4}, tmp_path)
    assert memories == 2 + 2 * 4 + 1 + 4 + 1, "banks, halves of each column's accumulators, parameters, FIFOs, counters"
    assert report.bit_exact, [str(d) for d in report.differences]


@pytest.mark.xdist_group("colliding memories")
def test_branches_are_exact_on_memories_whose_collisions_give_garbage(tmp_path):
    for number, graph in enumerate(fitting(4)):
        (tmp_path / str(number)).mkdir()
        report, memories = run(graph, BRANCHED, tmp_path / str(number))
        assert memories == 2 + 2 * 4 + 1 + 4 + 1 + 2, "and two tables"
        assert report.bit_exact, [str(d) for d in report.differences]
