/* The generated header's functions as a library; tests/host_twin.py has its structures. */
#include "systolith.h"

#ifdef __cplusplus
extern "C" {
#endif
size_t size_of(int what);
uint32_t open_build(systolith_t *a, const systolith_carrier_t *carrier, const uint8_t *constants,
                    uint32_t constants_bytes, const uint8_t *program, uint32_t program_bytes);
uint32_t run(systolith_t *a);
uint32_t infer(systolith_t *a, const float *const *inputs, uint32_t images, float *const *outputs);
uint32_t reset(systolith_t *a);
const char *cause(uint32_t result);
void explain(const systolith_t *a, uint32_t result, char *line, size_t bytes);
#ifdef __cplusplus
}
#endif

size_t size_of(int what)
{
    return what ? sizeof(systolith_t) : sizeof(systolith_carrier_t);
}

uint32_t open_build(systolith_t *a, const systolith_carrier_t *carrier, const uint8_t *constants,
                    uint32_t constants_bytes, const uint8_t *program, uint32_t program_bytes)
{
    return systolith_open(a, carrier, constants, constants_bytes, program, program_bytes);
}

uint32_t run(systolith_t *a)
{
    return systolith_run(a);
}

uint32_t infer(systolith_t *a, const float *const *inputs, uint32_t images, float *const *outputs)
{
    return systolith_infer(a, inputs, images, outputs);
}

uint32_t reset(systolith_t *a)
{
    return systolith_reset(a);
}

const char *cause(uint32_t result)
{
    return systolith_cause(result);
}

void explain(const systolith_t *a, uint32_t result, char *line, size_t bytes)
{
    systolith_explain(a, result, line, bytes);
}
