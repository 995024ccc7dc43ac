"""From the quantized graph to what the engine runs: layers for the array, and layers for the vector unit alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from math import prod
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    Extremum,
    Graph,
    Layer,
    MaxPool,
    Multiply,
    Normalization,
    Sums,
    Table,
    product_factor,
    requantization_scales,
)
from ...quant.graph.errors import ConfigurationError, unknown_kind
from ..isa.program import TABLE_FRACTION, Combine
from .engine_layer import EngineLayer, Pool
from .formats import Format, fixed_scales, storage
from .tables import (
    addition_tables,
    extremum_tables,
    normalization_tables,
    rescaling_tables,
    unary_tables,
)

EXTREMA = (Combine.MAXIMUM, Combine.MINIMUM)


def lower(graph: Graph, bits: int) -> tuple[EngineLayer, ...]:
    """The engine's layers for ``graph`` with ``bits``-bit activations, in order."""
    lowering = _Lowering(graph, bits)
    for layer in graph.layers:
        lowering.add(layer)
    return tuple(_flattened(layer) for layer in lowering.layers)


class _Lowering:
    """Collects engine layers; what follows a layer that nobody else reads becomes a part of it where it can."""

    def __init__(self, graph: Graph, bits: int) -> None:
        self.graph, self.bits = graph, bits
        self.layers: list[EngineLayer] = []
        self.readers = Counter(name for layer in graph.layers for name in layer.inputs)

    def add(self, layer: Layer) -> None:
        match layer:
            case Conv():
                self.layers.append(_convolution(layer, self.graph, self.bits))
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
            case unknown:
                unknown_kind(unknown)

    def _stored(self, name: str) -> Format:
        return storage(self.graph.map_of(name), self.bits)

    def _maker(self, name: str) -> int | None:
        """Index of the layer that makes ``name``, if only one layer reads it and it can be a part of that layer."""
        if self.readers[name] != 1 or name == self.graph.output:
            return None
        found = [n for n, layer in enumerate(self.layers) if layer.output == name]
        return found[0] if len(found) == 1 and not self.layers[found[0]].raw else None

    def _open(self, name: str) -> int | None:
        """``_maker`` if its tables are free."""
        maker = self._maker(name)
        if maker is None or self.layers[maker].combine != Combine.NONE or self.layers[maker].normalization:
            return None
        return maker

    def _reading(self, layer: Layer, name: str) -> EngineLayer:
        """A layer of the vector unit that hands on the map ``name``, at its own scale."""
        source = self.graph.map_of(name)
        form = self._stored(name)
        return EngineLayer(
            name=layer.name,
            operator=layer.operator,
            input=name,
            output=layer.output,
            source=source.shape,
            convolved=source.shape,
            target=source.shape,
            format=form,
            source_zero=form.zero_point,
        )

    def _max_pool(self, layer: MaxPool) -> None:
        pool, shape = Pool(layer.kernel, layer.strides, layer.pads), self.graph.tensors[layer.output].shape
        maker = self._open(layer.input)
        if maker is not None and self.layers[maker].on_array and self.layers[maker].pool is None:
            before = self.layers[maker]
            name = f"{before.name}+{layer.name}"
            self.layers[maker] = replace(before, name=name, output=layer.output, target=shape, pool=pool)
        else:
            self.layers.append(replace(self._reading(layer, layer.input), target=shape, pool=pool))

    def _average(self, layer: AveragePool) -> EngineLayer:
        source, target = self.graph.map_of(layer.input), self.graph.map_of(layer.output)
        pool = Pool(layer.kernel, layer.strides, layer.pads, layer)
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
        self._combined(layer, layer.input, Combine.TABLE, tables, target)

    def _combined(
        self,
        layer: Layer,
        name: str,
        combine: Combine,
        tables: NDArray[np.int64],
        target: Format,
        operand: str = "",
        channel: int = 0,
    ) -> None:
        """Put tables behind the layer that makes ``name``, or behind one that reads it."""
        maker = self._open(name)
        before = self._reading(layer, name) if maker is None else self.layers[maker]
        made = replace(
            before,
            name=layer.name if maker is None else f"{before.name}+{layer.name}",
            output=layer.output,
            operand=operand,
            channel=channel,
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
        makers = [self._open(name) for name in layer.inputs]
        # the later one of two waits for the other anyway
        own = 1 if (makers[1] is not None and (makers[0] is None or makers[1] > makers[0])) else 0
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
            spread=source.shape != other.shape,
        )

    def _concat(self, layer: Concat) -> None:
        whole, target = self.graph.map_of(layer.output), self._stored(layer.output)
        channel = 0
        for name in layer.inputs:
            source, form = self.graph.map_of(name), self._stored(name)
            maker = self._maker(name)
            same = (source.scale, source.zero_point) == (whole.scale, whole.zero_point)
            if same and whole.low <= source.low and source.high <= whole.high:
                before = self._reading(layer, name) if maker is None else self.layers[maker]
                made = _moved(before, target.offset - form.offset)
                named = layer.name if maker is None else before.name
                made = replace(made, name=named, output=layer.output, channel=channel)
                if maker is None:
                    self.layers.append(made)
                else:
                    self.layers[maker] = made
            else:
                tables = rescaling_tables(source, form.offset, whole, target.offset)
                self._combined(layer, name, Combine.TABLE, tables, target, channel=channel)
            channel += source.shape[0]

    def _normalization(self, layer: Normalization) -> EngineLayer:
        return replace(
            self._reading(layer, layer.input),
            format=self._stored(layer.output),
            normalization=layer,
            tables=normalization_tables(layer),
        )


