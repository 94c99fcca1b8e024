// embedding_fwd: x[i] = w[token[i]]. embedding_bwd: dw[token[i]] += dx[i]; the host has sorted the rows by token
// (src/device/embedding.rs), so every row of dw has one writer.
// w [vocab, cols] bf16; x, dx [rows, cols] bf16, rows ..._ld apart; tokens [rows] i32; order [rows] i32, the rows
// sorted by token and stably; segments [long_max + rows, 4] i32 = token, first, end in order, 0, of tokens with more
// than 32 rows from 0 on, of the others from long_max = rows / 33 on, the rest 0; dw [vocab, cols] f32, zeroed by the
// caller where gradients do not accumulate. cols % 8 == 0; pointers and leading dimensions * 2 at multiples of 16
// bytes. A token outside of 0..vocab would be another tensor's memory: the host refuses it when it reads a batch.
// Grid forward ceil(rows / 8) blocks of 256 threads, no shared memory; backward (long_max + ceil(rows / 8)) x
// ceil(cols / 256) blocks of 256 threads, 8,192 bytes. No grid depends on the tokens.
// Moves 4*rows*cols, and backward 2*rows*cols + 8*distinct*cols bytes, one FLOP an element: memory-bound. Backward
// lanes move 16 bytes of f32 and 8 of bf16, so that both are contiguous.
// Deterministic: the rows of a token are added in order, by one warp, or in eight slices whose sums are added in
// order.
#include "prim.h"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int BATCH = 4;   // accesses of a lane in flight

struct EmbeddingSmem {
    Vec<float, 4> sums[WARPS][2][32];
};

}   // namespace

KERNEL(embedding_fwd, THREADS, const bf16* w, const int* tokens, bf16* x, int64_t x_ld, int rows, int cols) {
    int row = int(blockIdx.x) * WARPS + warp_id();
    if (row >= rows) return;
    const bf16* from = w + int64_t(load(tokens + row)) * cols;
    bf16* to = x + row * x_ld;
    for (int first = 8 * lane_id(); first < cols; first += 256 * BATCH) {
        Vec<bf16, 8> v[BATCH];
        UNROLL for (int b = 0; b < BATCH; b++) {
            if (first + 256 * b < cols) v[b] = load<8>(from + first + 256 * b);
        }
        UNROLL for (int b = 0; b < BATCH; b++) {
            if (first + 256 * b < cols) store(to + first + 256 * b, v[b]);
        }
    }
}

KERNEL(embedding_bwd, THREADS, const bf16* dx, int64_t dx_ld, const int* order, const int* segments, float* dw,
       int long_max, int rows_total, int cols) {
    DYNAMIC_SMEM(EmbeddingSmem, s);
    int block = int(blockIdx.x), lane = lane_id();
    bool together = block < long_max;   // the warps of the block share a segment
    int k = together ? block : long_max + (block - long_max) * WARPS + warp_id();
    if (k >= long_max + rows_total) return;
    Vec<int, 4> segment = load<4>(segments + 4 * k);
    int first = segment[1], end = segment[2];
    if (first == end) return;
    if (together) {
        int slice = (end - first + WARPS - 1) / WARPS;
        first = min(end, first + warp_id() * slice);
        end = min(end, first + slice);
    }

    // The lane's columns: four from `col` on, four from `col` + 128 on.
    int col = int(blockIdx.y) * 256 + 4 * lane;
    bool in[2] = {col < cols, col + 128 < cols};
    Vec<float, 4> sums[2] = {};
    for (; first < end; first += 32) {
        int count = min(32, end - first);
        int rows = lane < count ? load(order + first + lane) : 0;   // of the next 32, one per lane
        for (int i = 0; i < count; i += BATCH) {
            Vec<bf16, 4> d[BATCH][2];
            UNROLL for (int b = 0; b < BATCH; b++) {
                const bf16* from = dx + shuffle(rows, (i + b) % 32) * dx_ld + col;
                UNROLL for (int h = 0; h < 2; h++) {
                    d[b][h] = {};
                    if (i + b < count && in[h]) d[b][h] = load_stream<4>(from + 128 * h);
                }
            }
            UNROLL for (int b = 0; b < BATCH; b++) {
                UNROLL for (int h = 0; h < 2; h++) {
                    UNROLL for (int j = 0; j < 4; j++) sums[h][j] += to_float(d[b][h][j]);
                }
            }
        }
    }

    if (together) {
        UNROLL for (int h = 0; h < 2; h++) store_shared(&s.sums[warp_id()][h][lane], sums[h]);
        sync_block();   // all slices' sums are there
        if (warp_id() > 0) return;
        for (int w = 1; w < WARPS; w++) {
            UNROLL for (int h = 0; h < 2; h++) {
                Vec<float, 4> more = load_shared(&s.sums[w][h][lane]);
                UNROLL for (int j = 0; j < 4; j++) sums[h][j] += more[j];
            }
        }
    }
    float* to = dw + int64_t(segment[0]) * cols + col;
    UNROLL for (int h = 0; h < 2; h++) {
        if (!in[h]) continue;
        Vec<float, 4> old = load<4>(to + 128 * h);
        UNROLL for (int j = 0; j < 4; j++) old[j] += sums[h][j];
        store(to + 128 * h, old);
    }
}
