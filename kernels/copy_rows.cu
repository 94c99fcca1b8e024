// copy_rows: y = x.
// x, y [rows, cols] bf16, rows ..._ld apart, cols % 8 == 0, without common elements. Pointers and leading dimensions
// * 2 at multiples of 16 bytes.
// Grid ceil(rows / 128) x ceil(cols / 256) blocks of 256 threads; shared memory: none.
// Moves 4*rows*cols bytes, no FLOP: memory-bound.
// Deterministic: elementwise.
#include "columns.h"

KERNEL(copy_rows, COLUMN_THREADS, const bf16* x, int64_t x_ld, bf16* y, int64_t y_ld, int rows, int cols) {
    int col = int(blockIdx.y) * COLUMN_TILE + 8 * lane_id();
    if (col >= cols) return;
    int end = min(rows, (int(blockIdx.x) + 1) * COLUMN_ROWS);
    for (int row = int(blockIdx.x) * COLUMN_ROWS + warp_id(); row < end; row += COLUMN_BATCH * COLUMN_WARPS) {
        Vec<bf16, 8> v[COLUMN_BATCH];
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r < end) v[b] = load<8>(x + r * x_ld + col);
        }
        UNROLL for (int b = 0; b < COLUMN_BATCH; b++) {
            int r = row + b * COLUMN_WARPS;
            if (r < end) store(y + r * y_ld + col, v[b]);
        }
    }
}