def _moved(layer: EngineLayer, offset: int) -> EngineLayer:
    """``layer`` with stored results that are less by ``offset``."""
    if offset == 0 or layer.format is None:
        return layer
    if layer.tables is not None and layer.combine != Combine.NONE:
        tables = layer.tables.copy()
        for table in (tables[:256], tables[256:]) if layer.combine in EXTREMA else (tables[:256],):
            table -= offset << TABLE_FRACTION
        return replace(layer, tables=tables, final=(layer.final[0] - offset, layer.final[1] - offset))
    form = layer.format
    moved = Format(form.offset + offset, form.zero_point - offset, form.low - offset, form.high - offset)
    return replace(layer, format=moved)


def _convolution(layer: Conv, graph: Graph, bits: int) -> EngineLayer:
    source, target = graph.map_of(layer.input), graph.tensors[layer.output]
    stored = storage(source, bits)
    weights = layer.weights.astype(np.int64)
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
        bias=layer.bias - stored.zero_point * weights.sum(axis=(1, 2, 3)),
        strides=layer.strides,
        pads=layer.pads,
        dilations=layer.dilations,
        groups=layer.groups,
        mantissas=mantissas,
        shifts=shifts,
        padding=stored.zero_point,
        format=form,
        macs=int(layer.weights.size) * target.shape[1] * target.shape[2],
    )


def _flattened(layer: EngineLayer) -> EngineLayer:
    """A kernel that covers its whole map reads it as one run: a fully connected layer on a 1x1 map."""
    channels, height, width = layer.source
    if layer.kernel != (height, width) or any(layer.pads) or layer.groups != 1 or (height, width) == (1, 1):
        return layer
    if layer.pool is not None or not layer.on_array:
        return layer
    outputs = layer.weights.shape[0]
    weights = layer.weights.transpose(0, 2, 3, 1).reshape(outputs, -1, 1, 1)
    return replace(layer, source=(channels * height * width, 1, 1), weights=weights, strides=(1, 1), dilations=(1, 1))


def needed_sum_bits(layer: EngineLayer, bits: int) -> int:
    """Accumulator width that every partial sum of ``layer`` fits, two's complement, in bits."""
    if not layer.on_array:
        if layer.combine == Combine.MULTIPLY:
            return 2 * (bits + 1)
        elements = layer.pool.kernel[0] * layer.pool.kernel[1] if layer.pool and layer.pool.average else 1
        return max(bits + 2, (elements << bits).bit_length() + 1)
    worst = int(np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max()) << (bits - 1)
    return worst.bit_length() + 1


def needed_total_bits(layer: EngineLayer, bits: int) -> int:
    """Width that every sum of ``layer`` with its bias fits, two's complement, in bits."""
    if not layer.on_array:
        return needed_sum_bits(layer, bits)
    worst = (np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3)) << (bits - 1)) + np.abs(layer.bias)
    return min(32, int(worst.max()).bit_length() + 1)  # beyond int32 no network goes


def has_lowest_weight(layer: EngineLayer, weight_bits: int) -> bool:
    """Whether a weight of ``layer`` is the lowest number of ``weight_bits`` bits, two's complement."""
    return layer.on_array and int(layer.weights.min()) <= -(1 << (weight_bits - 1))
