"""Tokens order everything that must be ordered, and nothing waits for ever."""

from collections import Counter, deque
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings

from systolith.hw.build import parameters_for
from systolith.hw.compiler import sync
from systolith.hw.compiler.instruction import Instruction
from systolith.hw.compiler.planner import plan
from systolith.hw.compiler.sync import WAITING, pending, synchronize
from systolith.hw.isa.program import QUEUE, Operation, decode
from systolith.quant import ConfigurationError

from .branches import branches
from .hw_networks import BRANCHED, NAMES, branched, check_against_golden, network, planned
from .test_hw_plan import SETS, chains, sizes

LOADER, ARRAY, VECTOR, STORER = range(4)


def spans(instruction, memory, access):
    """What it touches, as ranges: of activation memory it reads any number."""
    touched = getattr(instruction, f"{memory}_{access}")
    return touched if memory == "chip" and access == "reads" else (touched,)


def conflicts(program):
    """For each instruction the earlier ones that it must be ordered behind: one writes what the other touches."""
    meet = np.zeros((len(program), len(program)), bool)
    for memory in ("chip", "dram"):
        ranges = {}
        for access in ("reads", "writes"):
            of_each = [spans(i, memory, access) for i in program]
            most = max(map(len, of_each))
            ranges[access] = np.array([[*r, *[(0, 0)] * (most - len(r))] for r in of_each]).reshape(len(program), -1, 2)
        for access in ("reads", "writes"):
            a, b = ranges["writes"][:, None, :, None], ranges[access][None, :, None, :]
            both = (np.maximum(a[..., 0], b[..., 0]) < np.minimum(a[..., 1], b[..., 1])).any(axis=(2, 3))
            meet |= both | both.T
    return [[m for m in range(n) if meet[n, m]] for n in range(len(program))]


def known_complete(program):
    """For each instruction: of each unit, how many instructions are complete for certain when it starts.

    From the contract alone: a unit starts and completes its instructions in order (all but the loader one at a
    time); the n-th token from one unit to another is taken by the n-th instruction that waits for one.
    """
    units = [[i for i in program if i.unit == u] for u in range(4)]
    givers = {(g, u): deque(n for n, i in enumerate(units[g]) if u in i.post) for g in range(4) for u in range(4)}
    known = {}
    latest, started = [[0, 0, 0, 0] for _ in range(4)], [0, 0, 0, 0]
    for i in program:  # in program order every giver comes before its taker
        if i.unit is None:
            continue
        mine = latest[i.unit]
        for g in sorted(i.wait):
            number = givers[g, i.unit].popleft()
            giver = units[g][number]
            assert id(giver) in known, "waits for an instruction behind it"
            mine = [max(pair) for pair in zip(mine, known[id(giver)], strict=True)]
            mine[g] = max(mine[g], number + 1)
        if i.unit != LOADER:
            mine = [*mine]
            mine[i.unit] = started[i.unit]
        started[i.unit] += 1
        known[id(i)] = latest[i.unit] = mine
    assert not any(givers.values()), "tokens that nobody takes"
    return known


def check_order(program):
    known = known_complete(program)
    numbers, counts = {}, Counter()
    for i in program:
        numbers[id(i)] = counts[i.unit]
        counts[i.unit] += 1
    pairs = 0
    for later, before in zip(program, conflicts(program), strict=True):
        for earlier in (program[n] for n in before):
            if None in (earlier.unit, later.unit) or earlier.unit == later.unit:
                continue
            assert known[id(later)][earlier.unit] > numbers[id(earlier)], (earlier, later)
            pairs += 1
    return pairs


def check_progress(program):
    """Run the units step by step, without time: each step does what is possible, until nothing is."""
    instructions = [decode(i.encode()) for i in program]
    unit_of = {o: u for u, o in enumerate((Operation.LOAD, Operation.ARRAY, Operation.VECTOR, Operation.STORE))}
    queues = {o: deque() for o in (*unit_of, Operation.WEIGHTS)}
    tokens, active = Counter(), {}
    streams = begun = summed = drained = carried = taken = 0  # weight streams on chip; channel tiles; their parameters
    from_map = 0
    position = steps = 0
    before = None
    while before != (before := (position, steps)):
        if position < len(instructions):
            operation, fields = instructions[position]
            queue = queues.get(Operation.VECTOR if operation == Operation.SETUP else operation)
            if operation == Operation.BEGIN:
                position += 1
            elif len(queue) < QUEUE:
                steps += 1
                queue.append((operation, fields))
                position += 1
        if queues[Operation.WEIGHTS] and streams == 0:
            queues[Operation.WEIGHTS].popleft()
            streams = 1
            steps += 1
        for name, unit in unit_of.items():
            if unit not in active and queues[name]:
                fields = queues[name][0][1]
                waits = [u for u in range(4) if fields["wait"] >> u & 1]
                if all(tokens[u, unit] for u in waits):
                    for u in waits:
                        tokens[u, unit] -= 1
                    active[unit] = [*queues[name].popleft(), 0]
                    steps += 1
            if unit not in active:
                continue
            operation, fields, _ = active[unit]
            if operation == Operation.SETUP:
                from_map = fields["from_map"]
                active[unit][2] = 1
            elif operation == Operation.ARRAY:
                if streams and (not fields["first"] or (begun - drained < 2 and carried - taken < 2)):
                    begun += fields["first"]
                    carried += fields["parameters"]
                    summed += fields["last"]
                    active[unit][2] += 1
                    steps += 1
            elif operation == Operation.VECTOR and (from_map or summed > drained):
                drained += not from_map
                taken += not from_map
                active[unit][2] += 1
                steps += 1
            elif operation in (Operation.LOAD, Operation.STORE):
                active[unit][2] = 1
            if active[unit][2] == fields.get("tiles", 0) + 1:
                streams -= fields.get("flush", 0)
                steps += 1
                for u in range(4):
                    tokens[unit, u] += fields["post"] >> u & 1
                del active[unit]
    assert position == len(instructions), "the program is stuck"
    assert not active
    assert not any(queues.values())
    assert not any(tokens.values())


