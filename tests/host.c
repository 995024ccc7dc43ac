/* A host program on the generated header, whose register accesses are handed to whoever attached. */
#include <stdint.h>
#include <string.h>

typedef uint32_t (*reader)(volatile uint32_t *address);
typedef void (*writer)(volatile uint32_t *address, uint32_t value);
static reader read_register;
static writer write_register;

#define SYSTOLITH_READ(registers, offset) read_register((registers) + (offset) / 4)
#define SYSTOLITH_WRITE(registers, offset, value) write_register((registers) + (offset) / 4, value)
static void flush_cache(uint64_t address, uint32_t bytes);
static void invalidate_cache(uint64_t address, uint32_t bytes);
#define SYSTOLITH_FLUSH(address, bytes) flush_cache(address, bytes)
#define SYSTOLITH_INVALIDATE(address, bytes) invalidate_cache(address, bytes)
#define SYSTOLITH_POLLS 400u
#define SYSTOLITH_PATIENCE 300u
#include "systolith.h"

void attach(reader r, writer w);
void load(uint8_t *memory, const uint8_t *constants, const uint8_t *program);
uint32_t infer(volatile uint32_t *registers, uint64_t base, uint8_t *memory, const float *image, uint8_t *output);
uint32_t reset(volatile uint32_t *registers);
int waiting(volatile uint32_t *registers, const char **names);
const char *cause(uint32_t status);
void reals(const systolith_output_t *map, float *values);

/* A processor whose cache is not coherent: what it writes waits here until it is flushed, and what it has read once it
 * reads from here until that is forgotten. */
static uint8_t cache[SYSTOLITH_MEMORY_BYTES];
static uint8_t *dram;
static uint64_t origin;

static void flush_cache(uint64_t address, uint32_t bytes)
{
    memcpy(dram + (address - origin), cache + (address - origin), bytes);
}

static void invalidate_cache(uint64_t address, uint32_t bytes)
{
    memcpy(cache + (address - origin), dram + (address - origin), bytes);
}

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

uint32_t infer(volatile uint32_t *registers, uint64_t base, uint8_t *memory, const float *image, uint8_t *output)
{
    systolith_input_t *input = (systolith_input_t *)(cache + SYSTOLITH_INPUT_ADDRESS);
    uint32_t result;
    unsigned long n;
    dram = memory;
    origin = base;
    for (n = 0; n < SYSTOLITH_INPUT_BYTES / sizeof *input; n++)
        input[n] = systolith_quantize(image[n]);
    result = systolith_run(registers, base);
    if (result == 0u)
        memcpy(output, cache + SYSTOLITH_OUTPUT_ADDRESS, SYSTOLITH_OUTPUT_BYTES);
    return result;
}

uint32_t reset(volatile uint32_t *registers)
{
    return systolith_reset(registers);
}

int waiting(volatile uint32_t *registers, const char **names)
{
    return systolith_waiting(registers, names);
}

const char *cause(uint32_t status)
{
    return systolith_cause(status);
}

void reals(const systolith_output_t *map, float *values)
{
    unsigned long n;
    for (n = 0; n < SYSTOLITH_OUTPUT_BYTES / sizeof *map; n++)
        values[n] = systolith_dequantize(map[n], (int)(n % SYSTOLITH_OUTPUT_CHANNELS));
}
