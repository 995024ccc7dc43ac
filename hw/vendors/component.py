"""The accelerator as a component of IEEE 1685-2009, which is what Vivado's catalogue of IP reads."""

from collections.abc import Iterable
from xml.etree import ElementTree

from ...quant.graph.errors import ConfigurationError
from ..engine.axi import ADDRESS_BITS
from ..engine.emit import TOP
from ..engine.read_master import ReadMaster
from ..engine.storer import Storer
from ..isa.parameters import BURST_BEATS, Parameters
from ..isa.register_fields import FIELDS, Field
from ..isa.register_map import CAUSES, IDENTITY, PAGE_BITS, REGISTERS
from .ports import Interface, Port, read_interfaces
from .words import CHECKED, LIBRARY, NAME, VENDOR, VERSION

SPIRIT = "http://www.spiritconsortium.org/XMLSchema/SPIRIT/1685-2009"
XILINX = "http://www.xilinx.com"
VIEWS = {"xilinx_anylanguagesynthesis": "synthesis", "xilinx_anylanguagebehavioralsimulation": "simulation"}
"""Their names, which are Vivado's own, and what for."""
FILES = "verilog"
REGISTER_BYTES = 1 << PAGE_BITS
"""Of the block of registers: what an address editor gives at least.  They are seen again every 256 bytes."""
FAMILIES = ("zynq", "zynquplus", "artix7", "kintex7", "spartan7", "virtex7", "kintexu", "kintexuplus", "virtexuplus")
BUS = ("xilinx.com", "interface", "aximm", "1.0")

Element = ElementTree.Element


def component(verilog: str, parameters: Parameters) -> bytes:
    """component.xml for ``systolith.v`` of these contents and parameters, a UTF-8 document.

    Raises ConfigurationError where the Verilog is not as this version writes it.
    """
    ports, interfaces = read_interfaces(verilog)
    for prefix, uri in (("spirit", SPIRIT), ("xilinx", XILINX)):
        ElementTree.register_namespace(prefix, uri)
    root = ElementTree.Element(_tag("component"))
    _texts(root, vendor=VENDOR, library=LIBRARY, name=NAME, version=VERSION)
    buses = _sub(root, "busInterfaces")
    for interface in interfaces:
        _bus(buses, interface)
    (master,) = (i for i in interfaces if _memory_mapped(i) and i.master)
    space = _sub(_sub(root, "addressSpaces"), "addressSpace")
    _texts(space, name=master.name)
    _long(space, range=1 << ADDRESS_BITS, width=master.width("WDATA"))
    (slave,) = (i for i in interfaces if _memory_mapped(i) and not i.master)
    _registers(_sub(_sub(root, "memoryMaps"), "memoryMap"), slave, parameters)
    _model(_sub(root, "model"), ports)
    files = _sub(_sub(root, "fileSets"), "fileSet")
    _texts(files, name=FILES)
    _texts(_sub(files, "file"), name="systolith.v", fileType="verilogSource")
    _texts(root, description="Runs convolutional networks, in fixed point, from programs in memory.")
    own = _sub(root, "parameters")
    for name in ("rows", "columns", "activation_bits", "weight_bits", "bus_bytes"):
        _parameter(own, name.upper(), getattr(parameters, name), f"PARAM_VALUE.{name.upper()}")
    _parameter(own, "Component_Name", f"{NAME}_0", "PARAM_VALUE.Component_Name", resolve="user")
    _extensions(_sub(root, "vendorExtensions"))
    root.insert(0, ElementTree.Comment(f" {NAME}: an IP-XACT component. {CHECKED} "))
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'.encode()


def _bus(buses: Element, interface: Interface) -> None:
    vendor, library, name, version = interface.kind.split(":")
    bus = _sub(buses, "busInterface")
    _texts(bus, name=interface.name)
    for tag, suffix in (("busType", ""), ("abstractionType", "_rtl")):
        _sub(bus, tag, vendor=vendor, library=library, name=name + suffix, version=version)
    mode = _sub(bus, "master" if interface.master else "slave")
    parameters: dict[str, object] = dict(interface.parameters)
    if _memory_mapped(interface):
        what = "addressSpaceRef" if interface.master else "memoryMapRef"
        _sub(mode, what, **{what: interface.name})
        parameters |= _bus_parameters(interface)
    maps = _sub(bus, "portMaps")
    for port in interface.ports:
        mapping = _sub(maps, "portMap")
        for side, called in (("logicalPort", port.logical), ("physicalPort", port.name)):
            end = _sub(mapping, side)
            _texts(end, name=called)
            if port.width > 1:
                _vector(end, port)
    given = _sub(bus, "parameters")
    for key, value in parameters.items():
        _parameter(given, key, value, f"BUSIFPARAM_VALUE.{interface.name.upper()}.{key}")


def _memory_mapped(interface: Interface) -> bool:
    return tuple(interface.kind.split(":")) == BUS


