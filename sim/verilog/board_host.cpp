// A simulated board as a program: its serial pins are joined to a file descriptor, which may be a pseudo-terminal.
//
//   arguments  descriptor, clock cycles a bit; then Verilator's
//
// The clock runs freely while octets come and go; while none does, the program sleeps a millisecond between spells, so
// that a board that nobody asks anything costs little.  It ends when the other end is closed.

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "Vtop.h"
#include "verilated.h"

namespace {

constexpr int SPELL = 64;     // cycles from one look at the descriptor to the next
constexpr int AWAKE = 64;     // spells without an octet between two sleeps

// An octet on its way to the board, or none.
struct Sender {
    int bits = 0;
    int left = 0;
    uint32_t shifted = 0;

    void begin(uint8_t octet, int divisor) {
        shifted = (static_cast<uint32_t>(octet) << 1) | 0x200;
        bits = 10;
        left = divisor;
    }
    bool step(int divisor) {
        if (bits == 0) return true;
        const bool line = shifted & 1;
        if (--left == 0) {
            shifted >>= 1;
            --bits;
            left = divisor;
        }
        return line;
    }
};

// An octet on its way from the board: true when it is whole.
struct Sampler {
    int left = 0;
    int bits = -1;
    uint32_t shifted = 0;

    bool step(bool line, int divisor) {
        if (bits < 0) {
            if (!line) {
                bits = 0;
                left = divisor + divisor / 2;
                shifted = 0;
            }
            return false;
        }
        if (--left != 0) return false;
        left = divisor;
        if (bits < 8) {
            shifted |= static_cast<uint32_t>(line) << bits++;
            return false;
        }
        bits = -1;
        return line;
    }
};

}  // namespace

int main(int count, char** arguments) {
    if (count < 3) return 2;
    const int line = std::atoi(arguments[1]);
    const int divisor = std::atoi(arguments[2]);
    const auto context = std::make_unique<VerilatedContext>();
    context->commandArgs(count, arguments);
    const auto top = std::make_unique<Vtop>(context.get());
    Sender sender;
    Sampler sampler;
    uint8_t came[256];
    ssize_t have = 0, next = 0;
    int quiet = 0;  // spells

    const auto step = [&] {
        top->clk = 1;
        top->eval();
        top->clk = 0;
        top->eval();
    };
    top->rx = 1;
    top->rst = 1;
    for (int cycle = 0; cycle < 4; ++cycle) step();
    top->rst = 0;
    for (;;) {
        if (next == have) {
            if (top->busy || sender.bits != 0 || sampler.bits >= 0) quiet = 0;
            pollfd waits{line, POLLIN, 0};
            if (poll(&waits, 1, ++quiet % AWAKE == 0 ? 1 : 0) > 0) {
                have = read(line, came, sizeof came);
                next = 0;
                if (have == 0 || (have < 0 && errno != EAGAIN && errno != EINTR)) return 0;
                if (have < 0) have = 0;
            }
        }
        for (int cycle = 0; cycle < SPELL; ++cycle) {
            if (sender.bits == 0 && next != have) sender.begin(came[next++], divisor);
            top->rx = sender.step(divisor);
            step();
            if (sampler.step(top->tx, divisor)) {
                const uint8_t octet = static_cast<uint8_t>(sampler.shifted);
                if (write(line, &octet, 1) != 1) return 0;
            }
        }
    }
}
