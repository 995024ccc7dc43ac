// Drives every cell of cells.h with every pixel, every second weight and the first weights of FIRST, all of 8 bits, then
// with random operands of 16, and compares each sum with plain arithmetic.
// Prints how many sums it compared, or "wrong" and the first that differs.

#include "cells.h"
#include "Vcells.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>

struct Given {
    int32_t pixel, weight[2];
    uint32_t above[2];
};

static const int DEPTH = 16;
static Given given[DEPTH];  // of the last cycles
static uint64_t cycle = 0, compared = 0;
static uint32_t noise = 1;

static uint32_t drawn() { return (noise = noise * 1664525 + 1013904223) ^ noise >> 15; }
static int32_t narrow(int32_t value, int bits) { return (int32_t)((uint32_t)value << (32 - bits)) >> (32 - bits); }

static void compare(const char *name, int column, uint32_t found, int latency, int pixel_bits, int weight_bits, bool lowest) {
    const Given &then = given[(cycle - latency) % DEPTH];
    uint32_t above = given[(cycle - 1) % DEPTH].above[column];
    int32_t pixel = narrow(then.pixel, pixel_bits), least = -(1 << (weight_bits - 1));
    int32_t weights[2] = {narrow(then.weight[0], weight_bits), narrow(then.weight[1], weight_bits)};
    if (cycle < DEPTH || (!lowest && (weights[0] == least || weights[1] == least))) return;
    compared++;
    if (found == above + (uint32_t)(pixel * weights[column])) return;
    printf("wrong: %s, column %d: %d * (%d, %d), found %d\n", name, column, pixel, weights[0], weights[1],
           (int32_t)(found - above));
    exit(1);
}

static void step(Vcells &cells, int32_t pixel, int32_t first, int32_t second) {
    Given &now = given[cycle % DEPTH];
    now = {pixel, {first, second}, {drawn(), drawn()}};
    cells.pixel = pixel;
    cells.weight_0 = first;
    cells.weight_1 = second;
    cells.above_0 = now.above[0];
    cells.above_1 = now.above[1];
    cells.clk = 0;
    cells.eval();
#define CELL(name, column, latency, pixel_bits, weight_bits, lowest) \
    compare(#name, column, cells.name##_##column, latency, pixel_bits, weight_bits, lowest);
    CELLS
#undef CELL
    cells.clk = 1;
    cells.eval();
    cycle++;
}

int main() {
    Vcells cells;
    for (int first : {FIRST})
        for (int second = -128; second < 128; second++)
            for (int pixel = -128; pixel < 128; pixel++) step(cells, pixel, first, second);
    for (int n = 0; n < 100000; n++) step(cells, drawn(), drawn(), drawn());
    printf("compared %llu\n", (unsigned long long)compared);
    return 0;
}
