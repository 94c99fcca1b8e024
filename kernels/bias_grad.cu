// bias_grad: partials[c, j] = sum of dy[r, j] over rows 128 c to 128 c + 127, of up to two matrices at once;
// sum_partials, the second stage of every sum over rows: out[j] = [out[j] +] sum over c of from[c, j], up to eight of
// them at once, each with its own numbers of chunks and columns.
// dy [rows, cols] bf16, rows ld apart, cols % 8 == 0; partials [ceil(rows / 128), cols] f32. For sum_partials from
// [chunks, cols] f32, rows ld apart, cols and ld % 4 == 0, out [cols] f32. Pointers and the ld * 2 of dy at multiples
// of 16 bytes. The tables are src/device/sums.rs.
// Grid of bias_grad ceil(rows / 128) x ceil(largest cols / 256) x matrices blocks of 256 threads, 9,216 bytes of
// shared memory; of sum_partials ceil(largest cols / 128) x sums blocks of 256 threads, 4,096 bytes.
// Moves 2*rows*cols + 4*chunks*cols, and 4*cols*(chunks + 1) bytes a sum (+ 2 if it accumulates); one FLOP for each
// element read: memory-bound.
// Deterministic: rows in the order of their warp, then warps, then chunks, all fixed by the shape.
#include "columns.h"

struct ColumnTable {
    const bf16* dy[2];
    int64_t ld[2];
    float* partials[2];
    int32_t cols[2];
};

struct SumTable {
    const float* from[8];
    float* out[8];
    int32_t chunks[8], cols[8], ld[8];
};

static_assert(sizeof(ColumnTable) == 56 && sizeof(SumTable) == 224, "the layout in Rust");

KERNEL(bias_grad, COLUMN_THREADS, IN_PLACE ColumnTable table, int rows) {
    DYNAMIC_SMEM(ColumnSmem, s);
    constexpr int BATCH = 2 * COLUMN_BATCH;   // one tensor in flight instead of two
    const bf16* dy = table.dy[blockIdx.z];
    int64_t dy_ld = table.ld[blockIdx.z];
    int cols = table.cols[blockIdx.z], first = int(blockIdx.y) * COLUMN_TILE;
    if (first >= cols) return;
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
    if (col < cols) store(table.partials[blockIdx.z] + int64_t(blockIdx.x) * cols + col, total);
}

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int BATCH = 8;   // loads in flight: few threads have work here

struct PartialsSmem {
    Vec<float, 4> sums[WARPS][32];
};

}   // namespace

KERNEL(sum_partials, THREADS, IN_PLACE SumTable table, int accumulate) {
    DYNAMIC_SMEM(PartialsSmem, s);
    int which = int(blockIdx.y), chunks = table.chunks[which], cols = table.cols[which];
    if (int(blockIdx.x) * 128 >= cols) return;
    int col = int(blockIdx.x) * 128 + 4 * lane_id();
    int64_t ld = table.ld[which];
    const float* from = table.from[which] + col;
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
    float* out = table.out[which] + col;
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
