"""From the quantized graph to what the engine runs: layers for the array, and layers for the vector unit alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from math import prod
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    DepthToSpace,
    Extremum,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Pair,
    Selection,
    Sums,
    Table,
    product_factor,
    requantization_scales,
)
from ...quant.graph.errors import ConfigurationError, unknown_kind
from ..isa.program import Combine
from .engine_layer import EngineLayer, Pool
from .formats import Format, fixed_scales, storage, stored_as
from .offsets import results_less
from .pieces import interleaved, part_of, runs, scattered, selecting
from .spread import Spread, dense
from .tables import (
    addition_tables,
    extremum_tables,
    normalization_tables,
    rescaling_tables,
    unary_tables,
)
from .views import Views

Apart = Callable[[EngineLayer, EngineLayer], bool]
"""Whether the first, a convolution, stays apart from the max pooling that the second has behind it."""


def lower(graph: Graph, bits: int, apart: Apart = lambda before, pooled: False) -> tuple[EngineLayer, ...]:
    """The engine's layers for ``graph`` with ``bits``-bit activations, in order."""
    lowering = _Lowering(graph, bits, apart)
    for layer in graph.layers:
        lowering.add(layer)
    return tuple(_flattened(layer) for layer in lowering.layers)


class _Lowering:
    """Collects engine layers; what follows a layer that nobody else reads becomes a part of it where it can."""

    def __init__(self, graph: Graph, bits: int, apart: Apart) -> None:
        self.graph, self.bits, self.apart = graph, bits, apart
        self.layers: list[EngineLayer] = []
        self.readers = Counter(name for layer in graph.layers for name in layer.inputs)
        self.views = Views(graph, bits)

    def add(self, layer: Layer) -> None:
        match layer:
            case Conv():
                source, first = self.views[layer.input]
                shape = self.graph.map_of(source).shape
                made = _convolution(layer, self.graph, self._stored(layer.input), self.bits)
                self.layers.append(replace(made, input=source, source=shape, first_channel=first))
            case MaxPool():
                self._max_pool(layer)
            case AveragePool():
                self.layers.append(self._average(layer))
            case Table():
                self._table(layer)
            case Add() | Extremum():
                self._of_two(layer)
            case Multiply():
                self.layers.append(self._product(layer))
            case Concat():
                self._concat(layer)
            case Normalization():
                self.layers.append(self._normalization(layer))
            case Selection():
                self._selection(layer)
            case DepthToSpace():
                self._depth_to_space(layer)
            case unknown:
                unknown_kind(unknown)

    def _stored(self, name: str) -> Format:
        """How ``name`` is stored: as the map whose channels it is, if it is."""
        root, _ = self.views[name]
        return stored_as(self.graph.map_of(name), storage(self.graph.map_of(root), self.bits).offset)

    def _makers(self, name: str) -> list[int]:
        """Indices of the layers that make ``name``, if only one layer reads it and they can be parts of that layer."""
        if self.readers[name] != 1 or name in self.graph.outputs or self.views.hold(name):
            return []
        found = [n for n, layer in enumerate(self.layers) if layer.output == name]
        return found if not any(self.layers[n].raw for n in found) else []

    def _open(self, name: str) -> int | None:
        """The one of ``_makers``, if it makes all of ``name`` and its tables are free."""
        makers = self._makers(name)
        return makers[0] if len(makers) == 1 and self.layers[makers[0]].part is None and self._free(makers) else None

    def _free(self, makers: Iterable[int]) -> bool:
        """Whether the tables of all ``makers`` are free."""
        made = [self.layers[maker] for maker in makers]
        return all(layer.combine == Combine.NONE and not layer.normalization for layer in made)

    def _reading(self, layer: Layer, name: str) -> EngineLayer:
        """A layer of the vector unit that hands on the map ``name``, at its own scale."""
        form, shape = self._stored(name), self.graph.map_of(name).shape
        source, first = self.views[name]
        return EngineLayer(
            name=layer.name,
            operator=layer.operator,
            input=source,
            output=layer.output,
            source=self.graph.map_of(source).shape,
            first_channel=first,
            convolved=shape,
            target=shape,
            format=form,
            source_zero=form.zero_point,
        )

    def _max_pool(self, layer: MaxPool) -> None:
        shape = self.graph.tensors[layer.output].shape
        pool = Pool(layer.kernel, _made(layer.strides, shape[1:]), layer.pads)
        maker = self._open(layer.input)
        if maker is not None and self._may_pool(maker):
            before = self.layers[maker]
            name = f"{before.name}+{layer.name}"
            pooled = replace(before, name=name, output=layer.output, target=shape, pool=pool)
            if not self.apart(before, pooled):
                self.layers[maker] = pooled
                return
        self.layers.append(replace(self._reading(layer, layer.input), target=shape, pool=pool))

    def _average(self, layer: AveragePool) -> EngineLayer:
        source, target = self.graph.map_of(layer.input), self.graph.map_of(layer.output)
        pool = Pool(layer.kernel, _made(layer.strides, target.shape[1:]), layer.pads, layer)
        tall, wide = ({pool.count(n, i, source.shape[1 + n]) for i in range(target.shape[1 + n])} for n in (0, 1))
        counts = {r * c for r in tall for c in wide}
        ratios = {n: np.float32(source.scale / np.float32(target.scale * np.float32(n))) for n in sorted(counts)}
        mantissas, shifts = fixed_scales(np.array(list(ratios.values()), np.float32), layer.name)
        scales = {n: (int(m), int(s)) for n, m, s in zip(ratios, mantissas, shifts, strict=True)}
        return replace(
            self._reading(layer, layer.input),
            target=target.shape,
            pool=replace(pool, scales=scales),
            format=self._stored(layer.output),
        )

    def _table(self, layer: Table) -> None:
        source, target = self.graph.map_of(layer.input), self._stored(layer.output)
        tables = unary_tables(layer, source, self._stored(layer.input).offset, target.offset)
        makers = self._makers(layer.input)
        if len(makers) < 2 or not self._free(makers):
            self._combined(layer, layer.input, Combine.TABLE, tables, target)
            return
        for maker in makers:
            before = self.layers[maker]
            made = replace(before, name=f"{before.name}+{layer.name}", output=layer.output, combine=Combine.TABLE)
            self.layers[maker] = replace(made, tables=tables, final=(target.low, target.high))

    def _combined(
        self,
        layer: Layer,
        name: str,
        combine: Combine,
        tables: NDArray[np.int64],
        target: Format,
        operand: str = "",
        part: Spread | None = None,
    ) -> None:
        """Put tables behind the layer that makes ``name``, or behind one that reads it."""
        maker = self._open(name)
        before = self._reading(layer, name) if maker is None else self.layers[maker]
        made = replace(
            before,
            name=layer.name if maker is None else f"{before.name}+{layer.name}",
            output=layer.output,
            operand=operand,
            part=part,
            combine=combine,
            tables=tables,
            final=(target.low, target.high),
        )
        if maker is None:
            self.layers.append(made)
            return
        del self.layers[maker]
        # an operand may have been made since
        self.layers.insert(
            max([maker, *(n + 1 for n, other in enumerate(self.layers) if other.output == operand)]), made
        )

    def _of_two(self, layer: Add | Extremum) -> None:
        """A sum or an extremum by tables, as a part of the layer that makes one of its inputs if it can be."""
        target = self._stored(layer.output)
        own = max((0, 1), key=partial(self._suits, layer))
        name, operand = layer.inputs[own], layer.inputs[1 - own]
        sources = self.graph.map_of(layer.inputs[0]), self.graph.map_of(layer.inputs[1])
        offsets = self._stored(layer.inputs[0]).offset, self._stored(layer.inputs[1]).offset
        grids = sources, offsets, self.graph.map_of(layer.output), target.offset
        match layer:
            case Add():
                combine = Combine.ADD
                tables = addition_tables(*grids, layer.name, subtracts=layer.operator == "Sub")
            case Extremum():
                combine = Combine.MAXIMUM if layer.operator == "Max" else Combine.MINIMUM
                tables = extremum_tables(*grids)
            case unknown:
                assert_never(unknown)
        if own:
            tables = np.roll(tables, 256)
        self._combined(layer, name, combine, tables, target, operand)

    def _suits(self, layer: Add | Extremum, own: int) -> tuple[int, int]:
        """How well ``layer`` rides on what makes its input ``own``: where the array works longest for each result the
        vector unit has time; the later one of two waits for the other anyway."""
        maker = self._open(layer.inputs[own])
        if maker is None or layer.inputs[1 - own] in self.views:  # a part of each pixel is no operand
            return -1, -1
        weights = self.layers[maker].weights
        return weights.size // max(1, len(weights)), maker

    def _product(self, layer: Multiply) -> EngineLayer:
        """A layer of the vector unit alone, which reads the larger map and multiplies by the other."""
        name, operand = sorted(layer.inputs, key=lambda name: -prod(self.graph.map_of(name).shape))
        source, other = self.graph.map_of(name), self.graph.map_of(operand)
        target = self.graph.map_of(layer.output)
        factor = product_factor(source, other, target)
        if factor is None:
            scales = ", ".join(f"{tensor.scale:g}" for tensor in (source, other, target))
            raise ConfigurationError(
                f"layer '{layer.name}': its products at scales {scales} are those of no factor; requantize its output"
                " to a scale that is a little different"
            )
        (mantissa,), (shift,) = fixed_scales(np.array([factor]), layer.name)
        return replace(
            self._reading(layer, name),
            format=self._stored(layer.output),
            operand=operand,
            combine=Combine.MULTIPLY,
            scale=(int(mantissa), int(shift)),
            operand_zero=self._stored(operand).zero_point,
            one_pixel=source.shape != other.shape,
        )

    def _concat(self, layer: Concat) -> None:
        there = self.views.side_by_side(layer)
        if there is not None:
            self.views[layer.output] = there
            return
        self.views.settle(layer, self.layers)
        whole, target = self.graph.map_of(layer.output), self._stored(layer.output)
        place = [0, 0, 0]
        for name in layer.inputs:
            source, form = self.graph.map_of(name), self._stored(name)
            if self.views[name] == (layer.output, place[0]):
                place[0] += source.shape[0]
                continue
            where = source.shape, whole.shape, (place[0], place[1], place[2])
            same = (source.scale, source.zero_point) == (whole.scale, whole.zero_point)
            if same and whole.low <= source.low and source.high <= whole.high:
                makers = self._makers(name)
                parts = [self.layers[n].spread.moved(*where, self.layers[n].target[0]) for n in makers]
                if not makers or None in parts:
                    self.layers.append(self._reading(layer, name))
                    makers, parts = [len(self.layers) - 1], [dense(source.shape).moved(*where, source.shape[0])]
                for maker, part in zip(makers, parts, strict=True):
                    made = results_less(self.layers[maker], target.offset - form.offset)
                    self.layers[maker] = replace(made, output=layer.output, part=part)
            else:
                tables = rescaling_tables(source, form.offset, whole, target.offset)
                part = dense(source.shape).moved(*where, source.shape[0])
                self._combined(layer, name, Combine.TABLE, tables, target, part=part)
            place[layer.axis - 1] += source.shape[layer.axis - 1]

    def _selection(self, layer: Selection) -> None:
        source, target = self.graph.map_of(layer.input), self.graph.map_of(layer.output)
        offset = self._stored(layer.output).offset - self._stored(layer.input).offset
        pieces = runs(layer.channels)
        window = Pool((1, 1), (layer.rows[1], layer.columns[1]), (-layer.rows[0], -layer.columns[0], 0, 0))
        whole = source.shape[1:] == target.shape[1:]
        alike = self.views.alike(layer.output, layer.input)
        if whole and len(pieces) == 1 and alike and self.views.allowed(layer.output):
            name, first = self.views[layer.input]
            self.views[layer.output] = name, first + pieces[0][0]
            return
        maker = self._open(layer.input)
        if pieces == [(0, source.shape[0])] and maker is not None and self._may_pool(maker):
            before = results_less(self.layers[maker], offset)
            named = f"{before.name}+{layer.name}"
            self.layers[maker] = replace(before, name=named, output=layer.output, target=target.shape, pool=window)
            return
        read = results_less(self._reading(layer, layer.input), offset)
        if scattered(layer.channels):
            read = replace(selecting(read, layer.channels), target=target.shape)
            self.layers.append(read if whole else replace(read, pool=window))
            return
        channel = 0
        for number, (first, count) in enumerate(pieces):
            piece = part_of(read, first, count)
            assert piece is not None
            named = layer.name if len(pieces) == 1 else f"{layer.name}.{number}"
            part = dense((count, *target.shape[1:])).moved(
                (count, *target.shape[1:]), target.shape, (channel, 0, 0), count
            )
            piece = replace(piece, name=named, target=(count, *target.shape[1:]), part=part)
            self.layers.append(piece if whole else replace(piece, pool=window))
            channel += count

    def _may_pool(self, maker: int) -> bool:
        return self.layers[maker].on_array and self.layers[maker].pool is None

    def _depth_to_space(self, layer: DepthToSpace) -> None:
        source, target = self.graph.map_of(layer.input), self.graph.map_of(layer.output)
        offset = self._stored(layer.output).offset - self._stored(layer.input).offset
        where = layer.name, source.shape, target.shape, layer.block
        makers = self._makers(layer.input)
        pieces = [interleaved(self.layers[maker], *where) for maker in makers]
        if not makers or None in pieces:
            self.layers.append(self._reading(layer, layer.input))
            makers, pieces = [len(self.layers) - 1], [interleaved(self.layers[-1], *where)]
        for maker, found in reversed(list(zip(makers, pieces, strict=True))):
            assert found is not None
            self.layers[maker : maker + 1] = [replace(results_less(one, offset), output=layer.output) for one in found]

    def _normalization(self, layer: Normalization) -> EngineLayer:
        return replace(
            self._reading(layer, layer.input),
            format=self._stored(layer.output),
            normalization=layer,
            tables=normalization_tables(layer),
        )


