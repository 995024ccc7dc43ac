"""The C header of a build: registers, memory layout, and how to run one image."""

from ..quant.graph import FeatureMap
from .plan import Plan
from .registers import IDENTITY, REGISTERS

_RUN = """
/* Runs one image: the input map lies at base + SYSTOLITH_INPUT_ADDRESS; the output map is written at
 * base + SYSTOLITH_OUTPUT_ADDRESS.  memory.bin at base + SYSTOLITH_CONSTANTS_ADDRESS and program.bin at
 * base + SYSTOLITH_PROGRAM_ADDRESS stay as they are from image to image.  Caches are the caller's concern.
 * Returns 0, or SYSTOLITH_STATUS: bits 15:8 are the cause of the error. */
static inline uint32_t systolith_run(volatile uint32_t *registers, uint32_t base)
{
    uint32_t status;
    if (registers[SYSTOLITH_ID / 4] != SYSTOLITH_IDENTITY || registers[SYSTOLITH_FINGERPRINT / 4] != SYSTOLITH_BUILD)
        return 0xffffffffu;
    while (registers[SYSTOLITH_STATUS / 4] & 1u)
        ; /* a run that failed may still be ending */
    registers[SYSTOLITH_BASE / 4] = base;
    registers[SYSTOLITH_PROGRAM / 4] = SYSTOLITH_PROGRAM_ADDRESS;
    registers[SYSTOLITH_CONTROL / 4] = 1u;
    do {
        status = registers[SYSTOLITH_STATUS / 4];
    } while ((status & 1u) || (status & 6u) == 0u);
    registers[SYSTOLITH_CONTROL / 4] = 2u;
    return (status & 4u) ? status : 0u;
}
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
    return "\n".join(lines) + "\n" + _RUN + "\n#endif\n"
