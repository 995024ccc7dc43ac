"""The constants as the engine reads them: requantization parameters and weights, bit-packed in order of use."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.parameters import PARAMETER_BITS, Parameters
from ..isa.program import AFFINE_ROWS, CHANNEL
from .cutting import ChannelTile, Part, channel_tiles, run_length
from .engine_layer import EngineLayer
from .kernel_steps import Kernel, kernel
from .packing import packing

MASK32 = 0xFFFFFFFF


Use = tuple[EngineLayer, ChannelTile, Sequence[Part]]
"""A channel tile of a layer, and the parts of its reduction."""


def weight_stream(uses: Iterable[Use], parameters: Parameters) -> bytes:
    """Everything that one spatial tile draws from the weight FIFO, padded to whole bus beats.

    For each channel tile, in the order of use: its parameters, then for each part, kernel row, kernel column and chunk
    R rows of C weights, one or several to a word.
    """
    packed, rest = [], np.zeros(0, np.uint8)
    for layer, tile, parts in uses:
        pieces = [(_parameter_bits(layer, tile, parameters), 1)]
        pieces += [(_words(layer, tile, part, parameters), parameters.word_bits) for part in parts]
        for values, width in pieces:
            whole, rest = _packed(values, width, rest)
            packed.append(whole)
    stream = b"".join(packed) + np.packbits(rest, bitorder="little").tobytes()
    return stream + bytes(-len(stream) % parameters.bus_bytes)


def vector_constants(layer: EngineLayer, p: Parameters) -> bytes:
    """What the vector unit reads of ``layer`` beside maps, whole bus beats: tables A and B, 512 entries of 32 bits; or
    the parameters of channels that it scales; or nothing."""
    if layer.affine:
        return _affine_bytes(layer, p)
    return b"" if layer.tables is None else layer.tables.astype("<i4").tobytes()


def _affine_bytes(layer: EngineLayer, p: Parameters) -> bytes:
    """For each channel tile AFFINE_ROWS vectors of C bytes, see ``Combine.AFFINE``."""
    (tiles,) = channel_tiles(layer.geometry, p)
    rows = np.zeros((len(tiles), AFFINE_ROWS, p.columns), np.uint8)
    for number, tile in enumerate(tiles):
        bits = _channel_bits(layer, tile)
        rows[number, :-1, : tile.channels] = np.packbits(bits.astype(np.uint8), axis=1, bitorder="little").T
        factors = layer.weights[tile.output : tile.output + tile.channels, 0, 0, 0]
        rows[number, -1, : tile.channels] = factors.astype(np.int8).view(np.uint8)
    packed = rows.tobytes()
    return packed + bytes(-len(packed) % p.bus_bytes)


def _packed(values: NDArray[np.int64], width: int, before: NDArray[np.uint8]) -> tuple[bytes, NDArray[np.uint8]]:
    """Whole bytes of the bits ``before`` and of ``values`` in ``width`` bits each, and the bits that are left."""
    if width in (8, 16) and not before.size:  # the same bytes, many times faster
        return values.astype(f"<i{width // 8}").tobytes(), before
    bits = np.concatenate([before, _bits(values, width).reshape(-1)])
    end = len(bits) - len(bits) % 8
    return np.packbits(bits[:end], bitorder="little").tobytes(), bits[end:]


def _bits(values: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
    """Two's complement bits, least significant first, a new last axis of ``width``."""
    return ((values[..., None] >> np.arange(width)) & 1).astype(np.uint8)


def _parameter_bits(layer: EngineLayer, tile: ChannelTile, p: Parameters) -> NDArray[np.int64]:
    """Bit-sliced over weight rows: row j has bits [j * word_bits, ...) of every channel's parameters."""
    rows = p.parameter_rows
    bits = np.zeros((p.columns, rows * p.word_bits), np.int64)
    bits[: tile.channels, :PARAMETER_BITS] = _channel_bits(layer, tile)
    return bits.reshape(p.columns, rows, p.word_bits).transpose(1, 0, 2).reshape(-1)


