"""From the accelerator's parameters: what its parts are told of each other, and the cycles between them."""

from typing import assert_never

from ..isa.parameters import Parameters
from . import cell_ecp5, cell_gowin, cell_ice40, cell_xilinx
from .accumulators import Accumulators
from .activations import ActivationMemory
from .array import array_latency
from .cell import PORTABLE, Cell
from .lane import LaneConfiguration
from .memory_format import MemoryFormat
from .sequencer import Window
from .vector_configuration import VectorConfiguration


def memory_format(p: Parameters) -> MemoryFormat:
    """The activation memory, as loader, storer and vector unit see it."""
    return MemoryFormat(element_bits=8 * p.element_bytes, elements=p.activation_elements, port_elements=p.port_elements)


def vector_configuration(p: Parameters) -> VectorConfiguration:
    lane = LaneConfiguration(
        sum_bits=p.sum_bits,
        total_bits=p.total_bits,
        shifts=(p.shift_low, p.shift_high),
        activation_bits=p.activation_bits,
        element_bits=8 * p.element_bytes,
        multiplier=p.multiplier,
        multiply=array_cell(p).multiply,
        tables=p.tables,
        extrema=p.extrema,
        products=p.products,
        affine=p.affine,
        table_entries=p.table_entries,
        normalization=p.normalization,
    )
    return VectorConfiguration(
        columns=p.columns,
        lanes=p.lanes,
        lane=lane,
        operands=p.operands,
        sliding=p.sliding,
        accumulator_depth=p.accumulator_depth,
        word_bits=p.word_bits,
        memory=memory_format(p),
    )


def array_cell(p: Parameters) -> Cell:
    """How the target multiplies and adds."""
    match p.target:
        case "generic":
            return PORTABLE
        case "ecp5":
            return cell_ecp5.shared_by(p.sharing) if p.sharing else cell_ecp5.ONE
        case "ice40":
            return cell_ice40.shared_by(p.sharing) if p.sharing else cell_ice40.ONE
        case "xilinx":
            return cell_xilinx.shared_by(p.sharing) if p.sharing else cell_xilinx.DSP48
        case "gowin":
            return cell_gowin.shared_by(p.sharing) if p.sharing else cell_gowin.MULT
        case unknown:
            assert_never(unknown)


def array_share(p: Parameters) -> float:
    """Of a multiplier as ``devices`` counts them, what the array's cell names: of Gowin's two go into one."""
    widest = p.sharing.operand if p.sharing else max(p.activation_bits, p.weight_bits)
    return 0.5 if p.target == "gowin" and widest <= cell_gowin.NARROW else 1


def array_lines(p: Parameters) -> int:
    """Kernel rows in a depthwise column; 0 without."""
    return p.kernel_lines if p.line_buffer else 0


def entering_cycles() -> int:
    """Cycles from the sequencer to the array's inputs: window and activation memory."""
    return Window.LATENCY + ActivationMemory.WINDOW_LATENCY


def leaving_cycles(p: Parameters) -> int:
    """Cycles from the sequencer to the accumulators' first control."""
    return entering_cycles() + array_latency(p.rows, array_cell(p), array_lines(p)) - Accumulators.LEAD


def settled_cycles(p: Parameters) -> int:
    """Cycles from a channel tile's last window to all its sums being readable."""
    return leaving_cycles(p) + p.columns - 1 + Accumulators.SETTLE
