"""From the quantized graph to what the engine runs: layers for the array, and layers for the vector unit alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import frexp

import numpy as np
from numpy.typing import NDArray

from ...quant.graph import (
    Add,
    AveragePool,
    Concat,
    Conv,
    FeatureMap,
    Graph,
    Layer,
    MaxPool,
    Normalization,
    Pads,
    Pair,
    Shape,
    Sums,
    Table,
    requantization_scales,
)
from ...quant.graph.errors import ConfigurationError, unknown_kind
from ..isa.program import SHIFT_BASE, TABLE_FRACTION, Combine
from .tables import (
    addition_tables,
    normalization_tables,
    rescaling_tables,
    unary_tables,
)

ONE = (1 << 23, 23 - SHIFT_BASE)
"""Mantissa and shift of scale 1."""
NO_WEIGHTS = np.zeros((0, 0, 1, 1), np.int16)


@dataclass(frozen=True)
class Format:
    """How the engine stores a feature map: ``stored = q - offset``, signed; all other numbers are stored ones."""

    offset: int
    zero_point: int
    low: int
    high: int


@dataclass(frozen=True)
class Pool:
    """Windows that are reduced to one vector: their maximum, or their total, to be divided by what ``average`` counts.

    scales : for a total, (mantissa, shift) by the number of elements that count
    """

    kernel: Pair
    strides: Pair
    pads: Pads
    average: AveragePool | None = None
    scales: Mapping[int, Pair] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class EngineLayer:
    """A convolution with what follows it in the vector unit, or a layer of the vector unit alone.

    name : the graph's layers', joined by plus signs;  input, output : tensors;  operand : the one that is added, or ""
    source, convolved, target : (channels, rows, columns) of input, of what is pooled, of what is written
    channel : of the output tensor, the first that is written
    weights : (outputs, inputs / groups, kernel rows, kernel columns), empty without the array
    bias : what is added to ``sum w * stored``;  mantissas, shifts : scales as program.CHANNEL has them
    padding : what stored pixels outside the map are;  source_zero : the zero point of a map that is read as it is
    pool : windows over the convolution's sums, or over the source
    format : of requantized values, None for raw sums;  combine, tables, final : tables behind them, and their clamp
    normalization : its tables are in ``tables``
    input_at, operand_at, output_at : first element in tensors that hold several images;  image : None for all of them
    tensor : the graph's name of the output, if ``output`` is another
    """

    name: str
    operator: str
    input: str
    output: str
    source: Shape
    convolved: Shape
    target: Shape
    format: Format | None
    weights: NDArray[np.int16] = field(default_factory=lambda: NO_WEIGHTS)
    bias: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    mantissas: NDArray[np.int64] | None = None
    shifts: NDArray[np.int64] | None = None
    strides: Pair = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    dilations: Pair = (1, 1)
    groups: int = 1
    padding: int = 0
    source_zero: int = 0
    pool: Pool | None = None
    channel: int = 0
    operand: str = ""
    combine: Combine = Combine.NONE
    tables: NDArray[np.int64] | None = None
    final: Pair = (0, 0)
    normalization: Normalization | None = None
    macs: int = 0
    input_at: int = 0
    operand_at: int = 0
    output_at: int = 0
    image: int | None = None
    tensor: str = ""

    @property
    def on_array(self) -> bool:
        return self.weights.size > 0

    @property
    def reads_maps(self) -> bool:
        """The vector unit reads a feature map."""
        return not self.on_array or bool(self.operand) or self.tables is not None

    @property
    def shifts_only(self) -> bool:
        """All its scales are powers of two."""
        scales = [] if self.mantissas is None else self.mantissas.tolist()
        scales += [mantissa for mantissa, _ in self.pool.scales.values()] if self.pool else []
        return self.normalization is None and all(mantissa == ONE[0] for mantissa in scales)

    @property
    def raw(self) -> bool:
        return self.format is None

    @property
    def kernel(self) -> Pair:
        """Of the convolution; 1x1 without one."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tensors that it reads."""
        return (self.input, self.operand) if self.operand else (self.input,)


def storage(tensor: FeatureMap, bits: int) -> Format:
    """How ``tensor`` is stored in ``bits``-bit signed elements.  Raises ConfigurationError if it does not fit."""
    reach = 1 << (bits - 1)
    if tensor.bits > bits:
        raise ConfigurationError(
            f"tensor '{tensor.name}' needs {tensor.bits} bits; generate with at least {tensor.bits} activation bits"
        )
    offset = 0 if -reach <= tensor.low and tensor.high < reach else tensor.low + reach
    if offset % 2 and tensor.high - offset < reach - 1:
        offset -= 1  # even: so a tie goes to the same side, stored or not
    return stored_as(tensor, offset)


def stored_as(tensor: FeatureMap, offset: int) -> Format:
    return Format(offset, tensor.zero_point - offset, tensor.low - offset, tensor.high - offset)


def fixed_scales(scales: NDArray[np.float32], name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Mantissas (24 bits, leading bit set) and shifts of float32 ``scales``, exactly.

    Raises ConfigurationError for a scale of 16 or more.  A scale so small that any int32 stays 0 becomes 2**-57.
    """
    mantissas, shifts = [], []
    for scale in scales:
        fraction, exponent = frexp(float(scale))
        mantissa, shift = int(fraction * 2**24), 24 - exponent - SHIFT_BASE
        if shift < 0:
            raise ConfigurationError(
                f"layer '{name}': its requantization scale {float(scale):g} is not below 16; "
                "calibrate with data that uses the output's range"
            )
        if shift > 60:
            mantissa, shift = 1 << 23, 60
        mantissas.append(mantissa)
        shifts.append(shift)
    return np.array(mantissas, np.int64), np.array(shifts, np.int64)


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
            case Add():
                self._sum(layer)
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
        counts = {r * c for r in range(1, layer.kernel[0] + 1) for c in range(1, layer.kernel[1] + 1)}
        ratios = {n: np.float32(source.scale / np.float32(target.scale * np.float32(n))) for n in sorted(counts)}
        mantissas, shifts = fixed_scales(np.array(list(ratios.values()), np.float32), layer.name)
        scales = {n: (int(m), int(s)) for n, m, s in zip(ratios, mantissas, shifts, strict=True)}
        pool = Pool(layer.kernel, layer.strides, layer.pads, layer, scales)
        return replace(
            self._reading(layer, layer.input), target=target.shape, pool=pool, format=self._stored(layer.output)
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

    def _sum(self, layer: Add) -> None:
        target = self._stored(layer.output)
        makers = [self._open(name) for name in layer.inputs]
        # the later one of two waits for the other anyway
        own = 1 if (makers[1] is not None and (makers[0] is None or makers[1] > makers[0])) else 0
        name, operand = layer.inputs[own], layer.inputs[1 - own]
        tables = addition_tables(
            (self.graph.map_of(layer.inputs[0]), self.graph.map_of(layer.inputs[1])),
            (self._stored(layer.inputs[0]).offset, self._stored(layer.inputs[1]).offset),
            self.graph.map_of(layer.output),
            target.offset,
            layer.name,
        )
        if own:
            tables = np.roll(tables, 256)
        self._combined(layer, name, Combine.ADD, tables, target, operand)

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
        tables[:256] -= offset << TABLE_FRACTION
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
        elements = layer.pool.kernel[0] * layer.pool.kernel[1] if layer.pool and layer.pool.average else 1
        return max(bits + 2, (elements << bits).bit_length() + 1)
    worst = int(np.abs(layer.weights.astype(np.int64)).sum(axis=(1, 2, 3)).max()) << (bits - 1)
    return worst.bit_length() + 1
