"""The accelerator: the engine's units, wired along the data's path."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from ..isa.parameters import Parameters
from ..isa.program import DRAIN, UNITS
from ..isa.register_map import Cause
from .accumulators import Accumulators, control_layout
from .activations import ActivationMemory
from .array import SystolicArray
from .delay import delayed
from .dma import ReadMaster, WeightStream
from .fetch import Fetch
from .loader import Loader
from .registers import Registers
from .sequencer import Sequencer, Window
from .sizes import QUEUE, entering_cycles, leaving_cycles, memory_format, settled_cycles, vector_configuration
from .storer import Storer
from .tokens import Tokens
from .vector import VectorUnit
from .weights import Gearbox, WeightWriter, order_layout

VERSION = 2
"""Of the program format and the registers, in FEATURES."""

WAIT = slice(DRAIN["wait"].offset, DRAIN["post"].offset)
"""Where every instruction that takes tokens says which."""


def ports(parameters):
    """The top module's ports besides clk and rst: direction and width by name, AXI names without separators."""
    p = parameters
    bits = 8 * p.bus_bytes
    lite = {
        "awaddr": In(8), "awvalid": In(1), "awready": Out(1), "wdata": In(32), "wstrb": In(4), "wvalid": In(1),
        "wready": Out(1), "bresp": Out(2), "bvalid": Out(1), "bready": In(1), "araddr": In(8), "arvalid": In(1),
        "arready": Out(1), "rdata": Out(32), "rresp": Out(2), "rvalid": Out(1), "rready": In(1),
    }  # fmt: skip
    full = {
        "arid": Out(1), "araddr": Out(32), "arlen": Out(8), "arsize": Out(3), "arburst": Out(2), "arvalid": Out(1),
        "arready": In(1), "rid": In(1), "rdata": In(bits), "rresp": In(2), "rlast": In(1), "rvalid": In(1),
        "rready": Out(1), "awid": Out(1), "awaddr": Out(32), "awlen": Out(8), "awsize": Out(3), "awburst": Out(2),
        "awvalid": Out(1), "awready": In(1), "wdata": Out(bits), "wstrb": Out(p.bus_bytes), "wlast": Out(1),
        "wvalid": Out(1), "wready": In(1), "bid": In(1), "bresp": In(2), "bvalid": In(1), "bready": Out(1),
    }  # fmt: skip
    return {
        **{f"s_axil_{name}": port for name, port in lite.items()},
        **{f"m_axi_{name}": port for name, port in full.items()},
        "interrupt": Out(1),
        "monitor_valid": Out(1),
        "monitor_address": Out(32),
        "monitor_count": Out(16),
        "monitor_data": Out(8 * p.element_bytes * p.write_elements),
    }


