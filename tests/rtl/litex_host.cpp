// A LiteX SoC of its simulation platform as a program: prints what its UART sends, to the end of the line that begins
// with "systolith:" and has "equal", or with "error" in it, then what the accelerator's memory took:
//
//   memory: N bursts found it idle, their first beat came after LEAST to MOST cycles, SUM in all
//   cycles: N
//
//   argument   the most cycles;  status 0, or 1 when they were not enough

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char** argv) {
    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(argc, argv);
    const auto top = std::make_unique<Vtop>(context.get());
    const uint64_t most_cycles = std::strtoull(argv[1], nullptr, 10);
    std::string line;
    std::deque<uint64_t> asked;  // cycles of addresses whose last beat has not come; 0 where others were on their way
    bool begins = true, ended = false;
    uint64_t idle = 0, least = ~0ull, most = 0, sum = 0, cycle = 1;
    top->serial_source_ready = 1;
    top->serial_sink_valid = 0;
    for (; cycle <= most_cycles && !ended; ++cycle) {
        top->sys_clk = 0;
        top->eval();
        if (top->serial_source_valid) {
            const char letter = static_cast<char>(top->serial_source_data);
            std::putchar(letter);
            if (letter != '\n') {
                line += letter;
            } else {
                std::fflush(stdout);
                ended = line.find("equal") != line.npos || line.find("error") != line.npos;
                line.clear();
            }
        }
        if (top->memory_asked) asked.push_back(asked.empty() ? cycle : 0);
        if (top->memory_came && !asked.empty()) {
            if (begins && asked.front()) {
                const uint64_t waited = cycle - asked.front();
                ++idle;
                sum += waited;
                if (waited < least) least = waited;
                if (waited > most) most = waited;
            }
            begins = top->memory_last;
            if (begins) asked.pop_front();
        }
        top->sys_clk = 1;
        top->eval();
    }
    std::printf("memory: %llu bursts found it idle, their first beat came after %llu to %llu cycles, %llu in all\n",
                (unsigned long long)idle, (unsigned long long)least, (unsigned long long)most, (unsigned long long)sum);
    std::printf("cycles: %llu\n", (unsigned long long)cycle);
    top->final();
    return ended ? 0 : 1;
}