def _bus_parameters(interface: Interface) -> dict[str, object]:
    """What a master or slave says of itself besides what its Verilog does."""
    said: dict[str, object] = {
        "ADDR_WIDTH": interface.width("AWADDR"),
        "DATA_WIDTH": interface.width("WDATA"),
        "READ_WRITE_MODE": "READ_WRITE",
    }
    if interface.master:
        said |= {
            "ID_WIDTH": interface.width("AWID"),
            "MAX_BURST_LENGTH": BURST_BEATS,
            "NUM_READ_OUTSTANDING": ReadMaster.OUTSTANDING,
            "NUM_WRITE_OUTSTANDING": Storer.OUTSTANDING,
        }
    return said


def _registers(memory: Element, slave: Interface, parameters: Parameters) -> None:
    if set(FIELDS) != set(REGISTERS):
        raise ConfigurationError("registers and their fields differ")
    _texts(memory, name=slave.name)
    block = _sub(memory, "addressBlock")
    _texts(block, name="registers")
    _texts(block, baseAddress=0)
    _long(block, range=REGISTER_BYTES, width=slave.width("WDATA"))
    _texts(block, usage="register", access="read-write")
    resets = {"ID": IDENTITY, "FINGERPRINT": parameters.fingerprint}
    for name, (offset, text) in sorted(REGISTERS.items(), key=lambda item: item[1][0]):
        fields = FIELDS[name]
        register = _sub(block, "register")
        access = {f.access for f in fields}
        (one,) = access
        _texts(register, name=name, description=text, addressOffset=f"0x{offset:02X}", size=32)
        _texts(register, volatile=str(one == "read-only" and name not in resets and name != "FEATURES").lower())
        _texts(register, access=one)
        if one == "read-write" or name in resets:
            _texts(_sub(register, "reset"), value=f"0x{resets.get(name, 0):08X}")
        for item in fields:
            _field(register, item)


def _field(register: Element, field: Field) -> None:
    made = _sub(register, "field")
    _texts(made, name=field.name, description=field.meaning, bitOffset=field.low, bitWidth=field.bits)
    _texts(made, access=field.access)
    if field.name == "CAUSE":
        values = _sub(made, "enumeratedValues")
        for number, text in CAUSES.items():
            _texts(_sub(values, "enumeratedValue"), name=f"cause_{number}", description=text, value=number)


def _model(model: Element, ports: Iterable[Port]) -> None:
    views = _sub(model, "views")
    for name, purpose in VIEWS.items():
        view = _sub(views, "view")
        _texts(view, name=name, envIdentifier=f":vivado.xilinx.com:{purpose}", language="verilog", modelName=TOP)
        _texts(_sub(view, "fileSetRef"), localName=FILES)
    listed = _sub(model, "ports")
    for port in ports:
        made = _sub(listed, "port")
        _texts(made, name=port.name)
        wire = _sub(made, "wire")
        _texts(wire, direction=port.direction)
        if port.width > 1:
            _vector(wire, port)
        kind = _sub(_sub(wire, "wireTypeDefs"), "wireTypeDef")
        _texts(kind, typeName="wire")
        for name in VIEWS:
            _texts(kind, viewNameRef=name)


def _extensions(extensions: Element) -> None:
    """What Vivado's catalogue shows, and for which families (AMD UG1118)."""
    core = _xilinx(extensions, "coreExtensions")
    families = _xilinx(core, "supportedFamilies")
    for family in FAMILIES:
        made = _xilinx(families, "family", family)
        made.set(f"{{{XILINX}}}lifeCycle", "Beta")
    _xilinx(_xilinx(core, "taxonomies"), "taxonomy", "/UserIP")
    _xilinx(core, "displayName", "Systolith accelerator")
    _xilinx(core, "coreRevision", "1")


def _tag(name: str) -> str:
    return f"{{{SPIRIT}}}{name}"


def _sub(parent: Element, tag: str, /, **attributes: str) -> Element:
    return ElementTree.SubElement(parent, _tag(tag), {_tag(key): value for key, value in attributes.items()})


def _texts(parent: Element, /, **texts: object) -> None:
    """An element for each keyword, in their order."""
    for name, text in texts.items():
        _sub(parent, name).text = str(text)


def _long(parent: Element, /, **numbers: int) -> None:
    for name, number in numbers.items():
        _sub(parent, name, format="long").text = str(number)


def _vector(parent: Element, port: Port) -> None:
    vector = _sub(parent, "vector")
    _texts(vector, left=port.width - 1, right=0)


def _parameter(parent: Element, name: str, value: object, key: str, **attributes: str) -> None:
    made = _sub(parent, "parameter")
    _texts(made, name=name)
    _sub(made, "value", id=key, **attributes).text = str(value)


def _xilinx(parent: Element, name: str, text: str | None = None) -> Element:
    made = ElementTree.SubElement(parent, f"{{{XILINX}}}{name}")
    made.text = text
    return made
