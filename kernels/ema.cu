// ema: e = e + share * (w - e), the moving average of the weights behind an update; nothing where it was skipped.
// w, e [n] f32, at multiples of 16 bytes; any n. share = 1 - decay, the same in every step; record as in step.h, after
// adamw_step.
// Grid ceil(n / 4096) blocks of 256 threads; shared memory: none.
// Moves 12*n bytes, 3*n FLOP: memory-bound. Lanes move 16 bytes.
// Deterministic: elementwise, with the roundings of the cpu backend (src/backend/cpu/adamw.rs), so equal weights have
// equal averages; an element that is equal to its weight stays that.
#include "prim.h"
#include "step.h"

namespace {

constexpr int THREADS = 256;
constexpr int BATCH = 4;   // vectors of four per thread

DEVICE float averaged(float e, float w, float share) { return fmaf(w - e, share, e); }

}   // namespace

KERNEL(ema, THREADS, const float* w, float* e, float share, int64_t n, const StepRecord* record) {
    if (load(&record->skip)) return;
    int64_t first = (int64_t(blockIdx.x) * BATCH * THREADS + threadIdx.x) * 4;
    constexpr int STEP = 4 * THREADS;
    Vec<float, 4> ve[BATCH], vw[BATCH];
    UNROLL for (int b = 0; b < BATCH; b++) {
        int64_t i = first + b * STEP;
        if (i + 4 > n) break;
        ve[b] = load_stream<4>(e + i);
        vw[b] = load_stream<4>(w + i);
    }
    UNROLL for (int b = 0; b < BATCH; b++) {
        int64_t i = first + b * STEP;
        if (i + 4 > n) break;
        UNROLL for (int j = 0; j < 4; j++) ve[b][j] = averaged(ve[b][j], vw[b][j], share);
        store_stream(e + i, ve[b]);
    }
    // The last n % 4, by the threads of the last block.
    int64_t rest = n / 4 * 4 + threadIdx.x;
    if (blockIdx.x + 1 == gridDim.x && rest < n) store(e + rest, averaged(load(e + rest), load(w + rest), share));
}
