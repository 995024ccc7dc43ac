"""The C header of a build: registers, memory layout, reals and integers, and the driver in C."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap, Tensor
from .compiler.formats import storage
from .compiler.plan import Plan
from .isa.register_map import CAUSES, IDENTITY, REGISTERS, STALLS, whole_pages

CARRIER, DRIVER = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("carrier.h", "driver.h"))
"""What the header says of every build: structures and results, and behind the tables the functions."""

RESULTS = (
    "memory.bin is not of the build that this header is of",
    "program.bin is not of the build that this header is of",
    "there is no accelerator at these registers",
    "the accelerator has fingerprint",
    "the build needs",
    "the region lies at",
    "memory does not hold what was written",
    "an input holds a value that is not a finite float32",
    "the accelerator has not ended",
    "the accelerator is busy after a reset",
    "the accelerator does not forget its last run",
)
"""How a line about what a call returned begins, from SYSTOLITH_OTHER_CONSTANTS on."""

_QUANTIZE = """
/* A real value as the {port} map holds it: the nearest integer, of two the even one, inside the map's range. */
static inline systolith_{port}_t systolith_quantize{suffix}(float value)
{{
    return (systolith_{port}_t)systolith_integer(&systolith_inputs[{number}], value);
}}
"""

_DEQUANTIZE = """
/* The real value of an element of the {port} map. */
static inline float systolith_dequantize{suffix}(systolith_{port}_t value, int channel)
{{
    return systolith_real(&systolith_outputs[{number}], value, (uint32_t)channel);
}}
"""

_UNFOLD = """
/* Writes an image, dense rows x columns x channels of SYSTOLITH_IMAGE_*, as the input map that systolith_run wants:
 * for each row and column, the rows of the first convolution's window side by side; outside, the zero point. */
static inline void systolith_unfold(const systolith_input_t *image, systolith_input_t *input)
{
    const systolith_port_t *port = &systolith_inputs[0];
    uint32_t row, column, kernel, channel;
    for (row = 0; row < port->rows; row++)
        for (column = 0; column < port->columns; column++)
            for (kernel = 0; kernel < port->kernel_rows; kernel++)
                for (channel = 0; channel < port->image_channels; channel++) {
                    uint32_t y = systolith_row(port, row, kernel);
                    size_t at = ((size_t)y * port->columns + column) * port->image_channels + channel;
                    *input++ = y == port->image_rows ? (systolith_input_t)port->zero_point : image[at];
                }
}
"""


def c_header(plan: Plan, program: bytes) -> str:
    """C99, and C++11, no dependencies but stddef.h and stdint.h.

    program : ``plan``'s program_bytes
    """
    lines = [
        "/* Made by Systolith for one build; see manifest.json for more. */",
        "#ifndef SYSTOLITH_H",
        "#define SYSTOLITH_H",
        "#include <stddef.h>",
        "#include <stdint.h>",
        "",
        f"#define SYSTOLITH_IDENTITY 0x{IDENTITY:08x}u",
        f"#define SYSTOLITH_BUILD 0x{plan.parameters.fingerprint:08x}u",
        "",
        "/* registers: byte offsets */",
        *(f"#define SYSTOLITH_{name} 0x{offset:02x}u /* {text} */" for name, (offset, text) in REGISTERS.items()),
        "",
        "/* memory: byte addresses relative to BASE, and sizes */",
        f"#define SYSTOLITH_MEMORY_BYTES {plan.memory_bytes}u",
        f"#define SYSTOLITH_LIMIT_BYTES {limit(plan)}u /* whole pages */",
    ]
    for name, region in plan.regions.items():
        lines += [
            f"#define SYSTOLITH_{name.upper()}_ADDRESS {region.address}u",
            f"#define SYSTOLITH_{name.upper()}_BYTES {region.bytes}u",
        ]
    files = {"CONSTANTS": plan.dram.constants, "PROGRAM": program}
    lines += [
        *(f"#define SYSTOLITH_{name}_CRC 0x{zlib.crc32(data):08x}u" for name, data in files.items()),
        "",
        "/* maps: dense, images x rows x columns x channels */",
        f"#define SYSTOLITH_IMAGES {plan.batch} /* of a run */",
        f"#define SYSTOLITH_INPUTS {len(plan.graph.inputs)}",
        f"#define SYSTOLITH_OUTPUTS {len(plan.graph.outputs)}",
    ]
    for name, tensor_name in (*_ports("INPUT", plan.graph.inputs), *_ports("OUTPUT", plan.graph.outputs)):
        tensor = plan.graph.tensors[tensor_name]
        element = f"int{8 * plan.parameters.element_bytes}_t" if isinstance(tensor, FeatureMap) else "int32_t"
        channels, rows, columns = tensor.shape
        if name not in ("INPUT", "OUTPUT"):
            region = plan.dram.maps[tensor_name]
            lines += [
                f"/* {name}: {_comment(tensor_name)} */",
                f"#define SYSTOLITH_{name}_ADDRESS {region.address}u",
                f"#define SYSTOLITH_{name}_BYTES {region.bytes}u",
            ]
        if array := plan.graph.arrays.get(tensor_name):
            where = "before" if tensor_name in plan.graph.inputs else "behind"
            lines.append(f"/* {name}: left to the host {where} it: {', '.join(map(str, array.steps))} */")
        lines += [
            f"typedef {element} systolith_{name.lower()}_t;",
            f"#define SYSTOLITH_{name}_ROWS {rows // plan.batch}",
            f"#define SYSTOLITH_{name}_COLUMNS {columns}",
            f"#define SYSTOLITH_{name}_CHANNELS {channels}",
        ]
    if how := plan.unfolding:
        lines += [f"#define SYSTOLITH_IMAGE_ROWS {how.shape[1]}", f"#define SYSTOLITH_IMAGE_CHANNELS {how.shape[0]}"]
    lines += ["", f"#define SYSTOLITH_UNITS {len(STALLS)} /* bits of WAITS, STALL registers */"]
    tables = "\n" + "\n".join([*_texts(), *_ports_table(plan, "inputs"), *_ports_table(plan, "outputs")]) + "\n"
    functions = _typed(plan) + (_UNFOLD if plan.unfolding else "")
    return "\n".join(lines) + "\n" + CARRIER + tables + DRIVER + functions + "\n#endif\n"


def limit(plan: Plan) -> int:
    """What the register LIMIT must hold at least: the memory's bytes, in whole pages."""
    return whole_pages(plan.memory_bytes)


