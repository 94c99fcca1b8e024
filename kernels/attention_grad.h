// How a gradient of queries, keys or values leaves an attention kernel: through shared memory in f32, rotated back,
// rounded once, into the interleaved layout.
#pragma once
#include "attention.h"

// [ROWS, COLS] f32. Eight columns, 32 bytes, are a unit; its place is xored with the row so that accumulators of
// mma can be stored, and rows read, without bank conflicts.
template <int ROWS, int COLS> struct FloatTile {
    static constexpr int UNITS = COLS / 8;
    static constexpr int PERIOD = UNITS % 4 == 0 ? 4 : 2;
    float x[ROWS * COLS];

    DEVICE float* at(int row, int col) {
        int unit = col / 8, other = row / (4 / PERIOD);
        return x + (row * UNITS + (unit & -PERIOD) + ((unit ^ other) & (PERIOD - 1))) * 8 + col % 8;
    }
};

// Where the positions' angles are: cos and sin [positions, pairs] f32, positions [B*T]; pairs may be 0.
struct Rotation {
    const float *cos, *sin;
    const int* positions;
    int pairs;
};

// Accumulators of one 16 x 8 part, times `scale`.
template <class Tile> DEVICE void store_accumulators(Tile& tile, int row, int col, const float (&c)[4], float scale) {
    UNROLL for (int half = 0; half < 2; half++)
        store_shared(tile.at(row + half * 8 + lane_id() / 4, col + lane_id() % 4 * 2),
                     Vec<float, 2>{{c[2 * half] * scale, c[2 * half + 1] * scale}});
}

// Turns dimensions j and j + pairs of the first `rows` rows of the tile back by the angle of their position: the
// gradient of the rotation. Row 0 is token `first`.
template <int THREADS, class Tile> DEVICE void rotate_back(Tile& tile, const Rotation& r, int64_t first, int rows) {
    for (int i = int(threadIdx.x); i < rows * r.pairs; i += THREADS) {
        int row = i / r.pairs, j = i % r.pairs;
        int64_t angle = int64_t(load(r.positions + first + row)) * r.pairs + j;
        float c = load(r.cos + angle), s = load(r.sin + angle);
        float *a = tile.at(row, j), *b = tile.at(row, j + r.pairs);
        float x = *a, y = *b;
        *a = x * c + y * s;
        *b = y * c - x * s;
    }
}

// The first `rows` rows as bf16, `ld` apart.
template <int THREADS, int ROWS, int COLS>
DEVICE void store_rows(FloatTile<ROWS, COLS>& tile, bf16* to, int64_t ld, int rows) {
    constexpr int UNITS = COLS / 8;
    UNROLL_BY(1) for (int i = int(threadIdx.x); i < ROWS * UNITS; i += THREADS) {
        int row = i / UNITS, unit = i % UNITS, second = i / 4 % 2;   // four lanes begin with the second half
        if (row >= rows) break;
        Vec<float, 4> v = load_shared<4>(tile.at(row, unit * 8 + second * 4));
        Vec<float, 4> w = load_shared<4>(tile.at(row, unit * 8 + 4 - second * 4));
        Vec<bf16, 8> y;
        UNROLL for (int k = 0; k < 4; k++) {
            y[k] = to_bf16(second ? w[k] : v[k]);
            y[k + 4] = to_bf16(second ? v[k] : w[k]);
        }
        store(to + row * ld + unit * 8, y);
    }
}
