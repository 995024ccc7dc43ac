// Drives every cell of cells.h with every pixel, every second weight and the first weights of FIRST, all of 8 bits, with
// every pixel and one of STRIDE of every three weights of 4 bits, with every pixel and every four weights of 4 bits, then with random
// operands of 16, and compares each sum with plain arithmetic.
// Prints how many sums it compared, or "wrong" and the first that differs.

#include "cells.h"
#include "Vcells.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>

struct Given {
    int32_t pixel, weight[4];
    uint32_t above[4];
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
    if (cycle < DEPTH) return;
    int32_t weight = narrow(then.weight[column], weight_bits);
    for (int n = 0; n < 4; n++)
        if (!lowest && narrow(then.weight[n], weight_bits) == least) return;
    compared++;
    if (found == above + (uint32_t)(pixel * weight)) return;
    printf("wrong: %s, column %d: %d * %d, beside (%d, %d, %d, %d), found %d\n", name, column, pixel, weight,
           then.weight[0], then.weight[1], then.weight[2], then.weight[3], (int32_t)(found - above));
    exit(1);
}

static void step(Vcells &cells, int32_t pixel, int32_t first, int32_t second, int32_t third, int32_t fourth) {
    Given &now = given[cycle % DEPTH];
    now = {pixel, {first, second, third, fourth}, {drawn(), drawn(), drawn(), drawn()}};
    cells.pixel = pixel;
    cells.weight_0 = first;
    cells.weight_1 = second;
    cells.weight_2 = third;
    cells.weight_3 = fourth;
    cells.above_0 = now.above[0];
    cells.above_1 = now.above[1];
    cells.above_2 = now.above[2];
    cells.above_3 = now.above[3];
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
    for (int first : std::initializer_list<int> FIRST)
        for (int second = -128; second < 128; second++)
            for (int pixel = -128; pixel < 128; pixel++) step(cells, pixel, first, second, drawn(), drawn());
    for (int n = 0; STRIDE && n < 1 << 20; n += STRIDE) step(cells, n >> 12, n, n >> 4, n >> 8, drawn());
    for (int n = 0; STRIDE && n < 1 << 20; n++) step(cells, n >> 16, n, n >> 4, n >> 8, n >> 12);
    for (int n = 0; n < 100000; n++) step(cells, drawn(), drawn(), drawn(), drawn(), drawn());
    printf("compared %llu\n", (unsigned long long)compared);
    return 0;
}
