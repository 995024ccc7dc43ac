"""AXI4 and AXI4-Lite as signatures, seen from the master (ARM IHI 0022)."""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

INCREMENT = 0b01
"""A burst's addresses follow each other."""


def axi4_read(bus_bytes: int) -> wiring.Signature:
    """The read channels AR and R.  Unless the master says otherwise: one ID, incrementing bursts of whole beats."""
    return wiring.Signature(
        {
            "arid": Out(1),
            "araddr": Out(32),
            "arlen": Out(8),
            "arsize": Out(3, init=ceil_log2(bus_bytes)),
            "arburst": Out(2, init=INCREMENT),
            "arvalid": Out(1),
            "arready": In(1),
            "rid": In(1),
            "rdata": In(8 * bus_bytes),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi4_write(bus_bytes: int) -> wiring.Signature:
    """The write channels AW, W and B.  Unless the master says otherwise: one ID, incrementing bursts of whole beats."""
    return wiring.Signature(
        {
            "awid": Out(1),
            "awaddr": Out(32),
            "awlen": Out(8),
            "awsize": Out(3, init=ceil_log2(bus_bytes)),
            "awburst": Out(2, init=INCREMENT),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(8 * bus_bytes),
            "wstrb": Out(bus_bytes),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
        }
    )


def axi4(bus_bytes: int) -> wiring.Signature:
    """Both halves, so that a unit which only reads has only the first."""
    return wiring.Signature({"read": Out(axi4_read(bus_bytes)), "write": Out(axi4_write(bus_bytes))})


def axi4_lite(address_bits: int) -> wiring.Signature:
    """Registers of 32 bits."""
    return wiring.Signature(
        {
            "awaddr": Out(address_bits),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_bits),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )
