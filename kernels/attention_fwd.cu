// attention_fwd: out = softmax(q k^T / sqrt(D)) v, causal, and the log-sum-exp of the scaled scores for the backward.
// qkv [B*T, H, 3, D] bf16, rows qkv_ld apart: per head q[D], k[D], v[D]; out [B*T, H, D] bf16, rows out_ld apart;
// lse [B*T, H] f32; document [B*T] int or null: the position in its sequence of the first token of the token's
// document, which never decreases: a query sees only keys from there on. Pointers and leading dimensions * 2 at
// multiples of 16 bytes.
// Grid (ceil(T / QUERIES), H, B) blocks of Shape::THREADS; shared memory sizeof(AttentionFwdSmem).
// attention_fwd_<D>_wide: more queries, and warps for them, on devices with the shared memory.
// A block moves its queries and outputs once and the keys and values up to its last query:
// B*H*(4*T*D + 4*T + 4*D * sum over tiles of min(T, QUERIES * (i + 1))) bytes; 4*D FLOP a pair of query and key,
// (T + QUERIES) / T times the causal half: compute-bound.
// Deterministic: a query's keys are walked in order by one warp.
// The score of a masked key is replaced, but its value is multiplied by 0: a NaN or infinity in v reaches every query
// that sees it, and may reach the others of a pair of tiles that holds one. To leave such values out, each fragment of
// v would have to be another one for each query. The loss is not finite either way, and the step is skipped.
// Dao 2023, arXiv:2307.08691, algorithm 1.
#include "attention.h"

