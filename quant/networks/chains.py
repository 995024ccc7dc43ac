"""Element-wise layers that depend on one value become one function of it, however its exporter spelled it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from .expressions import Step
from .layers import (
    Addition,
    Affine,
    Clamp,
    Clamped,
    Convolution,
    Extreme,
    FloatGraph,
    FloatLayer,
    Function,
    Product,
    refusal,
)

ElementWise = Addition | Affine | Clamp | Extreme | Function | Product
"""Kinds that make each value of those at its place; an Affine only if all its channels are alike."""


def scale_before_clamp(graph: FloatGraph) -> FloatGraph:
    """One factor and shift for all values, behind a clamp, go before it, where they fold into a convolution.

    ``s * clip(x, low, high) + t = clip(s * x + t, s * low + t, s * high + t)``, bounds swapped if s is negative: a hard
    sigmoid is a convolution clamped to 0..1.
    """
    found: dict[str, FloatLayer] = {}
    private = graph.private()
    for layer in graph.layers:
        found[layer.output] = layer
        clamp = found.get(layer.inputs[0])
        if not (isinstance(layer, Affine) and isinstance(clamp, Clamp) and {clamp.output, *clamp.inputs} <= private):
            continue
        scale, shift = float(layer.scale.flat[0]), float(layer.shift.flat[0])
        if not (_is_uniform(layer) and scale and _folds(found.get(clamp.inputs[0]), found, private)):
            continue
        low, high = sorted(scale * bound + shift for bound in (clamp.low, clamp.high))
        if low <= 0 <= high:
            found[clamp.output] = replace(layer, inputs=clamp.inputs, output=clamp.output)
            found[layer.output] = replace(
                clamp, operator="Clip", inputs=(clamp.output,), output=layer.output, low=low, high=high
            )
    return graph.with_layers(found.values())


def _folds(layer: FloatLayer | None, found: Mapping[str, FloatLayer], private: Collection[str]) -> bool:
    """Whether ``layer`` is a convolution, or becomes a part of one."""
    while isinstance(layer, Affine) and layer.inputs[0] in private:
        layer = found.get(layer.inputs[0])
    return isinstance(layer, Convolution)


def fuse_chains(graph: FloatGraph) -> FloatGraph:
    """Merge element-wise layers whose only computed input is one tensor, diamonds included: ``x * sigmoid(x)``.

    What folds into the convolution before, or ends a layer as its clamp, is left to the passes that do so.
    Raises ModelError, naming the layer, if it is a function of several tensors.
    """
    chains = _Chains(graph)
    merged: list[FloatLayer] = []
    done: set[str] = set()
    for layer in graph.layers:
        if layer.output not in chains.absorbed:
            if isinstance(layer, Function) and len(layer.inputs) > 1:
                raise refusal(layer, f"is a function of '{layer.inputs[0]}' and '{layer.inputs[1]}'; only of one works")
            merged.append(layer)
        elif layer.output in chains.wanted:
            for made in chains.made(chains.absorbed[layer.output]):
                if made.output not in done:
                    merged.append(made)
                    done.add(made.output)
    return graph.with_layers(merged)


class _Chains:
    """``absorbed``: element-wise layers by output;  ``roots``: the one tensor that each of them depends on.

    ``wanted`` are outputs of absorbed layers that others read: those that have to be made.
    """

    def __init__(self, graph: FloatGraph) -> None:
        self.private = graph.private()
        self.producers = graph.producers()
        self.absorbed: dict[str, ElementWise] = {}
        whole = {name: name for name in graph.inputs}
        for layer in graph.layers:
            sources = {whole[name] for name in layer.inputs}
            whole[layer.output] = layer.output
            if isinstance(layer, ElementWise) and len(sources) == 1 and self._is_alike(layer):
                self.absorbed[layer.output] = layer
                whole[layer.output] = sources.pop()
        read = {name for layer in graph.layers if layer.output not in self.absorbed for name in layer.inputs}
        self.wanted = {name for name in self.absorbed if name in read or name in graph.outputs}
        self.roots: dict[str, str] = {}
        for layer in self.absorbed.values():  # what has to be made anyway is the best root
            nearest = {name if name in self.wanted else self.roots.get(name, name) for name in layer.inputs}
            self.roots[layer.output] = nearest.pop() if len(nearest) == 1 else whole[layer.output]

    def _is_alike(self, layer: ElementWise) -> bool:
        """Whether ``layer`` treats all values alike, and is not better a part of the layer before."""
        return not (self._belongs_before(layer) or (isinstance(layer, Affine) and not _is_uniform(layer)))

    def _belongs_before(self, layer: ElementWise) -> bool:
        """Whether ``layer`` becomes a part of the layer before it, which is no function."""
        name = layer.inputs[0]
        before = self.producers.get(name)
        if name not in self.private or name in self.absorbed:
            return False
        if isinstance(layer, Affine):
            return isinstance(before, Convolution | Affine)
        return isinstance(layer, Clamp) and isinstance(before, Clamped | Affine)

    def made(self, last: ElementWise) -> list[FloatLayer]:
        """The layers that make ``last``'s output from its root: one function, and the clamps that end it."""
        members = self._members(last)
        core = list(members)
        while isinstance(core[-1], Clamp) and len(core) > 1 and core[-1].inputs[0] == core[-2].output in self.private:
            core.pop()
        if not _is_worthwhile(core):
            return list(members)
        return [_function(core, self.roots[last.output]), *members[len(core) :]]

    def _members(self, last: ElementWise) -> list[ElementWise]:
        """Absorbed layers between the root of ``last`` and itself, in order."""
        root = self.roots[last.output]
        found: set[str] = set()
        left = [last.output]
        while left:
            name = left.pop()
            if name != root and name not in found:
                found.add(name)
                left += self.absorbed[name].inputs
        return [layer for layer in self.absorbed.values() if layer.output in found]


