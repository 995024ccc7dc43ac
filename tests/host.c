/* A host program on the generated header, whose register accesses are handed to whoever attached. */
#include <stdint.h>
#include <string.h>

typedef uint32_t (*reader)(volatile uint32_t *address);
typedef void (*writer)(volatile uint32_t *address, uint32_t value);
static reader read_register;
static writer write_register;

#define SYSTOLITH_READ(registers, offset) read_register((registers) + (offset) / 4)
#define SYSTOLITH_WRITE(registers, offset, value) write_register((registers) + (offset) / 4, value)
#define SYSTOLITH_POLLS 400u
#include "systolith.h"

void attach(reader r, writer w);
void load(uint8_t *memory, const uint8_t *constants, const uint8_t *program);
uint32_t infer(volatile uint32_t *registers, uint32_t base, uint8_t *memory, const uint8_t *image, uint8_t *output);

void attach(reader r, writer w)
{
    read_register = r;
    write_register = w;
}

void load(uint8_t *memory, const uint8_t *constants, const uint8_t *program)
{
    memcpy(memory + SYSTOLITH_CONSTANTS_ADDRESS, constants, SYSTOLITH_CONSTANTS_BYTES);
    memcpy(memory + SYSTOLITH_PROGRAM_ADDRESS, program, SYSTOLITH_PROGRAM_BYTES);
}

uint32_t infer(volatile uint32_t *registers, uint32_t base, uint8_t *memory, const uint8_t *image, uint8_t *output)
{
    uint32_t result;
    memcpy(memory + SYSTOLITH_INPUT_ADDRESS, image, SYSTOLITH_INPUT_BYTES);
    result = systolith_run(registers, base);
    if (result == 0u)
        memcpy(output, memory + SYSTOLITH_OUTPUT_ADDRESS, SYSTOLITH_OUTPUT_BYTES);
    return result;
}
