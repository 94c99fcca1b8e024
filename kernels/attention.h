// What the attention kernels share: tiles of bf16 in shared memory, their fragments, and the order of key tiles.
#pragma once
#include "prim.h"

// [ROWS, COLS] bf16 as chunks of 16 bytes. A chunk's place in its row is xored with the row, so that eight rows of
// one column of chunks, as ldmatrix reads them, lie in eight different groups of banks whatever COLS is.
template <int ROWS, int COLS> struct alignas(128) AttentionTile {
    static constexpr int CHUNKS = COLS / 8;
    static constexpr int PERIOD = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;   // chunks the xor permutes
    static_assert(CHUNKS % 2 == 0, "columns come in sixteens");
    bf16 x[ROWS * COLS];

    DEVICE bf16* at(int row, int chunk) {
        int other = row / (8 / PERIOD);   // the multiple of PERIOD apart: an immediate offset in the instruction
        return x + (row * CHUNKS + (chunk & -PERIOD) + ((chunk ^ other) & (PERIOD - 1))) * 8;
    }
};

// Rows 0..valid of `from` on their way to shared memory, zeros behind them; the caller commits.
template <int THREADS, int ROWS, int COLS>
DEVICE void copy_tile(AttentionTile<ROWS, COLS>& tile, const bf16* from, int64_t ld, int valid) {
    constexpr int CHUNKS = COLS / 8;
    UNROLL_BY(1) for (int i = int(threadIdx.x); i < ROWS * CHUNKS; i += THREADS) {   // unrolled, it needs registers
        int row = i / CHUNKS, chunk = i % CHUNKS;
        cp_async(tile.at(row, chunk), from + row * ld + chunk * 8, row < valid);
    }
}

// The same of a key tile: `values` lie behind `keys` in each row.
template <int THREADS, int ROWS, int COLS>
DEVICE void copy_keys_values(AttentionTile<ROWS, COLS>& k, AttentionTile<ROWS, COLS>& v, const bf16* keys, int64_t ld,
                             int valid) {
    constexpr int CHUNKS = COLS / 8;
    UNROLL_BY(1) for (int i = int(threadIdx.x); i < ROWS * CHUNKS; i += THREADS) {
        int row = i / CHUNKS, chunk = i % CHUNKS;
        const bf16* from = keys + row * ld + chunk * 8;
        cp_async(k.at(row, chunk), from, row < valid);
        cp_async(v.at(row, chunk), from + COLS, row < valid);
    }
}

// Fragments of mma (see prim.h) out of a tile; rows and columns are where the 16 x 16 part starts.
// a = tile[row.., col..]: rows of the tile are the rows of A.
template <class Tile> DEVICE void fragment_a(uint32_t (&a)[4], Tile& tile, int row, int col) {
    ldmatrix_x4(a, tile.at(row + lane_id() % 16, col / 8 + lane_id() / 16));
}

// a = tile[row.., col..] transposed: columns of the tile are the rows of A.
template <class Tile> DEVICE void fragment_a_transposed(uint32_t (&a)[4], Tile& tile, int row, int col) {
    ldmatrix_x4<true>(a, tile.at(row + lane_id() % 8 + lane_id() / 16 * 8, col / 8 + lane_id() / 8 % 2));
}

// Two b, side by side: rows of the tile are the columns of B.
template <class Tile> DEVICE void fragment_b_rows(uint32_t (&b)[4], Tile& tile, int row, int col) {
    ldmatrix_x4(b, tile.at(row + lane_id() % 8 + lane_id() / 16 * 8, col / 8 + lane_id() / 8 % 2));
}

// Two b, side by side: columns of the tile are the columns of B.
template <class Tile> DEVICE void fragment_b_columns(uint32_t (&b)[4], Tile& tile, int row, int col) {
    ldmatrix_x4<true>(b, tile.at(row + lane_id() % 16, col / 8 + lane_id() / 16));
}

// c0 += a * (left b), c1 += a * (right b).
DEVICE void mma_pair(float (&c0)[4], float (&c1)[4], const uint32_t (&a)[4], const uint32_t (&b)[4]) {
    uint32_t left[2] = {b[0], b[1]}, right[2] = {b[2], b[3]};
    mma(c0, a, left);
    mma(c1, a, right);
}

// Two accumulators side by side become one fragment of A.
DEVICE void accumulators_to_a(uint32_t (&a)[4], const float (&c0)[4], const float (&c1)[4]) {
    a[0] = pack_bf16(c0[0], c0[1]);
    a[1] = pack_bf16(c0[2], c0[3]);
    a[2] = pack_bf16(c1[0], c1[1]);
    a[3] = pack_bf16(c1[2], c1[3]);
}

constexpr float LOG2_E = 1.4426950408889634f;
constexpr float LN_2 = 0.6931471805599453f;

template <int D> DEVICE float attention_scale() { return 1.0f / sqrtf(float(D)); }

DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }
