# amaranth: UnusedElaboratable=no
"""Components and their configurations refuse what they cannot be, by name, before anything is built."""

import gc
import random
import re
import warnings

import pytest
from amaranth.hdl import UnusedElaboratable

from systolith.hw.engine.accelerator import Accelerator
from systolith.hw.engine.accumulators import Accumulators
from systolith.hw.engine.activations import ActivationMemory
from systolith.hw.engine.array import SystolicArray
from systolith.hw.engine.counted_fifo import CountedFifo
from systolith.hw.engine.counters import Counters
from systolith.hw.engine.dma import Bursts, WeightStream
from systolith.hw.engine.fetch import Fetch
from systolith.hw.engine.instruction_queue import InstructionQueue
from systolith.hw.engine.lane import LaneConfiguration, Squares
from systolith.hw.engine.loader import Loader
from systolith.hw.engine.memory_format import MemoryFormat
from systolith.hw.engine.read_master import ReadMaster
from systolith.hw.engine.registers import Registers
from systolith.hw.engine.requantize import Requantize
from systolith.hw.engine.sequencer import Sequencer, Window
from systolith.hw.engine.shift_fifo import ShiftFifo
from systolith.hw.engine.storer import Storer
from systolith.hw.engine.vector_configuration import VectorConfiguration
from systolith.hw.engine.weights import Gearbox, WeightWriter
from systolith.hw.isa.parameters import BUS_BYTES, MAXIMUM_KIB, Parameters
from systolith.quant import ConfigurationError

