
static inline uint32_t systolith_get(const systolith_t *a, uint32_t offset)
{
    return a->carrier.read(a->carrier.context, offset);
}

static inline void systolith_set(const systolith_t *a, uint32_t offset, uint32_t value)
{
    a->carrier.write(a->carrier.context, offset, value);
}

static inline void systolith_flush(const systolith_t *a, uint32_t offset, uint32_t bytes)
{
    if (a->carrier.flush)
        a->carrier.flush(a->carrier.context, offset, bytes);
}

static inline void systolith_invalidate(const systolith_t *a, uint32_t offset, uint32_t bytes)
{
    if (a->carrier.invalidate)
        a->carrier.invalidate(a->carrier.context, offset, bytes);
}

/* STATUS, as soon as it is not busy, and shows one of the bits wanted, or none if that is 0; or SYSTOLITH_TIMEOUT. */
static inline uint32_t systolith_until(const systolith_t *a, uint32_t wanted, uint32_t polls)
{
    for (;;) {
        uint32_t status = systolith_get(a, SYSTOLITH_STATUS);
        if ((status & 1u) == 0u && (wanted == 0u ? (status & 6u) == 0u : (status & wanted) != 0u))
            return status;
        if (--polls == 0u)
            return SYSTOLITH_TIMEOUT;
        if (a->carrier.wait)
            a->carrier.wait(a->carrier.context);
    }
}

static inline uint32_t systolith_polls(const systolith_t *a)
{
    return a->carrier.polls ? a->carrier.polls : 1000000000u;
}

/* Keeps who waits for what, and ends the run, if that is still possible.  Returns result. */
static inline uint32_t systolith_give_up(systolith_t *a, uint32_t result)
{
    uint32_t polls = systolith_polls(a);
    a->waits = systolith_get(a, SYSTOLITH_WAITS);
    systolith_set(a, SYSTOLITH_CONTROL, 4u);
    a->stuck = systolith_until(a, 0u, polls < 1000u ? polls : 1000u) == SYSTOLITH_TIMEOUT;
    return result;
}

/* Ends whatever runs, and forgets how it ended; what is in flight on the bus ends first. */
static inline uint32_t systolith_reset(systolith_t *a)
{
    systolith_set(a, SYSTOLITH_CONTROL, 4u);
    if (systolith_until(a, 0u, systolith_polls(a)) == SYSTOLITH_TIMEOUT)
        return systolith_give_up(a, SYSTOLITH_STILL_BUSY);
    return 0u;
}

