// global_norm_partial, then global_norm_final: sum of squares and sum of absolute values of g [n] f32.
// partial [blocks, 2] f64, blocks = ceil(n / 32768); sums [2] f64 = squares, absolute values. Pointers at
// multiples of 16 bytes, gaps between tensors zero.
// Grid: partial ceil(n / 32768) blocks of 256 threads, final 1 block of 1024; shared memory sizeof(NormSmem) = 512.
// Moves 4*n bytes, 4*n FLOP: memory-bound; the partial sums are 0.01 % of it.
// Deterministic: chunks, lanes and their order depend on n alone. Eight numbers at a time are added in f32, the rest
// in f64, which even a GPU with 1/64 of its rate in f64 hides. |g| above 1.8e19 gives infinity: the step is skipped.
// Pascanu et al. 2013, arXiv:1211.5063, algorithm 1.
#include "prim.h"

namespace {

constexpr int THREADS = 256;
constexpr int BATCH = 8;     // loads of 16 bytes in flight per thread
constexpr int BATCHES = 4;
constexpr int CHUNK = THREADS * 4 * BATCH * BATCHES;

struct NormSmem {
    double squares[32], sums[32];   // of warps
};

DEVICE double warp_sum(double x) {
    UNROLL for (int m = 16; m > 0; m /= 2) {
        Vec<uint32_t, 2> mine = bits_as<Vec<uint32_t, 2>>(x), other;
        other[0] = shuffle_xor(mine[0], m);
        other[1] = shuffle_xor(mine[1], m);
        x += bits_as<double>(other);
    }
    return x;
}

// Thread 0 stores both sums over the block.
DEVICE void store_sums(double squares, double sum, double* out, NormSmem& s) {
    squares = warp_sum(squares);
    sum = warp_sum(sum);
    if (lane_id() == 0) {
        s.squares[warp_id()] = squares;
        s.sums[warp_id()] = sum;
    }
    sync_block();   // all warps' sums are there
    if (threadIdx.x != 0) return;
    for (int w = 1; w < int(blockDim.x) / 32; w++) {
        squares += s.squares[w];
        sum += s.sums[w];
    }
    store(out, Vec<double, 2>{{squares, sum}});
}

// Four elements from i on, zero behind the end.
DEVICE Vec<float, 4> load_padded(const float* g, int64_t i, int64_t n) {
    if (i + 4 <= n) return load_stream<4>(g + i);
    Vec<float, 4> x{};
    UNROLL for (int k = 0; k < 4; k++)
        if (i + k < n) x[k] = load(g + i + k);
    return x;
}

}   // namespace

KERNEL(global_norm_partial, THREADS, const float* g, int64_t n, double* partial) {
    DYNAMIC_SMEM(NormSmem, s);
    int64_t start = int64_t(blockIdx.x) * CHUNK + int64_t(threadIdx.x) * 4;
    double squares = 0, sum = 0;
    for (int b = 0; b < BATCHES; b++) {
        Vec<float, 4> x[BATCH];
        UNROLL for (int j = 0; j < BATCH; j++) x[j] = load_padded(g, start + (b * BATCH + j) * THREADS * 4, n);
        UNROLL for (int k = 0; k < 4; k++) {
            float few_squares = 0, few = 0;
            UNROLL for (int j = 0; j < BATCH; j++) {
                few_squares = fmaf(x[j][k], x[j][k], few_squares);
                few += fabsf(x[j][k]);
            }
            squares += double(few_squares);
            sum += double(few);
        }
    }
    store_sums(squares, sum, partial + 2 * int64_t(blockIdx.x), s);
}

KERNEL(global_norm_final, 1024, const double* partial, int blocks, double* sums) {
    DYNAMIC_SMEM(NormSmem, s);
    double squares = 0, sum = 0;
    for (int i = int(threadIdx.x); i < blocks; i += int(blockDim.x)) {
        Vec<double, 2> x = load<2>(partial + 2 * int64_t(i));
        squares += x[0];
        sum += x[1];
    }
    store_sums(squares, sum, sums, s);
}