MEMORY = MemoryFormat(element_bits=8, elements=1024, port_elements=8)
WIDE = MemoryFormat(element_bits=16, elements=1024, port_elements=8)
LANE = LaneConfiguration(sum_bits=24, activation_bits=8, element_bits=8)
READER = LaneConfiguration(sum_bits=24, activation_bits=8, element_bits=8, tables=True, table_entries=2)
NORMALIZER = LaneConfiguration(sum_bits=24, activation_bits=8, element_bits=8, tables=True, normalization=9)
ACTIVATIONS = {
    "memory": MEMORY, "banks": 2, "line": 8, "rows": 4, "columns": 4, "bus_elements": 8, "activation_bits": 8,
    "operands": True,
}  # fmt: skip
VECTOR = {
    "columns": 8, "lanes": 2, "lane": LANE, "operands": True, "accumulator_depth": 64, "word_bits": 8,
    "memory": MEMORY,
}  # fmt: skip
BUS = "bus bytes must be 4, 8, 16, 32 or 64, not "
WHOLE = {
    Accumulators: {"columns": 3, "depth": 64, "sum_bits": 20},
    ActivationMemory: ACTIVATIONS,
    Counters: {"words": 3},
    SystolicArray: {"rows": 2, "columns": 3, "activation_bits": 8, "weight_bits": 8, "sum_bits": 20},
    Bursts: {"bus_bytes": 8, "span_bits": 10},
    CountedFifo: {"shape": 8, "depth": 4},
    ShiftFifo: {"shape": 8, "depth": 4},
    ReadMaster: {"bus_bytes": 8, "users": 3},
    WeightStream: {"bus_bytes": 8, "fifo_beats": 64},
    Fetch: {"bus_bytes": 8, "fingerprint": 1},
    LaneConfiguration: {"sum_bits": 20, "activation_bits": 8, "element_bits": 8},
    Squares: {"lanes": 2, "normalization": 3},
    Loader: {"bus_bytes": 8, "memory": MEMORY},
    MemoryFormat: {"element_bits": 8, "elements": 1024, "port_elements": 8},
    Registers: {"fingerprint": 1, "features": 2},
    Requantize: {
        **{"sum_bits": 20, "total_bits": 22, "shifts": (4, 9)},
        **{"activation_bits": 8, "element_bits": 8, "multiply": None},
    },
    InstructionQueue: {"shape": 8, "depth": 2},
    Sequencer: {"rows": 2, "activation_bits": 8, "accumulator_depth": 64, "address_bits": 16},
    Window: {"rows": 2, "activation_bits": 8, "address_bits": 10},
    Storer: {"bus_bytes": 8, "memory": MEMORY},
    VectorConfiguration: VECTOR,
    Gearbox: {"source": 64, "target": 24},
    WeightWriter: {"rows": 2, "row_bits": 24, "pass_cycles": 3, "parameter_rows": 8},
}
REFUSED = [
    (Accumulators, {"columns": 0}, "columns must be 1 to 128, not 0"),
    (Accumulators, {"depth": 3}, "accumulator depth must be 4 to 16777216, not 3"),
    (Accumulators, {"sum_bits": 33}, "sum bits must be 8 to 32, not 33"),
    (ActivationMemory, {"banks": 1}, "banks must be a power of two from 2 to 4096, not 1"),
    (ActivationMemory, {"banks": 6}, "banks must be a power of two from 2 to 4096, not 6"),
    (ActivationMemory, {"line": 12}, "line must be a power of two from 1 to 4096, not 12"),
    (ActivationMemory, {"rows": 9}, "rows must be 1 to 8, not 9"),
    (ActivationMemory, {"columns": 9}, "columns must be 1 to 8, not 9"),
    (ActivationMemory, {"bus_elements": 16}, "bus elements must be a power of two from 1 to 8, not 16"),
    (ActivationMemory, {"activation_bits": 9}, "activation bits must be 2 to 8, not 9"),
    (ActivationMemory, {"line": 4, "bus_elements": 4}, "port elements must be 1 to 5, not 8"),
    (
        ActivationMemory,
        {"memory": MemoryFormat(element_bits=8, elements=1000, port_elements=8)},
        "elements must be at least two lines of each of 2 banks, a multiple of 16, not 1000",
    ),
    (
        ActivationMemory,
        {"memory": MemoryFormat(element_bits=8, elements=16, port_elements=8)},
        "elements must be at least two lines of each of 2 banks, a multiple of 16, not 16",
    ),
    (SystolicArray, {"rows": 129}, "rows must be 1 to 128, not 129"),
    (SystolicArray, {"columns": True}, "columns must be 1 to 128, not True"),
    (SystolicArray, {"activation_bits": 1}, "activation bits must be 2 to 16, not 1"),
    (SystolicArray, {"weight_bits": 17}, "weight bits must be 2 to 16, not 17"),
    (SystolicArray, {"word_bits": 7}, "word bits must be 8 to 32, not 7"),
    (SystolicArray, {"packing": 4}, "packing must be 1 or 2, not 4"),
    (SystolicArray, {"packing": 2, "parts": 4}, "parts must be 1 or 2, not 4"),
    (WeightWriter, {"packing": 4}, "packing must be 1 or 2, not 4"),
    (WeightWriter, {"packing": 2, "parts": 4}, "parts must be 1 or 2, not 4"),
    (SystolicArray, {"sum_bits": 7}, "sum bits must be 8 to 32, not 7"),
    (Counters, {"words": 2}, "words must be 3 to 15, not 2"),
    (Counters, {"words": 16}, "words must be 3 to 15, not 16"),
    (Bursts, {"bus_bytes": 12}, BUS + "12"),
    (Bursts, {"bus_bytes": 8.0}, BUS + "8.0"),
    (Bursts, {"span_bits": 33}, "span bits must be 1 to 32, not 33"),
    (CountedFifo, {"depth": 1}, "FIFO depth must be 2 to 16777216, not 1"),
    (ShiftFifo, {"depth": 65}, "FIFO depth must be 2 to 64, not 65"),
    (ReadMaster, {"bus_bytes": 128}, BUS + "128"),
    (ReadMaster, {"users": 1}, "users must be 2 to 8, not 1"),
    (WeightStream, {"bus_bytes": 2}, BUS + "2"),
    (WeightStream, {"fifo_beats": 31}, "FIFO beats must be 32 to 16777216, not 31"),
    (Fetch, {"bus_bytes": 0}, BUS + "0"),
    (Fetch, {"fingerprint": 1 << 32}, "fingerprint must be 0 to 4294967295, not 4294967296"),
    (LaneConfiguration, {"sum_bits": 7}, "sum bits must be 8 to 32, not 7"),
    (LaneConfiguration, {"activation_bits": 9}, "activation bits must be 2 to 8, not 9"),
    (LaneConfiguration, {"element_bits": 12}, "element bits must be 8 or 16, not 12"),
    (LaneConfiguration, {"table_entries": 3}, "table entries must be a power of two from 1 to 256, not 3"),
    (LaneConfiguration, {"normalization": 17}, "normalization must be 0 to 16, not 17"),
    (LaneConfiguration, {"normalization": 2}, "normalization needs tables and the multiplier"),
    (
        LaneConfiguration,
        {"normalization": 2, "tables": True, "multiplier": False},
        "normalization needs tables and the multiplier",
    ),
    (LaneConfiguration, {"element_bits": 16, "tables": True}, "tables need elements of 8 bits, not 16"),
    (Squares, {"lanes": 0}, "lanes must be 1 to 128, not 0"),
    (Squares, {"normalization": 0}, "normalization must be 1 to 16, not 0"),
    (Loader, {"bus_bytes": 3}, BUS + "3"),
    (Loader, {"bus_bytes": 16}, "elements of a beat must be 1 to 8, not 16"),
    (MemoryFormat, {"element_bits": 4}, "element bits must be 8 or 16, not 4"),
    (MemoryFormat, {"elements": 1}, "elements must be 2 to 16777216, not 1"),
    (MemoryFormat, {"port_elements": 1025}, "port elements must be 1 to 1024, not 1025"),
    (Registers, {"fingerprint": -1}, "fingerprint must be 0 to 4294967295, not -1"),
    (Registers, {"features": 1 << 32}, "features must be 0 to 4294967295, not 4294967296"),
    (Requantize, {"sum_bits": 40}, "sum bits must be 8 to 32, not 40"),
    (Requantize, {"total_bits": 33}, "total bits must be 8 to 32, not 33"),
    (Requantize, {"shifts": (-1, 9)}, "lowest shift must be 0 to 60, not -1"),
    (Requantize, {"shifts": (9, 8)}, "highest shift must be 9 to 60, not 8"),
    (Requantize, {"shifts": (9, 61)}, "highest shift must be 9 to 60, not 61"),
    (Requantize, {"activation_bits": 17}, "activation bits must be 2 to 16, not 17"),
    (Requantize, {"element_bits": 7}, "element bits must be 8 to 16, not 7"),
    (Sequencer, {"rows": 0}, "rows must be 1 to 128, not 0"),
    (Sequencer, {"activation_bits": 1}, "activation bits must be 2 to 16, not 1"),
    (Sequencer, {"accumulator_depth": 1}, "accumulator depth must be 4 to 16777216, not 1"),
    (Sequencer, {"address_bits": 0}, "address bits must be 1 to 24, not 0"),
    (InstructionQueue, {"depth": 1}, "queue depth must be 2 to 64, not 1"),
    (Window, {"rows": 0}, "rows must be 1 to 128, not 0"),
    (Window, {"activation_bits": 17}, "activation bits must be 2 to 16, not 17"),
    (Window, {"address_bits": 25}, "address bits must be 1 to 24, not 25"),
    (Storer, {"bus_bytes": 3}, BUS + "3"),
    (VectorConfiguration, {"columns": 129}, "columns must be 1 to 128, not 129"),
    (VectorConfiguration, {"lanes": 9}, "lanes must be 1 to 8, not 9"),
    (VectorConfiguration, {"accumulator_depth": 0}, "accumulator depth must be 4 to 16777216, not 0"),
    (VectorConfiguration, {"word_bits": 1}, "word bits must be 2 to 32, not 1"),
    (
        VectorConfiguration,
        {"memory": WIDE},
        "element bits of the lanes and of the memory must be equal, not 8 and 16",
    ),
    (VectorConfiguration, {"lanes": 4}, "port elements must be 16 to 16777216, not 8"),
    (VectorConfiguration, {"columns": 16}, "port elements must be 16 to 16777216, not 8"),
    (
        VectorConfiguration,
        {"lane": READER, "operands": False},
        "tables need operands: they are read like feature maps",
    ),
    (
        VectorConfiguration,
        {"lane": READER, "columns": 7},
        "table entries must be at most a quarter of the columns, 1, not 2",
    ),
    (VectorConfiguration, {"lane": NORMALIZER}, "normalization must be 0 to 8, not 9"),
    (Gearbox, {"source": 0}, "source bits must be 1 to 4096, not 0"),
    (Gearbox, {"target": 4097}, "target bits must be 1 to 4096, not 4097"),
    (WeightWriter, {"rows": 0}, "rows must be 1 to 128, not 0"),
    (WeightWriter, {"row_bits": 0}, "row bits must be 1 to 4096, not 0"),
    (WeightWriter, {"pass_cycles": 1}, "pass cycles must be 2 to 4096, not 1"),
    (WeightWriter, {"parameter_rows": 0}, "parameter rows must be 2 to 4096, not 0"),
]


