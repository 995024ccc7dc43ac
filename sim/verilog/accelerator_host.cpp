// The simulated accelerator as a program: bulk.sv, driven by requests from standard input instead of by cocotb.
//
//   arguments  memory bytes, base on the bus, latency; then Verilator's
//   r offset            ->  value, response     read a register
//   w offset value      ->  response            write a register
//   m offset n, data    ->                      write memory
//   g offset n          ->  data                read memory
//   a cycles            ->  cycle, violation    go on, at most until the interrupt rises
//
// Numbers have 64 bits, little endian.  Between requests time stands still.

#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

extern "C" void systolith_attach_memory(
    uint8_t* data, uint8_t* mask, uint64_t* times, uint64_t bytes, uint64_t granule);

namespace {

int answers;

void take(void* data, size_t bytes) {
    uint8_t* at = static_cast<uint8_t*>(data);
    while (bytes != 0) {
        const ssize_t got = read(STDIN_FILENO, at, bytes);
        if (got <= 0) std::exit(0);  // whoever asked is gone
        at += got;
        bytes -= static_cast<size_t>(got);
    }
}

uint64_t number() {
    uint64_t value;
    take(&value, sizeof value);
    return value;
}

void give(const void* data, size_t bytes) {
    const uint8_t* at = static_cast<const uint8_t*>(data);
    while (bytes != 0) {
        const ssize_t put = write(answers, at, bytes);
        if (put <= 0) std::exit(0);
        at += put;
        bytes -= static_cast<size_t>(put);
    }
}

void answer(uint64_t value) { give(&value, sizeof value); }

}  // namespace

int main(int count, char** arguments) {
    answers = dup(STDOUT_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);  // what the Verilog prints is no answer
    if (count < 4) return 2;
    const uint64_t bytes = std::strtoull(arguments[1], nullptr, 0);
    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(count, arguments);
    const auto top = std::make_unique<Vtop>(context.get());
    std::vector<uint8_t> memory(bytes), mask(bytes);
    std::vector<uint64_t> times(bytes / 4 + 1);
    systolith_attach_memory(memory.data(), mask.data(), times.data(), bytes, 4);

    top->base = top->origin = std::strtoull(arguments[2], nullptr, 0);
    top->bytes = static_cast<uint32_t>(bytes);
    top->latency = static_cast<uint32_t>(std::strtoul(arguments[3], nullptr, 0));
    const auto step = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    const auto access = [&](bool write, uint64_t offset, uint64_t value) {
        top->request_write = write;
        top->request_address = static_cast<uint8_t>(offset);
        top->request_data = static_cast<uint32_t>(value);
        top->request = !top->request;
        while (top->answered != top->request) step();
    };
    top->rst = 1;
    for (int cycle = 0; cycle < 4; ++cycle) step();
    top->rst = 0;
    for (int cycle = 0; cycle < 4; ++cycle) step();

    std::vector<uint8_t> data;
    for (;;) {
        char request;
        take(&request, 1);
        switch (request) {
            case 'r':
                access(false, number(), 0);
                answer(top->answer);
                answer(top->answer_response);
                break;
            case 'w': {
                const uint64_t offset = number(), value = number();
                access(true, offset, value);
                answer(top->answer_response);
                break;
            }
            case 'm':
            case 'g': {
                const uint64_t offset = number(), n = number();
                if (offset > bytes || n > bytes - offset) return 3;
                if (request == 'm') {
                    take(memory.data() + offset, n);
                } else {
                    give(memory.data() + offset, n);
                }
                break;
            }
            case 'a':
                for (uint64_t left = number(); left != 0; --left) {
                    step();
                    if (top->__SYM__interrupt) break;  // a word of C++ for Verilator
                }
                answer(top->cycle);
                answer(top->violation);
                break;
            default:
                return 3;
        }
    }
}
