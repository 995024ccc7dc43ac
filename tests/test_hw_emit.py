"""The emitted Verilog: the same bytes from the same parameters, in any process."""

import os
import re
import subprocess
import sys

import pytest

from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters

SCRIPT = """
import hashlib
from systolith.hw.engine.emit import emit_verilog
from systolith.hw.isa.parameters import Parameters
text = emit_verilog(Parameters(rows=3, columns=2, activation_kib=1, accumulator_kib=1, weight_fifo_kib=1))
print(hashlib.sha256(text.encode()).hexdigest())
"""


def test_same_parameters_give_the_same_bytes_in_another_process():
    digests = set()
    for seed in ("1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        digests.add(result.stdout)
    assert len(digests) == 1


SMALL = {"rows": 2, "columns": 4, "activation_kib": 1, "accumulator_kib": 1, "weight_fifo_kib": 1}
FEATURES = {
    "plain": {},
    "operands": {"operands": True},
    "tables": {"operands": True, "tables": True},
    "normalization": {"operands": True, "tables": True, "normalization": 3},
}


@pytest.fixture(scope="module", params=FEATURES.values(), ids=[*FEATURES])
def text(request):
    return emit_verilog(Parameters(**SMALL, **request.param))


def test_the_file_is_plain_verilog(text):
    assert "module systolith(" in text
    assert text.isascii()
    for word in ("(* src", "/home", "/work", "always_comb", "$print", "SB_", "MULT18"):
        assert word not in text


def test_memories_are_zeroed_by_a_loop(text):
    assert "for (word_1 = 0;" in text
    assert "[17] = " not in text


def test_what_a_network_does_not_need_takes_no_memory():
    """Table memories are there with tables alone; so accelerators without branches stay as small as they were."""
    memories = {}
    for name, features in FEATURES.items():
        text = emit_verilog(Parameters(**SMALL, **features))
        memories[name] = len(re.findall(r"^  reg \[\d+:0\] .*\[\d+:0\];$", text, re.MULTILINE))
    assert memories["plain"] == memories["operands"]
    assert memories["tables"] == memories["normalization"] == memories["plain"] + 2