@pytest.mark.parametrize("component", WHOLE)
def test_what_the_rest_starts_from_is_accepted(component):
    assert component(**WHOLE[component])


@pytest.mark.parametrize(("component", "wrong", "message"), REFUSED, ids=[f"{c.__name__}: {m}" for c, _, m in REFUSED])
def test_what_it_cannot_be_is_refused(component, wrong, message):
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        component(**{**WHOLE[component], **wrong})


def test_every_component_with_sizes_is_here():
    assert {component for component, _, _ in REFUSED} == set(WHOLE)


@pytest.mark.parametrize("seed", range(20))
def test_an_accelerators_parameters_suit_all_its_components(seed):
    """Whatever Parameters accept at their ends and between."""
    rng = random.Random(seed)
    columns, bits = rng.choice([1, 4, 5, 31, 128]), rng.choice([2, 8, 9, 16])
    tables = columns >= 4 and bits <= 8 and rng.random() < 0.6
    multiplier = rng.random() < 0.7
    with warnings.catch_warnings():  # none is built, nor are the components inside it
        warnings.simplefilter("ignore", UnusedElaboratable)
        Accelerator(
            parameters=Parameters(
                rows=rng.choice([1, 7, 128]),
                columns=columns,
                bus_bytes=rng.choice(BUS_BYTES),
                activation_kib=rng.choice([4, 64, MAXIMUM_KIB]),
                accumulator_kib=rng.choice([4, 32, MAXIMUM_KIB]),
                weight_fifo_kib=rng.choice([2, 1024]),
                activation_bits=bits,
                weight_bits=rng.choice([2, 5, 16]),
                sum_bits=rng.choice([18, 32]),
                lanes=rng.choice([0, 1, columns]),
                multiplier=multiplier,
                operands=tables or rng.random() < 0.5,
                tables=tables,
                normalization=rng.randint(0, min(16, columns)) if tables and multiplier else 0,
            )
        )
        gc.collect()
