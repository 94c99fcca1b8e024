// Sums down the columns of [rows, cols], in two stages of fixed order: a block sums COLUMN_ROWS rows of
// COLUMN_TILE columns, then sum_partials (bias_grad.cu) sums what the blocks left.
#pragma once
#include "prim.h"

constexpr int COLUMN_THREADS = 256;
constexpr int COLUMN_WARPS = COLUMN_THREADS / 32;
constexpr int COLUMN_TILE = 256;   // a row of it is 16 bytes of bf16 per lane of one warp
constexpr int COLUMN_ROWS = 128;   // 16 per warp: what is read or written once per block stays under 4 %
constexpr int COLUMN_BATCH = 4;    // rows of a warp in flight: 64 bytes per lane and tensor

// The 8 columns of lane l are two vectors of four at [0][l] and [1][l]; 36 puts the two 16 banks apart.
struct ColumnSmem {
    Vec<float, 4> sums[COLUMN_WARPS][2][36];
};

// Each lane brings the sums of its warp's rows in columns 8 * lane and the 7 after; thread t gets the sum of column
// t over the warps, in their order. Once per block.
DEVICE float block_columns(const float (&sums)[8], ColumnSmem& s) {
    UNROLL for (int half = 0; half < 2; half++) {
        const float* v = sums + 4 * half;
        store_shared(&s.sums[warp_id()][half][lane_id()], Vec<float, 4>{{v[0], v[1], v[2], v[3]}});
    }
    sync_block();   // all warps' sums are there
    int col = int(threadIdx.x);
    float total = 0;
    UNROLL for (int w = 0; w < COLUMN_WARPS; w++) total += s.sums[w][col / 4 % 2][col / 8][col % 4];
    return total;
}
