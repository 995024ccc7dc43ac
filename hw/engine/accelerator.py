"""The accelerator: the engine's units, wired along the data's path."""

from amaranth import Cat, ClockDomain, ClockSignal, DomainRenamer, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..isa.parameters import ACCUMULATOR_HAZARD, VERSION, Parameters
from ..isa.program import QUEUE, UNITS
from .accumulators import Accumulators, control_layout
from .activations import ActivationMemory
from .array import SystolicArray
from .axi import Attributes, axi4, axi4_lite
from .control import Control
from .delay import delayed
from .dma import WeightStream
from .fetch import Fetch
from .instruction_queue import InstructionQueue
from .line_buffer import LineBuffer
from .loader import Loader
from .read_master import ReadMaster
from .registers import Registers
from .sequencer import Sequencer, Window
from .sizes import (
    array_cell,
    array_lines,
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
from .widening import Widening


class Accelerator(wiring.Component):
    """Runs programs (see program.py) on feature maps and weights in memory behind an AXI4 master.

    ``rst`` is synchronous and resets control only.  The units are a module of their own, ``engine``, which Control
    resets when it has broken off a run.  ``monitor`` shows each vector that the vector unit writes, for simulation;
    without ports for it synthesis removes it.

    Parameters: parameters : Parameters
    Members:    s_axil : In(axi4_lite), registers;  m_axi : Out(axi4), memory;  interrupt : Out
                monitor : Out, valid, byte address, count of bytes, and data of a write
    """

    def __init__(self, *, parameters: Parameters) -> None:
        self._parameters = p = parameters
        memory = memory_format(p)
        attributes = Attributes(p.axi_protection, p.axi_cache, p.axi_quality)
        self.fetch = Fetch(
            bus_bytes=p.bus_bytes, fingerprint=p.fingerprint, packed=p.packing > 1, sliding=p.sliding > 0
        )
        self.tokens = Tokens()
        self.reads = ReadMaster(bus_bytes=p.bus_bytes, users=3, attributes=attributes)
        self.loader = Loader(bus_bytes=p.bus_bytes, memory=memory)
        self.storer = Storer(bus_bytes=p.bus_bytes, memory=memory, attributes=attributes)
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
            rows=p.rows,
            row_bits=p.weight_row_bits,
            pass_cycles=ACCUMULATOR_HAZARD,
            parameter_rows=p.parameter_rows,
            packing=p.packing,
            parts=p.row_parts,
        )
        self.sequencer = Sequencer(
            rows=p.rows,
            activation_bits=p.activation_bits,
            accumulator_depth=p.accumulator_depth,
            address_bits=p.address_bits,
            line_buffer=p.line_buffer,
        )
        self.window = Window(rows=p.rows, activation_bits=p.activation_bits, address_bits=p.address_bits)
        self.array = SystolicArray(
            rows=p.rows,
            columns=p.columns,
            activation_bits=p.activation_bits,
            weight_bits=p.weight_bits,
            sum_bits=p.sum_bits,
            cell=array_cell(p),
            lines=array_lines(p),
            word_bits=p.word_bits,
            packing=p.packing,
            parts=p.row_parts,
        )
        self.lines = LineBuffer(
            channels=p.depthwise_channels,
            activation_bits=p.activation_bits,
            count=max(0, array_lines(p) - 1),
            depth=max(p.line_buffer, 4),
            taps=p.line_taps,
        )
        self.accumulators = Accumulators(columns=p.columns, depth=p.accumulator_depth, sum_bits=p.sum_bits)
        self.vector = VectorUnit(configuration=vector_configuration(p))
        self.control = Control()
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
                "m_axi": Out(axi4(p.bus_bytes, attributes)),
                "interrupt": Out(1),
                "monitor": Out(wiring.Signature(monitor)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        engine = Module()
        engine.submodules.fetch = self.fetch
        engine.submodules.tokens = self.tokens
        engine.submodules.read_master = self.reads
        engine.submodules.loader = self.loader
        engine.submodules.storer = self.storer
        engine.submodules.activations = self.activations
        engine.submodules.weight_stream = self.weight_stream
        engine.submodules.gearbox = self.gearbox
        engine.submodules.weight_writer = self.writer
        engine.submodules.sequencer = self.sequencer
        engine.submodules.window = self.window
        engine.submodules.array = self.array
        engine.submodules.lines = self.lines
        engine.submodules.accumulators = self.accumulators
        engine.submodules.vector = self.vector
        self._dispatch(engine)
        self._reach_memory(engine)
        self._share_activations(engine)
        self._feed_array(engine)
        self._drain_sums(engine)
        m = Module()
        m.submodules.registers = self.registers
        m.submodules.control = self.control
        m.submodules.engine = DomainRenamer("engine")(engine)
        # a clock's reset of its own, for it reaches thousands of registers: a cycle behind what it follows
        m.domains.engine = ClockDomain(local=True)
        restart = Signal(init=1)
        m.d.sync += restart.eq(self.control.cleared)
        m.d.comb += [ClockSignal("engine").eq(ClockSignal()), ResetSignal("engine").eq(restart)]
        self._control(m)
        self._show(m)
        return m

    def _dispatch(self, m: Module) -> None:
        """A queue before each unit, and its tokens; the array's also orders its weights, which run ahead."""

        def queue(name, unit_port):
            waiting = InstructionQueue(shape=unit_port.payload.shape(), depth=QUEUE)
            m.submodules[f"{name}_queue"] = waiting
            wiring.connect(m, waiting.outgoing, unit_port)
            return waiting

        fetch, empty = self.fetch, []
        for name, port, unit in (
            ("load", fetch.load, self.loader),
            ("weights", fetch.weights, self.weight_stream),
            ("vector", fetch.vector, self.vector),
            ("store", fetch.store, self.storer),
        ):
            waiting = queue(name, unit.instructions)
            wiring.connect(m, port, waiting.incoming)
            empty.append(waiting.empty & unit.idle)

        port = fetch.array
        passes = queue("array", self.sequencer.instructions)
        orders = queue("order", self.writer.orders)
        ordered = order_layout(self._parameters.packing).members
        m.d.comb += [orders.incoming.payload[n].eq(port.payload[n]) for n in ordered]
        m.d.comb += [
            passes.incoming.payload.eq(port.payload),
            port.ready.eq(passes.incoming.ready & orders.incoming.ready),
            passes.incoming.valid.eq(port.valid & orders.incoming.ready),
            orders.incoming.valid.eq(port.valid & passes.incoming.ready),
        ]
        empty.append(passes.empty & self.sequencer.idle)
        m.d.sync += fetch.units_idle.eq(Cat(*empty).all())

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
        m.d.comb += self.fetch.beat_error.eq(reads.beat_error)
        for gate in (reads, self.storer):
            m.d.comb += gate.window.eq(self.control.window)
            m.d.sync += gate.closed.eq(self.control.closed)
        wiring.connect(m, reads.bus, wiring.flipped(self.m_axi.read))
        wiring.connect(m, self.storer.bus, wiring.flipped(self.m_axi.write))

    def _share_activations(self, m: Module) -> None:
        """Window port to the array, write ports from vector unit and loader, read ports to vector unit and storer.

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
            activations.write.eq(vector.write),
            activations.load.eq(loader.write),
            activations.load.valid.eq(loader.write.valid & ~refused),
            loader.write_ready.eq(activations.load_ready & ~refused),
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
        loading = entering - Widening.latency(p.packing)
        control = delayed(m, sequencer.control.as_value(), leaving, name="control", init=0)
        m.d.comb += [
            array.pixels.eq(self.activations.pixels),
            array.depthwise.eq(delayed(m, sequencer.depthwise, entering, name="depthwise", init=0)),
            array.swap.eq(delayed(m, sequencer.swap, entering, name="swap", init=0)),
            array.weights.eq(delayed(m, writer.weights, loading, name="weights")),
            array.weight_row.eq(delayed(m, writer.weight_row, loading, name="weight_row", init=0)),
            writer.held.eq(sequencer.held),
            sequencer.loaded.eq(writer.loaded),
            self.accumulators.control.eq(control_layout(p.accumulator_depth)(control)),
            self.accumulators.sums.eq(array.sums),
        ]
        if p.packing > 1:
            m.d.comb += array.form.eq(delayed(m, writer.form.as_value(), loading, name="form"))
        if p.line_buffer:
            m.d.comb += [self.lines.pixels[c].eq(array.pixels[c]) for c in range(p.depthwise_channels)]
            m.d.comb += [
                self.lines.delay.eq(delayed(m, sequencer.delay, entering, name="line_delay")),
                array.buffered.eq(self.lines.lines),
            ]

    def _drain_sums(self, m: Module) -> None:
        """Sums and their channels' parameters to the vector unit."""
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
        ]

    def _show(self, m: Module) -> None:
        """To the monitor, in the top module, where simulation reaches it without ports."""
        write, element_bytes = self.vector.write, self._parameters.element_bytes
        m.d.comb += [
            self.monitor.valid.eq(write.valid),
            self.monitor.address.eq(write.address * element_bytes),
            self.monitor.count.eq(write.high * element_bytes),
            self.monitor.data.eq(write.data.as_value()),
        ]

    def _control(self, m: Module) -> None:
        """Start and end of a run, errors, and what the registers show."""
        fetch, reads, storer, sequencer, vector = self.fetch, self.reads, self.storer, self.sequencer, self.vector
        control, registers, read, write = self.control, self.registers, self.m_axi.read, self.m_axi.write
        wiring.connect(m, wiring.flipped(self.s_axil), registers.bus)
        # busy, done, ... : what control says, and what the registers show or the host wants
        for name in ("start", "clear", "reset", "base", "pages", "watchdog"):
            m.d.comb += getattr(control, name).eq(getattr(registers, name))
        for name in ("busy", "done", "error", "cause", "waits_shown"):
            m.d.comb += getattr(registers, name).eq(getattr(control, name))
        waits = Cat(
            sequencer.waiting.tokens,
            sequencer.waiting.weights,
            sequencer.waiting.half,
            vector.waiting.tokens,
            vector.waiting.sums,
            self.loader.waiting.tokens,
            storer.waiting.tokens,
        )
        beats = ((read.rvalid, read.rready), (write.wvalid, write.wready), (write.bvalid, write.bready))
        moves = [*(valid & ready for valid, ready in beats), sequencer.control.valid, vector.write.valid]
        m.d.comb += [
            fetch.start.eq(registers.start),
            self.tokens.clear.eq(registers.start),
            fetch.program.eq(registers.program),
            control.finished.eq(fetch.done),
            control.tokens_left.eq(self.tokens.left),
            control.failures.fetch.eq(fetch.failed),
            control.failures.cause.eq(fetch.cause),
            control.failures.read.eq(reads.errors[1:].any()),  # fetch looks at its own
            control.failures.write.eq(storer.error),
            control.failures.range.eq(reads.outside | storer.outside),
            control.quiet.eq(reads.quiet & storer.quiet),
            self.interrupt.eq(registers.interrupt_enable & (control.done | control.error) & ~control.busy),
        ]
        # counted a cycle late: what a unit waits for is the end of its longest paths
        m.d.sync += [
            control.progress.eq(Cat(*moves).any()),
            control.waits.eq(waits),
            registers.waits.eq(waits),
            registers.array_busy.eq(sequencer.control.valid),
        ]


def _features(p: Parameters) -> int:
    """The register FEATURES."""
    return p.rows | p.columns << 8 | p.bus_bytes << 16 | (p.activation_bits - 1) << 24 | VERSION << 29
