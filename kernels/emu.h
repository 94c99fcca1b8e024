// How a block of a kernel runs on the host: one fiber per thread, and one primitive. The members of a group
// leave a pointer to their arguments; the last to arrive does the work for all. `prim.h` writes every CUDA
// instruction over that; `emu.cc` schedules; `emu_count.h` counts. Nothing in a block is concurrent, so a run is
// reproducible from its settings, and the scheduler can be as hostile as the synchronisation allows.
#pragma once
#include "emu_asan.h"
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

namespace emu {

// A call site. Primitives take one as a defaulted last argument, which the compiler fills in at the call.
struct Where {
    const char* file;
    int line;
};
inline bool operator==(Where a, Where b) { return a.file == b.file && a.line == b.line; }

enum class Schedule : uint32_t { Forward, Reverse, Random };
enum class Timing : uint32_t { Eager, Lazy };   // asynchronous copies run at issue, or as late as a wait allows
enum class Order : uint32_t { Forward, Reverse, Shuffled };   // of blocks
enum class Access : uint8_t { GlobalRead, GlobalWrite, SharedRead, SharedWrite };

constexpr int WARP = 32;
constexpr int THREADS_MAX = 1024;
constexpr int WARPS_MAX = THREADS_MAX / WARP;
constexpr int BARRIERS = 16;   // barrier 0 is sync_block
constexpr int SITES_MAX = 256;

// What Rust hands in; mirrored by src/device/ffi.rs.
struct Launch {
    uint32_t grid[3];
    uint32_t threads;
    uint32_t smem_bytes;
    Schedule schedule;
    Timing timing;
    Order order;
    uint32_t os_threads;
    uint32_t counting;
    uint64_t seed;
    void** args;
    // Device memory, and how many bytes of each unit of 256 belong to a buffer.
    uint8_t* memory;
    uint64_t memory_bytes, units;
    const uint16_t* valid;
    // A synchronisation call that does nothing in this launch (mutation tests), or null.
    const char* disabled_file;
    uint32_t disabled_line;
};

struct Counts {
    uint64_t bytes_read, bytes_written, sectors_read, sectors_written;
    uint64_t mma_flops;
    uint64_t shared_requests, bank_conflicts;
};

struct SyncSite {
    const char* file;
    const char* what;
    uint32_t line;
};

// What Rust gets back; `message` is empty when all went well.
struct Report {
    Counts counts;
    SyncSite sites[SITES_MAX];   // synchronisation calls that were executed, in no particular order
    uint32_t sites_total;
    uint32_t line, thread, block[3];
    const char* file;
    char message[768];
};

// The table of kernels: one entry per KERNEL(), derived from its C++ signature.
struct Entry {
    const char* name;
    uint32_t threads_max, args_total;
    const uint8_t* arg_sizes;
    const char* arg_kinds;   // one letter each: p pointer, f floating point, i integer, s anything else
    void (*invoke)(void (*)(), void**);
    void (*function)();
    Entry* next;

