"""The order of the program: tile after tile of the array's layers, the vector unit's own woven in between."""

from collections import Counter
from collections.abc import Callable, Iterator

from ..isa.program import Operation
from .cost import AFFINE_GAP
from .cutting import ChannelTile, SpatialTile, slices, source_rows
from .dependencies import makers_of
from .early import begun, in_one_pixel, in_two
from .emission import TileEmitter
from .instruction import Instruction
from .kernel_steps import kernel
from .order import SPARE
from .packing import pass_cycles
from .plan import Plan
from .relay_emission import RelayEmitter
from .sliding import interval, rows_of_results
from .span import size
from .tiling import Tiling
from .turns import Turns

CREDIT = 4
"""Channel tiles of the array whose time the vector unit may have saved up."""

LOADING = 150
"""Cycles that a short tile of the vector unit's own may wait for its load."""

PATIENCE = 1.2
"""What the vector unit does alone between two channel tiles of the array takes at most PATIENCE times their time."""


def weave(plan: Plan, progress: Callable[[int], None] = lambda done: None) -> list[Instruction]:
    """The instructions of ``plan``'s layers in order, BEGIN before them, without tokens; its own program is ignored.

    progress : of layers that are woven
    """
    begin = Instruction(Operation.BEGIN, -1, {"fingerprint": plan.parameters.fingerprint})
    return [begin, *_Weaver(plan).weave(progress)]


