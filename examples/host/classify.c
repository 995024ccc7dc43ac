#include "classify.h"

/* The largest of an image's scores. */
static uint32_t largest(const float *scores, size_t values)
{
    uint32_t n, best = 0;
    for (n = 1; n < values; n++)
        if (scores[n] > scores[best])
            best = n;
    return best;
}

int classify(const systolith_carrier_t *carrier, file_t constants, file_t program, const float *images, uint32_t count,
             float *scores, void (*say)(const char *line))
{
    static systolith_t accelerator;
    const size_t values = systolith_values(&systolith_outputs[0]);
    char line[300];
    uint32_t n, result;
    result = systolith_open(&accelerator, carrier, constants.bytes, constants.size, program.bytes, program.size);
    if (result == 0u)
        result = systolith_infer(&accelerator, &images, count, &scores);
    if (result != 0u) {
        systolith_explain(&accelerator, result, line, sizeof line);
        say(line);
        return 1;
    }
    for (n = 0; n <= count; n++) {
        systolith_text_t text = {0};
        text.next = line;
        text.left = sizeof line - 1u;
        if (n < count) {
            systolith_say(&text, "image ");
            systolith_say_number(&text, n, 10u, 1);
            systolith_say(&text, ": class ");
            systolith_say_number(&text, largest(scores + n * values, values), 10u, 1);
        } else {
            systolith_say(&text, "cycles of the last run: ");
            systolith_say_number(&text, accelerator.cycles, 10u, 1);
        }
        say(line);
    }
    return 0;
}
