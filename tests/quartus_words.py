"""What of Platform Designer's our component may name, with its source.

UG-20130: Quartus Prime Pro Edition User Guide: Platform Designer, its chapters "Component Interface Tcl Reference" and
"Platform Designer System Design Components"; MNL-AVABUSREF: Avalon Interface Specifications (clock, reset, interrupt,
conduit); IHI 0022: AMBA AXI and ACE Protocol Specification.
"""

COMMANDS = {
    "set_module_property": ("UG-20130, module definition", 2),
    "add_fileset": ("UG-20130, fileset generation", 2),
    "set_fileset_property": ("UG-20130, fileset generation", 3),
    "add_fileset_file": ("UG-20130, fileset generation", None),
    "add_interface": ("UG-20130, interfaces and ports", 3),
    "set_interface_property": ("UG-20130, interfaces and ports", 3),
    "add_interface_port": ("UG-20130, interfaces and ports", 5),
}
"""Source, and how many arguments it has in this use; None: any."""

MODULE = dict.fromkeys(
    ("NAME", "DISPLAY_NAME", "VERSION", "GROUP", "DESCRIPTION", "EDITABLE", "OPAQUE_ADDRESS_MAP"),
    "UG-20130, module properties",
)
FILESETS = dict.fromkeys(("QUARTUS_SYNTH", "SIM_VERILOG"), "UG-20130, fileset kinds")
FILESET = {"TOP_LEVEL": "UG-20130, fileset properties"}
FILE_KINDS = {"VERILOG": "UG-20130, file kinds"}
FILE_ATTRIBUTES = {"TOP_LEVEL_FILE": "UG-20130, file attributes"}
_BUS = {
    "associatedClock": "UG-20130, AXI4 interface properties",
    "associatedReset": "UG-20130, AXI4 interface properties",
}
PROPERTIES = {
    "clock end": {"clockRate": "MNL-AVABUSREF, clock sink properties"},
    "reset end": {
        "associatedClock": "MNL-AVABUSREF, reset interface properties",
        "synchronousEdges": "MNL-AVABUSREF, reset interface properties",
    },
    "axi4lite end": {
        **_BUS,
        "readAcceptanceCapability": "UG-20130, AXI4-Lite interface properties",
        "writeAcceptanceCapability": "UG-20130, AXI4-Lite interface properties",
    },
    "axi4 start": {
        **_BUS,
        "readIssuingCapability": "UG-20130, AXI4 interface properties",
        "writeIssuingCapability": "UG-20130, AXI4 interface properties",
        "combinedIssuingCapability": "UG-20130, AXI4 interface properties",
    },
    "interrupt end": dict.fromkeys(
        ("associatedClock", "associatedReset", "associatedAddressablePoint"),
        "MNL-AVABUSREF, interrupt sender properties",
    ),
    "conduit end": dict.fromkeys(("associatedClock", "associatedReset"), "MNL-AVABUSREF, conduit properties"),
}
"""Of each type of interface and its direction."""

_ADDRESS = ("addr", "prot", "valid", "ready")
_DATA = ("wdata", "wstrb", "wvalid", "wready", "bresp", "bvalid", "bready", "rdata", "rresp", "rvalid", "rready")
_LITE = {*_DATA, *(f"{channel}{name}" for channel in ("aw", "ar") for name in _ADDRESS)}
_FULL = {
    f"{channel}{name}" for channel in ("aw", "ar") for name in ("id", "len", "size", "burst", "lock", "cache", "qos")
}
ROLES = {
    "clock end": ("MNL-AVABUSREF, clock sink signal roles", {"clk"}),
    "reset end": ("MNL-AVABUSREF, reset sink signal roles", {"reset"}),
    "axi4lite end": ("IHI 0022, B1.1.1, signal list of AXI4-Lite", _LITE),
    "axi4 start": (
        "IHI 0022, A2.2 to A2.6, without regions and user signals",
        _LITE | _FULL | {"wlast", "bid", "rid", "rlast"},
    ),
    "interrupt end": ("MNL-AVABUSREF, interrupt sender signal roles", {"irq"}),
}
"""All that an interface of this type has; a conduit's are free."""
