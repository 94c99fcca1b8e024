// rotary_fwd, rotary_bwd: rotates q and k in place, dimension j with j + rotary / 2, by the angle of the row's
// position, or back. The number in a kernel's name is N, the elements of an access.
// qkv [rows, heads, 3, size] bf16, rows qkv_ld apart; positions [rows] i32; cos, sin [positions, rotary / 2] f32.
// (rotary / 2) % N == 0 with N the largest of 8, 4, 2, 1, rotary <= 32 N, size % N == 0, qkv_ld % N == 0; pointers at
// multiples of 16 bytes; every position has its row in cos and sin.
// Grid ceil(rows / 16) blocks of 256 threads; shared memory: none.
// Moves 8*rows*heads*rotary + rows*(4 + 4*rotary) bytes, 6*rows*heads*rotary FLOP: memory-bound.
// Deterministic: elementwise. Two rows per warp; an element's partner comes from its lane by a shuffle, so that q and k
// are read once, whole sectors at a time (N = 8: 16 bytes a lane).
// Su et al. 2021, arXiv:2104.09864, half-split pairs as in GPT-NeoX.
#include "prim.h"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int ROWS = 2;    // of a warp: one access for their positions
constexpr int BATCH = 4;   // accesses of a lane in flight

// N bf16 as whole registers, the form in which they are exchanged.
template <int N> DEVICE Vec<bf16, N> shuffle_vec(Vec<bf16, N> v, int lane) {
    if constexpr (N == 1) {
        return {{bf16{uint16_t(shuffle(unsigned(v[0].bits), lane))}}};
    } else {
        auto words = bits_as<Vec<unsigned, N / 2>>(v);
        UNROLL for (int i = 0; i < N / 2; i++) words[i] = shuffle(words[i], lane);
        return bits_as<Vec<bf16, N>>(words);
    }
}

// `width` lanes, a power of two, share one q or k; `unit` of them is the lane's place there.
template <int N>
DEVICE void rotary(bf16* qkv, int64_t qkv_ld, const int* positions, const float* cosines, const float* sines,
                   float sign, int rows, int heads, int size, int rotary) {
    int first_row = (int(blockIdx.x) * WARPS + warp_id()) * ROWS;
    rows = min(ROWS, rows - first_row);
    if (rows <= 0) return;
    int units = rotary / N, width = 1;
    while (width < units) width *= 2;
    int lane = lane_id(), unit = lane % width;
    bool high = unit >= units / 2;
    int partner = high ? lane - units / 2 : lane + units / 2;

    int position = lane < rows ? load(positions + first_row + lane) : 0;   // of the warp's rows, one per lane
    for (int row = 0; row < rows; row++) {
        // A lane and its partner need the same N cosines and sines: each loads half.
        constexpr int HALF = N > 1 ? N / 2 : 1;
        int64_t table = int64_t(shuffle(position, row)) * (rotary / 2) + unit % (units / 2) * N;
        Vec<float, HALF> c = {}, s = {};
        if (unit < units) {
            if (high) table += N - HALF;
            c = load<HALF>(cosines + table);
            s = load<HALF>(sines + table);
        }
        float cos[N], sin[N];
        UNROLL for (int i = 0; i < HALF; i++) {
            float c_other = shuffle(c[i], partner);
            float s_other = shuffle(s[i], partner);
            float flip = high ? sign : -sign;
            cos[i] = high ? c_other : c[i];
            sin[i] = flip * (high ? s_other : s[i]);
            cos[i + N - HALF] = high ? c[i] : c_other;
            sin[i + N - HALF] = flip * (high ? s[i] : s_other);
        }

        int step = 32 / width, total = 2 * heads;   // q and k of every head, `step` at a time
        bf16* base = qkv + (first_row + row) * qkv_ld + unit * N;
        for (int first = lane / width; first - lane / width < total; first += BATCH * step) {
            Vec<bf16, N> v[BATCH];
            UNROLL for (int b = 0; b < BATCH; b++) {
                int i = first + b * step;
                v[b] = {};
                if (i < total && unit < units) v[b] = load<N>(base + (i / 2 * 3 + i % 2) * size);
            }
            UNROLL for (int b = 0; b < BATCH; b++) {
                Vec<bf16, N> other = shuffle_vec(v[b], partner);
                int i = first + b * step;
                if (i >= total || unit >= units) continue;
                UNROLL for (int j = 0; j < N; j++) {
                    v[b][j] = to_bf16(to_float(v[b][j]) * cos[j] + to_float(other[j]) * sin[j]);
                }
                store(base + (i / 2 * 3 + i % 2) * size, v[b]);
            }
        }
    }
}

}   // namespace

#define ROTARY(N)                                                                                                     \
    KERNEL(rotary_fwd_##N, THREADS, bf16* qkv, int64_t qkv_ld, const int* positions, const float* cos,                \
           const float* sin, int rows, int heads, int size, int dims) {                                               \
        rotary<N>(qkv, qkv_ld, positions, cos, sin, 1.0f, rows, heads, size, dims);                                   \
    }                                                                                                                 \
    KERNEL(rotary_bwd_##N, THREADS, bf16* qkv, int64_t qkv_ld, const int* positions, const float* cos,                \
           const float* sin, int rows, int heads, int size, int dims) {                                               \
        rotary<N>(qkv, qkv_ld, positions, cos, sin, -1.0f, rows, heads, size, dims);                                  \
    }
ROTARY(8)
ROTARY(4)
ROTARY(2)
ROTARY(1)