def check_touched(made):
    """What counts of what an instruction touches is among what it says that it does."""
    machine = check_against_golden(made)
    reads = 0
    for number, instruction in enumerate(made.program):
        for found, said in (
            (machine.reads[number], instruction.chip_reads),
            (machine.writes[number], (instruction.chip_writes,)),
        ):
            touched = np.unique(np.concatenate([np.zeros(0, np.int64), *found]))
            inside = np.zeros(len(touched), bool)
            for low, high in said:
                inside |= (low <= touched) & (touched < high)
            assert inside.all(), (instruction, touched[~inside])
            reads += len(touched)
        if instruction.operation in (Operation.LOAD, Operation.STORE):
            f = instruction.fields
            first, last = f["dram"], f["dram"] + f["rows"] * f["dram_step"] + f["bytes"] + 1
            constants = made.regions["constants"]
            said = instruction.dram_reads if instruction.operation == Operation.LOAD else instruction.dram_writes
            fixed = instruction.operation == Operation.LOAD and last <= constants.address + constants.bytes
            assert fixed or (said[0] <= first and last <= said[1]), instruction
    assert reads


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
def test_networks_are_ordered_and_end(name, sizes):
    made = planned(network(name), **sizes)
    check_progress(made.program)
    if len(made.program) < 600:
        assert check_order(made.program) > 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_random_networks_are_ordered_and_end(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError:
        return
    check_progress(made.program)
    if len(made.program) < 500:
        check_order(made.program)


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_random_branches_are_ordered_and_end(hardware):
    for _, made in branched(hardware, range(25)):
        check_progress(made.program)
        if len(made.program) < 600:
            assert check_order(made.program) > 0


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_instructions_touch_what_they_say(hardware):
    for _, made in branched(hardware, range(100, 115)):
        check_touched(made)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_instructions_of_chains_touch_what_they_say(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError:
        return
    check_touched(made)


@pytest.mark.parametrize("name", ["tiny", "branches"])
def test_the_check_sees_a_missing_token(name):
    graph = branches(11, 6) if name == "branches" else network(name)
    made = planned(graph, rows=4, columns=4, activation_kib=4 if name == "branches" else 1)
    check_order(made.program)
    assert name != "branches" or {Operation.SETUP, Operation.VECTOR} <= {i.operation for i in made.program if i.wait}
    for number, instruction in enumerate(made.program):
        for unit in sorted(instruction.wait):
            fewer = replace(instruction, wait=instruction.wait - {unit})
            with pytest.raises(AssertionError):
                check_order([*made.program[:number], fewer, *made.program[number + 1 :]])


def test_one_token_covers_what_came_before_it():
    load = Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 10))
    again = Instruction(Operation.LOAD, 0, {}, chip_writes=(10, 20))
    array = Instruction(Operation.ARRAY, 0, {}, chip_reads=((0, 20),))
    other = Instruction(Operation.ARRAY, 0, {}, chip_reads=((5, 6),))
    load, again, array, other = synchronize([load, again, array, other])
    assert (load.post, again.post, array.wait, other.wait) == (set(), {ARRAY}, {LOADER}, set())


def test_a_touch_is_no_overlap():
    load = Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 10))
    array = Instruction(Operation.ARRAY, 0, {}, chip_reads=((10, 20), (30, 30)))
    load, array = synchronize([load, array])
    assert not load.post | array.wait


def test_each_range_that_is_read_counts():
    load = Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 10))
    again = Instruction(Operation.LOAD, 0, {}, chip_writes=(20, 30))
    vector = Instruction(Operation.VECTOR, 0, {}, chip_reads=((40, 50), (9, 10)), chip_writes=(60, 70))
    setup = Instruction(Operation.SETUP, 0, {}, chip_reads=((29, 31),))
    over = Instruction(Operation.LOAD, 0, {}, chip_writes=(49, 60))
    load, again, vector, setup, over = synchronize([load, again, vector, setup, over])
    assert (load.post, again.post, vector.wait, setup.wait) == ({VECTOR}, {VECTOR}, {LOADER}, {LOADER})
    assert (vector.post, setup.post, over.wait) == ({LOADER}, set(), {VECTOR})


