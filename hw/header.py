"""The C header of a build: registers, memory layout, reals and integers, and how to run one image."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..quant.graph import FeatureMap, Tensor
from .compiler.formats import storage
from .compiler.plan import Plan
from .isa.register_map import CAUSES, IDENTITY, REGISTERS, STALLS, whole_pages

_RUN = """
/* How a register is read and written.  Define both before this file where that takes a barrier or a bus of its own. */
#ifndef SYSTOLITH_READ
#define SYSTOLITH_READ(registers, offset) ((registers)[(offset) / 4])
#endif
#ifndef SYSTOLITH_WRITE
#define SYSTOLITH_WRITE(registers, offset, value) ((registers)[(offset) / 4] = (value))
#endif

/* What makes bytes that the processor wrote visible on the bus, before a run, and forgets what it holds of bytes that
 * the accelerator wrote, behind it.  Define both where the processor's cache is not coherent with the accelerator. */
#ifndef SYSTOLITH_FLUSH
#define SYSTOLITH_FLUSH(address, bytes) ((void)(address))
#endif
#ifndef SYSTOLITH_INVALIDATE
#define SYSTOLITH_INVALIDATE(address, bytes) ((void)(address))
#endif

/* How often STATUS is read before a function gives up.  A read takes the accelerator 3 cycles or more. */
#ifndef SYSTOLITH_POLLS
#define SYSTOLITH_POLLS 1000000000u
#endif

/* Cycles in which nothing moves, on the bus or in the engine, after which the accelerator gives up. */
#ifndef SYSTOLITH_PATIENCE
#define SYSTOLITH_PATIENCE 1000000u
#endif

#define SYSTOLITH_OTHER_BUILD 0xffffffffu /* not the accelerator that this build is for: nothing was written */
#define SYSTOLITH_TIMEOUT 0xfffffffeu     /* still busy after SYSTOLITH_POLLS: memory may not answer any more */

/* Reads STATUS until the accelerator is idle, and shows one of the bits wanted unless they are 0: returns it, or
 * SYSTOLITH_TIMEOUT. */
static inline uint32_t systolith_idle(volatile uint32_t *registers, uint32_t wanted)
{
    uint32_t polls;
    for (polls = SYSTOLITH_POLLS; polls != 0u; polls--) {
        uint32_t status = SYSTOLITH_READ(registers, SYSTOLITH_STATUS);
        if ((status & 1u) == 0u && (wanted == 0u || (status & wanted) != 0u))
            return status;
    }
    return SYSTOLITH_TIMEOUT;
}

/* Ends whatever runs, and forgets how it ended; what is in flight on the bus ends first.  Returns 0 when the
 * accelerator is ready again, or SYSTOLITH_TIMEOUT. */
static inline uint32_t systolith_reset(volatile uint32_t *registers)
{
    SYSTOLITH_WRITE(registers, SYSTOLITH_CONTROL, 4u);
    return systolith_idle(registers, 0u) == SYSTOLITH_TIMEOUT ? SYSTOLITH_TIMEOUT : 0u;
}

/* Runs one image: the input map lies at base + SYSTOLITH_INPUT_ADDRESS; the output map is written at
 * base + SYSTOLITH_OUTPUT_ADDRESS.  memory.bin at base + SYSTOLITH_CONSTANTS_ADDRESS and program.bin at
 * base + SYSTOLITH_PROGRAM_ADDRESS stay as they are from image to image.  base is a multiple of 4096 below 2^40, and
 * the accelerator touches nothing but the SYSTOLITH_LIMIT_BYTES from there on.
 * Returns 0, or STATUS after an error (bits 15:8 are the cause), or one of the two above. */
