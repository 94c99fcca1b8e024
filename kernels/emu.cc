// The primitives of emu.h over the scheduler, and the launch.
#include "emu_runner.h"
#include <cstdarg>
#include <thread>

namespace emu {

Entry* Entry::first = nullptr;
thread_local Thread* self = nullptr;
thread_local Block* block = nullptr;

namespace {

constexpr size_t BEHIND = 64 << 10;   // of the arena, after its last buffer: poisoned for the address sanitizer

Runner& runner() { return *static_cast<Runner*>(block); }

// Runners keep their stacks; a launch takes them from here and puts them back.
std::mutex pool_lock;
std::vector<Runner*> pool;

void work(Grid& grid) {
    Runner* r = nullptr;
    {
        std::lock_guard<std::mutex> hold(pool_lock);
        if (!pool.empty()) r = pool.back(), pool.pop_back();
    }
    if (!r) r = new Runner();
    r->run(grid);
    std::lock_guard<std::mutex> hold(pool_lock);
    pool.push_back(r);
}

// Calls `f` with what no buffer owns.
template <class F> void red_zones(const Launch& l, F f) {
    for (uint64_t u = 0; u < l.units; u++)
        if (l.valid[u] < 256) f(l.memory + u * 256 + l.valid[u], 256u - l.valid[u]);
    f(l.memory + l.units * 256, std::min(BEHIND, l.memory_bytes - l.units * 256));
}

}   // namespace

void fault(Where where, const char* format, ...) {
    char message[768];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    Runner& r = runner();
    r.record(where, message);
    Fiber abandoned;
    switch_to(abandoned, r.home, true);
    __builtin_unreachable();
}

bool enabled(const char* what, Where where) {
    Runner& r = runner();
    for (const Sync& s : r.syncs)
        if (s.where == where && s.what == what) return !s.off;
    const Launch& l = *r.launch;
    bool off = l.disabled_file && uint32_t(where.line) == l.disabled_line && !strcmp(where.file, l.disabled_file);
    r.syncs.push_back({where, what, off});
    return !off;
}

Meeting& arrive(uint32_t mask, void* args, const char* what, Where where) {
    Thread& t = *self;
    if (!(mask >> t.lane & 1)) fault(where, "%s: lane %u is not in its own mask %#x", what, t.lane, mask);
    Meeting& m = runner().warps[t.warp].meetings[__builtin_ctz(mask)];
    if (!m.arrived) {
        m.mask = mask;
        m.where = where;
        m.what = what;
    } else if (!(m.where == where) || m.mask != mask || m.what != what) {
        fault(where, "%s with mask %#x meets %s with mask %#x of line %d", what, mask, m.what, m.mask, m.where.line);
    }
    m.arrived |= 1u << t.lane;
    m.args[t.lane] = args;
    t.where = where;
    t.what = what;
    return m;
}

void wait() {
    Runner& r = runner();
    r.unmark(*self);
    r.yield_now();
}

void release(Meeting& m) {
    Runner& r = runner();
    Thread* of_warp = self - self->lane;
    for (uint32_t lanes = m.mask; lanes; lanes &= lanes - 1) of_warp[__builtin_ctz(lanes)].what = nullptr;
    m.arrived = 0;
    if (r.launch->counting && m.mask == ~0u) r.traffic[self->warp].flush(r.counts);
    r.mark(self->warp, m.mask);
}

void meet_barrier(uint32_t id, uint32_t threads, bool stay, const char* what, Where where) {
    Runner& r = runner();
    if (id >= BARRIERS) fault(where, "barrier %u; there are %d", id, BARRIERS);
    if (threads % WARP || threads == 0 || threads > r.threads_total.x)
        fault(where, "a barrier of %u threads in a block of %u", threads, r.threads_total.x);
    Barrier& b = r.barriers[id];
    if (!b.arrived) {
        b.expected = threads;
        b.where = where;
    } else if (b.expected != threads) {
        fault(where, "barrier %u: %u threads expected here, %u at line %d", id, threads, b.expected, b.where.line);
    } else if (id == 0 && !(b.where == where)) {
        fault(where, "threads meet at this %s and at that of line %d", what, b.where.line);
    }
    Thread& t = *self;
    bool last = ++b.arrived == threads;
    if (stay) {
        b.waiting[t.warp] |= 1u << t.lane;
        t.where = where;
        t.what = what;
        r.unmark(t);
    }
    if (last) {
        b.arrived = 0;
        r.flush_all();
        for (uint32_t w = 0; w < r.threads_total.x / WARP; w++) {
            if (!b.waiting[w]) continue;
            for (uint32_t lanes = b.waiting[w]; lanes; lanes &= lanes - 1)
                r.threads[w * WARP + __builtin_ctz(lanes)].what = nullptr;
            r.mark(w, b.waiting[w]);
            b.waiting[w] = 0;
        }
    }
    if (stay) r.yield_now();
}

static void perform(const Copy& c) {
    uint8_t bytes[16] = {};
    memcpy(bytes, c.from, c.bytes);
    memcpy(c.to, bytes, 16);
}

void async_copy(void* to, const void* from, uint32_t bytes, Where where) {
    if (bytes) check_global(from, 16, Access::GlobalRead, where);
    check_shared(to, 16, Access::SharedWrite, where);
    Copy c{to, from, bytes, self->group};
    if (block->launch->timing == Timing::Eager) perform(c);
    else self->copies.push_back(c);
}

void async_commit() { self->group++; }

void async_wait(uint32_t groups_left) {
    Thread& t = *self;
    size_t done = 0;
    while (done < t.copies.size() && t.copies[done].group + groups_left < t.group) perform(t.copies[done++]);
    t.copies.erase(t.copies.begin(), t.copies.begin() + long(done));
}

void count(Access access, const void* p, uint32_t bytes, Where where) {
    Runner& r = runner();
    bool global = access == Access::GlobalRead || access == Access::GlobalWrite;
    uint64_t address = (const uint8_t*)p - (global ? r.launch->memory : r.smem);
    r.traffic[self->warp].add(self->lane, access, address, bytes, where);
}

void count_ldmatrix(void* const* rows, int rows_total) {
    Runner& r = runner();
    for (int first = 0; first < rows_total; first += 8) {
        Request q{0xFF, {}};
        for (int i = 0; i < 8; i++) q.address[i] = (uint8_t*)rows[first + i] - r.smem;
        r.counts.shared_requests++;
        r.counts.bank_conflicts += bank_conflicts(q, 16);
    }
}

}   // namespace emu

extern "C" const emu::Entry* emu_kernels() { return emu::Entry::first; }

// Runs the whole grid; 0 when all went well.
extern "C" int emu_launch(const emu::Entry* kernel, const emu::Launch* launch, emu::Report* report) {
    emu::Grid grid{*launch, *kernel, *report};
    if (emu::ASAN) emu::red_zones(*launch, emu::poison);
    std::vector<std::thread> helpers;
    for (uint32_t i = 1; i < launch->os_threads; i++) helpers.emplace_back([&] { emu::work(grid); });
    emu::work(grid);
    for (std::thread& t : helpers) t.join();
    if (emu::ASAN) emu::red_zones(*launch, emu::unpoison);   // the host uses it between launches, or unmaps it
    return grid.failed;
}