    template <class... A>
    Entry(const char* name, uint32_t threads_max, void (*f)(A...))
        : name(name), threads_max(threads_max), args_total(sizeof...(A)), function((void (*)())f) {
        static_assert(((sizeof(A) < 256) && ...), "arguments by value are at most 255 bytes");
        static const uint8_t sizes[] = {uint8_t(sizeof(A))..., 0};
        static const char kinds[] = {kind((A*)nullptr)..., 0};
        arg_sizes = sizes;
        arg_kinds = kinds;
        invoke = [](void (*g)(), void** args) {
            call((void (*)(A...))g, args, std::make_index_sequence<sizeof...(A)>());
        };
        next = first;
        first = this;
    }
    static Entry* first;

private:
    template <class T> static char kind(T* const*) { return 'p'; }
    static char kind(const float*) { return 'f'; }
    static char kind(const double*) { return 'f'; }
    template <class T> static char kind(const T*) { return std::is_integral<T>::value ? 'i' : 's'; }
    template <class... A, size_t... I>
    static void call(void (*f)(A...), void** args, std::index_sequence<I...>) {
        f(*static_cast<A*>(args[I])...);
    }
};

struct Copy {
    void* to;
    const void* from;
    uint32_t bytes;   // of 16; the rest is zero
    uint32_t group;
};

struct Thread {
    struct { unsigned x; } index;
    uint32_t lane, warp;
    bool started;
    Fiber fiber;
    int stack;
    Where where;        // where it waits
    const char* what;   // for what
    std::vector<Copy> copies;
    uint32_t group;     // of the next asynchronous copy
};

// Lanes of a warp on their way to one shuffle, vote, ldmatrix or mma.
struct Meeting {
    uint32_t mask, arrived;
    Where where;
    const char* what;
    void* args[WARP];
};

struct Warp {
    uint32_t runnable;
    Meeting meetings[WARP];   // by the lowest lane of the mask
};

struct Index3 {
    unsigned x, y, z;
};

// The operands of one mma. As locals they would be filled with a pattern each time.
struct Tiles {
    alignas(16) float a[16][16], b[16][8], c[16][8];
};

struct Block {
    Index3 index, grid;
    struct { unsigned x; } threads_total;
    const Launch* launch;
    uint8_t* smem;
    Counts counts;
    Tiles mma;
};

extern thread_local Thread* self;
extern thread_local Block* block;

// Records the fault and abandons the block: never returns, and runs no destructor.
[[noreturn]] void fault(Where where, const char* format, ...) __attribute__((format(printf, 2, 3)));

// True unless this synchronisation call is switched off; notes that it was reached.
bool enabled(const char* what, Where where);

Meeting& arrive(uint32_t mask, void* args, const char* what, Where where);
void wait();
void release(Meeting&);

// Lanes of `mask` meet; the last runs `work(args)`, where args[lane] is what that lane left.
template <class Work> void meet_warp(uint32_t mask, void* args, const char* what, Where where, Work work) {
    Meeting& m = arrive(mask, args, what, where);
    if (m.arrived != mask) return wait();
    work(m.args);
    release(m);
}

// Threads meet at barrier `id`; `stay` is false for those who only announce themselves.
void meet_barrier(uint32_t id, uint32_t threads, bool stay, const char* what, Where where);

void async_copy(void* to, const void* from, uint32_t bytes, Where where);
void async_commit();
void async_wait(uint32_t groups_left);

void count(Access access, const void* p, uint32_t bytes, Where where);
void count_ldmatrix(void* const* rows, int rows_total);   // addresses of 16 bytes, eight to a phase

inline void check_global(const void* p, uint32_t bytes, Access access, Where where) {
    const Launch& l = *block->launch;
    uint64_t offset = (const uint8_t*)p - l.memory;
    if (uintptr_t(p) % bytes) fault(where, "misaligned %u-byte access to global memory %p", bytes, p);
    if (offset >= l.memory_bytes) fault(where, "%p is not device memory", p);
    if (offset / 256 >= l.units || offset % 256 + bytes > l.valid[offset / 256])
        fault(where, "%s of %u bytes out of bounds of its buffer, at device address %#llx",
              access == Access::GlobalRead ? "read" : "write", bytes, (unsigned long long)offset);
    if (l.counting) count(access, p, bytes, where);
}

inline void check_shared(const void* p, uint32_t bytes, Access access, Where where, bool counted = true) {
    uint64_t offset = (const uint8_t*)p - block->smem;
    if (uintptr_t(p) % bytes) fault(where, "misaligned %u-byte access to shared memory at byte %lld", bytes, (long long)offset);
    if (offset + bytes > block->launch->smem_bytes || offset > block->launch->smem_bytes)
        fault(where, "access to shared memory at byte %lld; the block has %u", (long long)offset, block->launch->smem_bytes);
    if (counted && block->launch->counting) count(access, p, bytes, where);
}

inline void* shared(size_t bytes, Where where) {
    if (bytes > block->launch->smem_bytes)
        fault(where, "the kernel needs %zu bytes of shared memory, the launch gave %u", bytes, block->launch->smem_bytes);
    return block->smem;
}

}   // namespace emu