static inline uint32_t systolith_run(volatile uint32_t *registers, uint64_t base)
{
    uint32_t status;
    if (SYSTOLITH_READ(registers, SYSTOLITH_ID) != SYSTOLITH_IDENTITY ||
        SYSTOLITH_READ(registers, SYSTOLITH_FINGERPRINT) != SYSTOLITH_BUILD)
        return SYSTOLITH_OTHER_BUILD;
    if (systolith_idle(registers, 0u) == SYSTOLITH_TIMEOUT)
        return SYSTOLITH_TIMEOUT;
    SYSTOLITH_FLUSH(base + SYSTOLITH_INPUT_ADDRESS, SYSTOLITH_INPUT_BYTES);
    SYSTOLITH_WRITE(registers, SYSTOLITH_BASE, (uint32_t)base);
    SYSTOLITH_WRITE(registers, SYSTOLITH_BASE_HIGH, (uint32_t)(base >> 32));
    SYSTOLITH_WRITE(registers, SYSTOLITH_LIMIT, SYSTOLITH_LIMIT_BYTES);
    SYSTOLITH_WRITE(registers, SYSTOLITH_PROGRAM, SYSTOLITH_PROGRAM_ADDRESS);
    SYSTOLITH_WRITE(registers, SYSTOLITH_WATCHDOG, SYSTOLITH_PATIENCE);
    SYSTOLITH_WRITE(registers, SYSTOLITH_CONTROL, 1u);
    status = systolith_idle(registers, 6u);
    if (status == SYSTOLITH_TIMEOUT)
        return SYSTOLITH_TIMEOUT;
    SYSTOLITH_WRITE(registers, SYSTOLITH_CONTROL, 2u);
    if (status & 4u)
        return status;
    SYSTOLITH_INVALIDATE(base + SYSTOLITH_OUTPUT_ADDRESS, SYSTOLITH_OUTPUT_BYTES);
    return 0u;
}
"""

_TEXTS = """
/* What an error's cause means; status is what systolith_run returned. */
static inline const char *systolith_cause(uint32_t status)
{{
    static const char *const texts[] = {{
{causes}
    }};
    if (status == SYSTOLITH_OTHER_BUILD)
        return "the accelerator is not the one that this build is for";
    if (status == SYSTOLITH_TIMEOUT)
        return "the accelerator is still busy";
    status = status >> 8 & 255u;
    return status < sizeof texts / sizeof *texts ? texts[status] : "unknown";
}}

/* Names what units wait for, now or at the moment of the error: fills as many of names[SYSTOLITH_UNITS] as it
 * returns.  A start forgets it. */
#define SYSTOLITH_UNITS {units}
static inline int systolith_waiting(volatile uint32_t *registers, const char **names)
{{
    static const char *const texts[] = {{
{waits}
    }};
    uint32_t waits = SYSTOLITH_READ(registers, SYSTOLITH_WAITS);
    int bit, count = 0;
    for (bit = 0; bit < SYSTOLITH_UNITS; bit++)
        if (waits >> bit & 1u)
            names[count++] = texts[bit];
    return count;
}}
"""

_QUANTIZE = """
/* A real value as the {port} map holds it: the nearest integer, of two the even one, inside the map's range. */
static inline systolith_{port}_t systolith_quantize{suffix}(float value)
{{
    volatile float steps = value / {input_scale}; /* rounded to float, whatever the processor computes in */
    if (!(steps > {lowest}))
        return {low};
    if (steps >= {highest})
        return {high};
    steps = steps + 12582912.0f; /* 1.5 * 2^23: no bits are left behind the point */
    steps = steps - 12582912.0f;
    return (systolith_{port}_t)((int32_t)steps + {zero_point});
}}

"""

_DEQUANTIZE = """
/* The real value of an element of the {port} map. */
static inline float systolith_dequantize{suffix}(systolith_{port}_t value, int channel)
{{
{body}
}}
"""

_UNFOLD = """
/* Writes an image, dense rows x columns x channels of SYSTOLITH_IMAGE_*, as the input map that systolith_run wants:
 * for each row and column, the rows of the first convolution's window side by side; outside, the zero point. */
