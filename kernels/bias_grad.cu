// bias_grad: partials[c, j] = sum of dy[r, j] over rows 128 c to 128 c + 127; sum_partials, the second stage of
// every sum over rows: out_g[j] = [out_g[j] +] sum over c of partials[c, g, j].
// dy [rows, cols] bf16, rows dy_ld apart, cols % 8 == 0; partials [ceil(rows / 128), cols] f32. For sum_partials
// partials [chunks, groups, cols], cols % 4 == 0, groups <= 4, out_g [cols] f32. Pointers and dy_ld * 2 at multiples
// of 16 bytes.
// Grid of bias_grad ceil(rows / 128) x ceil(cols / 256) blocks of 256 threads, 9,216 bytes of shared memory; of
// sum_partials ceil(cols / 128) x groups blocks of 256 threads, 4,096 bytes.
// Moves 2*rows*cols + 4*chunks*cols, and 4*groups*cols*(chunks + 1) bytes (+ 2 if it accumulates); one FLOP for
// each element read: memory-bound.
// Deterministic: rows in the order of their warp, then warps, then chunks, all fixed by the shape.
#include "columns.h"

KERNEL(bias_grad, COLUMN_THREADS, const bf16* dy, int64_t dy_ld, float* partials, int rows, int cols) {
    DYNAMIC_SMEM(ColumnSmem, s);
    constexpr int BATCH = 2 * COLUMN_BATCH;   // one tensor in flight instead of two
    int first = int(blockIdx.y) * COLUMN_TILE;
    int col = first + 8 * lane_id();
    int end = min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS);
    float sums[8] = {};
    for (int row = int(blockIdx.x) * COLUMN_ROWS + warp_id(); row < end; row += BATCH * COLUMN_WARPS) {
        Vec<bf16, 8> d[BATCH];
        UNROLL for (int b = 0; b < BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            d[b] = {};
            if (r < end && col < cols) d[b] = load<8>(dy + r * dy_ld + col);
        }
        UNROLL for (int b = 0; b < BATCH; b++) {
            UNROLL for (int j = 0; j < 8; j++) sums[j] += to_float(d[b][j]);
        }
    }
    float total = block_columns(sums, s);
    col = first + int(threadIdx.x);
    if (col < cols) store(partials + int64_t(blockIdx.x) * cols + col, total);
}

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int BATCH = 8;   // loads in flight: few threads have work here

struct PartialsSmem {
    Vec<float, 4> sums[WARPS][32];
};

}   // namespace

KERNEL(sum_partials, THREADS, const float* partials, int chunks, int cols, float* out0, float* out1, float* out2,
       float* out3, int accumulate) {
    DYNAMIC_SMEM(PartialsSmem, s);
    int group = int(blockIdx.y);
    int col = int(blockIdx.x) * 128 + 4 * lane_id();
    int64_t ld = int64_t(gridDim.y) * cols;
    const float* from = partials + int64_t(group) * cols + col;
    Vec<float, 4> sums = {};
    for (int chunk = warp_id(); chunk < chunks; chunk += BATCH * WARPS) {
        Vec<float, 4> p[BATCH];
        UNROLL for (int b = 0; b < BATCH; b++) {
            int c = chunk + b * WARPS;
            p[b] = {};
            if (c < chunks && col < cols) p[b] = load_stream<4>(from + c * ld);
        }
        UNROLL for (int b = 0; b < BATCH; b++) {
            UNROLL for (int j = 0; j < 4; j++) sums[j] += p[b][j];
        }
    }
    store_shared(&s.sums[warp_id()][lane_id()], sums);
    sync_block();   // all warps' sums are there
    if (warp_id() > 0 || col >= cols) return;
    float* out = (group == 0 ? out0 : group == 1 ? out1 : group == 2 ? out2 : out3) + col;
    for (int w = 1; w < WARPS; w++) {
        Vec<float, 4> more = load_shared(&s.sums[w][lane_id()]);
        UNROLL for (int j = 0; j < 4; j++) sums[j] += more[j];
    }
    if (accumulate) {
        Vec<float, 4> old = load<4>(out);
        UNROLL for (int j = 0; j < 4; j++) sums[j] += old[j];
    }
    store(out, sums);
}