class Accelerator(wiring.Component):
    """Runs programs (see program.py) on feature maps and weights in memory behind an AXI4 master.

    ``rst`` is synchronous and resets control only.  ``monitor`` shows each vector that the vector unit writes, for
    simulation; leave it open and synthesis removes it.

    Parameters: parameters : Parameters
    Members:    see ``ports``
    """

    def __init__(self, *, parameters: Parameters):
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
        )
        self.accumulators = Accumulators(columns=p.columns, depth=p.accumulator_depth, sum_bits=p.sum_bits)
        self.vector = VectorUnit(configuration=vector_configuration(p))
        self.registers = Registers(fingerprint=p.fingerprint, features=_features(p))
        super().__init__(ports(p))

    def elaborate(self, platform):
        p = self._parameters
        m = Module()
        m.submodules.fetch = fetch = self.fetch
        m.submodules.tokens = tokens = self.tokens
        m.submodules.read_master = reads = self.reads
        m.submodules.loader = loader = self.loader
        m.submodules.storer = storer = self.storer
        m.submodules.activations = activations = self.activations
        m.submodules.weight_stream = weight_stream = self.weight_stream
        m.submodules.gearbox = gearbox = self.gearbox
        m.submodules.weight_writer = writer = self.writer
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.window = window = self.window
        m.submodules.array = array = self.array
        m.submodules.accumulators = accumulators = self.accumulators
        m.submodules.vector = vector = self.vector

        self._dispatch(m, fetch, loader, weight_stream, writer, sequencer, vector, storer)
        for name, unit in zip(UNITS, (loader, sequencer, vector, storer), strict=True):
            m.d.comb += [
                getattr(tokens, f"wait_{name}").eq(Value.cast(unit.instructions.payload)[WAIT]),
                unit.tokens.eq(getattr(tokens, f"ready_{name}")),
                getattr(tokens, f"take_{name}").eq(unit.take),
                getattr(tokens, f"give_{name}").eq(unit.give),
                getattr(tokens, f"give_to_{name}").eq(unit.give_to),
            ]

        # memory in: program, feature maps, weights
        for user, unit in enumerate((fetch, loader, weight_stream)):
            wiring.connect(m, unit.requests, getattr(reads, f"requests_{user}"))
        wiring.connect(m, reads.beats_0, fetch.beats)
        wiring.connect(m, reads.beats_1, loader.beats)
        wiring.connect(m, reads.beats_2, weight_stream.arriving)
        wiring.connect(m, weight_stream.beats, gearbox.beats)
        wiring.connect(m, gearbox.words, writer.rows)
        m.d.comb += gearbox.flush.eq(writer.flush)

        # feature maps: window port to the array, write port from vector unit and loader, read port to vector unit and
        # storer; the loader pauses where the vector unit could not read
        refused = Signal()
        m.d.sync += refused.eq(vector.read_valid & ~vector.read_ready)
        m.d.comb += [
            window.window.eq(sequencer.window),
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

        # the array and what travels beside its pixels
        entering, leaving, settled = entering_cycles(), leaving_cycles(p), settled_cycles(p)
        m.d.comb += [
            array.pixels.eq(activations.pixels),
            array.swap.eq(delayed(m, sequencer.swap, entering, name="swap", init=0)),
            array.weights.eq(delayed(m, writer.weights, entering, name="weights")),
            array.weight_row.eq(delayed(m, writer.weight_row, entering, name="weight_row", init=0)),
            writer.swap.eq(sequencer.swap),
            sequencer.loaded.eq(writer.loaded),
            accumulators.control.eq(
                control_layout(p.accumulator_depth)(
                    delayed(m, sequencer.control.as_value(), leaving, name="control", init=0)
                )
            ),
            accumulators.sums.eq(array.sums),
        ]

        # sums to feature maps
        m.d.comb += [
            vector.sums_ready.eq(delayed(m, sequencer.tile_last, settled, name="tile_last", init=0)),
            sequencer.half_free.eq(vector.half_free),
            accumulators.drain_half.eq(vector.drain_half),
            accumulators.drain_address.eq(vector.drain_address),
            vector.drained.eq(accumulators.drained),
            vector.parameter_write.eq(writer.parameter_write),
            vector.parameter_row.eq(writer.parameter_row),
            vector.parameter_data.eq(writer.rows.payload),
            writer.parameter_slot_free.eq(vector.parameter_slot_free),
            self.monitor_valid.eq(vector.write.valid),
            self.monitor_address.eq(vector.write.address * p.element_bytes),
            self.monitor_count.eq(vector.write.high * p.element_bytes),
            self.monitor_data.eq(vector.write.data.as_value()),
        ]
        self._bus(m, reads, storer)
        self._control(m, fetch, tokens, sequencer, vector, loader, storer, reads)
        return m

    def _dispatch(self, m, fetch, loader, weight_stream, writer, sequencer, vector, storer):
        """A queue before each unit; the array's also orders its weights, which run ahead."""

        def queue(name, source, target):
            m.submodules[f"{name}_queue"] = fifo = SyncFIFOBuffered(width=len(Value.cast(source)), depth=QUEUE)
            m.d.comb += [
                fifo.w_data.eq(source),
                Value.cast(target.payload).eq(fifo.r_data),
                target.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(target.ready),
            ]
            return fifo

        empty = []
        for name, unit in (("load", loader), ("weights", weight_stream), ("vector", vector), ("store", storer)):
            port = getattr(fetch, name)
            fifo = queue(name, port.payload, unit.instructions)
            m.d.comb += [fifo.w_en.eq(port.valid), port.ready.eq(fifo.w_rdy)]
            empty.append(~fifo.r_rdy & (fifo.level == 0) & unit.idle)

        port = fetch.array
        order = Signal(order_layout())
        m.d.comb += [getattr(order, n).eq(getattr(port.payload, n)) for n in ("tiles", "passes", "parameters", "flush")]
        passes = queue("array", port.payload, sequencer.instructions)
        orders = queue("order", order, writer.orders)
        m.d.comb += [
            port.ready.eq(passes.w_rdy & orders.w_rdy),
            passes.w_en.eq(port.valid & orders.w_rdy),
            orders.w_en.eq(port.valid & passes.w_rdy),
        ]
        empty.append(~passes.r_rdy & (passes.level == 0) & sequencer.idle)
        m.d.comb += fetch.units_idle.eq(Cat(*empty).all())

    def _bus(self, m, reads, storer):
        size = Const(ceil_log2(self._parameters.bus_bytes), 3)
        increment = Const(1, 2)
        for prefix, unit, names in (
            (
                "ar",
                reads,
                {
                    "out": ("araddr", "arlen", "arvalid", "rready"),
                    "in": ("arready", "rdata", "rresp", "rlast", "rvalid"),
                },
            ),
            (
                "aw",
                storer,
                {
                    "out": ("awaddr", "awlen", "awvalid", "wdata", "wstrb", "wlast", "wvalid", "bready"),
                    "in": ("awready", "wready", "bresp", "bvalid"),
                },
            ),
        ):
            m.d.comb += [getattr(self, f"m_axi_{n}").eq(getattr(unit, n)) for n in names["out"]]
            m.d.comb += [getattr(unit, n).eq(getattr(self, f"m_axi_{n}")) for n in names["in"]]
            m.d.comb += [
                getattr(self, f"m_axi_{prefix}size").eq(size),
                getattr(self, f"m_axi_{prefix}burst").eq(increment),
            ]

    def _control(self, m, fetch, tokens, sequencer, vector, loader, storer, reads):
        p = self._parameters
        m.submodules.registers = registers = self.registers
        for name, member in ports(p).items():
            if name.startswith("s_axil_"):
                mine, theirs = getattr(self, name), getattr(registers, name.removeprefix("s_axil_"))
                m.d.comb += theirs.eq(mine) if member.flow == In else mine.eq(theirs)

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
                    loader.waiting.tokens,
                    storer.waiting.tokens,
                )
            ),
            registers.array_busy.eq(sequencer.control.valid),
            self.interrupt.eq(registers.interrupt_enable & (done | error)),
        ]


def _features(p: Parameters) -> int:
    """The register FEATURES."""
    return p.rows | p.columns << 8 | p.bus_bytes << 16 | (p.activation_bits - 1) << 24 | VERSION << 29
