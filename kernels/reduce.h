// Sums and maxima over a warp or a block, in an order that depends on nothing but the number of threads.
#pragma once
#include "prim.h"

// Every lane gets the same bits.
DEVICE float warp_sum(float x) {
    return butterfly(x, [](float a, float b) { return a + b; });
}

// NaN if any lane has one (fmaxf would lose it).
DEVICE float max_nan(float a, float b) { return a > b || a != a ? a : b; }

DEVICE float warp_max(float x) {
    return butterfly(x, [](float a, float b) { return max_nan(a, b); });
}

// What block_sum and block_max share between warps; a member of the kernel's shared memory.
struct ReduceSmem {
    float warps[32];
};

// Every thread gets the sum over the block: warps first, then their sums in order. Ends with the memory free again.
DEVICE float block_sum(float x, ReduceSmem& s) {
    x = warp_sum(x);
    if (lane_id() == 0) s.warps[warp_id()] = x;
    sync_block();   // all warps' sums are there
    float total = 0;
    for (int w = 0; w < int(blockDim.x) / 32; w++) total += s.warps[w];
    sync_block();   // read by all before the next use
    return total;
}

DEVICE float block_max(float x, ReduceSmem& s) {
    x = warp_max(x);
    if (lane_id() == 0) s.warps[warp_id()] = x;
    sync_block();   // all warps' maxima are there
    float most = s.warps[0];
    for (int w = 1; w < int(blockDim.x) / 32; w++) most = max_nan(most, s.warps[w]);
    sync_block();   // read by all before the next use
    return most;
}
