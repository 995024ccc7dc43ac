"""A board's top: the accelerator, block RAM behind its AXI port, and a serial line that reaches both."""

from amaranth import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from ..engine.axi import axi4, axi4_lite
from ..engine.emit import TOP
from ..engine.register_slice import RegisterSlice
from .block_memory import BlockMemory
from .framing import Deframer, Framer
from .link import Link
from .uart import Receiver, Transmitter
from .words import REQUEST, RegisterMaster


class Board(wiring.Component):
    """The build's own Verilog, module ``systolith``, with what it needs on a board without DRAM.

    Parameters: bus_bytes : int, the accelerator's;  memory_bytes : int, of block RAM, a multiple of 4,096
                divisor : int, clock cycles a bit of the line
    Members:    rx : In, tx : Out, the line's pins, from and to the host
                busy : Out, a request is carried out or answered;  interrupt : Out, the accelerator's
    """

    LATENCY = BlockMemory.LATENCY
    """Of memory, cycles, as `simulate --memory-latency` takes it."""

    def __init__(self, *, bus_bytes: int, memory_bytes: int, divisor: int) -> None:
        self._bus_bytes = bus_bytes
        self._memory = BlockMemory(bus_bytes=bus_bytes, size=memory_bytes)
        self._link = Link(memory_bytes=memory_bytes)
        self._receiver, self._transmitter = Receiver(divisor=divisor), Transmitter(divisor=divisor)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), "interrupt": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.memory = memory = self._memory
        m.submodules.link = link = self._link
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.deframer = deframer = Deframer()
        m.submodules.framer = framer = Framer()
        m.submodules.register_master = registers = RegisterMaster()
        accelerator = self._accelerator(m)
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line), self.busy.eq(link.busy)]
        connect(m, receiver.octets, deframer.octets)
        connect(m, deframer.content, link.content)
        m.d.comb += [link.ended.eq(deframer.ended), link.broken.eq(deframer.broken | receiver.broken)]
        connect(m, link.items, framer.items)
        connect(m, framer.octets, transmitter.octets)
        connect(m, link.registers, registers.words)
        self._relay(m, link, memory)
        connect(m, registers.bus, accelerator["s_axil"])
        connect(m, accelerator["m_axi"].read, memory.bus.read)
        connect(m, accelerator["m_axi"].write, memory.bus.write)
        return m

    def _relay(self, m: Module, link: Link, memory: BlockMemory) -> None:
        """The link's requests to memory, behind a register: its buffer is far from most of the block RAM."""
        m.submodules.relay = relay = RegisterSlice(shape=REQUEST)
        connect(m, link.memory.request, relay.incoming)
        connect(m, relay.outgoing, memory.host.request)
        m.d.comb += [link.memory.done.eq(memory.host.done), link.memory.answer.eq(memory.host.answer)]

    def _accelerator(self, m: Module) -> dict[str, wiring.PureInterface]:
        """An instance of module ``systolith``, by its buses."""
        buses = {"s_axil": axi4_lite(address_bits=8).flip(), "m_axi": axi4(self._bus_bytes)}
        ports = {"i_clk": ClockSignal(), "i_rst": ResetSignal(), "o_interrupt": self.interrupt}
        made = {}
        for name, signature in buses.items():
            made[name] = signature.create(path=(name,))
            for path, member, signal in signature.flatten(made[name]):
                way = "o" if member.flow == Out else "i"
                ports[f"{way}_{name}_{path[-1]}"] = signal
        m.submodules.accelerator = Instance(TOP, **ports)
        return made


def board_ports(board: Board) -> dict[str, tuple[Signal, None]]:
    """Its ports by their names in Verilog."""
    return {"_".join(path): (signal, None) for path, _, signal in board.signature.flatten(board)}
