"""AXI4 and AXI4-Lite as signatures, seen from the master (ARM IHI 0022)."""

from dataclasses import dataclass

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

INCREMENT = 0b01
"""A burst's addresses follow each other."""
ADDRESS_BITS = 40
"""Of a byte address on the bus."""


@dataclass(frozen=True)
class Attributes:
    """What every access says of itself: AxPROT, AxCACHE and AxQOS (ARM IHI 0022, sections A4.7, A4.4 and A8.1)."""

    protection: int = 0b000
    """Data, secure, unprivileged: reaches secure and other memory."""
    cache: int = 0b0011
    """Normal memory, not cacheable, may be buffered."""
    quality: int = 0
    """No scheme of quality of service."""


STANDARD = Attributes()


def _address(prefix: str, bus_bytes: int, attributes: Attributes) -> dict[str, wiring.Member]:
    """The channel AR or AW.  Unless the master says otherwise: one ID, incrementing bursts of whole beats."""
    members = {
        "id": Out(1),
        "addr": Out(ADDRESS_BITS),
        "len": Out(8),
        "size": Out(3, init=ceil_log2(bus_bytes)),
        "burst": Out(2, init=INCREMENT),
        "lock": Out(1),
        "cache": Out(4, init=attributes.cache),
        "prot": Out(3, init=attributes.protection),
        "qos": Out(4, init=attributes.quality),
        "valid": Out(1),
        "ready": In(1),
    }
    return {prefix + name: member for name, member in members.items()}


def axi4_read(bus_bytes: int, attributes: Attributes = STANDARD) -> wiring.Signature:
    """The read channels AR and R."""
    return wiring.Signature(
        {
            **_address("ar", bus_bytes, attributes),
            "rid": In(1),
            "rdata": In(8 * bus_bytes),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        }
    )


def axi4_write(bus_bytes: int, attributes: Attributes = STANDARD) -> wiring.Signature:
    """The write channels AW, W and B."""
    return wiring.Signature(
        {
            **_address("aw", bus_bytes, attributes),
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


def axi4(bus_bytes: int, attributes: Attributes = STANDARD) -> wiring.Signature:
    """Both halves, so that a unit which only reads has only the first."""
    return wiring.Signature(
        {"read": Out(axi4_read(bus_bytes, attributes)), "write": Out(axi4_write(bus_bytes, attributes))}
    )


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
