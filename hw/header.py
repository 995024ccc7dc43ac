"""The C header of a build: registers, memory layout, and how to run one image."""

from ..quant.graph import FeatureMap
from .compiler.lowering import storage
from .compiler.plan import Plan
from .isa.register_map import IDENTITY, REGISTERS

_RUN = """
/* How a register is read and written.  Define both before this file where that takes a barrier or a bus of its own. */
#ifndef SYSTOLITH_READ
#define SYSTOLITH_READ(registers, offset) ((registers)[(offset) / 4])
#endif
#ifndef SYSTOLITH_WRITE
#define SYSTOLITH_WRITE(registers, offset, value) ((registers)[(offset) / 4] = (value))
#endif

/* How often systolith_run reads STATUS before it gives up.  A read takes the accelerator 2 cycles or more. */
#ifndef SYSTOLITH_POLLS
#define SYSTOLITH_POLLS 1000000000u
#endif

#define SYSTOLITH_OTHER_BUILD 0xffffffffu /* not the accelerator that this build is for: nothing was written */
#define SYSTOLITH_TIMEOUT 0xfffffffeu     /* still busy after SYSTOLITH_POLLS: it may need a reset */

/* Runs one image: the input map lies at base + SYSTOLITH_INPUT_ADDRESS; the output map is written at
 * base + SYSTOLITH_OUTPUT_ADDRESS.  memory.bin at base + SYSTOLITH_CONSTANTS_ADDRESS and program.bin at
 * base + SYSTOLITH_PROGRAM_ADDRESS stay as they are from image to image.  Caches are the caller's concern.
 * Returns 0, or STATUS after an error (bits 15:8 are the cause), or one of the two above. */
static inline uint32_t systolith_run(volatile uint32_t *registers, uint32_t base)
{
    uint32_t polls = SYSTOLITH_POLLS;
    uint32_t status;
    if (SYSTOLITH_READ(registers, SYSTOLITH_ID) != SYSTOLITH_IDENTITY ||
        SYSTOLITH_READ(registers, SYSTOLITH_FINGERPRINT) != SYSTOLITH_BUILD)
        return SYSTOLITH_OTHER_BUILD;
    do { /* a run that failed may still be ending */
        if (polls-- == 0u)
            return SYSTOLITH_TIMEOUT;
        status = SYSTOLITH_READ(registers, SYSTOLITH_STATUS);
    } while (status & 1u);
    SYSTOLITH_WRITE(registers, SYSTOLITH_BASE, base);
    SYSTOLITH_WRITE(registers, SYSTOLITH_PROGRAM, SYSTOLITH_PROGRAM_ADDRESS);
    SYSTOLITH_WRITE(registers, SYSTOLITH_CONTROL, 1u);
    do {
        if (polls-- == 0u)
            return SYSTOLITH_TIMEOUT;
        status = SYSTOLITH_READ(registers, SYSTOLITH_STATUS);
    } while ((status & 1u) || (status & 6u) == 0u);
    SYSTOLITH_WRITE(registers, SYSTOLITH_CONTROL, 2u);
    return (status & 4u) ? status : 0u;
}
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
    ]
    for name, region in plan.regions.items():
        lines += [
            f"#define SYSTOLITH_{name.upper()}_ADDRESS {region.address}u",
            f"#define SYSTOLITH_{name.upper()}_BYTES {region.bytes}u",
        ]
    lines += ["", "/* maps: dense, images x rows x columns x channels */", f"#define SYSTOLITH_IMAGES {plan.batch}"]
    for name, tensor_name in (("INPUT", plan.graph.input), ("OUTPUT", plan.graph.output)):
        tensor = plan.graph.tensors[tensor_name]
        element = f"int{8 * plan.parameters.element_bytes}_t" if isinstance(tensor, FeatureMap) else "int32_t"
        channels, rows, columns = tensor.shape
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
    return "\n".join(lines) + "\n" + _RUN + unfold + "\n#endif\n"
