// residual_add: y = a + b + bias0 + bias1, rounded once.
// a, b, y [rows, cols] bf16, rows ..._ld apart, cols % 8 == 0, y may be a or b; bias0, bias1 [cols] bf16 or null.
// Pointers and leading dimensions * 2 at multiples of 16 bytes.
// Grid ceil(rows / 128) x ceil(cols / 256) blocks of 256 threads; shared memory: none.
// Moves 6*rows*cols bytes, + 2*cols per bias and 16 rows; 3 FLOP an element: memory-bound.
// Deterministic: elementwise, added from left to right.
#include "columns.h"

KERNEL(residual_add, COLUMN_THREADS, const bf16* a, int64_t a_ld, const bf16* b, int64_t b_ld, const bf16* bias0,
       const bf16* bias1, bf16* y, int64_t y_ld, int rows, int cols) {
    int col = int(blockIdx.y) * COLUMN_TILE + 8 * lane_id();
    if (col >= cols) return;
    Vec<bf16, 8> shift0 = {}, shift1 = {};
    if (bias0) shift0 = load<8>(bias0 + col);
    if (bias1) shift1 = load<8>(bias1 + col);
    int end = min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS);
    for (int row = int(blockIdx.x) * COLUMN_ROWS + warp_id(); row < end; row += COLUMN_BATCH * COLUMN_WARPS) {
        Vec<bf16, 8> va[COLUMN_BATCH], vb[COLUMN_BATCH];
        UNROLL for (int i = 0; i < COLUMN_BATCH; i++) {
            int r = row + i * COLUMN_WARPS;
            if (r >= end) break;
            va[i] = load<8>(a + r * a_ld + col);
            vb[i] = load<8>(b + r * b_ld + col);
        }
        UNROLL for (int i = 0; i < COLUMN_BATCH; i++) {
            int r = row + i * COLUMN_WARPS;
            if (r >= end) break;
            UNROLL for (int j = 0; j < 8; j++) {
                float sum = to_float(va[i][j]) + to_float(vb[i][j]);
                if (bias0) sum += to_float(shift0[j]);
                if (bias1) sum += to_float(shift1[j]);
                va[i][j] = to_bf16(sum);
            }
            store(y + r * y_ld + col, va[i]);
        }
    }
}
