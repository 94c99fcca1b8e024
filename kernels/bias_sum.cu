// bias_sum: out[p] = bf16(w[a_p] + w[b_p]) for pairs p of bias vectors: the parallel residual's output adds both of
// its biases in one product.
// w: the flat buffer of master weights, f32; pairs [count, 2] i64: the offsets a_p, b_p; out [count, cols] bf16.
// cols and offsets % 4 == 0; everything at multiples of 16 bytes.
// Grid ceil(cols / 1024) x count blocks of 256 threads; shared memory: none.
// Moves 10*count*cols bytes, one FLOP an element: less than a microsecond, once a step.
// Deterministic: elementwise.
#include "prim.h"

KERNEL(bias_sum, 256, const float* w, const int64_t* pairs, bf16* out, int cols) {
    int col = 4 * (int(blockIdx.x) * 256 + int(threadIdx.x));
    if (col >= cols) return;
    Vec<int64_t, 2> pair = load<2>(pairs + 2 * int64_t(blockIdx.y));
    Vec<float, 4> a = load<4>(w + pair[0] + col), b = load<4>(w + pair[1] + col);
    Vec<bf16, 4> sum;
    for (int i = 0; i < 4; i++) sum[i] = to_bf16(a[i] + b[i]);
    store(out + int64_t(blockIdx.y) * cols + col, sum);
}
