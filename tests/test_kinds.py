"""A kind of layer or tensor that somebody forgot: an error of the type check, and refused by name at run time."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from mypy import api

from systolith import golden, quant
from systolith.golden.layer import compute, make_ready
from systolith.hw.compiler.lowering import lower
from systolith.quant.arithmetic.weightless import layer_without_weights
from systolith.quant.graph import output_shape
from systolith.quant.graph.errors import unknown_kind
from systolith.quant.graph.flat import flat_tensors
from systolith.quant.networks import execute
from systolith.quant.networks.layers import Clamp, Convolution, FloatGraph
from systolith.quant.networks.shapes import next_shape
from systolith.quant.qdq.write_layers import clamps, node_of

from .graphs import conv_graph, feature_map

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Upsample:
    """A kind that nothing knows."""

    name: str = "up"
    input: str = "x"
    output: str = "y"
    operator: str = "Upsample"
    inputs: tuple[str, ...] = ("x",)


@dataclass(frozen=True)
class Stream:
    """A kind of tensor that nothing knows."""

    name: str
    shape: tuple[int, int, int]


X, Y = feature_map("x", (2, 4, 4)), feature_map("y", (2, 4, 4))
GRAPH = quant.Graph(("x",), ("y",), (Upsample(),), {"x": X, "y": Y})  # type: ignore[arg-type]
UNKNOWN = "'up' is of a kind that is not known here, Upsample"


@pytest.mark.parametrize("refuse", [quant.check, quant.to_onnx], ids=["check", "writer"])
def test_check_names_the_layer_its_kind_and_what_would_do(refuse):
    with pytest.raises(quant.GraphError) as caught:
        refuse(GRAPH)
    assert str(caught.value) == (
        "layer 'up': its kind Upsample is unknown; Conv, MaxPool, AveragePool, Add, Extremum, Multiply, Concat, Table,"
        " Normalization, Selection, DepthToSpace are known"
    )


def test_check_names_a_tensor_of_an_unknown_kind():
    graph = conv_graph((2, 5, 5), np.ones((3, 2, 2, 2)))
    with pytest.raises(quant.GraphError) as caught:
        quant.check(replace(graph, tensors={**graph.tensors, "y": Stream("y", (3, 4, 4))}))
    assert str(caught.value) == "tensor 'y': its kind Stream is unknown; FeatureMap, Sums are known"


PAST_CHECK = {
    "golden": lambda layer: golden.run(GRAPH, np.zeros((1, 2, 4, 4), np.uint8)),
    "golden's layer": lambda layer: compute(layer, [np.zeros((1, 2, 4, 4))], GRAPH, golden.layer.Ready()),
    "golden's kernel": lambda layer: make_ready(layer, GRAPH),
    "lowering": lambda layer: lower(GRAPH, 8),
    "shape": lambda layer: output_shape(layer, (X.shape,)),
    "file's shapes": lambda layer: flat_tensors(GRAPH),
    "file's nodes": lambda layer: node_of(layer, GRAPH),
    "file's clamps": lambda layer: clamps(layer, [X], Y),
    "float shape": lambda layer: next_shape(layer, [X.shape]),
}


@pytest.mark.parametrize("place", PAST_CHECK)
def test_past_check_it_is_a_mistake_of_the_program(place):
    with pytest.raises(TypeError) as caught:
        PAST_CHECK[place](Upsample())
    assert str(caught.value) == UNKNOWN


def test_a_tensor_of_an_unknown_kind_past_check():
    with pytest.raises(TypeError) as caught:
        golden.dequantize(np.zeros((1, 3, 4, 4)), Stream("y", (3, 4, 4)))
    assert str(caught.value) == "'y' is of a kind that is not known here, Stream"


@pytest.mark.parametrize("layer", [Upsample(), Clamp("fc", "Relu", ("x",), "y", 0, 1)])
def test_float_layers_that_are_not_simplified_are_neither_run_nor_quantized(layer):
    message = f"'{layer.name}' is of a kind that must be simplified away before, {type(layer).__name__}"
    for use in (
        lambda: list(
            execute.run_float(FloatGraph({"x": X.shape}, ("y",), (layer,)), np.zeros((1, 2, 4, 4), np.float32))
        ),
        lambda: layer_without_weights(layer, (X,), Y),
    ):
        with pytest.raises(TypeError) as caught:
            use()
        assert str(caught.value) == message


def test_a_convolution_is_not_quantized_as_a_layer_without_weights():
    layer = Convolution("c", "Conv", ("x",), "y", np.ones((2, 2, 1, 1), np.float32), np.zeros(2, np.float32))
    with pytest.raises(TypeError) as caught:
        layer_without_weights(layer, (X,), Y)
    assert str(caught.value) == "'c' has weights; only layers that have none are made here"


def ends_in_never(statement: ast.Match) -> bool:
    """Whether the last case of ``statement`` is ``case name: assert_never(name)`` or ``unknown_kind(name)``."""
    last = statement.cases[-1]
    if not isinstance(last.pattern, ast.MatchAs) or last.pattern.pattern or last.guard:
        return False
    return ast.unparse(last.body) in [f"{refuse}({last.pattern.name})" for refuse in ("assert_never", "unknown_kind")]


def test_every_match_ends_where_the_type_check_sees_what_is_forgotten():
    found = 0
    for package in ("quant", "golden", "hw", "sim", "systolith"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Match):
                    assert ends_in_never(node), f"{path.relative_to(ROOT)}:{node.lineno}"
                    found += 1
    assert found > 10


MATCHES = """
from typing import Never

class Conv:
    name = "conv"

class Add:
    name = "add"

{unknown_kind}

def whole(layer: Conv | Add) -> int:
    match layer:
        case Conv() | Add():
            return 1
        case unknown:
            unknown_kind(unknown)

def forgetful(layer: Conv | Add) -> int:
    match layer:
        case Conv():
            return 1
        case unknown:
            unknown_kind(unknown)  # line {line}
"""


def test_a_forgotten_kind_is_a_type_error(tmp_path):
    source = MATCHES.replace("{unknown_kind}", inspect.getsource(unknown_kind))
    line = source[: source.index("{line}")].count("\n") + 1
    path = tmp_path / "matches.py"
    path.write_text(source)
    found, _, _ = api.run(["--strict", "--no-error-summary", "--cache-dir", str(tmp_path / "cache"), str(path)])
    error = 'error: Argument 1 to "unknown_kind" has incompatible type "Add"; expected "Never"  [arg-type]'
    assert found == f"{path}:{line}: {error}\n"
