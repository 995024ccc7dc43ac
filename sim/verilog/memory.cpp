// What axi_memory.sv and recorder.sv call, on arrays that Python owns and attaches through ctypes.
// Little-endian hosts only: a packed SystemVerilog vector is copied as bytes.

#include <cstdint>
#include <cstring>
#include <deque>

namespace {

struct Beat {
    uint64_t cycle;
    uint32_t address;
    uint32_t bytes;
    uint64_t strobe;
    uint8_t data[64];
};

// sim/comparison/contents.py has the same layout as a NumPy dtype; `data` follows, as many bytes as the monitor is wide.
struct Event {
    uint64_t cycle;
    uint32_t address;
    uint32_t count;
};

uint8_t* memory;
uint8_t* written;   // one byte per byte of memory, 1 where written
uint64_t* stamps;   // cycle of the last write, one per `stamp_bytes` of memory
uint64_t memory_bytes;
uint64_t stamp_bytes = 1;
uint8_t* events;
uint64_t events_capacity;
uint64_t events_count;  // may exceed the capacity: the rest is counted only
std::deque<Beat> pending;

}  // namespace

extern "C" {

void systolith_attach_memory(uint8_t* data, uint8_t* mask, uint64_t* times, uint64_t bytes, uint64_t granule) {
    memory = data;
    written = mask;
    stamps = times;
    memory_bytes = bytes;
    stamp_bytes = granule;
    pending.clear();
}

void systolith_attach_events(uint8_t* buffer, uint64_t capacity) {
    events = buffer;
    events_capacity = capacity;
    events_count = 0;
}

uint64_t systolith_events() { return events_count; }

void systolith_read(uint32_t address, uint32_t bytes, uint32_t* data) {
    if (static_cast<uint64_t>(address) + bytes <= memory_bytes) {
        std::memcpy(data, memory + address, bytes);
    } else {
        std::memset(data, 0, bytes);
    }
}

void systolith_write(uint64_t cycle, uint32_t address, uint32_t bytes, const uint32_t* data, uint64_t strobe) {
    Beat beat{cycle, address, bytes, strobe, {}};
    std::memcpy(beat.data, data, bytes);
    pending.push_back(beat);
}

void systolith_commit(uint32_t beats) {
    for (; beats != 0 && !pending.empty(); --beats, pending.pop_front()) {
        const Beat& beat = pending.front();
        if (static_cast<uint64_t>(beat.address) + beat.bytes > memory_bytes) continue;
        stamps[beat.address / stamp_bytes] = beat.cycle;
        for (uint32_t lane = 0; lane < beat.bytes; ++lane) {
            if ((beat.strobe >> lane) & 1) {
                memory[beat.address + lane] = beat.data[lane];
                written[beat.address + lane] = 1;
            }
        }
    }
}

void systolith_event(uint64_t cycle, uint32_t address, uint32_t count, uint32_t bytes, const uint32_t* data) {
    if (events_count < events_capacity) {
        uint8_t* record = events + events_count * (sizeof(Event) + bytes);
        const Event event{cycle, address, count};
        std::memcpy(record, &event, sizeof event);
        std::memset(record + sizeof event, 0, bytes);
        std::memcpy(record + sizeof event, data, count < bytes ? count : bytes);
    }
    ++events_count;
}

}  // extern "C"
