// layernorm_bwd: dx += rstd * (d - mean(d) - xhat * mean(d * xhat)) with d = dy * w, xhat = (x - mean) * rstd, and
// the sums of dy * xhat and dy over rows 64 c to 64 c + 63 to partials[c]; layernorm_pair_bwd: the same for the sum
// of two norms of one x, d = dy0 * w0 + dy1 * w1.
// x, dy, dx [rows, cols] bf16, rows ..._ld apart; stats [rows, 2] f32 = mean, rstd; w [cols] f32; partials
// [ceil(rows / 64), 2 * norms, cols] f32 in the order dw0, db0, dw1, db1, for sum_partials (bias_grad.cu).
// cols % 8 == 0, cols <= 5120 and <= the number in the name; pointers and leading dimensions * 2 at multiples of 16
// bytes.
// Grid ceil(rows / 64) blocks of 32 * ceil(cols / 256) threads; shared memory 640 bytes (320 for pair_5120).
// Moves 2*rows*cols*(3 + norms) + 8*rows bytes and 12*norms*cols per block, 14*norms*rows*cols FLOP: memory-bound.
// Deterministic: a row is summed within warps, then over warps in order; the columns by one thread over the rows
// in order.
// Ba et al. 2016, arXiv:1607.06450, eq. 4.
#include "prim.h"
#include "reduce.h"

