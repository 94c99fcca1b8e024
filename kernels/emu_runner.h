// The scheduler: blocks over OS threads, threads of a block over fibers. Included by emu.cc alone.
#pragma once
#include "emu_count.h"
#include "emu_fiber.h"
#include <atomic>
#include <cstdio>
#include <memory>
#include <mutex>

namespace emu {

constexpr uint32_t SMEM_MAX = 232448;
constexpr uint32_t RED_ZONE = 1024;   // behind shared memory, checked after each block, or poisoned
constexpr size_t FRAME_MAX = 4096;   // of thread_main
constexpr uint32_t SMEM_BYTES = RED_ZONE + SMEM_MAX + RED_ZONE + 1024;   // and room to align it

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

inline uint64_t mix(uint64_t z) {   // splitmix64
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

// Runs blocks one after the other on its own fibers.
struct Runner : Block {
    Grid* job;
    Fiber home;   // of run_block
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
    std::unique_ptr<uint8_t[]> smem_memory{new uint8_t[SMEM_BYTES]};

    Runner() { smem = smem_memory.get() + RED_ZONE + (1024 - uintptr_t(smem_memory.get()) % 1024) % 1024; }

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
            uint8_t* top = new_stack(stacks.size());
            if (!top) fault({"", 0}, "no memory for the stack of a fiber");
            stacks_free.push_back(int(stacks.size()));
            stacks.push_back(top);
        }
        t.stack = stacks_free.back();
        stacks_free.pop_back();
        uint8_t* top = stacks[t.stack];
        unpoison(top - FRAME_MAX, FRAME_MAX);   // of the last thread_main here, which never returned
        t.fiber = {fresh(top, thread_main), top - STACK_BYTES, STACK_BYTES, nullptr};
        t.started = true;
    }

    // Leaves the current fiber for the next runnable one.
    void yield_now() {
        Thread *me = self, *next = pick();
        if (next == me) return;
        if (!next->started) assign_stack(*next);
        self = next;
        switch_to(me->fiber, next->fiber);
    }

    // A fiber's life: runs its thread, then every thread that has not started as long as those come next.
    static void thread_main() {
        Runner& r = *static_cast<Runner*>(block);
        arrived_fresh(r.home);
        for (;;) {
            r.job->kernel.invoke(r.job->kernel.function, r.launch->args);
            Thread* me = self;
            r.unmark(*me);
            if (--r.live == 0) switch_to(me->fiber, r.home, true);
            Thread* next = r.pick();
            self = next;
            if (next->started) {
                r.stacks_free.push_back(me->stack);
                switch_to(me->fiber, next->fiber, true);
            }
            next->started = true;
            next->stack = me->stack;
            next->fiber = me->fiber;
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
        memset(smem, 0xFF, l.smem_bytes + (ASAN ? 0 : RED_ZONE));
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
        switch_to(home, self->fiber);
        if (job->failed) return forget_stacks();
        flush_all();
        for (uint32_t i = 0; i < RED_ZONE && !ASAN; i++)
            if (smem[launch->smem_bytes + i] != 0xFF) return record({"", 0}, "wrote beyond the end of shared memory");
    }

    // Frames of abandoned fibers are no longer anybody's.
    void forget_stacks() {
        for (uint8_t* top : stacks) unpoison(top - STACK_BYTES, STACK_BYTES);
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
        home = {};
        poison(smem_memory.get(), SMEM_BYTES);
        unpoison(smem, g.launch.smem_bytes);
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

}   // namespace emu
