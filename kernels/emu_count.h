// Counts the traffic of a warp as the hardware would see it: the n-th execution of a line by each lane is one
// request. Requests are evaluated when all lanes of the warp have met. Included by emu.cc alone.
#pragma once
#include "emu.h"
#include <algorithm>

namespace emu {

struct Request {
    uint32_t mask;
    uint64_t address[WARP];
};

// One access in the source, with the requests a warp has made since its lanes last met.
struct Line {
    Where where;
    Access access;
    uint32_t bytes;
    uint32_t seen[WARP];
    std::vector<Request> requests;
};

// Extra wavefronts of one shared-memory request: in each phase (128 bytes) a bank serves one word.
inline uint32_t bank_conflicts(const Request& r, uint32_t bytes) {
    uint32_t extra = 0, lanes = std::min(128 / bytes, 32u);
    for (uint32_t first = 0; first < 32; first += lanes) {
        uint64_t words[32];
        uint32_t used[32] = {}, total = 0, worst = 1;
        for (uint32_t lane = first; lane < first + lanes; lane++) {
            if (!(r.mask >> lane & 1)) continue;
            for (uint64_t w = r.address[lane] / 4; w <= (r.address[lane] + bytes - 1) / 4; w++) {
                if (std::find(words, words + total, w) != words + total) continue;
                words[total++] = w;
                worst = std::max(worst, ++used[w % 32]);
            }
        }
        extra += worst - 1;
    }
    return extra;
}

// Bytes and 32-byte sectors of a global request, each address counted once.
inline void global_traffic(Request& r, uint32_t bytes, uint64_t& bytes_total, uint64_t& sectors_total) {
    uint64_t a[WARP];
    uint32_t n = 0;
    for (int lane = 0; lane < WARP; lane++)
        if (r.mask >> lane & 1) a[n++] = r.address[lane];
    std::sort(a, a + n);
    n = uint32_t(std::unique(a, a + n) - a);
    bytes_total += uint64_t(n) * bytes;
    for (uint32_t i = 0; i < n; i++)
        if (i == 0 || a[i] / 32 != a[i - 1] / 32) sectors_total++;
}

struct WarpTraffic {
    std::vector<Line> lines;

    void add(uint32_t lane, Access access, uint64_t address, uint32_t bytes, Where where) {
        auto same = [&](const Line& l) { return l.where == where && l.access == access && l.bytes == bytes; };
        auto line = std::find_if(lines.begin(), lines.end(), same);
        if (line == lines.end()) line = lines.insert(lines.end(), Line{where, access, bytes, {}, {}});
        uint32_t n = line->seen[lane]++;
        if (n == line->requests.size()) line->requests.push_back({});
        Request& r = line->requests[n];
        r.mask |= 1u << lane;
        r.address[lane] = address;
    }

    void flush(Counts& c) {
        for (Line& l : lines) {
            for (Request& r : l.requests) {
                if (l.access == Access::GlobalRead) global_traffic(r, l.bytes, c.bytes_read, c.sectors_read);
                else if (l.access == Access::GlobalWrite) global_traffic(r, l.bytes, c.bytes_written, c.sectors_written);
                else c.shared_requests++, c.bank_conflicts += bank_conflicts(r, l.bytes);
            }
            l.requests.clear();
            memset(l.seen, 0, sizeof l.seen);
        }
    }
};

}   // namespace emu
