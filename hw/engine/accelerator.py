"""The accelerator: the engine's units, wired along the data's path."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from ..isa.parameters import Parameters
from ..isa.program import UNITS
from ..isa.register_map import Cause
from .accumulators import Accumulators, control_layout
from .activations import ActivationMemory
from .array import SystolicArray
from .axi import axi4, axi4_lite
from .delay import delayed
from .dma import ReadMaster, WeightStream
from .fetch import Fetch
from .loader import Loader
from .registers import Registers
from .sequencer import Sequencer, Window
from .sizes import (
    QUEUE,
    array_cell,
    entering_cycles,
    leaving_cycles,
    memory_format,
    settled_cycles,
    vector_configuration,
)
from .storer import Storer
from .tokens import Tokens
from .vector import VectorUnit
from .weights import Gearbox, WeightWriter, order_layout

VERSION = 2
"""Of the program format and the registers, in FEATURES."""


class Accelerator(wiring.Component):
    """Runs programs (see program.py) on feature maps and weights in memory behind an AXI4 master.

    ``rst`` is synchronous and resets control only.  ``monitor`` shows each vector that the vector unit writes, for
    simulation; leave it open and synthesis removes it.

    Parameters: parameters : Parameters
    Members:    s_axil : In(axi4_lite), registers;  m_axi : Out(axi4), memory;  interrupt : Out
                monitor : Out, valid, byte address, count of bytes, and data of a write
    """

    def __init__(self, *, parameters: Parameters) -> None:
        self._parameters = p = parameters
        memory = memory_format(p)
        self.fetch = Fetch(bus_bytes=p.bus_bytes, fingerprint=p.fingerprint)
        self.tokens = Tokens()
        self.reads = ReadMaster(bus_bytes=p.bus_bytes, users=3)
        self.loader = Loader(bus_bytes=p.bus_bytes, memory=memory)
        self.storer = Storer(bus_bytes=p.bus_bytes, memory=memory)
        self.activations = ActivationMemory(
            memory=memory,
            banks=p.banks,
            line=p.line,
            rows=p.rows,
            columns=p.columns,
            bus_elements=p.bus_elements,
            activation_bits=p.activation_bits,
            operands=p.operands,
        )
        self.weight_stream = WeightStream(bus_bytes=p.bus_bytes, fifo_beats=p.weight_fifo_beats)
        self.gearbox = Gearbox(source=8 * p.bus_bytes, target=p.weight_row_bits)
        self.writer = WeightWriter(
            rows=p.rows, row_bits=p.weight_row_bits, pass_cycles=p.pass_cycles, parameter_rows=p.parameter_rows
        )
        self.sequencer = Sequencer(
            rows=p.rows, activation_bits=p.activation_bits, accumulator_depth=p.accumulator_depth
        )
        self.window = Window(rows=p.rows, activation_bits=p.activation_bits, address_bits=p.address_bits)
        self.array = SystolicArray(
            rows=p.rows,
            columns=p.columns,
            activation_bits=p.activation_bits,
            weight_bits=p.weight_bits,
            sum_bits=p.sum_bits,
            cell=array_cell(p),
        )
        self.accumulators = Accumulators(columns=p.columns, depth=p.accumulator_depth, sum_bits=p.sum_bits)
        self.vector = VectorUnit(configuration=vector_configuration(p))
        self.registers = Registers(fingerprint=p.fingerprint, features=_features(p))
        monitor = {
            "valid": Out(1),
            "address": Out(32),
            "count": Out(16),
            "data": Out(8 * p.element_bytes * p.write_elements),
        }
        super().__init__(
            {
                "s_axil": In(axi4_lite(address_bits=8)),
                "m_axi": Out(axi4(p.bus_bytes)),
                "interrupt": Out(1),
                "monitor": Out(wiring.Signature(monitor)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = self.fetch
        m.submodules.tokens = self.tokens
        m.submodules.read_master = self.reads
        m.submodules.loader = self.loader
        m.submodules.storer = self.storer
        m.submodules.activations = self.activations
        m.submodules.weight_stream = self.weight_stream
        m.submodules.gearbox = self.gearbox
        m.submodules.weight_writer = self.writer
        m.submodules.sequencer = self.sequencer
        m.submodules.window = self.window
        m.submodules.array = self.array
        m.submodules.accumulators = self.accumulators
        m.submodules.vector = self.vector
        m.submodules.registers = self.registers
        self._dispatch(m)
        self._reach_memory(m)
        self._share_activations(m)
        self._feed_array(m)
        self._drain_sums(m)
        self._control(m)
        return m

    def _dispatch(self, m: Module) -> None:
        """A queue before each unit, and its tokens; the array's also orders its weights, which run ahead."""

        def queue(name, source, target):
            m.submodules[f"{name}_queue"] = fifo = SyncFIFOBuffered(width=len(Value.cast(source)), depth=QUEUE)
            m.d.comb += [
                fifo.w_data.eq(source),
                Value.cast(target.payload).eq(fifo.r_data),
                target.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(target.ready),
            ]
            return fifo

        fetch, empty = self.fetch, []
        for name, port, unit in (
            ("load", fetch.load, self.loader),
            ("weights", fetch.weights, self.weight_stream),
            ("vector", fetch.vector, self.vector),
            ("store", fetch.store, self.storer),
        ):
            fifo = queue(name, port.payload, unit.instructions)
            m.d.comb += [fifo.w_en.eq(port.valid), port.ready.eq(fifo.w_rdy)]
            empty.append(~fifo.r_rdy & (fifo.level == 0) & unit.idle)

        port = fetch.array
        order = Signal(order_layout())
        m.d.comb += [order[n].eq(port.payload[n]) for n in order_layout().members]
        passes = queue("array", port.payload, self.sequencer.instructions)
        orders = queue("order", order, self.writer.orders)
        m.d.comb += [
            port.ready.eq(passes.w_rdy & orders.w_rdy),
            passes.w_en.eq(port.valid & orders.w_rdy),
            orders.w_en.eq(port.valid & passes.w_rdy),
        ]
        empty.append(~passes.r_rdy & (passes.level == 0) & self.sequencer.idle)
        m.d.comb += fetch.units_idle.eq(Cat(*empty).all())

        units = {"loader": self.loader, "array": self.sequencer, "vector": self.vector, "storer": self.storer}
        for name, counters in zip(UNITS, self.tokens.units, strict=True):
            wiring.connect(m, units[name].tokens, counters)

    def _reach_memory(self, m: Module) -> None:
        """The bus: program, feature maps and weights in, feature maps out."""
        reads, gearbox = self.reads, self.gearbox
        users = (
            (self.fetch.requests, self.fetch.beats),
            (self.loader.requests, self.loader.beats),
            (self.weight_stream.requests, self.weight_stream.arriving),
        )
        for (requests, beats), asked, answered in zip(users, reads.requests, reads.beats, strict=True):
            wiring.connect(m, requests, asked)
            wiring.connect(m, answered, beats)
        wiring.connect(m, self.weight_stream.beats, gearbox.beats)
        wiring.connect(m, gearbox.words, self.writer.rows)
        m.d.comb += gearbox.flush.eq(self.writer.flush)
        wiring.connect(m, reads.bus, wiring.flipped(self.m_axi.read))
        wiring.connect(m, self.storer.bus, wiring.flipped(self.m_axi.write))

    def _share_activations(self, m: Module) -> None:
        """Window port to the array, write port from vector unit and loader, read ports to vector unit and storer.

        The loader pauses where the vector unit could not read.
        """
        activations, window = self.activations, self.window
        vector, loader, storer = self.vector, self.loader, self.storer
        refused = Signal()
        m.d.sync += refused.eq(vector.read_valid & ~vector.read_ready)
        m.d.comb += [
            window.window.eq(self.sequencer.window),
            activations.window_address.eq(window.address),
            activations.window_low.eq(window.low),
            activations.window_high.eq(window.high),
            activations.padding.eq(window.padding),
            activations.write.eq(Mux(vector.write.valid, vector.write.as_value(), loader.write.as_value())),
            activations.write.valid.eq(vector.write.valid | (loader.write.valid & loader.write_ready)),
            loader.write_ready.eq(~vector.write.valid & ~refused),
            activations.read_address.eq(storer.read_address),
            activations.read_valid.eq(storer.read_valid),
            storer.read_ready.eq(activations.read_ready),
            storer.read_data.eq(activations.read_data),
            activations.operand_address.eq(vector.read_address),
            activations.operand_valid.eq(vector.read_valid),
            vector.read_ready.eq(activations.operand_ready),
            vector.read_data.eq(activations.operand_data),
        ]

    def _feed_array(self, m: Module) -> None:
        """Pixels, and what travels beside them: swaps and weights to the array, control to the accumulators."""
        p, array, sequencer, writer = self._parameters, self.array, self.sequencer, self.writer
        entering, leaving = entering_cycles(), leaving_cycles(p)
        control = delayed(m, sequencer.control.as_value(), leaving, name="control", init=0)
        m.d.comb += [
            array.pixels.eq(self.activations.pixels),
            array.swap.eq(delayed(m, sequencer.swap, entering, name="swap", init=0)),
            array.weights.eq(delayed(m, writer.weights, entering, name="weights")),
            array.weight_row.eq(delayed(m, writer.weight_row, entering, name="weight_row", init=0)),
            writer.swap.eq(sequencer.swap),
            sequencer.loaded.eq(writer.loaded),
            self.accumulators.control.eq(control_layout(p.accumulator_depth)(control)),
            self.accumulators.sums.eq(array.sums),
        ]

    def _drain_sums(self, m: Module) -> None:
        """Sums and their channels' parameters to the vector unit, and what it writes to the monitor."""
        p, vector, accumulators, writer = self._parameters, self.vector, self.accumulators, self.writer
        m.d.comb += [
            vector.sums_ready.eq(delayed(m, self.sequencer.tile_last, settled_cycles(p), name="tile_last", init=0)),
            self.sequencer.half_free.eq(vector.half_free),
            accumulators.drain_half.eq(vector.drain_half),
            accumulators.drain_address.eq(vector.drain_address),
            vector.drained.eq(accumulators.drained),
            vector.parameter_write.eq(writer.parameter_write),
            vector.parameter_row.eq(writer.parameter_row),
            vector.parameter_data.eq(writer.rows.payload),
            writer.parameter_slot_free.eq(vector.parameter_slot_free),
            self.monitor.valid.eq(vector.write.valid),
            self.monitor.address.eq(vector.write.address * p.element_bytes),
            self.monitor.count.eq(vector.write.high * p.element_bytes),
            self.monitor.data.eq(vector.write.data.as_value()),
        ]

    def _control(self, m: Module) -> None:
        """Start and end of a run, errors, and what the registers show."""
        fetch, reads, storer, tokens, registers = self.fetch, self.reads, self.storer, self.tokens, self.registers
        sequencer, vector = self.sequencer, self.vector
        wiring.connect(m, wiring.flipped(self.s_axil), registers.bus)

        done, error = Signal(), Signal()
        cause = Signal(Cause)
        for happened, why in ((fetch.failed, fetch.cause), (reads.error, Cause.READ), (storer.error, Cause.WRITE)):
            with m.If(happened & ~error):
                m.d.sync += [error.eq(1), cause.eq(why)]
        with m.If(fetch.done & ~error):
            with m.If(tokens.left):
                m.d.sync += [error.eq(1), cause.eq(Cause.TOKEN)]
            with m.Else():
                m.d.sync += done.eq(1)
        with m.If((registers.clear & ~fetch.busy) | registers.start):
            m.d.sync += [done.eq(0), error.eq(0), cause.eq(Cause.NONE)]
        m.d.comb += [
            fetch.start.eq(registers.start),
            tokens.clear.eq(registers.start),
            fetch.program.eq(registers.program),
            reads.base.eq(registers.base),
            storer.base.eq(registers.base),
            registers.busy.eq(fetch.busy),
            registers.done.eq(done),
            registers.error.eq(error),
            registers.cause.eq(cause),
            registers.waits.eq(
                Cat(
                    sequencer.waiting.tokens,
                    sequencer.waiting.weights,
                    sequencer.waiting.half,
                    vector.waiting.tokens,
                    vector.waiting.sums,
                    self.loader.waiting.tokens,
                    storer.waiting.tokens,
                )
            ),
            registers.array_busy.eq(sequencer.control.valid),
            self.interrupt.eq(registers.interrupt_enable & (done | error)),
        ]


def _features(p: Parameters) -> int:
    """The register FEATURES."""
    return p.rows | p.columns << 8 | p.bus_bytes << 16 | (p.activation_bits - 1) << 24 | VERSION << 29