@pytest.mark.parametrize(("first", "then", "ordered"), [(63, 64, 0), (64, 127, 1), (0, 63, 1), (128, 127, 0)])
def test_memory_counts_by_64_bytes(first, then, ordered):
    """Coarser than bytes: never less order, and at most for neighbours more."""
    store = Instruction(Operation.STORE, 0, {}, dram_writes=(first, first + 1))
    load = Instruction(Operation.LOAD, 0, {}, dram_reads=(then, then + 1))
    store, load = synchronize([store, load])
    assert (store.post, load.wait) == (({LOADER}, {STORER}) if ordered else (set(), set()))


def loads(count):
    return [Instruction(Operation.LOAD, 0, {}, chip_writes=(n, n + 1)) for n in range(count)]


def arrays(count):
    return [Instruction(Operation.ARRAY, 0, {}, chip_reads=((n, n + 1),)) for n in range(count)]


def most_pending(program, giver, taker):
    """By trying: the taking unit stops before each of its instructions, and the others do all that they can."""
    takers = [n for n, i in enumerate(program) if i.unit == taker]
    worst = 0
    for stop in range(len(takers)):
        end = takers[stop + WAITING] if stop + WAITING < len(takers) else len(program)
        tokens, taken = Counter(), 0
        for i in program[:end]:
            if i.unit == taker and taken < stop:
                taken += 1
                tokens[giver] -= giver in i.wait
            tokens[i.unit] += taker in i.post
        worst = max(worst, tokens[giver])
    return worst


def test_where_tokens_are_too_many_one_stands_for_several():
    """64 LOADs before their 64 ARRAYs: each second ARRAY waits for the LOAD of the next one too."""
    program = synchronize([*loads(63), *arrays(63)])
    assert sum(ARRAY in i.post for i in program) == 63
    program = synchronize([*loads(64), *arrays(64)])
    assert [n for n, i in enumerate(program) if ARRAY in i.post] == [*range(1, 64, 2)]
    assert [n for n, i in enumerate(program) if LOADER in i.wait] == [*range(64, 128, 2)]


def test_more_tokens_than_a_counter_holds_are_refused(monkeypatch):
    """Where the next giver stands behind the taker, none can be left out."""
    monkeypatch.setattr("systolith.hw.compiler.sync.TOKEN_BITS", 3)
    with pytest.raises(ConfigurationError) as caught:
        synchronize([i for _ in range(50) for i in (*loads(1), *arrays(1))])
    assert str(caught.value) == (
        "11 tokens could be pending between two units, 7 are possible; larger memories make fewer tiles"
    )


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_with_fewer_tokens_all_are_ordered_and_end(hardware, monkeypatch):
    """As many edges as one as can be, everywhere."""
    made = [made for _, made in branched(hardware, range(15), layers=14)]
    monkeypatch.setattr(sync, "_held", lambda edges, takers, drains: sync._joined(edges, 64, drains))
    fewer = 0
    for each in made:
        program = sync.synchronize(each.program)
        check_progress(program)
        if len(program) < 600:
            check_order(program)
        fewer += sum(len(i.wait) for i in each.program) - sum(len(i.wait) for i in program)
    assert fewer > 3 * len(made)


def test_a_long_program_needs_no_more_tokens_than_wait_in_a_queue():
    """A full queue holds up what would give more: behind those that wait stands one of the others."""
    program = synchronize([i for _ in range(200) for i in (*loads(1), *arrays(1))])
    assert sum(ARRAY in i.post for i in program) == 200
    assert most_pending(program, LOADER, ARRAY) == WAITING + 1
    assert most_pending(program, ARRAY, LOADER) == WAITING + 1


@pytest.mark.parametrize("hardware", BRANCHED.values(), ids=BRANCHED)
def test_as_many_tokens_can_be_pending_as_is_said(hardware):
    """Between any two units, in programs whose maps stay on chip for long."""
    seen = set()
    for _, made in branched(hardware, range(40, 43)):
        program = made.program
        for giver, taker in permutations(range(4), 2):
            gives = [n for n, i in enumerate(program) if taker in i.post]
            takes = [n for n, i in enumerate(program) if i.unit == taker and giver in i.wait]
            gives = [n for n in gives if program[n].unit == giver]
            takers = [n for n, i in enumerate(program) if i.unit == taker]
            said = pending([*zip(gives, takes, strict=True)], takers)
            assert said == most_pending(program, giver, taker)
            seen.add(said)
    assert len(seen) > 3


def test_the_check_sees_a_program_that_gets_stuck():
    made = planned(network("tiny"), rows=4, columns=4, activation_kib=1)
    number = next(n for n, i in enumerate(made.program) if i.operation == Operation.LOAD)
    check_progress(made.program)
    waiting = replace(made.program[number], wait=made.program[number].wait | {STORER})
    with pytest.raises(AssertionError):
        check_progress([*made.program[:number], waiting, *made.program[number + 1 :]])
