"""ONNX's own operator cases through the whole path: each works within 25 dB or is refused in a line, none is wrong.

The cases whose first input is float32 of rank 3 to 5; further inputs are constants, and the case's input calibrates.
"""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import onnx
import onnx.backend.test.case.node as node_cases
import pytest
from onnx import numpy_helper

from systolith import SystolithError, quantize_model, run_golden

AT_LEAST = 140  # cases that work
WITHIN = 25.0  # dB


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """What becomes of each case: "works", "refused: ..." or "wrong: ..."."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # A function's case is there a second time, spelled out; making those takes most of the time.
        patch.setattr(node_cases, "function_testcase_helper", lambda *_, **__: ([], 0))
        cases = node_cases.collect_testcases(None)
        return {case.name: outcome(case) for case in cases if suits(case)}


def suits(case) -> bool:
    inputs = case.data_sets[0][0] if case.data_sets else []
    first = inputs[0] if inputs else None
    return isinstance(first, np.ndarray) and first.dtype == np.float32 and 3 <= first.ndim <= 5


def outcome(case) -> str:
    inputs, expected = case.data_sets[0]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [value.name for value in model.graph.input]
    for name, values in zip(names[1:], inputs[1:], strict=True):
        if not isinstance(values, np.ndarray):
            return "refused: a sequence or nothing is no constant"
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    del model.graph.input[1:]
    try:
        quantized = quantize_model(model, inputs[0])
        found = run_golden(quantized, inputs[0]).reals
    except SystolithError as refusal:
        message = str(refusal)
        return f"refused: {message}" if message and "\n" not in message else f"wrong: refused in lines, {message}"
    for value, exact in zip(model.graph.output, expected, strict=True):
        if value.name in found and not near(found[value.name], np.asarray(exact, np.float64)):
            return f"wrong: output '{value.name}' is beyond {WITHIN:g} dB"
    missing = [value.name for value in model.graph.output if value.name not in found]
    return f"refused: no output {missing}" if missing else "works"


def near(found: np.ndarray, exact: np.ndarray) -> bool:
    if found.size != exact.size:
        return False
    error = np.sum((found.reshape(-1) - exact.reshape(-1)) ** 2)
    return bool(error <= 10 ** (-WITHIN / 10) * np.sum(exact**2))


def test_none_is_wrong(results):
    assert [f"{name}: {said}" for name, said in results.items() if said.startswith("wrong")] == []


def test_so_many_work(results):
    refused = [f"{name}: {said}" for name, said in results.items() if said.startswith("refused")]
    print(*refused, sep="\n")
    counts = Counter(said.split(":")[0] for said in results.values())
    assert counts["works"] >= AT_LEAST, counts