namespace {

constexpr int ROWS = 64;          // of a block: the weights and the sums are 4 % of the traffic of a pair
constexpr int THREADS_MAX = 640;  // 5,120 columns, 8 per thread

// Both sums of AT_ONCE rows, by warp; two sets, so that one barrier separates writing from reading.
template <int AT_ONCE> struct LayernormBwdSmem {
    Vec<float, 2 * AT_ONCE> sums[2][THREADS_MAX / 32];
};

template <int NORMS> struct NormsBwd {
    const float* w[NORMS];
    const bf16* dy[NORMS];
};

template <int NORMS> struct Row {
    Vec<bf16, 8> x, dx, dy[NORMS];
    Vec<float, 2> stats;

    DEVICE float xhat(int j) const { return (to_float(x[j]) - stats[0]) * stats[1]; }
    DEVICE float d(int j, const float (&w)[NORMS][8]) const {
        float d = 0;
        UNROLL for (int k = 0; k < NORMS; k++) d += to_float(dy[k][j]) * w[k][j];
        return d;
    }
};

// AT_ONCE rows between two barriers.
template <int NORMS, int AT_ONCE>
DEVICE void backward(const bf16* x, int64_t x_ld, const float* stats, const NormsBwd<NORMS>& n, int64_t dy_ld,
                     bf16* dx, int64_t dx_ld, float* partials, int rows, int cols) {
    using Smem = LayernormBwdSmem<AT_ONCE>;
    DYNAMIC_SMEM(Smem, s);
    int col = 8 * int(threadIdx.x);
    bool in = col < cols;
    float w[NORMS][8] = {}, dw[NORMS][8] = {}, db[NORMS][8] = {};
    UNROLL for (int k = 0; k < NORMS; k++) {
        UNROLL for (int j = 0; j < 8; j += 4) {
            Vec<float, 4> v = {};
            if (in) v = load<4>(n.w[k] + col + j);
            UNROLL for (int i = 0; i < 4; i++) w[k][j + i] = v[i];
        }
    }
    int first = int(blockIdx.x) * ROWS, end = in ? min(rows, first + ROWS) : 0;
    for (int row = first, set = 0; row < min(rows, first + ROWS); row += AT_ONCE, set ^= 1) {
        Row<NORMS> r[AT_ONCE];
        Vec<float, 2 * AT_ONCE> sums = {};
        UNROLL for (int p = 0; p < AT_ONCE; p++) {
            int64_t at = row + p;
            if (at >= end) continue;
            r[p].stats = load<2>(stats + 2 * at);
            r[p].x = load_stream<8>(x + at * x_ld + col);
            UNROLL for (int k = 0; k < NORMS; k++) r[p].dy[k] = load_stream<8>(n.dy[k] + at * dy_ld + col);
            r[p].dx = load<8>(dx + at * dx_ld + col);
        }
        UNROLL for (int p = 0; p < AT_ONCE; p++) {
            if (row + p >= end) continue;
            UNROLL for (int j = 0; j < 8; j++) {
                float d = r[p].d(j, w);
                sums[2 * p] += d;
                sums[2 * p + 1] += d * r[p].xhat(j);
            }
        }
        UNROLL for (int i = 0; i < 2 * AT_ONCE; i++) sums[i] = warp_sum(sums[i]);
        if (lane_id() == 0) store_shared(&s.sums[set][warp_id()], sums);
        sync_block();   // all warps' sums are there, and the other set has been read
        Vec<float, 2 * AT_ONCE> means = {};
        for (int i = 0; i < int(blockDim.x) / 32; i++) {
            Vec<float, 2 * AT_ONCE> more = load_shared(&s.sums[set][i]);
            UNROLL for (int j = 0; j < 2 * AT_ONCE; j++) means[j] += more[j];
        }
        UNROLL for (int j = 0; j < 2 * AT_ONCE; j++) means[j] /= float(cols);
        UNROLL for (int p = 0; p < AT_ONCE; p++) {
            if (row + p >= end) continue;
            UNROLL for (int j = 0; j < 8; j++) {
                float xhat = r[p].xhat(j);
                float g = r[p].stats[1] * (r[p].d(j, w) - means[2 * p] - xhat * means[2 * p + 1]);
                r[p].dx[j] = to_bf16(to_float(r[p].dx[j]) + g);
                UNROLL for (int k = 0; k < NORMS; k++) {
                    float dy = to_float(r[p].dy[k][j]);
                    dw[k][j] += dy * xhat;
                    db[k][j] += dy;
                }
            }
            store(dx + (row + p) * dx_ld + col, r[p].dx);
        }
    }
    if (!in) return;
    float* to = partials + int64_t(blockIdx.x) * (2 * NORMS) * cols + col;
    UNROLL for (int k = 0; k < NORMS; k++) {
        UNROLL for (int j = 0; j < 8; j += 4) {
            store(to + 2 * k * cols + j, Vec<float, 4>{{dw[k][j], dw[k][j + 1], dw[k][j + 2], dw[k][j + 3]}});
            store(to + (2 * k + 1) * cols + j, Vec<float, 4>{{db[k][j], db[k][j + 1], db[k][j + 2], db[k][j + 3]}});
        }
    }
}

}   // namespace

// Where a thread may have 128 registers it takes two rows of a pair at a time, where it may have 96, one.
KERNEL(layernorm_bwd, THREADS_MAX, const bf16* x, int64_t x_ld, const float* stats, const float* w, const bf16* dy,
       int64_t dy_ld, bf16* dx, int64_t dx_ld, float* partials, int rows, int cols) {
    backward<1, 2>(x, x_ld, stats, {{w}, {dy}}, dy_ld, dx, dx_ld, partials, rows, cols);
}

#define LAYERNORM_PAIR_BWD(COLS, AT_ONCE)                                                                             \
    KERNEL(layernorm_pair_bwd_##COLS, COLS / 8, const bf16* x, int64_t x_ld, const float* stats, const float* w0,     \
           const float* w1, const bf16* dy0, const bf16* dy1, int64_t dy_ld, bf16* dx, int64_t dx_ld,                 \
           float* partials, int rows, int cols) {                                                                     \
        backward<2, AT_ONCE>(x, x_ld, stats, {{w0, w1}, {dy0, dy1}}, dy_ld, dx, dx_ld, partials, rows, cols);         \
    }
LAYERNORM_PAIR_BWD(4096, 2)
LAYERNORM_PAIR_BWD(5120, 1)
