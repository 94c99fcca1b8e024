// layernorm_fwd: y = (x - mean) * rstd * w + b, one warp per row; layernorm_pair_fwd: two such y from one x.
// x [rows, cols] bf16, rows x_ld apart; w, b [cols] f32; y [rows, cols] bf16, rows y_ld apart; stats [rows, 2] f32
// = mean, rstd. cols % 8 == 0, cols <= the number in the kernel's name; x, y, w, b and leading dimensions * 2 at
// multiples of 16 bytes.
// Grid ceil(rows / 64) blocks of 256 threads; shared memory: 8 * norms * (number in the name) bytes.
// Moves 2*rows*cols*(1 + norms) + 8*rows bytes and 8*norms*cols per block, 8*norms*rows*cols FLOP: memory-bound.
// Deterministic: a row is summed by one warp in a fixed order, the variance from the differences to the mean.
// Ba et al. 2016, arXiv:1607.06450, eq. 4.
#include "prim.h"
#include "reduce.h"

namespace {

constexpr int ROWS = 64;      // of a block: weights are read once per block, 3 % of its traffic
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

// Eight columns per lane and chunk as two halves of four, lane l's at l ^ 4 half: no bank conflicts either way.
template <int CHUNKS, int NORMS> struct LayernormSmem {
    Vec<float, 4> w[NORMS][CHUNKS][2][32], b[NORMS][CHUNKS][2][32];
};

template <int NORMS> struct Norms {
    const float *w[NORMS], *b[NORMS];
    bf16* y[NORMS];
};

template <int CHUNKS, int NORMS>
DEVICE void layernorm_fwd(const bf16* x, int64_t x_ld, const Norms<NORMS>& n, int64_t y_ld, float* stats, float eps,
                          int rows, int cols) {
    using Smem = LayernormSmem<CHUNKS, NORMS>;
    DYNAMIC_SMEM(Smem, s);
    for (int i = int(threadIdx.x) * 4; i < cols; i += THREADS * 4) {
        int chunk = i / 256, half = i / 4 % 2, lane = i / 8 % 32 ^ 4 * half;
        UNROLL for (int k = 0; k < NORMS; k++) {
            store_shared(&s.w[k][chunk][half][lane], load<4>(n.w[k] + i));
            store_shared(&s.b[k][chunk][half][lane], load<4>(n.b[k] + i));
        }
    }
    sync_block();   // the weights are there

    int lane = lane_id();
    int end = min(rows, (int(blockIdx.x) + 1) * ROWS);
    for (int row = int(blockIdx.x) * ROWS + warp_id(); row < end; row += WARPS) {
        Vec<bf16, 8> v[CHUNKS];
        float sum = 0;
        UNROLL for (int c = 0; c < CHUNKS; c++) {
            int col = c * 256 + lane * 8;
            if (col >= cols) continue;
            v[c] = load_stream<8>(x + row * x_ld + col);
            UNROLL for (int j = 0; j < 8; j++) sum += to_float(v[c][j]);
        }
        float mean = warp_sum(sum) / float(cols);
        float squares = 0;
        UNROLL for (int c = 0; c < CHUNKS; c++) {
            if (c * 256 + lane * 8 >= cols) continue;
            UNROLL for (int j = 0; j < 8; j++) {
                float d = to_float(v[c][j]) - mean;
                squares += d * d;
            }
        }
        float rstd = 1.0f / sqrtf(warp_sum(squares) / float(cols) + eps);
        if (lane == 0) store(stats + 2 * int64_t(row), Vec<float, 2>{{mean, rstd}});
        UNROLL for (int k = 0; k < NORMS; k++) {
            UNROLL for (int c = 0; c < CHUNKS; c++) {
                int col = c * 256 + lane * 8;
                if (col >= cols) continue;
                Vec<bf16, 8> y;
                UNROLL for (int half = 0; half < 2; half++) {
                    Vec<float, 4> w = load_shared(&s.w[k][c][half][lane ^ 4 * half]);
                    Vec<float, 4> b = load_shared(&s.b[k][c][half][lane ^ 4 * half]);
                    UNROLL for (int j = 0; j < 4; j++) {
                        float xhat = (to_float(v[c][4 * half + j]) - mean) * rstd;
                        y[4 * half + j] = to_bf16(xhat * w[j] + b[j]);
                    }
                }
                store(n.y[k] + row * y_ld + col, y);
            }
        }
    }
}

}   // namespace

#define LAYERNORM(COLS)                                                                                               \
    KERNEL(layernorm_fwd_##COLS, THREADS, const bf16* x, int64_t x_ld, const float* w, const float* b, bf16* y,       \
           int64_t y_ld, float* stats, float eps, int rows, int cols) {                                               \
        layernorm_fwd<COLS / 256, 1>(x, x_ld, {{w}, {b}, {y}}, y_ld, stats, eps, rows, cols);                         \
    }                                                                                                                 \
    KERNEL(layernorm_pair_fwd_##COLS, THREADS, const bf16* x, int64_t x_ld, const float* w0, const float* b0,         \
           const float* w1, const float* b1, bf16* y0, bf16* y1, int64_t y_ld, float* stats, float eps, int rows,     \
           int cols) {                                                                                                \
        layernorm_fwd<COLS / 256, 2>(x, x_ld, {{w0, w1}, {b0, b1}, {y0, y1}}, y_ld, stats, eps, rows, cols);          \
    }
LAYERNORM(512)
LAYERNORM(1024)
LAYERNORM(2048)
LAYERNORM(5120)
