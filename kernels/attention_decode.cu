// attention_decode: out = softmax(q k^T / sqrt(D)) v of one query, in the row `position` of qkv, against the keys and
// values of the rows 0..=position: the cache of a generating model.
// qkv [position + 1, H, 3, D] bf16, rows qkv_ld apart; out [H, D] bf16; at multiples of 16 bytes.
// Grid H blocks of 256 threads; shared memory sizeof(AttentionDecodeSmem<D>) = 32 * D + 64 bytes.
// Moves 4*D*(position + 1) + 4*D bytes a head, 4*D*(position + 1) FLOP: memory-bound, by latency where H is small.
// Deterministic: a group of lanes takes every SLOTS-th key; groups are added in a fixed order.
// Milakov & Gimelshein 2018, arXiv:1805.02867 (online softmax).
#include "attention.h"

namespace {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int AHEAD = 4;   // keys that a group of lanes has in flight

template <int D> struct AttentionDecodeSmem {
    Vec<float, 4> o[WARPS][2][D / 8];   // columns 8i..8i+3, and 8i+4..8i+7
    float most[WARPS], total[WARPS];
};

// A part of the keys: the largest score times log2 e, and relative to it the sum and eight columns of the output.
struct Partial {
    float most, total, o[8];
};

DEVICE float shift_of(float most) { return most == -INFINITY ? 0 : most; }   // no key at all

template <int D> DEVICE void attention_decode(const bf16* qkv, int64_t qkv_ld, bf16* out, int position) {
    DYNAMIC_SMEM(AttentionDecodeSmem<D>, smem);
    constexpr int CHUNKS = D / 8;
    constexpr int GROUP = CHUNKS <= 4 ? 4 : CHUNKS <= 8 ? 8 : CHUNKS <= 16 ? 16 : 32;   // lanes of a key
    constexpr int SLOTS = THREADS / GROUP;
    int slot = int(threadIdx.x) / GROUP, chunk = lane_id() % GROUP;
    bool used = chunk < CHUNKS;
    qkv += int64_t(blockIdx.x) * 3 * D + (used ? chunk * 8 : 0);
    Vec<bf16, 8> q{};
    if (used) q = load<8>(qkv + position * qkv_ld);

    Partial p{-INFINITY, 0, {}};
    for (int first = 0; first <= position; first += SLOTS * AHEAD) {
        Vec<bf16, 8> k[AHEAD] = {}, v[AHEAD] = {};
        UNROLL for (int i = 0; i < AHEAD; i++) {
            int key = first + i * SLOTS + slot;
            if (!used || key > position) continue;
            k[i] = load<8>(qkv + key * qkv_ld + D);
            v[i] = load<8>(qkv + key * qkv_ld + 2 * D);
        }
        UNROLL for (int i = 0; i < AHEAD; i++) {
            float score = 0;
            UNROLL for (int j = 0; j < 8; j++) score += to_float(q[j]) * to_float(k[i][j]);
            UNROLL for (int m = 1; m < GROUP; m *= 2) score += shuffle_xor(score, m);
            score = first + i * SLOTS + slot <= position ? score * (attention_scale<D>() * LOG2_E) : -INFINITY;
            float most = fmaxf(p.most, score), shift = shift_of(most);
            float shrink = exp2_approx(p.most - shift), weight = exp2_approx(score - shift);
            p.most = most;
            p.total = p.total * shrink + weight;
            UNROLL for (int j = 0; j < 8; j++) p.o[j] = p.o[j] * shrink + weight * to_float(v[i][j]);
        }
    }
    // The groups of a warp, then the warps.
    float most = p.most;
    UNROLL for (int m = GROUP; m < 32; m *= 2) most = fmaxf(most, shuffle_xor(most, m));
    float shrink = exp2_approx(p.most - shift_of(most));
    p.total *= shrink;
    UNROLL for (int m = GROUP; m < 32; m *= 2) p.total += shuffle_xor(p.total, m);
    UNROLL for (int j = 0; j < 8; j++) {
        p.o[j] *= shrink;
        UNROLL for (int m = GROUP; m < 32; m *= 2) p.o[j] += shuffle_xor(p.o[j], m);
    }
    int warp = warp_id();
    if (lane_id() == 0) smem.most[warp] = most, smem.total[warp] = p.total;
    if (lane_id() < CHUNKS)
        UNROLL for (int half = 0; half < 2; half++) {
            float* o = p.o + 4 * half;
            store_shared(&smem.o[warp][half][chunk], Vec<float, 4>{{o[0], o[1], o[2], o[3]}});
        }
    sync_block();   // every warp's part is there
    if (int(threadIdx.x) >= CHUNKS) return;
    float total = 0, sum[8] = {};
    for (int w = 0; w < WARPS; w++) most = fmaxf(most, smem.most[w]);
    for (int w = 0; w < WARPS; w++) {
        float weight = exp2_approx(smem.most[w] - most);
        total += smem.total[w] * weight;
        UNROLL for (int half = 0; half < 2; half++) {
            Vec<float, 4> o = load_shared(&smem.o[w][half][chunk]);
            UNROLL for (int j = 0; j < 4; j++) sum[4 * half + j] += o[j] * weight;
        }
    }
    Vec<bf16, 8> y;
    UNROLL for (int j = 0; j < 8; j++) y[j] = to_bf16(sum[j] / total);
    store(out + int64_t(blockIdx.x) * D + chunk * 8, y);
}

}   // namespace

#define ATTENTION_DECODE(D)                                                                                           \
    KERNEL(attention_decode_##D, THREADS, const bf16* qkv, int64_t qkv_ld, bf16* out, int position) {                 \
        attention_decode<D>(qkv, qkv_ld, out, position);                                                              \
    }
ATTENTION_DECODE(32)
ATTENTION_DECODE(64)
ATTENTION_DECODE(80)
ATTENTION_DECODE(96)
ATTENTION_DECODE(128)
ATTENTION_DECODE(256)