def _texts() -> list[str]:
    causes = [CAUSES[number] for number in range(len(CAUSES))]
    waits = [text for _, text in STALLS]
    listed = []
    for name, texts in (("causes", causes), ("waits", waits), ("results", RESULTS)):
        listed += [f"static const char *const systolith_{name}[] = {{", *(f'    "{text}",' for text in texts), "};"]
    return listed


def _ports_table(plan: Plan, what: str) -> list[str]:
    """The array of C that has all of the ``what``, inputs or outputs, with the numbers that memory holds."""
    names = plan.graph.inputs if what == "inputs" else plan.graph.outputs
    lines, entries = [], []
    for number, name in enumerate(names):
        tensor = plan.graph.tensors[name]
        scales, shifts = f"systolith_{what}_{number}_scales", "NULL"
        lines += _floats(
            scales, np.atleast_1d(np.float32(tensor.scale if isinstance(tensor, FeatureMap) else tensor.scales))
        )
        if not isinstance(tensor, FeatureMap) and tensor.shifts is not None:
            shifts = f"systolith_{what}_{number}_shifts"
            lines += _floats(shifts, tensor.shifts)
        entries.append(f"    {{{', '.join(map(str, _port(plan, name, tensor)))}, {scales}, {shifts}}},")
    return [*lines, f"static const systolith_port_t systolith_{what}[] = {{", *entries, "};"]


def _port(plan: Plan, name: str, tensor: Tensor) -> tuple[int, ...]:
    """The numbers of a ``systolith_port_t``, in its order."""
    channels, rows, columns = tensor.shape
    rows //= plan.batch
    unfolding = plan.unfolding if name in plan.graph.inputs else None
    image = (rows, channels, 1, 1, 1, 0)
    if how := unfolding:
        image = (how.shape[1], how.shape[0], how.kernel_rows, how.stride, how.dilation, how.top)
    if isinstance(tensor, FeatureMap):
        form = storage(tensor, plan.parameters.activation_bits)
        size, numbers = plan.parameters.element_bytes, (form.low, form.high, form.zero_point, 0)
    else:
        size, numbers = 4, (0, 0, 0, 1)
    return (plan.dram.maps[name].address, size, rows, columns, channels, *image, *numbers)


def _typed(plan: Plan) -> str:
    """Functions for single elements of each input and output, in its type."""
    made = []
    for text, what, names in ((_QUANTIZE, "input", plan.graph.inputs), (_DEQUANTIZE, "output", plan.graph.outputs)):
        for number, (port, _) in enumerate(_ports(what, names)):
            made.append(text.format(port=port, suffix=port.removeprefix(what), number=number))
    return "".join(made)


def _ports(what: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """What the header calls each of ``names``: ``what``, with its number if there are several."""
    return [(what if len(names) == 1 else f"{what}_{number}", name) for number, name in enumerate(names)]


def _comment(name: str) -> str:
    return name.replace("*/", "* /")


def _floats(name: str, values: NDArray[np.float32]) -> list[str]:
    """An array of C."""
    return [f"static const float {name}[] = {{", *(f"    {_float(float(value))}," for value in values), "};"]


def _float(value: float) -> str:
    """A float32 as C writes it, exactly."""
    text = f"{value:.9g}"
    return f"{text}f" if {*text} & {*".en"} else f"{text}.0f"
