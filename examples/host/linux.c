/* The carrier on Linux: registers through UIO, memory through u-dma-buf, which is cached and kept in step by its sysfs. */
#define _POSIX_C_SOURCE 200809L
#define _FILE_OFFSET_BITS 64
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classify.h"

#define REGISTER_BYTES 256u
#define WAIT_MILLISECONDS 1
#define LOOKS 10000u /* so a run may take 10 s */

typedef struct {
    volatile uint32_t *registers;
    int interrupt;     /* the UIO device; -1 without */
    const char *folder; /* of the buffer, in sysfs */
} board_t;

static void quit(const char *what, const char *name)
{
    fprintf(stderr, "%s '%s'\n", what, name);
    exit(1);
}

/* A path from its parts. */
static const char *path_of(const char *form, ...)
{
    va_list parts;
    char *made = malloc(1024);
    va_start(parts, form);
    if (made == NULL || vsnprintf(made, 1024, form, parts) >= 1024)
        quit("no such path can be", form);
    va_end(parts);
    return made;
}

static uint32_t read_register(void *context, uint32_t offset)
{
    uint32_t value = ((board_t *)context)->registers[offset / 4];
    __sync_synchronize(); /* what is read from memory behind it is read behind it */
    return value;
}

static void write_register(void *context, uint32_t offset, uint32_t value)
{
    __sync_synchronize(); /* what was written to memory before it is there before it */
    ((board_t *)context)->registers[offset / 4] = value;
}

static void write_text(const char *folder, const char *name, const char *text)
{
    const char *path = path_of("%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        quit("cannot write", path);
    free((void *)path);
}

/* u-dma-buf's README, "Manual cache management with the sysfs device file". */
static void synchronize(void *context, uint32_t offset, uint32_t bytes, const char *direction, const char *action)
{
    const char *folder = ((board_t *)context)->folder;
    char number[20];
    snprintf(number, sizeof number, "0x%lx", (unsigned long)offset);
    write_text(folder, "sync_offset", number);
    snprintf(number, sizeof number, "%lu", (unsigned long)bytes);
    write_text(folder, "sync_size", number);
    write_text(folder, "sync_direction", direction);
    write_text(folder, action, "1");
}

static void flush(void *context, uint32_t offset, uint32_t bytes)
{
    synchronize(context, offset, bytes, "1", "sync_for_device");
}

static void invalidate(void *context, uint32_t offset, uint32_t bytes)
{
    synchronize(context, offset, bytes, "2", "sync_for_cpu");
}

/* Until the interrupt, at most WAIT_MILLISECONDS; it is masked when it comes, so it is asked for each time. */
static void wait(void *context)
{
    struct pollfd ended;
    uint32_t word = 1;
    ended.fd = ((board_t *)context)->interrupt;
    ended.events = POLLIN;
    if (ended.fd >= 0 && write(ended.fd, &word, sizeof word) != (ssize_t)sizeof word)
        quit("cannot switch on", "the interrupt");
    if (poll(&ended, ended.fd >= 0, WAIT_MILLISECONDS) == 1 && read(ended.fd, &word, sizeof word) != (ssize_t)sizeof word)
        quit("cannot take", "the interrupt");
}

static uint64_t number_in(const char *folder, const char *name)
{
    const char *path = path_of("%s/%s", folder, name);
    char text[40], *end = text;
    FILE *file = fopen(path, "r");
    uint64_t number = file != NULL && fgets(text, sizeof text, file) != NULL ? strtoull(text, &end, 0) : 0;
    if (end == text)
        quit("no number in", path);
    fclose(file);
    free((void *)path);
    return number;
}

static void *mapped(const char *path, size_t bytes, int *file)
{
    void *made = MAP_FAILED;
    *file = open(path, O_RDWR);
    if (*file >= 0)
        made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
    if (made == MAP_FAILED)
        quit("cannot open and map", path);
    return made;
}

static file_t read_file(const char *path)
{
    struct stat about;
    file_t file;
    uint8_t *bytes;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL || fstat(fileno(stream), &about) != 0 || about.st_size <= 0 || about.st_size > INT32_MAX)
        quit("cannot read", path);
    file.size = (uint32_t)about.st_size;
    bytes = malloc(file.size);
    if (bytes == NULL || fread(bytes, 1, file.size, stream) != file.size)
        quit("cannot read", path);
    fclose(stream);
    file.bytes = bytes;
    return file;
}

static void say(const char *line)
{
    puts(line);
}

int main(int count, char **given)
{
    static board_t board;
    systolith_carrier_t carrier = {0};
    const size_t bytes = systolith_values(&systolith_inputs[0]) * sizeof(float);
    const size_t answers = systolith_values(&systolith_outputs[0]) * sizeof(float);
    file_t images;
    struct stat about;
    float *scores;
    FILE *output;
    uint32_t n;
    int file, failed;
    if (count != 6 && count != 7) {
        fprintf(stderr, "usage: %s UIO BUFFER BUILD IMAGES SCORES [ROOT]\n", given[0]);
        return 1;
    }
    const char *root = count == 7 ? given[6] : "";
    board.folder = path_of("%s/sys/class/u-dma-buf/%s", root, given[2]);
    board.registers = mapped(path_of("%s/dev/%s", root, given[1]), REGISTER_BYTES, &board.interrupt);
    if (fstat(board.interrupt, &about) != 0 || !S_ISCHR(about.st_mode))
        board.interrupt = -1; /* a file that another program serves: it has none */
    carrier.context = &board;
    carrier.read = read_register;
    carrier.write = write_register;
    carrier.address = number_in(board.folder, "phys_addr");
    carrier.bytes = number_in(board.folder, "size");
    carrier.memory = mapped(path_of("%s/dev/%s", root, given[2]), (size_t)carrier.bytes, &file);
    carrier.flush = flush;
    carrier.invalidate = invalidate;
    carrier.wait = wait;
    carrier.interrupts = board.interrupt >= 0;
    carrier.polls = LOOKS;
    images = read_file(given[4]);
    n = (uint32_t)(images.size / bytes);
    if (n == 0 || images.size % bytes != 0)
        quit("no whole number of images in", given[4]);
    scores = malloc(n * answers);
    output = fopen(given[5], "wb");
    if (scores == NULL || output == NULL)
        quit("cannot write", given[5]);
    failed = classify(&carrier, read_file(path_of("%s/memory.bin", given[3])), read_file(path_of("%s/program.bin", given[3])),
                      (const float *)(const void *)images.bytes, n, scores, say);
    if (!failed && fwrite(scores, answers, n, output) != n)
        failed = 1;
    return fclose(output) != 0 || failed;
}