class _Weaver:
    """Collects the instructions of all layers.

    The array's layers follow one another, spatial tile by spatial tile.  Those of the vector unit alone are emitted
    channel tile by channel tile as soon as the rows that they read are there, between channel tiles of the array that
    leave the vector unit time, and at the latest before somebody reads their rows.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.p = plan, plan.parameters
        self.program: list[Instruction] = []
        self.makers = makers_of(plan.layers)
        self.next_tile = [0] * len(plan.layers)
        self.next_slice = [0] * len(plan.layers)  # of that tile
        self.waiting = [n for n, layer in enumerate(plan.layers) if not layer.on_array]
        self.last_on_array = max((n for n, layer in enumerate(plan.layers) if layer.on_array), default=-1)
        self.turns = Turns()
        self.begun: dict[int, TileEmitter] = {}  # slices of tiles of the vector unit's own that have been loaded
        self.drained: Counter[int] = Counter()  # pieces of these that have been emitted
        self.now = 0  # the layer in work, by index
        self.credit = 0.0  # cycles that the vector unit is ahead of the array

    def weave(self, progress: Callable[[int], None]) -> list[Instruction]:
        for number, layer in enumerate(self.plan.layers):
            progress(number)
            for ended in [n for n in self.waiting if self.plan.layout.windows[n][1] < number]:
                self._finish(ended)  # rows that nobody needed
            self.now = number
            if self.plan.placements[number].hands_on:
                self._relay(number)
            elif layer.on_array and not self.plan.layout.takes(number):
                self._array_layer(number)
            elif not layer.on_array and self.plan.layout.windows[number] == (number, number):
                self._finish(number)
        for number in list(self.waiting):
            self._finish(number)
        progress(len(self.plan.layers))
        return self.program

    # order

    def _finish(self, number: int) -> None:
        while self.next_tile[number] < len(self.plan.placements[number].tiling.tiles):
            self._vector_tile(number)

    def _rows_done(self, number: int) -> int:
        """Rows of the layer's result that have been emitted whole."""
        tiles = self.plan.placements[number].tiling.tiles
        following = self.next_tile[number]
        return tiles[following].rows[0] if following < len(tiles) else tiles[-1].rows[1]

    def _missing(self, number: int, ahead: int = 0) -> Iterator[int]:
        """Layers that have not made all that the next tile of layer ``number`` reads, or the one ``ahead`` of it."""
        for tensor, rows in self._reads(number, ahead):
            for maker in self.makers[number]:
                if self.plan.layers[maker].output == tensor and self._rows_done(maker) < self._rows_of(maker, rows):
                    yield maker

    def _rows_of(self, number: int, rows: int) -> int:
        """How many rows of its own a layer must have made for the first ``rows`` rows of the whole tensor."""
        layer, spread = self.plan.layers[number], self.plan.layers[number].spread
        behind = rows * self._row_elements(layer.output) - layer.output_at - spread.first
        return min(max(0, -(-behind // spread.row_step)), layer.target[1])

    def _row_elements(self, tensor: str) -> int:
        channels, _, columns = self.plan.graph.tensors[tensor].shape
        return channels * columns

    def _rows_read(self, tensor: str, first: int, elements: int) -> int:
        """Rows of ``tensor`` that the first ``elements`` from element ``first`` on lie in, and all before."""
        return -(-(first + elements) // self._row_elements(tensor))

    def _need(self, number: int) -> None:
        """Emit what is missing of what the next tile of layer ``number`` reads."""
        while (maker := next(self._missing(number), None)) is not None:
            assert not self.plan.layers[maker].on_array, "layers are out of order"
            self._vector_tile(maker)

    def _reads(self, number: int, ahead: int) -> Iterator[tuple[str, int]]:
        """The tensors that the layer's next tile reads, or the one ``ahead`` of it, and how many rows of them."""
        layer, placement = self.plan.layers[number], self.plan.placements[number]
        tile = placement.tiling.tiles[self.next_tile[number] + ahead]
        depth, _, width = layer.source
        k = kernel(layer.geometry, self.p)
        rows = max(source_rows(layer.geometry, k, tile, part)[1] for part in placement.tiling.parts)
        yield layer.input, self._rows_read(layer.input, layer.input_at, rows * width * depth)
        if layer.operand:
            depth, _, width = layer.target
            rows = self._rows_read(layer.operand, layer.operand_at, tile.rows[1] * width * depth)
            yield layer.operand, 1 if layer.one_pixel else rows

    def _spend(self, step: float, drain: float, tiles: int = 1) -> None:
        """``tiles`` channel tiles take ``step`` cycles of the array each, and ``drain`` of the vector unit, which uses
        what is left.  Behind by more than a half of the accumulators it cannot be: the array waits for it."""
        self.credit = max(self.credit + tiles * (step * SPARE - drain), -drain)
        self._background(step)

    def _background(self, step: float) -> None:
        """Tiles of the vector unit's own, for as long as it is ahead; ``step``: the array's time for a channel tile.

        What a tile must load is asked for a channel tile before, so that the vector unit need not wait; of layers
        that scale channels, whose tiles are many and short, in time for this one where that is long enough.
        """
        budget = min(self.credit, step * PATIENCE)
        while (number := self._ready()) is not None and (cycles := self._cycles(number)) <= budget:
            if number not in self.begun and self._loads(number):
                self._load(number)
                taken = LOADING + cycles * len(self._pieces(number))
                if not self.plan.layers[number].affine or taken > min(budget, step / 2):
                    break
                budget -= LOADING
                self.credit -= LOADING
            spent = self._vector_tile(number, int(budget // cycles)) * cycles
            self.credit -= spent
            budget -= spent
        self.credit = min(self.credit, CREDIT * step)

    def _loads(self, number: int) -> bool:
        placement, layer = self.plan.placements[number], self.plan.layers[number]
        return placement.source is None or (bool(layer.operand) and placement.operand is None)

    def _load(self, number: int) -> TileEmitter:
        """Have the next slice of the layer's next tile loaded; what it reads is there."""
        if number not in self.begun:
            placement = self.plan.placements[number]
            tile = placement.tiling.tiles[self.next_tile[number]]
            emit = TileEmitter(self.plan, self.turns, number, tile, self.next_slice[number])
            self.program += emit.load(placement.tiling.parts[0], (0, 0))
            self.program += emit.load_operand()
            self.begun[number] = emit
        return self.begun[number]

    def _ready(self) -> int | None:
        """The first layer of the vector unit alone that has a tile whose sources are all there."""
        return next(
            (
                n
                for n in self.waiting
                if self.plan.layout.windows[n][0] <= self.now and next(self._missing(n), None) is None
            ),
            None,
        )

    def _cycles(self, number: int) -> int:
        """The vector unit's cycles for a piece of the layer's next tile."""
        tile = self.plan.placements[number].tiling.tiles[self.next_tile[number]]
        g, (piece, *_) = self.plan.layers[number].geometry, self._pieces(number)
        results = rows_of_results(g, self.p, size(tile.rows), size(tile.columns))
        return len(piece) * (results + g.scales * AFFINE_GAP)

    def _pieces(self, number: int) -> list[list[ChannelTile]]:
        """What one VECTOR must do of a slice: a channel tile, or all where it tells neighbours by a pixel's first."""
        every = slices(self.plan.layers[number].geometry, self.p, self.plan.placements[number].tiling.sliced)
        ((*tiles,),) = every[self.next_slice[number]].series
        return [tiles] if self.plan.layers[number].normalization else [[tile] for tile in tiles]

    def _array_layer(self, number: int) -> None:
        """All tiles of a layer of the array, slice by slice."""
        tiling = self.plan.placements[number].tiling
        emitters = [
            TileEmitter(self.plan, self.turns, number, tile, n) for tile in tiling.tiles for n in range(tiling.slices)
        ]
        loaded = 0
        for place, emit in enumerate(emitters):
            first, last = place % tiling.slices == 0, (place + 1) % tiling.slices == 0
            if first:
                self._need(number)
            # the next slice's own loads come before this one's work: they are many instructions, and so are its stores
            ahead = place + (self._before_others(number, tiling) if last else emit.own_loads or emit.own_operand)
            for following in range(loaded, ahead + 1):
                self._load_slice(emitters, following)
            loaded = max(loaded, ahead + 1)
            if first:
                self.program += emit.weights()
            self._slice(emit, last)
            self.program += emit.store()
            self.next_tile[number] += last

    def _before_others(self, number: int, tiling: Tiling) -> bool:
        """Whether to load the layer's tile behind the next before it: not behind tiles of the vector unit's own, which
        wait in the loader's queue until that has read those before."""
        if self.next_tile[number] + 1 == len(tiling.tiles) or self._ready() is None:
            return False
        return next(self._missing(number, 1), None) is None

    def _relay(self, number: int) -> None:
        """All tiles of a layer of the array and of the next, which takes what it makes."""

        def need(place: int) -> None:
            self.next_tile[number] = place
            self._need(number)

        for step in RelayEmitter(self.plan, self.turns, number, need).steps():
            self.program += step.made
            self.next_tile[number + 1] = step.tiles
            if step.emit is not None and step.piece is not None:
                self._spend(*self._paces(step.emit, step.piece))
        self.next_tile[number] = self.plan.placements[number].tiling.count

    def _load_slice(self, emitters: list[TileEmitter], place: int) -> None:
        """What the slice at ``place`` needs beside weights, unless it is there."""
        emit = emitters[place]
        tiling = emit.place.tiling
        first = place % tiling.slices == 0
        if not first:
            emit.follow(emitters[place - 1])
        if len(tiling.parts) == 1 and (first or emit.own_loads):
            self.program += emit.load(tiling.parts[0], emit.begins)
        if first or emit.own_operand:
            self.program += emit.load_operand()

    def _slice(self, emit: TileEmitter, last: bool) -> None:
        """Array and vector unit for a slice, the ``last`` of its tile or not."""
        parts = emit.place.tiling.parts
        step, drain = self._paces(emit, emit.tile)
        if emit.number == self.last_on_array:
            self._background(step)  # before the last tile, or nothing would hide it
        for whole in emit.slice.series:
            start = 0
            while start < len(whole):
                # one by one while the vector unit has something of its own to do between them
                group = whole[start:] if self._ready() is None else whole[start : start + 1]
                if len(group) > 1 and self._awaited(emit.number):
                    group = group[:-1]  # so that only the last keeps the next layer waiting
                part = begun(emit, group, self.program)
                start += len(group)
                last_group = last and whole is emit.slice.series[-1] and start == len(whole)
                self.program += emit.vector(group)
                if part is not None:
                    self.program += in_two(emit, group, part, flush=last_group)
                elif len(parts) == 1:
                    self.program += emit.array(group, parts[0], first=True, last=True, flush=last_group)
                else:
                    self.program += emit.reduction(group, last_group)
                self._spend(step, drain, len(group))

    def _paces(self, emit: TileEmitter, tile: SpatialTile) -> tuple[int, int]:
        """Cycles of the array and of the vector unit for a channel tile in ``tile``."""
        windows, p = emit.kernel.pass_windows(tile.convolved), self.p
        step = sum(part.passes(p) for part in emit.place.tiling.parts) * max(windows, pass_cycles(emit.it.geometry, p))
        return step, size(tile.rows) * size(tile.columns) * interval(emit.it.geometry, p) + p.parameter_rows

    def _awaited(self, number: int) -> bool:
        """Whether the next layer begins as soon as there are channels of the pixel that layer ``number`` makes."""
        layers, following = self.plan.layers, number + 1
        if following == len(layers) or layers[following].input != layers[number].output:
            return False
        return layers[number].target[1:] == (1, 1) and in_one_pixel(layers[following], self.plan.placements[following])

    def _vector_tile(self, number: int, most: int | None = None) -> int:
        """What is left of the next slice of a layer of the vector unit alone, or ``most`` pieces of it: how many."""
        self._need(number)
        emit, every = self._load(number), self._pieces(number)
        pieces = every[self.drained[number] :][:most]
        self.program += emit.vector([tile for piece in pieces for tile in piece])
        self.drained[number] += len(pieces)
        if self.drained[number] == len(every):
            self.program += emit.store()
            del self.begun[number], self.drained[number]
            tiling = self.plan.placements[number].tiling
            more, self.next_slice[number] = divmod(self.next_slice[number] + 1, tiling.slices)
            self.next_tile[number] += more
            if self.next_tile[number] == len(tiling.tiles):
                self.waiting.remove(number)
        return len(pieces)
