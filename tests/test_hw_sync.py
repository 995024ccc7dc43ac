"""Tokens order everything that must be ordered, and nothing waits for ever."""

from collections import Counter, deque

import pytest
from hypothesis import given, settings

from systolith.hw.accelerator import QUEUE
from systolith.hw.generate import parameters_for
from systolith.hw.plan import plan
from systolith.hw.program import Operation, decode
from systolith.hw.sync import Instruction, synchronize
from systolith.quant import ConfigurationError

from .hw_networks import NAMES, network, planned
from .test_hw_plan import SETS, chains, sizes

LOADER, ARRAY, VECTOR, STORER = range(4)


def meets(a, b):
    return max(a[0], b[0]) < min(a[1], b[1])


def must_be_ordered(a, b):
    """One writes what the other reads or writes, on either memory."""
    return any(
        meets(getattr(x, f"{memory}_writes"), getattr(y, f"{memory}_{access}"))
        for memory in ("chip", "dram")
        for x, y in ((a, b), (b, a))
        for access in ("reads", "writes")
    )


def known_complete(program):
    """For each instruction: of each unit, how many instructions are complete for certain when it starts.

    From the contract alone: a unit starts and completes its instructions in order (all but the loader one at a
    time); the n-th token from one unit to another is taken by the n-th instruction that waits for one.
    """
    units = [[i for i in program if i.unit == u] for u in range(4)]
    givers = {(g, u): deque(n for n, i in enumerate(units[g]) if u in i.post) for g in range(4) for u in range(4)}
    known = {}
    latest = [[0, 0, 0, 0] for _ in range(4)]
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
            mine[i.unit] = sum(id(other) in known for other in units[i.unit])
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
    for n, later in enumerate(program):
        for earlier in program[:n]:
            if None in (earlier.unit, later.unit) or earlier.unit == later.unit:
                continue
            if must_be_ordered(earlier, later):
                assert known[id(later)][earlier.unit] > numbers[id(earlier)], (earlier, later)
                pairs += 1
    return pairs


def check_progress(program):
    """Run the units step by step, without time: each step does what is possible, until nothing is."""
    instructions = [decode(i.encode()) for i in program]
    unit_of = {Operation.LOAD: LOADER, Operation.ARRAY: ARRAY, Operation.VECTOR: VECTOR, Operation.STORE: STORER}
    queues = {o: deque() for o in (*unit_of, Operation.WEIGHTS)}
    tokens, active = Counter(), {}
    streams = begun = summed = drained = 0  # weight streams on chip; channel tiles
    position = steps = 0
    before = None
    while before != (before := (position, steps)):
        if position < len(instructions):
            operation, fields = instructions[position]
            if operation == Operation.BEGIN:
                position += 1
            elif len(queues[operation]) < QUEUE:
                steps += 1
                queues[operation].append(fields)
                position += 1
        if queues[Operation.WEIGHTS] and streams == 0:
            queues[Operation.WEIGHTS].popleft()
            streams = 1
            steps += 1
        for operation, unit in unit_of.items():
            if operation not in active and queues[operation]:
                fields = queues[operation][0]
                waits = [u for u in range(4) if fields["wait"] >> u & 1]
                if all(tokens[u, unit] for u in waits):
                    for u in waits:
                        tokens[u, unit] -= 1
                    active[operation] = [queues[operation].popleft(), 0]
                    steps += 1
            if operation not in active:
                continue
            fields = active[operation][0]
            if operation == Operation.ARRAY:
                if streams and (not fields["first"] or begun - drained < 2):
                    begun += fields["first"]
                    summed += fields["last"]
                    active[operation][1] += 1
                    steps += 1
            elif operation == Operation.VECTOR and summed > drained:
                drained += 1
                active[operation][1] += 1
                steps += 1
            elif operation in (Operation.LOAD, Operation.STORE):
                active[operation][1] = 1
            if active[operation][1] == fields.get("tiles", 0) + 1:
                streams -= fields.get("flush", 0)
                for u in range(4):
                    tokens[unit, u] += fields["post"] >> u & 1
                del active[operation]
    assert position == len(instructions), "the program is stuck"
    assert not active
    assert not any(queues.values())
    assert not any(tokens.values())


@pytest.mark.parametrize("sizes", SETS.values(), ids=SETS)
@pytest.mark.parametrize("name", NAMES)
def test_networks_are_ordered_and_end(name, sizes):
    made = planned(network(name), **sizes)
    check_progress(made.program)
    if len(made.program) < 150:
        assert check_order(made.program) > 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(chains(), sizes())
def test_random_networks_are_ordered_and_end(graph, chosen):
    try:
        made = plan(graph, parameters_for(graph, **chosen))
    except ConfigurationError:
        return
    check_progress(made.program)
    if len(made.program) < 200:
        check_order(made.program)


def test_the_check_sees_a_missing_token():
    made = planned(network("tiny"), rows=4, columns=4, activation_kib=1)
    check_order(made.program)
    for instruction in made.program:
        for unit in sorted(instruction.wait):
            instruction.wait.remove(unit)
            with pytest.raises(AssertionError):
                check_order(made.program)
            instruction.wait.add(unit)


def test_one_token_covers_what_came_before_it():
    load = Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 10))
    again = Instruction(Operation.LOAD, 0, {}, chip_writes=(10, 20))
    array = Instruction(Operation.ARRAY, 0, {}, chip_reads=(0, 20))
    other = Instruction(Operation.ARRAY, 0, {}, chip_reads=(5, 6))
    synchronize([load, again, array, other])
    assert (load.post, again.post, array.wait, other.wait) == (set(), {ARRAY}, {LOADER}, set())


def test_a_touch_is_no_overlap():
    load = Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 10))
    array = Instruction(Operation.ARRAY, 0, {}, chip_reads=(10, 20))
    synchronize([load, array])
    assert not load.post | array.wait


def test_more_tokens_than_a_counter_holds_are_refused():
    pair = [
        lambda: Instruction(Operation.LOAD, 0, {}, chip_writes=(0, 1)),
        lambda: Instruction(Operation.ARRAY, 0, {}, chip_reads=(0, 1)),
    ]
    program = [make() for _ in range(1 << 16) for make in pair]
    with pytest.raises(ConfigurationError) as caught:
        synchronize(program)
    assert str(caught.value) == (
        "the program needs 65536 tokens between two units, 65535 are possible; larger memories make fewer tiles"
    )


def test_the_check_sees_a_program_that_gets_stuck():
    made = planned(network("tiny"), rows=4, columns=4, activation_kib=1)
    first = next(i for i in made.program if i.operation == Operation.LOAD)
    check_progress(made.program)
    first.wait.add(STORER)
    with pytest.raises(AssertionError):
        check_progress(made.program)
