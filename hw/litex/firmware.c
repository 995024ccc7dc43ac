/* Runs the images of images.bin on Systolith in a LiteX SoC, compares the outputs with answers.bin, and prints both.
 * Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.
 *
 * -DSTALE leaves out what keeps the processor's caches and the accelerator's memory alike, to see that it is needed. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>
#include <irq.h>
#include <libbase/uart.h>
#include <system.h>

#include "systolith.h"

#ifdef CONFIG_L2_SIZE
_Static_assert(2 * CONFIG_L2_SIZE <= 1 << 20, "firmware.ld keeps the accelerator's memory behind the first MiB alone");
#endif
_Static_assert(SYSTOLITH_LIMIT_BYTES <= MAIN_RAM_SIZE - (2 << 20), "main_ram is too small for this network");

extern const uint8_t constants[], constants_end[], program[], program_end[], images[], images_end[], answers[];
extern uint8_t memory[]; /* SYSTOLITH_LIMIT_BYTES, which firmware.ld places */
static volatile uint32_t interrupts;
static systolith_t accelerator;

static uint32_t read_register(void *registers, uint32_t offset)
{
    return ((volatile uint32_t *)registers)[offset / 4];
}

static void write_register(void *registers, uint32_t offset, uint32_t value)
{
    ((volatile uint32_t *)registers)[offset / 4] = value;
}

/* The data cache of a VexRiscv forgets all at once, and writes through; behind it LiteX may have a second cache, which
 * writes back, and whose lines LiteX replaces by reading the first bytes of main_ram: through the data cache, which has to
 * forget them before, and after it what it read too early. */
static void agree(void *registers, uint32_t offset, uint32_t bytes)
{
    (void)registers;
    (void)offset;
    (void)bytes;
#ifndef STALE
    flush_cpu_dcache();
    flush_l2_cache();
    flush_cpu_dcache();
#endif
}

static void ended(void)
{
    accelerator_ev_pending_write(1);
    interrupts++;
}

/* Prints what a call returned, if it was no success, and returns it. */
static uint32_t failed(const char *what, uint32_t result)
{
    char line[160];
    if (result != 0u) {
        systolith_explain(&accelerator, result, line, sizeof line);
        printf("%s: error: %s\n", what, line);
    }
    return result;
}

static uint32_t load(void)
{
    systolith_carrier_t carrier = {0};
    carrier.context = (void *)ACCELERATOR_BASE;
    carrier.read = read_register;
    carrier.write = write_register;
    carrier.memory = memory;
    carrier.address = (uintptr_t)memory;
    carrier.bytes = SYSTOLITH_LIMIT_BYTES;
    carrier.flush = carrier.invalidate = agree;
    carrier.interrupts = 1u;
    return failed("load", systolith_open(&accelerator, &carrier, constants, (uint32_t)(constants_end - constants), program,
                                         (uint32_t)(program_end - program)));
}

/* Returns the number of bytes that differ from the answer, or -1 after an error. */
static int run(int image)
{
    const uint8_t *answer = answers + (uint32_t)image * SYSTOLITH_OUTPUT_BYTES;
    const volatile uint8_t *shown = memory + SYSTOLITH_OUTPUT_ADDRESS;
    static uint8_t output[SYSTOLITH_OUTPUT_BYTES];
    uint32_t byte;
    int wrong = 0;

    memcpy(memory + SYSTOLITH_INPUT_ADDRESS, images + (uint32_t)image * SYSTOLITH_INPUT_BYTES, SYSTOLITH_INPUT_BYTES);
    memset(memory + SYSTOLITH_OUTPUT_ADDRESS, 0, SYSTOLITH_OUTPUT_BYTES);
    for (byte = 0; byte < SYSTOLITH_OUTPUT_BYTES; byte++)
        (void)shown[byte]; /* a cache holds it now: what is left of it behind the run would be seen */
    if (failed("run", systolith_run(&accelerator)) != 0u)
        return -1;
    for (byte = 0; byte < SYSTOLITH_OUTPUT_BYTES; byte++)
        output[byte] = shown[byte]; /* before anything else takes its line in a cache */
    printf("run %d: %lu cycles, output ", image, (unsigned long)accelerator.cycles);
    for (byte = 0; byte < SYSTOLITH_OUTPUT_BYTES; byte++) {
        printf("%02x", output[byte]);
        wrong += output[byte] != answer[byte];
    }
    printf(", %d bytes differ from the answer\n", wrong);
    return wrong;
}

int main(void)
{
    int image, wrong, right = 0, count = (int)((uint32_t)(images_end - images) / SYSTOLITH_INPUT_BYTES);

    irq_setmask(0);
    irq_setie(1);
    uart_init();
    accelerator_ev_pending_write(1);
    accelerator_ev_enable_write(1);
    irq_attach(ACCELERATOR_INTERRUPT, ended);
    irq_setmask(irq_getmask() | 1u << ACCELERATOR_INTERRUPT);

    printf("systolith: %d runs at 0x%08lx\n", count, (unsigned long)(uintptr_t)memory);
    for (image = load() == 0u ? 0 : count; image < count; image++) {
        wrong = run(image);
        if (wrong < 0)
            break;
        right += wrong == 0;
    }
    printf("systolith: %d of %d runs equal, %lu interrupts\n", right, count, (unsigned long)interrupts);
    while (1)
        ;
    return 0;
}