static inline void systolith_unfold(const systolith_input_t *image, systolith_input_t *input)
{{
    long row, column, kernel, channel;
    for (row = 0; row < SYSTOLITH_INPUT_ROWS; row++)
        for (column = 0; column < SYSTOLITH_INPUT_COLUMNS; column++)
            for (kernel = 0; kernel < {kernel_rows}; kernel++)
                for (channel = 0; channel < SYSTOLITH_IMAGE_CHANNELS; channel++) {{
                    long y = row * {stride} + kernel * {dilation} - {top};
                    *input++ = y < 0 || y >= SYSTOLITH_IMAGE_ROWS ? (systolith_input_t){outside} :
                        image[(y * SYSTOLITH_INPUT_COLUMNS + column) * SYSTOLITH_IMAGE_CHANNELS + channel];
                }}
}}
"""


def c_header(plan: Plan) -> str:
    """C99, no dependencies but stdint.h."""
    lines = [
        "/* Made by Systolith for one build; see manifest.json for more. */",
        "#ifndef SYSTOLITH_H",
        "#define SYSTOLITH_H",
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
    lines += ["", "/* maps: dense, images x rows x columns x channels */", f"#define SYSTOLITH_IMAGES {plan.batch}"]
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
    unfold = ""
    if how := plan.unfolding:
        lines += [f"#define SYSTOLITH_IMAGE_ROWS {how.shape[1]}", f"#define SYSTOLITH_IMAGE_CHANNELS {how.shape[0]}"]
        outside = storage(plan.graph.map_of(plan.graph.input), plan.parameters.activation_bits).zero_point
        unfold = _UNFOLD.format(
            kernel_rows=how.kernel_rows, stride=how.stride, dilation=how.dilation, top=how.top, outside=outside
        )
    return "\n".join(lines) + "\n" + _RUN + _texts() + _reals(plan) + unfold + "\n#endif\n"


def limit(plan: Plan) -> int:
    """What the register LIMIT must hold at least: the memory's bytes, in whole pages."""
    return whole_pages(plan.memory_bytes)


def _texts() -> str:
    causes = (CAUSES[number] for number in range(len(CAUSES)))
    return _TEXTS.format(
        causes="\n".join(f'        "{text}",' for text in causes),
        waits="\n".join(f'        "{text}",' for _, text in STALLS),
        units=len(STALLS),
    )


def _reals(plan: Plan) -> str:
    """From reals to the input map and back from the output, in the numbers that memory holds."""
    bits = plan.parameters.activation_bits
    made = []
    for port, name in _ports("input", plan.graph.inputs):
        source = plan.graph.map_of(name)
        form = storage(source, bits)
        made.append(
            _QUANTIZE.format(
                port=port,
                suffix=port.removeprefix("input"),
                input_scale=_float(float(source.scale)),
                lowest=_float(form.low - form.zero_point),
                highest=_float(form.high - form.zero_point),
                low=form.low,
                high=form.high,
                zero_point=_signed(form.zero_point),
            )
        )
    for port, name in _ports("output", plan.graph.outputs):
        body = "\n".join(_dequantized(plan.graph.tensors[name], bits))
        made.append(_DEQUANTIZE.format(port=port, suffix=port.removeprefix("output"), body=body))
    return "".join(made)


def _dequantized(target: Tensor, bits: int) -> list[str]:
    """What ``systolith_dequantize`` does for an output."""
    if isinstance(target, FeatureMap):
        zero_point = storage(target, bits).zero_point
        return [
            "    (void)channel;",
            f"    return (float)((int32_t)value - {_signed(zero_point)}) * {_float(float(target.scale))};",
        ]
    if target.shifts is None:
        return [_floats("scales", target.scales), "    return (float)value * scales[channel];"]
    return [
        *(_floats("scales", target.scales), _floats("shifts", target.shifts)),
        "    volatile float real = (float)value * scales[channel]; /* rounded before it is shifted */",
        "    return real + shifts[channel];",
    ]


def _ports(what: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """What the header calls each of ``names``: ``what``, with its number if there are several."""
    return [(what if len(names) == 1 else f"{what}_{number}", name) for number, name in enumerate(names)]


def _comment(name: str) -> str:
    return name.replace("*/", "* /")


def _floats(name: str, values: NDArray[np.float32]) -> str:
    """An array of C."""
    listed = "\n".join(f"        {_float(float(value))}," for value in values)
    return f"    static const float {name}[] = {{\n{listed}\n    }};"


def _float(value: float) -> str:
    """A float32 as C writes it, exactly."""
    text = f"{value:.9g}"
    return f"{text}f" if {*text} & {*".en"} else f"{text}.0f"


def _signed(value: int) -> str:
    return f"({value})" if value < 0 else str(value)
