/* Runs the images of images.bin on Systolith in a LiteX SoC, compares the outputs with answers.bin, and prints both.
 * Made by `systolith package --for litex`. It was simulated with VexRiscv and LiteDRAM, and never on a board.
 *
 * -DSTALE=1 leaves out what keeps the processor's caches and the accelerator's memory alike around a run, -DSTALE=2 behind
 * the load too: to see that both are needed. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <generated/csr.h>
#include <generated/mem.h>
#include <generated/soc.h>
#include <irq.h>
#include <libbase/uart.h>
#include <system.h>

#ifndef STALE
#define STALE 0
#endif
enum { AROUND_A_RUN = 1, BEHIND_THE_LOAD = 2 };

/* The data cache of a VexRiscv forgets all at once, and writes through; behind it LiteX may have a second cache, which
 * writes back, and whose lines LiteX replaces by reading the first bytes of main_ram: through the data cache, which has to
 * forget them before, and after it what it read too early. */
static inline void agree(int stage)
{
    if (stage <= STALE)
        return;
    flush_cpu_dcache();
    flush_l2_cache();
    flush_cpu_dcache();
}

#define SYSTOLITH_FLUSH(address, bytes) agree(AROUND_A_RUN)
#define SYSTOLITH_INVALIDATE(address, bytes) agree(AROUND_A_RUN)
#include "systolith.h"

#ifdef CONFIG_L2_SIZE
_Static_assert(2 * CONFIG_L2_SIZE <= 1 << 20, "firmware.ld keeps the accelerator's memory behind the first MiB alone");
#endif
_Static_assert(SYSTOLITH_LIMIT_BYTES <= MAIN_RAM_SIZE - (2 << 20), "main_ram is too small for this network");

extern const uint8_t constants[], program[], images[], images_end[], answers[];
extern uint8_t memory[]; /* SYSTOLITH_LIMIT_BYTES, which firmware.ld places */
static volatile uint32_t interrupts;

static void ended(void)
{
    accelerator_ev_pending_write(1);
    interrupts++;
}

/* Returns the number of bytes that differ from the answer, or -1 after an error. */
static int run(int image)
{
    volatile uint32_t *registers = (volatile uint32_t *)ACCELERATOR_BASE;
    const uint8_t *answer = answers + (uint32_t)image * SYSTOLITH_OUTPUT_BYTES;
    const uint8_t *output = memory + SYSTOLITH_OUTPUT_ADDRESS;
    uint32_t status, byte;
    int wrong = 0;

    memcpy(memory + SYSTOLITH_INPUT_ADDRESS, images + (uint32_t)image * SYSTOLITH_INPUT_BYTES, SYSTOLITH_INPUT_BYTES);
    memset(memory + SYSTOLITH_OUTPUT_ADDRESS, 0, SYSTOLITH_OUTPUT_BYTES);
    SYSTOLITH_WRITE(registers, SYSTOLITH_INTERRUPT_ENABLE, 1u);
    status = systolith_run(registers, (uint32_t)(uintptr_t)memory);
    if (status != 0u) {
        printf("run %d: error: %s\n", image, systolith_cause(status));
        return -1;
    }
    printf("run %d: %lu cycles, output ", image, (unsigned long)SYSTOLITH_READ(registers, SYSTOLITH_CYCLES));
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
    memcpy(memory + SYSTOLITH_CONSTANTS_ADDRESS, constants, SYSTOLITH_CONSTANTS_BYTES);
    memcpy(memory + SYSTOLITH_PROGRAM_ADDRESS, program, SYSTOLITH_PROGRAM_BYTES);
    agree(BEHIND_THE_LOAD);
    for (image = 0; image < count; image++) {
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