def _is_uniform(layer: Affine) -> bool:
    """Whether all channels have one scale and one shift."""
    return bool((layer.scale == layer.scale.flat[0]).all() and (layer.shift == layer.shift.flat[0]).all())


def _is_worthwhile(layers: Sequence[ElementWise]) -> bool:
    """Whether ``layers`` are better one function: not if other passes make a convolution or a clamp of them."""
    if len(layers) == 1:
        return isinstance(layers[0], Extreme | Product)
    made_by: dict[str, FloatLayer] = {}
    for layer in layers:
        if isinstance(layer, Affine) and isinstance(made_by.get(layer.inputs[0]), Clamp):
            return True
        made_by[layer.output] = layer
    return not all(isinstance(layer, Affine | Clamp) for layer in layers)


def _function(layers: Sequence[ElementWise], root: str) -> Function:
    """``layers``, in order, as one function of ``root``."""
    numbers: dict[str, int] = {root: 0}
    steps: list[Step] = []
    for layer in layers:
        steps += _steps(layer, numbers, len(steps) + 1)
        numbers[layer.output] = len(steps)
    last = layers[-1]
    return Function(last.name, last.operator, (root,), last.output, steps=tuple(steps))


def _steps(layer: ElementWise, numbers: Mapping[str, int], first: int) -> list[Step]:
    """``layer`` in steps of which the earliest makes value ``first``, its inputs having these ``numbers``."""
    sources = tuple(numbers[name] for name in layer.inputs)
    match layer:
        case Affine():
            scale, shift = float(layer.scale.flat[0]), float(layer.shift.flat[0])
            return [Step("Mul", (sources[0], scale)), Step("Add", (first, shift))]
        case Clamp():
            return [Step("Clip", sources, {"min": layer.low, "max": layer.high})]
        case Function(steps=()):
            return [Step(layer.operator, sources, layer.attributes)]
        case Function():
            known = [*sources, *range(first, first + len(layer.steps))]
            return [replace(step, operands=tuple(_moved(o, known) for o in step.operands)) for step in layer.steps]
        case Addition() | Extreme() | Product():
            return [Step("Add" if layer.operator == "Sum" else layer.operator, sources)]
        case unknown:
            assert_never(unknown)


def _moved(operand: int | float, known: Sequence[int]) -> int | float:
    return known[operand] if type(operand) is int else operand
