// The scheduler of emu.h: blocks over OS threads, threads of a block over fibers.
#include "emu.h"
#include "emu_count.h"
#include "emu_fiber.h"
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <mutex>
#include <thread>

namespace emu {

Entry* Entry::first = nullptr;
thread_local Thread* self = nullptr;
thread_local Block* block = nullptr;

namespace {

constexpr uint32_t SMEM_MAX = 232448;
constexpr uint32_t RED_ZONE = 1024;   // behind shared memory, checked after each block

struct Sync {
    Where where;
    const char* what;
    bool off;
};

struct Barrier {
    uint32_t expected, arrived;
    uint32_t waiting[WARPS_MAX];
    Where where;
};

// Shared by the OS threads of one launch.
struct Grid {
    const Launch& launch;
    const Entry& kernel;
    Report& report;
    std::atomic<uint64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex lock{};

    uint64_t blocks() const { return uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2]; }
};

uint64_t mix(uint64_t z) {   // splitmix64
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Runs blocks one after the other on its own fibers.
struct Runner : Block {
    Grid* job;
    void* home;   // stack pointer of run_block
    uint32_t live;
    uint32_t ranks_runnable;             // bit r: the warp of priority r has a runnable lane
    uint32_t rank_of[WARPS_MAX], warp_of[WARPS_MAX], turn[WARPS_MAX];
    Thread threads[THREADS_MAX];
    Warp warps[WARPS_MAX];
    Barrier barriers[BARRIERS];
    WarpTraffic traffic[WARPS_MAX];
    std::vector<Sync> syncs;
    std::vector<uint8_t*> stacks;
    std::vector<int> stacks_free;
    std::unique_ptr<uint8_t[]> smem_memory{new uint8_t[SMEM_MAX + RED_ZONE + 1024]};

    Runner() { smem = smem_memory.get() + (1024 - uintptr_t(smem_memory.get()) % 1024) % 1024; }

    void mark(uint32_t warp, uint32_t lanes) {
        warps[warp].runnable |= lanes;
        ranks_runnable |= 1u << rank_of[warp];
    }

    void unmark(const Thread& t) {
        uint32_t& lanes = warps[t.warp].runnable;
        lanes &= ~(1u << t.lane);
        if (!lanes) ranks_runnable &= ~(1u << rank_of[t.warp]);
    }

    // Strict priority between warps, and between the lanes of one.
    Thread* pick() {
        if (!ranks_runnable) deadlock();
        uint32_t warp = warp_of[__builtin_ctz(ranks_runnable)], lanes = warps[warp].runnable, lane;
        switch (job->launch.schedule) {
        case Schedule::Forward: lane = __builtin_ctz(lanes); break;
        case Schedule::Reverse: lane = 31 - __builtin_clz(lanes); break;
        default:
            uint32_t r = turn[warp];
            lane = (__builtin_ctz(lanes >> r | lanes << (-r & 31)) + r) & 31;
        }
        return &threads[warp * WARP + lane];
    }

    void assign_stack(Thread& t) {
        if (stacks_free.empty()) {
            uint8_t* top = new_stack();
            if (!top) fault({"", 0}, "no memory for the stack of a fiber");
            stacks_free.push_back(int(stacks.size()));
            stacks.push_back(top);
        }
        t.stack = stacks_free.back();
        stacks_free.pop_back();
        t.sp = fresh(stacks[t.stack], thread_main);
        t.started = true;
    }

    // Leaves the current fiber for the next runnable one.
    void yield_now() {
        Thread *me = self, *next = pick();
        if (next == me) return;
        if (!next->started) assign_stack(*next);
        self = next;
        emu_switch(&me->sp, next->sp);
    }

    // A fiber's life: runs its thread, then every thread that has not started as long as those come next.
    static void thread_main() {
        Runner& r = *static_cast<Runner*>(block);
        for (;;) {
            r.job->kernel.invoke(r.job->kernel.function, r.launch->args);
            Thread* me = self;
            r.unmark(*me);
            if (--r.live == 0) emu_switch(&me->sp, r.home);
            Thread* next = r.pick();
            self = next;
            if (next->started) {
                r.stacks_free.push_back(me->stack);
                emu_switch(&me->sp, next->sp);
            }
            next->started = true;
            next->stack = me->stack;
        }
    }

    [[noreturn]] void deadlock() {
        char text[512];
        int used = 0;
        uint32_t total = threads_total.x, exited = total - live;
        const Thread* first = nullptr;
        for (uint32_t i = 0; i < total && used < 400; i++) {
            const Thread& t = threads[i];
            if (!t.what) continue;
            if (!first) first = &t;
            bool seen = false;
            for (uint32_t j = 0; j < i; j++) seen |= threads[j].what && threads[j].where == t.where;
            if (seen) continue;
            uint32_t n = 0;
            for (uint32_t j = i; j < total; j++) n += threads[j].what && threads[j].where == t.where;
            used += snprintf(text + used, sizeof text - used, "%s%u at %s of line %d", used ? ", " : "", n, t.what,
                             t.where.line);
        }
        self = first ? const_cast<Thread*>(first) : self;
        fault(first ? first->where : Where{"", 0}, "deadlock: threads wait: %s; %u have exited", text, exited);
    }

    void prepare(uint64_t n) {
        const Launch& l = job->launch;
        uint64_t blocks = job->blocks();
        if (l.order == Order::Reverse) n = blocks - 1 - n;
        if (l.order == Order::Shuffled) n = shuffled(n, blocks, l.seed);
        launch = &l;
        index = {unsigned(n % l.grid[0]), unsigned(n / l.grid[0] % l.grid[1]), unsigned(n / l.grid[0] / l.grid[1])};
        grid = {l.grid[0], l.grid[1], l.grid[2]};
        threads_total.x = live = l.threads;
        memset(smem, 0xFF, l.smem_bytes + RED_ZONE);
        memset((void*)barriers, 0, sizeof barriers);

        uint32_t warps_total = l.threads / WARP;
        uint64_t random = mix(l.seed ^ mix(n));
        for (uint32_t r = 0; r < warps_total; r++) warp_of[r] = l.schedule == Schedule::Reverse ? warps_total - 1 - r : r;
        if (l.schedule == Schedule::Random)
            for (uint32_t r = warps_total - 1; r > 0; r--) std::swap(warp_of[r], warp_of[(random = mix(random)) % (r + 1)]);
        ranks_runnable = 0;
        for (uint32_t r = 0; r < warps_total; r++) {
            uint32_t w = warp_of[r];
            rank_of[w] = r;
            turn[w] = (random = mix(random)) % 32;
            warps[w].runnable = 0;
            for (Meeting& m : warps[w].meetings) m.arrived = 0;
            mark(w, ~0u);
        }
        for (uint32_t i = 0; i < l.threads; i++) {
            Thread& t = threads[i];
            t.index.x = i;
            t.lane = i % WARP;
            t.warp = i / WARP;
            t.started = false;
            t.what = nullptr;
            t.copies.clear();
            t.group = 0;
        }
    }

    // A permutation of 0..blocks: n -> a*n + c with a coprime to blocks.
    static uint64_t shuffled(uint64_t n, uint64_t blocks, uint64_t seed) {
        auto gcd = [](uint64_t a, uint64_t b) { while (b) { uint64_t r = a % b; a = b; b = r; } return a; };
        uint64_t a = mix(seed) % 1000003 + blocks / 2;
        while (gcd(a, blocks) != 1) a++;
        return uint64_t((unsigned __int128)a * n % blocks + mix(seed + 1) % blocks) % blocks;
    }

    void run_block(uint64_t n) {
        prepare(n);
        stacks_free.clear();
        for (size_t i = 0; i < stacks.size(); i++) stacks_free.push_back(int(i));
        self = pick();
        assign_stack(*self);
        emu_switch(&home, self->sp);
        if (job->failed) return;
        flush_all();
        for (uint32_t i = 0; i < RED_ZONE; i++)
            if (smem[launch->smem_bytes + i] != 0xFF) return record({"", 0}, "wrote beyond the end of shared memory");
    }

    void flush_all() {
        if (launch->counting)
            for (uint32_t w = 0; w < threads_total.x / WARP; w++) traffic[w].flush(counts);
    }

    void record(Where where, const char* message) {
        std::lock_guard<std::mutex> hold(job->lock);
        if (job->failed.exchange(true)) return;
        Report& r = job->report;
        r.file = where.file;
        r.line = where.line;
        r.thread = self->index.x;
        r.block[0] = index.x, r.block[1] = index.y, r.block[2] = index.z;
        snprintf(r.message, sizeof r.message, "%s", message);
    }

    void run(Grid& g) {
        job = &g;
        block = this;
        counts = {};
        syncs.clear();
        for (uint64_t n; !g.failed && (n = g.next++) < g.blocks();) run_block(n);
        for (WarpTraffic& t : traffic) t.lines.clear();
        std::lock_guard<std::mutex> hold(g.lock);
        const uint64_t* from = &counts.bytes_read;
        uint64_t* to = &g.report.counts.bytes_read;
        for (size_t i = 0; i < sizeof(Counts) / 8; i++) to[i] += from[i];
        for (const Sync& s : syncs) add_site(g.report, s);
        block = nullptr;
        self = nullptr;
    }

    static void add_site(Report& r, const Sync& s) {
        for (uint32_t i = 0; i < r.sites_total; i++)
            if (r.sites[i].file == s.where.file && int(r.sites[i].line) == s.where.line && r.sites[i].what == s.what) return;
        if (r.sites_total < SITES_MAX) r.sites[r.sites_total++] = {s.where.file, s.what, uint32_t(s.where.line)};
    }
};

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

}   // namespace

void fault(Where where, const char* format, ...) {
    char message[768];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    Runner& r = runner();
    r.record(where, message);
    void* abandoned;
    emu_switch(&abandoned, r.home);
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
    std::vector<std::thread> helpers;
    for (uint32_t i = 1; i < launch->os_threads; i++) helpers.emplace_back([&] { emu::work(grid); });
    emu::work(grid);
    for (std::thread& t : helpers) t.join();
    return grid.failed;
}
