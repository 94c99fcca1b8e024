// cast_f32_bf16, cast_bf16_f32: y = x in the other precision, to nearest even.
// x, y [n], at multiples of 16 bytes; any n.
// Grid ceil(n / 4096) blocks of 256 threads; shared memory: none.
// Moves 6*n bytes, no FLOP: memory-bound. Lanes move 16 bytes of f32 and 8 of bf16, so that both are contiguous.
// Deterministic: elementwise.
#include "prim.h"

namespace {

constexpr int THREADS = 256;
constexpr int BATCH = 4;   // vectors of four per thread

DEVICE void convert(float x, bf16& y) { y = to_bf16(x); }
DEVICE void convert(bf16 x, float& y) { y = to_float(x); }

template <class To, class From> DEVICE void cast(const From* x, To* y, int64_t n) {
    int64_t first = (int64_t(blockIdx.x) * BATCH * THREADS + threadIdx.x) * 4;
    constexpr int STEP = 4 * THREADS;
    Vec<From, 4> v[BATCH];
    UNROLL for (int b = 0; b < BATCH; b++) {
        if (first + b * STEP + 4 <= n) v[b] = load_stream<4>(x + first + b * STEP);
    }
    UNROLL for (int b = 0; b < BATCH; b++) {
        int64_t i = first + b * STEP;
        if (i + 4 > n) break;
        Vec<To, 4> r;
        UNROLL for (int j = 0; j < 4; j++) convert(v[b][j], r[j]);
        store(y + i, r);
    }
    // The last n % 4, by the threads of the last block.
    int64_t rest = n / 4 * 4 + threadIdx.x;
    if (blockIdx.x + 1 == gridDim.x && rest < n) {
        To r;
        convert(load(x + rest), r);
        store(y + rest, r);
    }
}

}   // namespace

KERNEL(cast_f32_bf16, THREADS, const float* x, bf16* y, int64_t n) { cast(x, y, n); }
KERNEL(cast_bf16_f32, THREADS, const bf16* x, float* y, int64_t n) { cast(x, y, n); }
