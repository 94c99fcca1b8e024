// Philox4x32-10: random bits as a function of (key, counter). Salmon et al. 2011, SC'11.
#pragma once
#include "prim.h"

DEVICE uint4 philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi) {
    uint4 c = {uint32_t(counter_lo), uint32_t(counter_lo >> 32), uint32_t(counter_hi), uint32_t(counter_hi >> 32)};
    uint32_t k0 = uint32_t(key), k1 = uint32_t(key >> 32);
    UNROLL for (int round = 0; round < 10; round++) {
        uint64_t p0 = uint64_t(0xD2511F53u) * c.x, p1 = uint64_t(0xCD9E8D57u) * c.z;
        c = {uint32_t(p1 >> 32) ^ c.y ^ k0, uint32_t(p1), uint32_t(p0 >> 32) ^ c.w ^ k1, uint32_t(p0)};
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}
