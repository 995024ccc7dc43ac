/* The carrier on a RISC-V without an operating system.
 *
 * REGISTERS: address of the accelerator's registers;  CONSOLE: of a register that sends the byte that is written to it
 * The accelerator reaches memory at the processor's addresses.
 *
 * Cache: with -DZICBOM the instructions of that extension, with -DVEXRISCV VexRiscv's, which empties the whole data
 * cache; else memory is taken to be coherent, or not cached. */
#include "classify.h"

#ifndef CACHE_BLOCK
#define CACHE_BLOCK 64u /* bytes, for Zicbom */
#endif

extern const uint8_t constants_begin[], constants_end[], program_begin[], program_end[]; /* start.S */
extern const float images_begin[], images_end[];

#define MOST 16 /* images */
#define SCORES (SYSTOLITH_OUTPUT_ROWS * SYSTOLITH_OUTPUT_COLUMNS * SYSTOLITH_OUTPUT_CHANNELS)

int main(void);
void *memcpy(void *to, const void *from, size_t bytes);
void *memset(void *to, int value, size_t bytes);

uint32_t count; /* of images that were classified */
float scores[MOST * SCORES];
static uint8_t region[SYSTOLITH_LIMIT_BYTES] __attribute__((aligned(4096)));

static uint32_t read_register(void *context, uint32_t offset)
{
    uint32_t value = *(volatile uint32_t *)((uintptr_t)context + offset);
    __asm__ volatile("fence i, r" ::: "memory");
    return value;
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    __asm__ volatile("fence rw, o" ::: "memory");
    *(volatile uint32_t *)((uintptr_t)context + offset) = value;
}

#if defined ZICBOM
/* Each block that holds one of the bytes; action 0 forgets it (cbo.inval), 1 writes it to memory (cbo.clean). */
#define EACH_BLOCK(action)                                                                            \
    uintptr_t block = (uintptr_t)(region + offset) & ~(uintptr_t)(CACHE_BLOCK - 1u);                   \
    (void)context;                                                                                    \
    for (; block < (uintptr_t)(region + offset + bytes); block += CACHE_BLOCK)                        \
        __asm__ volatile(".insn i 0x0f, 2, x0, %0, " #action ::"r"(block) : "memory");                 \
    __asm__ volatile("fence" ::: "memory")

static void flush(void *context, uint32_t offset, uint32_t bytes)
{
    EACH_BLOCK(1);
}

/* A map begins at a multiple of 4096 bytes, and nothing else lies in its last block, so nothing else is forgotten. */
static void invalidate(void *context, uint32_t offset, uint32_t bytes)
{
    EACH_BLOCK(0);
}
#elif defined VEXRISCV
/* Its cache writes through, so a flush waits for that alone. */
static void flush(void *context, uint32_t offset, uint32_t bytes)
{
    (void)context;
    (void)offset;
    (void)bytes;
    __asm__ volatile("fence" ::: "memory");
}

static void invalidate(void *context, uint32_t offset, uint32_t bytes)
{
    (void)context;
    (void)offset;
    (void)bytes;
    __asm__ volatile(".word 0x500f" ::: "memory");
}
#endif

static void say(const char *line)
{
    for (; *line != '\0'; line++)
        *(volatile uint32_t *)(uintptr_t)CONSOLE = (uint8_t)*line;
    *(volatile uint32_t *)(uintptr_t)CONSOLE = '\n';
}

int main(void)
{
    systolith_carrier_t carrier = {0};
    file_t constants, program;
    int failed;
    uint32_t images = (uint32_t)((size_t)(images_end - images_begin) / systolith_values(&systolith_inputs[0]));
    carrier.context = (void *)(uintptr_t)REGISTERS;
    carrier.read = read_register;
    carrier.write = write_register;
    carrier.memory = region;
    carrier.address = (uintptr_t)region;
    carrier.bytes = sizeof region;
#if defined ZICBOM || defined VEXRISCV
    carrier.flush = flush;
    carrier.invalidate = invalidate;
#endif
    carrier.polls = 100000000u;
    constants.bytes = constants_begin;
    constants.size = (uint32_t)(constants_end - constants_begin);
    program.bytes = program_begin;
    program.size = (uint32_t)(program_end - program_begin);
    if (images > MOST)
        images = MOST;
    failed = classify(&carrier, constants, program, images_begin, images, scores, say);
    count = failed ? 0u : images;
    return failed;
}

/* What a compiler may call without a library.  volatile, so that it does not make calls of themselves of them. */
void *memcpy(void *to, const void *from, size_t bytes)
{
    volatile uint8_t *put = (volatile uint8_t *)to;
    const uint8_t *take = (const uint8_t *)from;
    while (bytes-- != 0u)
        *put++ = *take++;
    return to;
}

void *memset(void *to, int value, size_t bytes)
{
    volatile uint8_t *put = (volatile uint8_t *)to;
    while (bytes-- != 0u)
        *put++ = (uint8_t)value;
    return to;
}
