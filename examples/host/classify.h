/* Images through an accelerator, their classes told line by line: the same on Linux and on bare metal. */
#ifndef CLASSIFY_H
#define CLASSIFY_H
#include "systolith.h"

#if SYSTOLITH_INPUTS != 1 || SYSTOLITH_OUTPUTS != 1
#error "this example is for networks of one input and one output"
#endif

/* Bytes of a file, wherever they come from. */
typedef struct {
    const uint8_t *bytes;
    uint32_t size;
} file_t;

/* constants, program: memory.bin and program.bin of the build
 * images: count x channels x rows x columns; scores: what the network says of them, which is written
 * say: shows a line
 * Returns 0, or 1 if something went wrong, which was said. */
int classify(const systolith_carrier_t *carrier, file_t constants, file_t program, const float *images, uint32_t count,
             float *scores, void (*say)(const char *line));

#endif