namespace {

// MT tiles of 16 queries in each of WARPS warps share the fragments of a key tile of KEYS; queries stay in registers
// or, where those are short, in shared memory.
template <int D_, int WARPS_, int MT_, int KEYS_, bool IN_REGISTERS_> struct Shape {
    static constexpr int D = D_, MT = MT_, KEYS = KEYS_, THREADS = 32 * WARPS_, QUERIES = 16 * MT_ * WARPS_;
    static constexpr bool IN_REGISTERS = IN_REGISTERS_;
};

template <class S> struct AttentionFwdSmem {
    AttentionTile<S::QUERIES, S::D> q;   // and the output on its way out
    AttentionTile<S::KEYS, S::D> k[2], v[2];
};

// What a warp keeps about its queries while it walks over the keys.
template <class S> struct Walk {
    float o[S::MT][S::D / 8][4];
    float most[S::MT][2], total[S::MT][2];   // of scores; of exponentials, this lane's columns only
    uint32_t q[S::IN_REGISTERS ? S::D / 16 : 1][S::MT][4];
};

// s += q k^T over 16 columns of both.
template <class S>
DEVICE void add_scores(float (&s)[S::MT][S::KEYS / 8][4], const uint32_t (&q)[S::MT][4],
                       AttentionTile<S::KEYS, S::D>& k, int col) {
    UNROLL for (int n = 0; n < S::KEYS / 16; n++) {
        uint32_t b[4];
        fragment_b_rows(b, k, n * 16, col);
        UNROLL for (int m = 0; m < S::MT; m++) mma_pair(s[m][2 * n], s[m][2 * n + 1], q[m], b);
    }
}

template <class S> DEVICE void load_queries(uint32_t (&q)[S::MT][4], AttentionTile<S::QUERIES, S::D>& tile, int col) {
    UNROLL for (int m = 0; m < S::MT; m++) fragment_a(q[m], tile, (warp_id() * S::MT + m) * 16, col);
}

// s [16 * MT, KEYS] = q k^T.
template <class S>
DEVICE void scores(float (&s)[S::MT][S::KEYS / 8][4], Walk<S>& w, AttentionFwdSmem<S>& smem, int stage) {
    UNROLL for (int m = 0; m < S::MT; m++)
        UNROLL for (int n = 0; n < S::KEYS / 8; n++)
            UNROLL for (int r = 0; r < 4; r++) s[m][n][r] = 0;
    if constexpr (S::IN_REGISTERS) {
        UNROLL for (int d = 0; d < S::D / 16; d++) add_scores<S>(s, w.q[d], smem.k[stage], d * 16);
    } else {
        UNROLL_BY(1) for (int col = 0; col < S::D; col += 16) {
            load_queries<S>(w.q[0], smem.q, col);
            add_scores<S>(s, w.q[0], smem.k[stage], col);
        }
    }
}

// Hides keys before the query's document and after the query.
template <class S>
DEVICE void mask(float (&s)[S::MT][S::KEYS / 8][4], const int* document, int query, int key, int time) {
    UNROLL for (int m = 0; m < S::MT; m++)
        UNROLL for (int half = 0; half < 2; half++) {
            int row = query + m * 16 + half * 8 + lane_id() / 4;
            int start = document && row < time ? load(document + row) : 0;
            UNROLL for (int n = 0; n < S::KEYS / 8; n++)
                UNROLL for (int r = 2 * half; r < 2 * half + 2; r++) {
                    int col = key + n * 8 + lane_id() % 4 * 2 + r % 2;
                    if (col < start || col > row) s[m][n][r] = -INFINITY;
                }
        }
}

// Scores become exponentials relative to the largest score so far; what was summed before is scaled to it.
template <class S> DEVICE void softmax(float (&s)[S::MT][S::KEYS / 8][4], Walk<S>& w) {
    float scale = attention_scale<S::D>() * LOG2_E;
    UNROLL for (int m = 0; m < S::MT; m++)
        UNROLL for (int half = 0; half < 2; half++) {
            float most = w.most[m][half];
            UNROLL for (int n = 0; n < S::KEYS / 8; n++)
                most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
            most = fmaxf(most, shuffle_xor(most, 1));
            most = fmaxf(most, shuffle_xor(most, 2));
            // Minus infinity before the first key that is seen. At the end there is one, the query itself; behind the
            // end of the sequence, where nothing is stored, the zeros of the last tile.
            float top = most == -INFINITY ? 0 : most, shift = top * scale;
            float shrink = exp2_approx((w.most[m][half] - top) * scale);   // 1 where nothing changed, fused or not
            w.most[m][half] = most;
            float total = 0;
            UNROLL for (int n = 0; n < S::KEYS / 8; n++)
                UNROLL for (int r = 2 * half; r < 2 * half + 2; r++) {
                    s[m][n][r] = exp2_approx(fmaf(s[m][n][r], scale, -shift));
                    total += s[m][n][r];
                }
            w.total[m][half] = w.total[m][half] * shrink + total;
            UNROLL for (int n = 0; n < S::D / 8; n++)
                UNROLL for (int r = 2 * half; r < 2 * half + 2; r++) w.o[m][n][r] *= shrink;
        }
}

// o += p v, p rounded to bf16.
template <class S>
DEVICE void add_values(float (&p)[S::MT][S::KEYS / 8][4], Walk<S>& w, AttentionTile<S::KEYS, S::D>& v) {
    UNROLL for (int k = 0; k < S::KEYS / 16; k++) {
        uint32_t a[S::MT][4];
        UNROLL for (int m = 0; m < S::MT; m++) accumulators_to_a(a[m], p[m][2 * k], p[m][2 * k + 1]);
        UNROLL for (int n = 0; n < S::D / 16; n++) {
            uint32_t b[4];
            fragment_b_columns(b, v, k * 16, n * 16);
            UNROLL for (int m = 0; m < S::MT; m++) mma_pair(w.o[m][2 * n], w.o[m][2 * n + 1], a[m], b);
        }
    }
}

// Divides by the sums and writes out and lse of the warp's rows, out through the warp's own rows of shared memory.
template <class S>
DEVICE void finish(Walk<S>& w, AttentionTile<S::QUERIES, S::D>& tile, bf16* out, int64_t out_ld, float* lse, int rows) {
    int heads = int(gridDim.y), first = warp_id() * S::MT * 16;
    UNROLL for (int m = 0; m < S::MT; m++)
        UNROLL for (int half = 0; half < 2; half++) {
            float total = w.total[m][half];
            total += shuffle_xor(total, 1);
            total += shuffle_xor(total, 2);
            int row = first + m * 16 + half * 8 + lane_id() / 4;
            if (lane_id() % 4 == 0 && row < rows)
                store(lse + int64_t(row) * heads,
                      fmaf(log2_approx(total), LN_2, w.most[m][half] * attention_scale<S::D>()));
            float inverse = 1.0f / total;
            UNROLL for (int n = 0; n < S::D / 8; n++) {
                uint32_t pair = pack_bf16(w.o[m][n][2 * half] * inverse, w.o[m][n][2 * half + 1] * inverse);
                store_shared(reinterpret_cast<uint32_t*>(tile.at(row, n)) + lane_id() % 4, pair);
            }
        }
    sync_warp();   // the warp's rows are there
    constexpr int CHUNKS = S::D / 8;
    UNROLL_BY(8) for (int i = lane_id(); i < S::MT * 16 * CHUNKS; i += 32) {
        int row = first + i / CHUNKS, chunk = i % CHUNKS;
        if (row < rows) store(out + row * out_ld + chunk * 8, load_shared<8>(tile.at(row, chunk)));
    }
}

template <class S>
DEVICE void attention_fwd(const bf16* qkv, int64_t qkv_ld, bf16* out, int64_t out_ld, float* lse, const int* document,
                          int time) {
    DYNAMIC_SMEM(AttentionFwdSmem<S>, smem);
    int head = int(blockIdx.y), first = int(gridDim.x - 1 - blockIdx.x) * S::QUERIES;   // the longest walks first
    int64_t sequence = int64_t(blockIdx.z) * time;
    const bf16* q = qkv + sequence * qkv_ld + int64_t(head) * 3 * S::D;
    document = document ? document + sequence : nullptr;

    int seen = document ? load(document + first) : 0;   // the first key that any query of the block sees
    int tile = seen / S::KEYS, tiles = ceil_div(min(time, first + S::QUERIES), S::KEYS);
    auto copy = [&](int j) {
        int key = j * S::KEYS;
        copy_keys_values<S::THREADS>(smem.k[j % 2], smem.v[j % 2], q + S::D + key * qkv_ld, qkv_ld, time - key);
    };
    copy_tile<S::THREADS>(smem.q, q + first * qkv_ld, qkv_ld, time - first);
    if constexpr (S::IN_REGISTERS) cp_async_commit();
    copy(tile);
    cp_async_commit();

    Walk<S> w;
    UNROLL for (int m = 0; m < S::MT; m++) {
        w.most[m][0] = w.most[m][1] = -INFINITY;
        w.total[m][0] = w.total[m][1] = 0;
        UNROLL for (int n = 0; n < S::D / 8; n++) UNROLL for (int r = 0; r < 4; r++) w.o[m][n][r] = 0;
    }
    if constexpr (S::IN_REGISTERS) {
        cp_async_wait<1>();
        sync_block();   // the queries are there
        UNROLL for (int d = 0; d < S::D / 16; d++) load_queries<S>(w.q[d], smem.q, d * 16);
    }

    int query = first + warp_id() * S::MT * 16, last = query + S::MT * 16 - 1;   // of the warp
    int unseen = document ? load(document + min(query, time - 1)) : 0;   // none of them sees a key before this one
    for (; tile < tiles; tile++) {
        cp_async_wait<0>();
        sync_block();   // this tile is there, and the other one has been read by all
        if (tile + 1 < tiles) {
            copy(tile + 1);
            cp_async_commit();
        }
        int key = tile * S::KEYS;
        if (key > last || key + S::KEYS <= unseen) continue;
        float s[S::MT][S::KEYS / 8][4];
        scores<S>(s, w, smem, tile % 2);
        // Loaded in each round, as in a register it would be one too many for D = 128.
        if (key + S::KEYS - 1 > query || (document && key < load(document + min(last, time - 1))))
            mask<S>(s, document, query, key, time);
        softmax<S>(s, w);
        add_values<S>(s, w, smem.v[tile % 2]);
    }
    finish<S>(w, smem.q, out + (sequence + first) * out_ld + head * S::D, out_ld,
              lse + (sequence + first) * gridDim.y + head, time - first);
}

}   // namespace

#define ATTENTION_FWD(NAME, D, WARPS, MT, KEYS, IN_REGISTERS)                                                        \
    KERNEL(attention_fwd_##NAME, 32 * WARPS, const bf16* qkv, int64_t qkv_ld, bf16* out, int64_t out_ld, float* lse,  \
           const int* document, int time) {                                                                           \
        attention_fwd<Shape<D, WARPS, MT, KEYS, IN_REGISTERS>>(qkv, qkv_ld, out, out_ld, lse, document, time);        \
    }
// The first of a head size fits in 99 KB; src/ops/attention.rs takes the wide one where it fits, and says why no other
// head size has one.
ATTENTION_FWD(32, 32, 4, 2, 64, true)
ATTENTION_FWD(64, 64, 4, 2, 64, true)
ATTENTION_FWD(80, 80, 4, 2, 32, true)
ATTENTION_FWD(96, 96, 4, 2, 32, false)
ATTENTION_FWD(128, 128, 4, 2, 32, false)
ATTENTION_FWD(256, 256, 4, 1, 32, false)
ATTENTION_FWD(256_wide, 256, 8, 1, 32, false)
