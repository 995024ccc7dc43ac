"""The plan: a program for one accelerator and one graph, and where everything lies in DRAM and on chip."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...quant.graph import Graph
from ..isa.check import sealed
from ..isa.parameters import INSTRUCTION_BYTES, Parameters
from ..isa.program import PREFETCH, Operation
from .dram import Dram, Region
from .engine_layer import EngineLayer
from .instruction import Drained, Instruction
from .placement import Layout, Placement
from .unfold import Unfolding


@dataclass(frozen=True, eq=False)
class Plan:
    """A program for one accelerator and one graph, whose tensors are those of all ``batch`` images of a run.

    single : the graph of one image;  unfolding : how its input is written, None for as it is
    layout, dram : where things lie on chip and in DRAM;  program : without END; empty before it is woven
    """

    graph: Graph
    parameters: Parameters
    batch: int
    single: Graph
    layers: tuple[EngineLayer, ...]
    layout: Layout
    dram: Dram
    unfolding: Unfolding | None = None
    program: tuple[Instruction, ...] = ()

    def __repr__(self) -> str:
        p = self.parameters
        return f"<Plan: {len(self.single.layers)} layers, {p.rows}x{p.columns} multipliers, {self.batch} images a run>"

    @property
    def placements(self) -> tuple[Placement, ...]:
        return self.layout.placements

    @property
    def drained(self) -> list[Drained]:
        """What the vector unit writes, in the order of the program."""
        return [drained for instruction in self.program for drained in instruction.drained]

    @property
    def regions(self) -> Mapping[str, Region]:
        """Constants, input, output, scratch, program."""
        size = (len(self.program) + 1 + PREFETCH) * INSTRUCTION_BYTES
        return {**self.dram.regions, "program": self.dram.behind(size)}

    @property
    def memory_bytes(self) -> int:
        """Bytes of DRAM from BASE on."""
        return max(region.end for region in self.regions.values())

    def program_bytes(self) -> bytes:
        """The program as the engine fetches it, with what it prefetches behind END.

        Raises ValueError for a length that the engine's registers, narrower than the field, do not hold.
        """
        p = self.parameters
        span = ("bytes", p.activation_elements * p.element_bytes)
        longest = {Operation.LOAD: span, Operation.STORE: span, Operation.WEIGHTS: ("beats", (1 << 32) // p.bus_bytes)}
        for i in self.program:
            if i.operation in longest:
                name, most = longest[i.operation]
                if not 0 <= i.fields[name] < most:
                    raise ValueError(f"{i.operation.name}.{name} = {i.fields[name]} must be 0 to {most - 1}")
        end = Instruction(Operation.END, -1, {})
        return sealed(b"".join(i.encode() for i in [*self.program, *[end] * (1 + PREFETCH)]))