def _channel_bits(layer: EngineLayer, tile: ChannelTile) -> NDArray[np.int64]:
    """(channels, PARAMETER_BITS): a CHANNEL for each, least significant bit first."""
    bits = np.zeros((tile.channels, PARAMETER_BITS), np.int64)
    outputs = slice(tile.output, tile.output + tile.channels)
    fields = {"bias": layer.bias[outputs] & MASK32}
    if layer.mantissas is not None and layer.shifts is not None:
        fields |= {"mantissa": layer.mantissas[outputs], "shift": layer.shifts[outputs]}
    for name, values in fields.items():
        field = CHANNEL[name]
        bits[:, field.offset : field.offset + field.width] = _bits(values, field.width)
    assert CHANNEL.size == PARAMETER_BITS
    return bits


def _words(layer: EngineLayer, tile: ChannelTile, part: Part, p: Parameters) -> NDArray[np.int64]:
    """(words, C), each of a word's columns as one number of the word's bits: see program.md, WEIGHTS."""
    rows, in_word = _weight_rows(layer, tile, part, p), packing(layer.geometry, p)
    together = p.together(in_word)
    if in_word == 1:
        return rows
    # (weight tiles, rows at once, cycles, C) to (weight tiles, cycles, rows at once, C)
    cycles = rows.reshape(-1, together, p.rows // together, p.columns).swapaxes(1, 2)
    words = cycles.reshape(-1, in_word, p.columns)
    width = p.word_bits // in_word
    places = width * np.arange(in_word)[:, None]
    found: NDArray[np.int64] = ((words & ((1 << width) - 1)) << places).sum(axis=1)
    return found - ((found >> (p.word_bits - 1)) << p.word_bits)


def _weight_rows(layer: EngineLayer, tile: ChannelTile, part: Part, p: Parameters) -> NDArray[np.int64]:
    """(kernel rows, kernel column steps, chunks x R, C), with zeros where the run or the channels end."""
    steps = slice(*part.kernel_rows), slice(*part.kernel_columns)
    k = kernel(layer.geometry, p)
    if k.depthwise:
        return _depthwise_rows(layer, k, tile, p)[steps]
    run = tile_kernel(layer, tile, p)[steps][:, :, part.run[0] : part.run[1]]
    chunks = -(-run.shape[2] // p.rows)
    padded = np.zeros((*run.shape[:2], chunks * p.rows, p.columns), np.int64)
    padded[:, :, : run.shape[2], : tile.channels] = run
    return padded


def _depthwise_rows(layer: EngineLayer, k: Kernel, tile: ChannelTile, p: Parameters) -> NDArray[np.int64]:
    """(kernel row steps, kernel column steps, R, C): of each column's rows the first line has the last kernel row."""
    rows = np.zeros((k.rows.count, k.columns.count, p.rows, p.columns), np.int64)
    weights = layer.weights[tile.output : tile.output + tile.channels, 0]
    down, across = k.rows, k.columns
    for step, line, turn, number in np.ndindex(down.count, down.taps, across.count, across.taps):
        y, x, phase = down.tap(step, line), across.tap(turn, number), turn % across.phases
        if y < down.size and x < across.size:
            row = (down.taps - 1 - line) * p.line_taps + number * across.dilation
            channels = slice(phase, tile.channels, across.phases)
            rows[step, turn, row, channels] = weights[phase :: across.phases, y, x]
    return rows


def tile_kernel(layer: EngineLayer, tile: ChannelTile, p: Parameters) -> NDArray[np.int64]:
    """Weights of one channel tile as (kernel rows, kernel column steps, run, channels): see kernel_steps.plain."""
    per_group_out = layer.weights.shape[0] // layer.groups
    per_group_in = layer.weights.shape[1]
    weights = layer.weights[tile.output : tile.output + tile.channels].astype(np.int64)
    weights = weights.transpose(2, 3, 1, 0)
    if layer.groups > 1:
        # several groups side by side: block diagonal
        first = tile.output // per_group_out
        last = (tile.output + tile.channels - 1) // per_group_out
        blocks = np.zeros((*weights.shape[:2], (last - first + 1) * per_group_in, tile.channels), np.int64)
        for channel in range(tile.channels):
            start = ((tile.output + channel) // per_group_out - first) * per_group_in
            blocks[:, :, start : start + per_group_in, channel] = weights[:, :, :, channel]
        return blocks
    if layer.geometry.whole_pixels:
        whole = weights.reshape(weights.shape[0], 1, -1, tile.channels)
        return whole[:, :, tile.input : tile.input + run_length(layer.geometry, p)]
    return weights
