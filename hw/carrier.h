
/* What reaches accelerator and memory.  Offsets and counts are bytes; what may be NULL says so. */
typedef struct {
    void *context; /* each function's first argument */
    /* A register. */
    uint32_t (*read)(void *context, uint32_t offset);
    /* The same, and behind all that was written to memory before: with a barrier where processor or bus may turn them. */
    void (*write)(void *context, uint32_t offset, uint32_t value);
    uint8_t *memory;  /* a contiguous region, where the processor sees it */
    uint64_t address; /* where it begins on the accelerator's bus: a multiple of 4096; it ends below 2^40 */
    uint64_t bytes;   /* SYSTOLITH_LIMIT_BYTES or more */
    /* What the processor wrote there the accelerator sees from now on.  NULL: it does at once. */
    void (*flush)(void *context, uint32_t offset, uint32_t bytes);
    /* What the accelerator wrote there the processor sees from now on.  NULL: it does at once. */
    void (*invalidate)(void *context, uint32_t offset, uint32_t bytes);
    /* Lets the accelerator work for a while, or until its interrupt.  NULL: STATUS is read again at once. */
    void (*wait)(void *context);
    uint32_t interrupts; /* 1: wait ends with the interrupt, so it is switched on */
    uint32_t polls;      /* looks at STATUS, each but the first behind a wait, before a call gives up; 0: 10^9 */
    uint32_t watchdog;   /* cycles without progress after which the accelerator ends a run; 0: 10^6 */
} systolith_carrier_t;

/* A build on an accelerator, from systolith_open on. */
typedef struct {
    systolith_carrier_t carrier;
    uint64_t cycles;                      /* of the last run, from start to done */
    uint32_t array_busy;                  /* of these with a window entering the array */
    uint32_t stalls[SYSTOLITH_UNITS];     /* of these with a unit waiting, in the order of the STALL registers */
    uint32_t waits;                       /* the register WAITS when the last call failed: who waited for what */
    uint32_t stuck;                       /* 1: memory did not answer the last accesses, even behind a reset */
    uint32_t differing, first;            /* bytes of memory that do not hold what was written; offset of the first */
} systolith_t;

/* What calls return: 0 if all went well; STATUS of a run that failed, whose bits 15:8 are the cause; or one of these. */
#define SYSTOLITH_OTHER_CONSTANTS 0xfffffff0u /* memory.bin is not the one that this header was made with */
#define SYSTOLITH_OTHER_PROGRAM 0xfffffff1u   /* program.bin is not the one that this header was made with */
#define SYSTOLITH_NO_ACCELERATOR 0xfffffff2u  /* ID is another */
#define SYSTOLITH_OTHER_BUILD 0xfffffff3u     /* FINGERPRINT is another */
#define SYSTOLITH_SMALL 0xfffffff4u           /* the region is smaller than SYSTOLITH_LIMIT_BYTES */
#define SYSTOLITH_MISPLACED 0xfffffff5u       /* the region lies where BASE cannot point */
#define SYSTOLITH_NOT_HELD 0xfffffff6u        /* memory does not hold what was written */
#define SYSTOLITH_NOT_FINITE 0xfffffff7u      /* an input holds infinity or no number */
#define SYSTOLITH_TIMEOUT 0xfffffff8u         /* a run has not ended */
#define SYSTOLITH_STILL_BUSY 0xfffffff9u      /* busy after a reset */
#define SYSTOLITH_NOT_CLEARED 0xfffffffau     /* does not forget its last run */

/* An input or output.  Memory holds signed integers of element_bytes, little endian, images x rows x columns x channels
 * of the map; an array of real numbers is dense, images x channels x rows x columns of the image. */
typedef struct {
    uint32_t address, element_bytes;
    uint32_t rows, columns, channels;           /* of a map */
    uint32_t image_rows, image_channels;        /* of an image, which has the map's columns */
    uint32_t kernel_rows, stride, dilation, top; /* rows of an image that lie side by side in a map's; 1, 1, 1, 0: one */
    int32_t low, high, zero_point;              /* as memory holds them */
    uint32_t each;                              /* 1: a scale, and shift, for each channel */
    const float *scales, *shifts;               /* shifts is NULL where there are none */
} systolith_port_t;