def _convolution(layer: Conv, graph: Graph, stored: Format, bits: int) -> EngineLayer:
    """``stored``: how its input is."""
    source, target = graph.map_of(layer.input), graph.tensors[layer.output]
    if isinstance(target, Sums):
        mantissas, shifts, form = None, None, None
    else:
        mantissas, shifts = fixed_scales(requantization_scales(layer, graph), layer.name)
        form = storage(target, bits)
    return EngineLayer(
        name=layer.name,
        operator=layer.operator,
        input=layer.input,
        output=layer.output,
        source=source.shape,
        convolved=target.shape,
        target=target.shape,
        weights=layer.weights,
        bias=layer.bias - stored.zero_point * layer.totals,
        strides=_made(layer.strides, target.shape[1:]),
        pads=layer.pads,
        dilations=_made(layer.dilations, layer.weights.shape[2:]),
        groups=layer.groups,
        mantissas=mantissas,
        shifts=shifts,
        padding=stored.zero_point,
        format=form,
        macs=int(layer.weights.size) * target.shape[1] * target.shape[2],
    )


def _made(steps: Pair, positions: tuple[int, ...]) -> Pair:
    """``steps`` down and across, 1 where there is one position: none is made there, however long a file says it is."""
    down, across = (step if count > 1 else 1 for step, count in zip(steps, positions, strict=True))
    return down, across


def _flattened(layer: EngineLayer) -> EngineLayer:
    """A kernel that covers its whole map reads it as one run: a fully connected layer on a 1x1 map."""
    channels, height, width = layer.source
    if layer.kernel != (height, width) or any(layer.pads) or layer.groups != 1 or (height, width) == (1, 1):
        return layer
    if layer.pool is not None or not layer.on_array or layer.weights.shape[1] != channels:
        return layer
    outputs = layer.weights.shape[0]
    weights = layer.weights.transpose(0, 2, 3, 1).reshape(outputs, -1, 1, 1)
    return replace(layer, source=(channels * height * width, 1, 1), weights=weights, strides=(1, 1), dilations=(1, 1))