/* The CRC-32 of ISO/IEC 13239, as zlib computes it, four bits at a time. */
static inline uint32_t systolith_crc(const uint8_t *data, uint32_t bytes)
{
    uint32_t n, bit, crc = 0xffffffffu, table[16];
    for (n = 0; n < 16u; n++)
        for (table[n] = n, bit = 0; bit < 4u; bit++)
            table[n] = table[n] >> 1 ^ (table[n] & 1u ? 0xedb88320u : 0u);
    for (n = 0; n < bytes; n++) {
        crc ^= data[n];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

/* Whether files, accelerator and region are those that the build needs; writes nothing. */
static inline uint32_t systolith_check(const systolith_t *a, const uint8_t *constants, uint32_t constants_bytes,
                                       const uint8_t *program, uint32_t program_bytes)
{
    if (constants_bytes != SYSTOLITH_CONSTANTS_BYTES ||
        systolith_crc(constants, constants_bytes) != SYSTOLITH_CONSTANTS_CRC)
        return SYSTOLITH_OTHER_CONSTANTS;
    if (program_bytes != SYSTOLITH_PROGRAM_BYTES || systolith_crc(program, program_bytes) != SYSTOLITH_PROGRAM_CRC)
        return SYSTOLITH_OTHER_PROGRAM;
    if (systolith_get(a, SYSTOLITH_ID) != SYSTOLITH_IDENTITY)
        return SYSTOLITH_NO_ACCELERATOR;
    if (systolith_get(a, SYSTOLITH_FINGERPRINT) != SYSTOLITH_BUILD)
        return SYSTOLITH_OTHER_BUILD;
    if (a->carrier.bytes < SYSTOLITH_LIMIT_BYTES)
        return SYSTOLITH_SMALL;
    if (a->carrier.address % 4096u != 0u || a->carrier.address > ((uint64_t)1 << 40) - SYSTOLITH_LIMIT_BYTES)
        return SYSTOLITH_MISPLACED;
    return 0u;
}

/* Counts the bytes at offset that are not data's. */
static inline void systolith_compare(systolith_t *a, uint32_t offset, const uint8_t *data, uint32_t bytes)
{
    uint32_t n;
    systolith_invalidate(a, offset, bytes);
    for (n = 0; n < bytes; n++)
        if (a->carrier.memory[offset + n] != data[n] && a->differing++ == 0u)
            a->first = offset + n;
}

static inline void systolith_copy(systolith_t *a, uint32_t offset, const uint8_t *data, uint32_t bytes)
{
    uint32_t n;
    for (n = 0; n < bytes; n++)
        a->carrier.memory[offset + n] = data[n];
    systolith_flush(a, offset, bytes);
}

/* Checks everything before anything is written: the two files of the build, the accelerator, the region.  Then ends what
 * runs there, writes both files to memory, and sees that they are there. */
static inline uint32_t systolith_open(systolith_t *a, const systolith_carrier_t *carrier, const uint8_t *constants,
                                      uint32_t constants_bytes, const uint8_t *program, uint32_t program_bytes)
{
    uint32_t result;
    a->carrier = *carrier;
    a->cycles = 0u;
    a->array_busy = a->waits = a->stuck = a->differing = a->first = 0u;
    result = systolith_check(a, constants, constants_bytes, program, program_bytes);
    if (result == 0u)
        result = systolith_reset(a);
    if (result != 0u)
        return result;
    systolith_copy(a, SYSTOLITH_CONSTANTS_ADDRESS, constants, constants_bytes);
    systolith_copy(a, SYSTOLITH_PROGRAM_ADDRESS, program, program_bytes);
    systolith_compare(a, SYSTOLITH_CONSTANTS_ADDRESS, constants, constants_bytes);
    if (a->differing == 0u)
        systolith_compare(a, SYSTOLITH_PROGRAM_ADDRESS, program, program_bytes);
    return a->differing ? SYSTOLITH_NOT_HELD : 0u;
}

/* One run, of SYSTOLITH_IMAGES images: from the input maps in memory to the output maps there. */
static inline uint32_t systolith_run(systolith_t *a)
{
    uint32_t status, n;
    systolith_flush(a, SYSTOLITH_INPUT_ADDRESS, SYSTOLITH_INPUT_BYTES);
    systolith_set(a, SYSTOLITH_BASE, (uint32_t)a->carrier.address);
    systolith_set(a, SYSTOLITH_BASE_HIGH, (uint32_t)(a->carrier.address >> 32));
    systolith_set(a, SYSTOLITH_LIMIT, SYSTOLITH_LIMIT_BYTES);
    systolith_set(a, SYSTOLITH_PROGRAM, SYSTOLITH_PROGRAM_ADDRESS);
    systolith_set(a, SYSTOLITH_WATCHDOG, a->carrier.watchdog ? a->carrier.watchdog : 1000000u);
    systolith_set(a, SYSTOLITH_INTERRUPT_ENABLE, a->carrier.interrupts);
    systolith_set(a, SYSTOLITH_CONTROL, 1u);
    status = systolith_until(a, 6u, systolith_polls(a));
    if (status == SYSTOLITH_TIMEOUT)
        return systolith_give_up(a, SYSTOLITH_TIMEOUT);
    if (status & 4u) {
        uint32_t waits = systolith_get(a, SYSTOLITH_WAITS), result = systolith_reset(a);
        if (result != 0u)
            return result;
        a->waits = waits;
        return status;
    }
    a->waits = a->stuck = 0u;
    a->cycles = systolith_get(a, SYSTOLITH_CYCLES) | (uint64_t)systolith_get(a, SYSTOLITH_CYCLES_HIGH) << 32;
    a->array_busy = systolith_get(a, SYSTOLITH_ARRAY_BUSY);
    for (n = 0; n < SYSTOLITH_UNITS; n++)
        a->stalls[n] = systolith_get(a, SYSTOLITH_STALL_ARRAY_TOKEN + 4u * n);
    systolith_set(a, SYSTOLITH_CONTROL, 2u);
    if (systolith_until(a, 0u, systolith_polls(a)) == SYSTOLITH_TIMEOUT)
        return systolith_give_up(a, SYSTOLITH_NOT_CLEARED);
    systolith_invalidate(a, SYSTOLITH_OUTPUT_ADDRESS, SYSTOLITH_OUTPUT_BYTES);
    return 0u;
}

/* A real value as memory holds it: the nearest integer, of two the even one, inside the map's range. */
static inline int32_t systolith_integer(const systolith_port_t *port, float value)
{
    volatile float steps = value / port->scales[0]; /* rounded to float, whatever the processor computes in */
    if (!(steps > (float)(port->low - port->zero_point)))
        return port->low;
    if (steps >= (float)(port->high - port->zero_point))
        return port->high;
    steps = steps + 12582912.0f; /* 1.5 * 2^23: no bits are left behind the point */
    steps = steps - 12582912.0f;
    return (int32_t)steps + port->zero_point;
}

/* The real value of an integer that memory holds, of a channel. */
static inline float systolith_real(const systolith_port_t *port, int32_t value, uint32_t channel)
{
    uint32_t n = port->each ? channel : 0u;
    volatile float real = (float)(value - port->zero_point) * port->scales[n]; /* rounded before it is shifted */
    return port->shifts ? real + port->shifts[n] : real;
}

/* Real numbers of an image. */
static inline size_t systolith_values(const systolith_port_t *port)
{
    return (size_t)port->image_channels * port->image_rows * port->columns;
}

/* The row of an image that lies in a map's row, the kernel's row in it; image_rows where there is none. */
static inline uint32_t systolith_row(const systolith_port_t *port, uint32_t row, uint32_t kernel)
{
    uint32_t below = row * port->stride + kernel * port->dilation;
    return below < port->top || below - port->top >= port->image_rows ? port->image_rows : below - port->top;
}

/* Writes an image, dense channels x rows x columns, as the map of a run's image number place. */
static inline void systolith_put(const systolith_t *a, const systolith_port_t *port, const float *image, uint32_t place)
{
    uint32_t row, column, kernel, channel, byte;
    uint8_t *to = a->carrier.memory + port->address;
    to += (size_t)place * port->rows * port->columns * port->channels * port->element_bytes;
    for (row = 0; row < port->rows; row++)
        for (column = 0; column < port->columns; column++)
            for (kernel = 0; kernel < port->kernel_rows; kernel++)
                for (channel = 0; channel < port->image_channels; channel++) {
                    uint32_t y = systolith_row(port, row, kernel);
                    size_t at = ((size_t)channel * port->image_rows + y) * port->columns + column;
                    int32_t value = y == port->image_rows ? port->zero_point : systolith_integer(port, image[at]);
                    for (byte = 0; byte < port->element_bytes; byte++)
                        *to++ = (uint8_t)((uint32_t)value >> 8u * byte);
                }
}

/* Reads the map of a run's image number place as real numbers, dense channels x rows x columns. */
static inline void systolith_take(const systolith_t *a, const systolith_port_t *port, float *image, uint32_t place)
{
    uint32_t n, channel, byte, pixels = port->rows * port->columns, sign = 1u << (8u * port->element_bytes - 1u);
    const uint8_t *from = a->carrier.memory + port->address;
    from += (size_t)place * pixels * port->channels * port->element_bytes;
    for (n = 0; n < pixels; n++)
        for (channel = 0; channel < port->channels; channel++) {
            uint32_t value = 0u;
            for (byte = 0; byte < port->element_bytes; byte++)
                value |= (uint32_t)*from++ << 8u * byte;
            image[(size_t)channel * pixels + n] = systolith_real(port, (int32_t)((value ^ sign) - sign), channel);
        }
}

/* Any number of images through the accelerator; the last one fills up the last run.  inputs and outputs point to an array
 * for each of SYSTOLITH_INPUTS and SYSTOLITH_OUTPUTS: images x channels x rows x columns real numbers. */
static inline uint32_t systolith_infer(systolith_t *a, const float *const *inputs, uint32_t images,
                                       float *const *outputs)
{
    uint32_t first, n, place;
    size_t at;
    for (n = 0; n < SYSTOLITH_INPUTS; n++)
        for (at = 0; at < images * systolith_values(&systolith_inputs[n]); at++)
            if (!(inputs[n][at] - inputs[n][at] == 0.0f))
                return SYSTOLITH_NOT_FINITE;
    for (first = 0; first < images; first += SYSTOLITH_IMAGES) {
        uint32_t result, left = images - first;
        for (n = 0; n < SYSTOLITH_INPUTS; n++)
            for (place = 0; place < SYSTOLITH_IMAGES; place++) {
                at = first + (place < left ? place : left - 1u);
                systolith_put(a, &systolith_inputs[n], inputs[n] + at * systolith_values(&systolith_inputs[n]), place);
            }
        result = systolith_run(a);
        if (result != 0u)
            return result;
        for (n = 0; n < SYSTOLITH_OUTPUTS; n++)
            for (place = 0; place < SYSTOLITH_IMAGES && place < left; place++) {
                at = first + place;
                systolith_take(a, &systolith_outputs[n], outputs[n] + at * systolith_values(&systolith_outputs[n]), place);
            }
    }
    return 0u;
}

/* What the cause in STATUS means, which a run that failed returned. */
static inline const char *systolith_cause(uint32_t status)
{
    uint32_t cause = status >> 8 & 255u;
    return cause < sizeof systolith_causes / sizeof *systolith_causes ? systolith_causes[cause] : "unknown";
}

typedef struct {
    char *next;
    size_t left; /* characters, the last 0 apart */
} systolith_text_t;

static inline void systolith_say(systolith_text_t *text, const char *words)
{
    for (; *words != '\0' && text->left != 0u; text->left--)
        *text->next++ = *words++;
    *text->next = '\0';
}

/* A number: decimal, with commas, or behind 0x with as many digits at least. */
static inline void systolith_say_number(systolith_text_t *text, uint64_t value, unsigned base, int digits)
{
    char made[32], *first = made + sizeof made;
    int count = 0;
    *--first = '\0';
    do {
        if (base == 10u && count != 0 && count % 3 == 0)
            *--first = ',';
        *--first = "0123456789abcdef"[value % base];
        value /= base;
        count++;
    } while (value != 0u || count < digits);
    systolith_say(text, base == 16u ? "0x" : "");
    systolith_say(text, first);
}

/* Who waited for what when the last call failed. */
static inline void systolith_say_waits(systolith_text_t *text, const systolith_t *a)
{
    unsigned unit;
    for (unit = 0; unit < SYSTOLITH_UNITS; unit++)
        if (a->waits >> unit & 1u) {
            systolith_say(text, a->waits & ((1u << unit) - 1u) ? ", " : "; ");
            systolith_say(text, systolith_waits[unit]);
        }
    if (a->waits == 0u)
        systolith_say(text, "; no unit waits for another");
    if (a->stuck)
        systolith_say(text, "; memory does not answer its last accesses, so only a reset of the whole board helps");
}

/* One line about result, which a call returned, with its numbers: at most bytes - 1 characters into line, and a 0. */
static inline void systolith_explain(const systolith_t *a, uint32_t result, char *line, size_t bytes)
{
    systolith_text_t text;
    text.next = line;
    text.left = bytes - 1u;
    if (result < SYSTOLITH_OTHER_CONSTANTS) {
        systolith_say(&text, result == 0u ? "" : "the run failed: ");
        systolith_say(&text, systolith_cause(result));
        if (result >> 8 >= sizeof systolith_causes / sizeof *systolith_causes) {
            systolith_say(&text, ", ");
            systolith_say_number(&text, result >> 8 & 255u, 10u, 1);
        }
        if (result != 0u)
            systolith_say_waits(&text, a);
        return;
    }
    systolith_say(&text, systolith_results[result - SYSTOLITH_OTHER_CONSTANTS]);
    if (result == SYSTOLITH_NO_ACCELERATOR) {
        systolith_say(&text, ": ID reads ");
        systolith_say_number(&text, systolith_get(a, SYSTOLITH_ID), 16u, 8);
        systolith_say(&text, ", not ");
        systolith_say_number(&text, SYSTOLITH_IDENTITY, 16u, 8);
        systolith_say(&text, "; is the address right, and the FPGA configured?");
    } else if (result == SYSTOLITH_OTHER_BUILD) {
        systolith_say(&text, " ");
        systolith_say_number(&text, systolith_get(a, SYSTOLITH_FINGERPRINT), 16u, 8);
        systolith_say(&text, ", the build is for ");
        systolith_say_number(&text, SYSTOLITH_BUILD, 16u, 8);
        systolith_say(&text, "; `systolith compile --for` makes a program for the accelerator that is there");
    } else if (result == SYSTOLITH_SMALL) {
        systolith_say(&text, " ");
        systolith_say_number(&text, SYSTOLITH_MEMORY_BYTES, 10u, 1);
        systolith_say(&text, " bytes");
        if (a->carrier.bytes >= SYSTOLITH_MEMORY_BYTES) {
            systolith_say(&text, " (");
            systolith_say_number(&text, SYSTOLITH_LIMIT_BYTES, 10u, 1);
            systolith_say(&text, " in whole pages)");
        }
        systolith_say(&text, ", the region has ");
        systolith_say_number(&text, a->carrier.bytes, 10u, 1);
    } else if (result == SYSTOLITH_MISPLACED) {
        systolith_say(&text, " ");
        systolith_say_number(&text, a->carrier.address, 16u, 1);
        systolith_say(&text, "; it must begin at a multiple of 4,096 bytes and end below 2^40");
    } else if (result == SYSTOLITH_NOT_HELD) {
        int program = a->first >= SYSTOLITH_PROGRAM_ADDRESS;
        systolith_say(&text, ": ");
        systolith_say_number(&text, a->differing, 10u, 1);
        systolith_say(&text, " of ");
        systolith_say_number(&text, program ? SYSTOLITH_PROGRAM_BYTES : SYSTOLITH_CONSTANTS_BYTES, 10u, 1);
        systolith_say(&text, program ? " bytes of program.bin" : " bytes of memory.bin");
        systolith_say(&text, " differ, the first at ");
        systolith_say_number(&text, a->carrier.address + a->first, 16u, 1);
    } else if (result >= SYSTOLITH_TIMEOUT) {
        systolith_say(&text, " after ");
        systolith_say_number(&text, systolith_polls(a), 10u, 1);
        systolith_say(&text, " looks at STATUS");
        systolith_say_waits(&text, a);
    }
}
