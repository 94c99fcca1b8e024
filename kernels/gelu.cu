// gelu_fwd: pre = bf16(x + bias), y = gelu(pre); gelu_bwd: dy *= gelu'(pre) in place, and the sums of that over rows
// 128 c to 128 c + 127, in f32 before rounding, to partials[c]: the bias gradient once sum_partials has added them.
// x, pre, y, dy [rows, cols] bf16, rows ..._ld apart, cols % 8 == 0; pre may be x. bias [cols] bf16, or null: then
// x is the pre-activation already (the GEMM added the bias) and pre is not written. partials [ceil(rows / 128),
// cols] f32, or null where no bias gradient is wanted. Pointers and leading dimensions * 2 at multiples of 16 bytes.
// Grid ceil(rows / 128) x ceil(cols / 256) blocks of 256 threads; shared memory: forward none, backward 9,216 bytes.
// Moves 6*rows*cols bytes each way (4 forward without bias), + 4*cols*ceil(rows / 128) backward; about 25 and 40
// FLOP an element: memory-bound.
// Deterministic: elementwise; the sums as in bias_grad.
// Hendrycks & Gimpel 2016, arXiv:1606.08415: x * cdf(x) for erf; the tanh form is x * sigmoid(2 u), u as there.
#include "columns.h"

namespace {

struct Erf {
    static DEVICE float cdf(float x) { return 0.5f + 0.5f * erff(x * 0.70710678f); }
    static DEVICE float value(float x) { return x * cdf(x); }
    // exp(-x^2 / 2) / sqrt(2 pi) is the density.
    static DEVICE float slope(float x) {
        return cdf(x) + x * (0.39894228f * exp2_approx(-0.72134752f * x * x));
    }
};

struct Tanh {
    static constexpr float A = 0.79788456f, B = 0.044715f;   // A = sqrt(2 / pi)
    // h = (1 + tanh u) / 2 and 1 - h are 1 / (1 + e) and e / (1 + e), e = exp(-2 |u|): neither is a difference.
    float h, product;   // h * (1 - h)

    DEVICE explicit Tanh(float x) {
        float u = A * x * (1.0f + B * x * x);
        float e = exp2_approx(-2.8853901f * fabsf(u));   // 2 log2(e)
        float r = rcp_approx(1.0f + e);
        h = u < 0 ? e * r : r;
        product = e * r * r;
    }
    static DEVICE float value(float x) { return x * Tanh(x).h; }
    static DEVICE float slope(float x) {
        Tanh t(x);
        return t.h + 2.0f * A * x * t.product * (1.0f + 3.0f * B * x * x);   // 0 * large, not inf * 0
    }
};

template <class Gelu>
DEVICE void gelu_fwd(const bf16* x, int64_t x_ld, const bf16* bias, bf16* pre, int64_t pre_ld, bf16* y,
                     int64_t y_ld, int rows, int cols) {
    int col = int(blockIdx.y) * COLUMN_TILE + 8 * lane_id();
    if (col >= cols) return;
    Vec<bf16, 8> shift = {};
    if (bias) shift = load<8>(bias + col);
    int end = min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS);
    for (int row = int(blockIdx.x) * COLUMN_ROWS + warp_id(); row < end; row += COLUMN_BATCH * COLUMN_WARPS) {
        Vec<bf16, 8> v[COLUMN_BATCH];
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r < end) v[b] = load_stream<8>(x + r * x_ld + col);
        }
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r >= end) break;
            if (bias) {
                UNROLL for (int j = 0; j < 8; j++) v[b][j] = to_bf16(to_float(v[b][j]) + to_float(shift[j]));
                store_stream(pre + r * pre_ld + col, v[b]);
            }
            UNROLL for (int j = 0; j < 8; j++) v[b][j] = to_bf16(Gelu::value(to_float(v[b][j])));
            store(y + r * y_ld + col, v[b]);
        }
    }
}

template <class Gelu>
DEVICE void gelu_bwd(const bf16* pre, int64_t pre_ld, bf16* dy, int64_t dy_ld, float* partials, int rows, int cols) {
    DYNAMIC_SMEM(ColumnSmem, s);
    int first = int(blockIdx.y) * COLUMN_TILE;
    int col = first + 8 * lane_id();
    int end = col < cols ? min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS) : 0;
    float sums[8] = {};
    for (int row = int(blockIdx.x) * COLUMN_ROWS + warp_id(); row < end; row += COLUMN_BATCH * COLUMN_WARPS) {
        Vec<bf16, 8> v[COLUMN_BATCH], d[COLUMN_BATCH];
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r >= end) break;
            v[b] = load_stream<8>(pre + r * pre_ld + col);
            d[b] = load<8>(dy + r * dy_ld + col);
        }
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r >= end) break;
            UNROLL for (int j = 0; j < 8; j++) {
                float g = to_float(d[b][j]) * Gelu::slope(to_float(v[b][j]));
                sums[j] += g;
                d[b][j] = to_bf16(g);
            }
            store(dy + r * dy_ld + col, d[b]);
        }
    }
    if (!partials) return;
    float total = block_columns(sums, s);
    col = first + int(threadIdx.x);
    if (col < cols) store(partials + int64_t(blockIdx.x) * cols + col, total);
}

}   // namespace

#define GELU(NAME, FORM)                                                                                              \
    KERNEL(gelu_fwd_##NAME, COLUMN_THREADS, const bf16* x, int64_t x_ld, const bf16* bias, bf16* pre, int64_t pre_ld, \
           bf16* y, int64_t y_ld, int rows, int cols) {                                                               \
        gelu_fwd<FORM>(x, x_ld, bias, pre, pre_ld, y, y_ld, rows, cols);                                              \
    }                                                                                                                 \
    KERNEL(gelu_bwd_##NAME, COLUMN_THREADS, const bf16* pre, int64_t pre_ld, bf16* dy, int64_t dy_ld,                 \
           float* partials, int rows, int cols) {                                                                     \
        gelu_bwd<FORM>(pre, pre_ld, dy, dy_ld, partials, rows, cols);                                                 \
    }
GELU(erf, Erf)
GELU(tanh, Tanh)
