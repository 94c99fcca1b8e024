// Gradient of attention_fwd in three launches, which share its layouts: qkv and dqkv [B*T, H, 3, D], out and dout
// [B*T, H, D] bf16; lse [B*T, H] f32; document and T as there.
// attention_bwd_stats: stats [B, H, 2, P] f32 = lse * log2 e, then delta = rowsum(dout * out), with P = T rounded up
//   to 64: infinity and 0 behind T, so that those queries add nothing. Grid (P / 64, H, B) of 128 threads.
// attention_bwd_<D>: dk, rotated back, and dv into dqkv; dq [SHARES, B, H, P * D] f32, in the order of fragments. A
//   block walks its share of the key tiles of one (sequence, head) in order, and for each the queries that see it.
//   Grid (SHARES, H, B) of Shape::THREADS; SHARES is the caller's, from the shape alone.
// attention_bwd_dq_<D>: sums the shares in order, rotates back, rounds. Grid (ceil(T / 32), H, B) of 128.
// <D>_wide: the two of a larger tile, for devices with the shared memory. The order of dq's sum is that of the tiles.
// Shared memory sizeof(AttentionBwdSmem), sizeof(FloatTile<32, D>). Five products, 10*D FLOP a pair of query and key,
// (T + KEYS) / T times the causal half: compute-bound. Bytes: src/ops/attention.rs.
// Deterministic: dq has one buffer per share, and who adds to it does so in the order of key tiles.
// The gradient of a masked score is 0 times what v and dout say: a NaN or infinity in qkv or dout may reach every
// query and key of a pair of tiles that holds it, as in attention_fwd.
// Dao 2023, arXiv:2307.08691, algorithm 2; Su et al. 2021, arXiv:2104.09864.
#include "attention_grad.h"

namespace {

// WK x WD warps: WK groups of 16 * MK keys, each with WD warps that divide its queries when they compute scores, and
// its D columns when they add to dk and dv. Tiles of QUERIES queries pass by in two stages.
template <int D_, int MK_, int WK_, int WD_, int QUERIES_> struct Shape {
    static constexpr int D = D_, MK = MK_, WK = WK_, WD = WD_, QUERIES = QUERIES_;
    static constexpr int KEYS = 16 * MK * WK, THREADS = 32 * WK * WD;
    static constexpr int OWN_QUERIES = QUERIES / WD, OWN_COLS = D / WD;
    // dq: ROWS_WARPS x COLS_WARPS warps; a warp has 16 rows and every COLS_WARPS-th pair of 8 columns.
    static constexpr int ROWS_WARPS = QUERIES / 16, COLS_WARPS = WK * WD / ROWS_WARPS;
    static constexpr int PAIRS = (D / 16 + COLS_WARPS - 1) / COLS_WARPS;
    static_assert(OWN_COLS % 16 == 0 && OWN_QUERIES % 8 == 0 && COLS_WARPS * ROWS_WARPS == WK * WD, "tiles fit");
};

// Where warps divide a group's columns, they exchange its probabilities.
template <class S, bool = (S::WD > 1)> struct Probabilities {
    AttentionTile<S::KEYS, S::QUERIES> p;
};
template <class S> struct Probabilities<S, false> {};

template <class S> struct AttentionBwdSmem : Probabilities<S> {
    AttentionTile<S::KEYS, S::D> k, v;   // and, as one FloatTile, their gradients on the way out
    AttentionTile<S::QUERIES, S::D> q[2], dout[2];
    AttentionTile<S::KEYS, S::QUERIES> ds;
    float stats[2][2][S::QUERIES];
};

// The k-th key tile of a share: there and back, so that all shares have as many pairs of query and key.
DEVICE int tile_of_share(int k, int share, int shares) { return k * shares + (k % 2 ? shares - 1 - share : share); }

// The first key tile that a tile of queries sees.
template <class S> DEVICE int first_key_tile(const int* document, int query_tile) {
    return document ? load(document + query_tile * S::QUERIES) / S::KEYS : 0;
}

// Where the lane's four values of a 16 x 8 part of dq are; rows in 16s, columns in 8s.
template <class S> DEVICE int64_t dq_offset(int rows, int cols) {
    return ((int64_t(rows) * (S::D / 8) + cols) * 32 + lane_id()) * 4;
}

template <class S> struct Gradients {
    float dk[S::MK][S::OWN_COLS / 8][4], dv[S::MK][S::OWN_COLS / 8][4];
};

// c [keys, OWN_QUERIES] = rows of `keys` times rows of `queries`.
template <class S>
DEVICE void products(float (&c)[S::MK][S::OWN_QUERIES / 8][4], AttentionTile<S::KEYS, S::D>& keys,
                     AttentionTile<S::QUERIES, S::D>& queries, int key, int query) {
    UNROLL for (int m = 0; m < S::MK; m++)
        UNROLL for (int n = 0; n < S::OWN_QUERIES / 8; n++)
            UNROLL for (int r = 0; r < 4; r++) c[m][n][r] = 0;
    UNROLL_BY(2) for (int d = 0; d < S::D; d += 16) {
        uint32_t a[S::MK][4];
        UNROLL for (int m = 0; m < S::MK; m++) fragment_a(a[m], keys, key + m * 16, d);
        if constexpr (S::OWN_QUERIES == 8) {
            uint32_t b[2];
            ldmatrix_x2(b, queries.at(query + lane_id() % 8, d / 8 + lane_id() / 8 % 2));
            UNROLL for (int m = 0; m < S::MK; m++) mma(c[m][0], a[m], b);
        } else {
            UNROLL for (int n = 0; n < S::OWN_QUERIES / 16; n++) {
                uint32_t b[4];
                fragment_b_rows(b, queries, query + n * 16, d);
                UNROLL for (int m = 0; m < S::MK; m++) mma_pair(c[m][2 * n], c[m][2 * n + 1], a[m], b);
            }
        }
    }
}

// A fragment of accumulators on its way to others.
template <class S>
DEVICE void store_fragments(AttentionTile<S::KEYS, S::QUERIES>& tile, const float (&c)[S::MK][S::OWN_QUERIES / 8][4],
                            int key, int query) {
    UNROLL for (int m = 0; m < S::MK; m++)
        UNROLL for (int n = 0; n < S::OWN_QUERIES / 8; n++)
            UNROLL for (int half = 0; half < 2; half++) {
                bf16* chunk = tile.at(key + m * 16 + half * 8 + lane_id() / 4, query / 8 + n);
                store_shared(reinterpret_cast<uint32_t*>(chunk) + lane_id() % 4,
                             pack_bf16(c[m][n][2 * half], c[m][n][2 * half + 1]));
            }
}

// Hides keys behind the query and before its document.
template <class S>
DEVICE void mask(float (&s)[S::MK][S::OWN_QUERIES / 8][4], const int* document, int key, int query, int time) {
    UNROLL for (int n = 0; n < S::OWN_QUERIES / 8; n++)
        UNROLL for (int side = 0; side < 2; side++) {
            int row = query + n * 8 + lane_id() % 4 * 2 + side;
            int start = document && row < time ? load(document + row) : 0;
            UNROLL for (int m = 0; m < S::MK; m++)
                UNROLL for (int half = 0; half < 2; half++) {
                    int col = key + m * 16 + half * 8 + lane_id() / 4;
                    if (col < start || col > row) s[m][n][2 * half + side] = -INFINITY;
                }
        }
}

// Scores become probabilities, dp the gradient of the scores before their scale.
template <class S>
DEVICE void softmax_bwd(float (&s)[S::MK][S::OWN_QUERIES / 8][4], float (&dp)[S::MK][S::OWN_QUERIES / 8][4],
                        const float (&stats)[2][S::QUERIES], int query) {
    float scale = attention_scale<S::D>() * LOG2_E;
    UNROLL for (int n = 0; n < S::OWN_QUERIES / 8; n++) {
        int col = query + n * 8 + lane_id() % 4 * 2;
        Vec<float, 2> lse = load_shared<2>(&stats[0][col]), delta = load_shared<2>(&stats[1][col]);
        UNROLL for (int m = 0; m < S::MK; m++)
            UNROLL for (int r = 0; r < 4; r++) {
                s[m][n][r] = exp2_approx(fmaf(s[m][n][r], scale, -lse[r % 2]));
                dp[m][n][r] = s[m][n][r] * (dp[m][n][r] - delta[r % 2]);
            }
    }
}

// c [keys, OWN_COLS] += a [keys, 16 queries] times rows `query`.. of the tile.
template <class S>
DEVICE void accumulate(float (&c)[S::MK][S::OWN_COLS / 8][4], const uint32_t (&a)[S::MK][4],
                       AttentionTile<S::QUERIES, S::D>& tile, int query, int col) {
    UNROLL for (int n = 0; n < S::OWN_COLS / 16; n++) {
        uint32_t b[4];
        fragment_b_columns(b, tile, query, col + n * 16);
        UNROLL for (int m = 0; m < S::MK; m++) mma_pair(c[m][2 * n], c[m][2 * n + 1], a[m], b);
    }
}

// One tile of queries against the keys: adds to dk, dv and to the share's dq, which is new where `fresh`.
template <class S>
DEVICE void one_tile(Gradients<S>& g, AttentionBwdSmem<S>& smem, int stage, const int* document, int key, int query,
                     int time, float* dq, bool fresh) {
    int group = warp_id() / S::WD * S::MK * 16, part = warp_id() % S::WD;   // first key; which queries and columns
    int own_query = part * S::OWN_QUERIES, own_col = part * S::OWN_COLS;
    float s[S::MK][S::OWN_QUERIES / 8][4], ds[S::MK][S::OWN_QUERIES / 8][4];
    products<S>(s, smem.k, smem.q[stage], group, own_query);
    if (key + S::KEYS - 1 > query || document) mask<S>(s, document, key + group, query + own_query, time);
    products<S>(ds, smem.v, smem.dout[stage], group, own_query);
    softmax_bwd<S>(s, ds, smem.stats[stage], own_query);
    store_fragments<S>(smem.ds, ds, group, own_query);
    if constexpr (S::WD == 1) {
        UNROLL for (int n = 0; n < S::QUERIES / 16; n++) {
            uint32_t a[S::MK][4];
            UNROLL for (int m = 0; m < S::MK; m++) accumulators_to_a(a[m], s[m][2 * n], s[m][2 * n + 1]);
            accumulate<S>(g.dv, a, smem.dout[stage], n * 16, 0);
            UNROLL for (int m = 0; m < S::MK; m++) accumulators_to_a(a[m], ds[m][2 * n], ds[m][2 * n + 1]);
            accumulate<S>(g.dk, a, smem.q[stage], n * 16, 0);
        }
    } else {
        store_fragments<S>(smem.p, s, group, own_query);
    }
    sync_block();   // ds and p are there
    if constexpr (S::WD > 1) {
        UNROLL_BY(1) for (int n = 0; n < S::QUERIES / 16; n++) {
            uint32_t a[S::MK][4];
            UNROLL for (int m = 0; m < S::MK; m++) fragment_a(a[m], smem.p, group + m * 16, n * 16);
            accumulate<S>(g.dv, a, smem.dout[stage], n * 16, own_col);
            UNROLL for (int m = 0; m < S::MK; m++) fragment_a(a[m], smem.ds, group + m * 16, n * 16);
            accumulate<S>(g.dk, a, smem.q[stage], n * 16, own_col);
        }
    }
    int row = warp_id() % S::ROWS_WARPS, first = warp_id() / S::ROWS_WARPS;
    float c[S::PAIRS][2][4];
    UNROLL for (int i = 0; i < 2 * S::PAIRS; i++) {
        int col = 2 * (first + i / 2 * S::COLS_WARPS) + i % 2;
        bool old = !fresh && (S::D / 16 % S::COLS_WARPS == 0 || col < S::D / 8);
        Vec<float, 4> was = old ? load<4>(dq + dq_offset<S>(query / 16 + row, col)) : Vec<float, 4>{};
        UNROLL for (int r = 0; r < 4; r++) c[i / 2][i % 2][r] = was[r];
    }
    UNROLL_BY(2) for (int k = 0; k < S::KEYS; k += 16) {
        uint32_t a[4], b[4];
        fragment_a_transposed(a, smem.ds, k, row * 16);
        UNROLL for (int i = 0; i < S::PAIRS; i++) {
            int col = (first + i * S::COLS_WARPS) * 16;
            if (S::D / 16 % S::COLS_WARPS && col >= S::D) continue;
            fragment_b_columns(b, smem.k, k, col);
            mma_pair(c[i][0], c[i][1], a, b);
        }
    }
    UNROLL for (int i = 0; i < 2 * S::PAIRS; i++) {
        int col = 2 * (first + i / 2 * S::COLS_WARPS) + i % 2;
        if (S::D / 16 % S::COLS_WARPS && col >= S::D / 8) continue;
        float(&x)[4] = c[i / 2][i % 2];
        store(dq + dq_offset<S>(query / 16 + row, col), Vec<float, 4>{{x[0], x[1], x[2], x[3]}});
    }
}

// Writes the block's dk or dv through the memory of k and v.
template <class S>
DEVICE void write_gradient(const float (&c)[S::MK][S::OWN_COLS / 8][4], float scale, AttentionBwdSmem<S>& smem,
                           bf16* to, int64_t ld, const Rotation& rotation, int64_t token, int rows) {
    auto& tile = *reinterpret_cast<FloatTile<S::KEYS, S::D>*>(&smem.k);
    static_assert(sizeof tile == sizeof smem.k + sizeof smem.v, "their gradients take their place");
    sync_block();   // k and v, or the gradient before, have been read by all
    UNROLL for (int m = 0; m < S::MK; m++)
        UNROLL for (int n = 0; n < S::OWN_COLS / 8; n++)
            store_accumulators(tile, (warp_id() / S::WD * S::MK + m) * 16, warp_id() % S::WD * S::OWN_COLS + n * 8,
                               c[m][n], scale);
    sync_block();   // the gradient is there
    rotate_back<S::THREADS>(tile, rotation, token, min(rows, S::KEYS));
    sync_block();   // rotated
    store_rows<S::THREADS>(tile, to, ld, rows);
}

template <class S>
DEVICE void attention_bwd(const bf16* qkv, int64_t qkv_ld, const bf16* dout, int64_t dout_ld, const float* stats,
                          const int* document, float* dq, bf16* dqkv, int64_t dqkv_ld, Rotation rotation, int time) {
    DYNAMIC_SMEM(AttentionBwdSmem<S>, smem);
    int share = int(blockIdx.x), shares = int(gridDim.x), head = int(blockIdx.y), heads = int(gridDim.y);
    int padded = ceil_div(time, 64) * 64;
    int64_t sequence = int64_t(blockIdx.z) * time, pair = int64_t(blockIdx.z) * heads + head;
    const bf16* q = qkv + sequence * qkv_ld + int64_t(head) * 3 * S::D;
    dout += sequence * dout_ld + int64_t(head) * S::D;
    stats += pair * 2 * padded;
    dq += (int64_t(share) * gridDim.z * heads + pair) * padded * S::D;
    document = document ? document + sequence : nullptr;

    auto copy_queries = [&](int tile) {
        int query = tile * S::QUERIES, stage = tile % 2;
        copy_tile<S::THREADS>(smem.q[stage], q + query * qkv_ld, qkv_ld, time - query);
        copy_tile<S::THREADS>(smem.dout[stage], dout + query * dout_ld, dout_ld, time - query);
        int i = int(threadIdx.x), which = i / (S::QUERIES / 4), at = i % (S::QUERIES / 4) * 4;
        if (which < 2) cp_async(&smem.stats[stage][which][at], stats + which * padded + query + at);
    };
    int before = -1;   // the share's key tile before
    for (int k = 0;; k++) {
        int key_tile = tile_of_share(k, share, shares), key = key_tile * S::KEYS;
        if (key >= time) break;
        int tile = key / S::QUERIES;
        auto sees = [&](int t) {
            return t * S::QUERIES < time && (!document || load(document + t * S::QUERIES) < key + S::KEYS);
        };
        sync_block();   // the tiles of the round before have been read by all
        copy_keys_values<S::THREADS>(smem.k, smem.v, q + S::D + key * qkv_ld, qkv_ld, time - key);
        copy_queries(tile);
        cp_async_commit();
        Gradients<S> g;
        UNROLL for (int m = 0; m < S::MK; m++)
            UNROLL for (int n = 0; n < S::OWN_COLS / 8; n++)
                UNROLL for (int r = 0; r < 4; r++) g.dk[m][n][r] = g.dv[m][n][r] = 0;
        for (bool more = true; more; tile++) {
            cp_async_wait<0>();
            sync_block();   // this tile is there, and the other one has been read by all
            more = sees(tile + 1);
            if (more) {
                copy_queries(tile + 1);
                cp_async_commit();
            }
            one_tile<S>(g, smem, tile % 2, document, key, tile * S::QUERIES, time, dq,
                        before < first_key_tile<S>(document, tile));
        }
        bf16* to = dqkv + (sequence + key) * dqkv_ld + (int64_t(head) * 3 + 1) * S::D;
        write_gradient<S>(g.dk, attention_scale<S::D>(), smem, to, dqkv_ld, rotation, sequence + key, time - key);
        write_gradient<S>(g.dv, 1, smem, to + S::D, dqkv_ld, Rotation{}, 0, time - key);
        before = key_tile;
    }
}

constexpr int DQ_ROWS = 32;
constexpr int DQ_THREADS = 128;

template <class S>
DEVICE void attention_bwd_dq(const float* dq, const int* document, bf16* dqkv, int64_t dqkv_ld, Rotation rotation,
                             int time, int shares) {
    using Tile = FloatTile<DQ_ROWS, S::D>;
    DYNAMIC_SMEM(Tile, tile);
    int first = int(blockIdx.x) * DQ_ROWS, head = int(blockIdx.y), heads = int(gridDim.y);
    int64_t sequence = int64_t(blockIdx.z) * time, part = int64_t(ceil_div(time, 64) * 64) * S::D;
    dq += (int64_t(blockIdx.z) * heads + head) * part;
    document = document ? document + sequence : nullptr;
    for (int i = warp_id(); i < DQ_ROWS / 16 * (S::D / 8); i += DQ_THREADS / 32) {
        int rows = first / 16 + i / (S::D / 8), col = i % (S::D / 8), query_tile = rows * 16 / S::QUERIES;
        float sum[4] = {};
        // Rows behind the last tile of queries were never written.
        for (int share = 0; share < shares && query_tile * S::QUERIES < time; share++) {
            int least = first_key_tile<S>(document, query_tile), k = least / shares;
            while (tile_of_share(k, share, shares) < least) k++;
            int end = min(time, (query_tile + 1) * S::QUERIES);
            if (tile_of_share(k, share, shares) * S::KEYS >= end) continue;   // the share has no key that they see
            Vec<float, 4> x = load_stream<4>(dq + share * gridDim.z * heads * part + dq_offset<S>(rows, col));
            UNROLL for (int r = 0; r < 4; r++) sum[r] += x[r];
        }
        store_accumulators(tile, i / (S::D / 8) * 16, col * 8, sum, attention_scale<S::D>());
    }
    sync_block();   // the sums are there
    rotate_back<DQ_THREADS>(tile, rotation, sequence + first, min(time - first, DQ_ROWS));
    sync_block();   // rotated
    bf16* to = dqkv + (sequence + first) * dqkv_ld + int64_t(head) * 3 * S::D;
    store_rows<DQ_THREADS>(tile, to, dqkv_ld, time - first);
}

}   // namespace

KERNEL(attention_bwd_stats, 128, const bf16* out, int64_t out_ld, const bf16* dout, int64_t dout_ld, const float* lse,
       float* stats, int time, int size) {
    int row = int(blockIdx.x) * 64 + int(threadIdx.x) / 2, side = int(threadIdx.x) % 2, padded = int(gridDim.x) * 64;
    int head = int(blockIdx.y), heads = int(gridDim.y);
    int64_t token = int64_t(blockIdx.z) * time + row;
    out += token * out_ld + int64_t(head) * size;
    dout += token * dout_ld + int64_t(head) * size;
    float delta = 0;
    for (int col = side * 8; col < size && row < time; col += 16) {
        Vec<bf16, 8> x = load<8>(out + col), y = load<8>(dout + col);
        UNROLL for (int k = 0; k < 8; k++) delta += to_float(x[k]) * to_float(y[k]);
    }
    delta += shuffle_xor(delta, 1);
    stats += (int64_t(blockIdx.z) * heads + head) * 2 * padded + row;
    if (side) store(stats + padded, delta);
    else store(stats, row < time ? load(lse + token * heads + head) * LOG2_E : INFINITY);
}

#define ATTENTION_BWD(NAME, D, MK, WK, WD, QUERIES)                                                                   \
    KERNEL(attention_bwd_##NAME, 32 * WK * WD, const bf16* qkv, int64_t qkv_ld, const bf16* dout, int64_t dout_ld,    \
           const float* stats, const int* document, float* dq, bf16* dqkv, int64_t dqkv_ld, const float* cos,         \
           const float* sin, const int* positions, int rotary, int time) {                                            \
        attention_bwd<Shape<D, MK, WK, WD, QUERIES>>(qkv, qkv_ld, dout, dout_ld, stats, document, dq, dqkv, dqkv_ld,  \
                                                     {cos, sin, positions, rotary / 2}, time);                        \
    }                                                                                                                 \
    KERNEL(attention_bwd_dq_##NAME, DQ_THREADS, const float* dq, const int* document, bf16* dqkv, int64_t dqkv_ld,    \
           const float* cos, const float* sin, const int* positions, int rotary, int time, int shares) {              \
        attention_bwd_dq<Shape<D, MK, WK, WD, QUERIES>>(dq, document, dqkv, dqkv_ld,                                  \
                                                        {cos, sin, positions, rotary / 2}, time, shares);             \
    }
// The first of a head size fits in 99 KB; src/ops/attention.rs takes the wide one where it fits.
ATTENTION_BWD(32, 32, 2, 4, 1, 32)
ATTENTION_BWD(64, 64, 2, 4, 2, 64)
ATTENTION_BWD(80, 80, 1, 8, 1, 32)
ATTENTION_BWD(96, 96, 2, 4, 2, 32)
ATTENTION_BWD(128, 128, 2, 2, 2, 32)
ATTENTION_BWD(128_wide, 128, 2, 4, 2, 32)
ATTENTION_BWD(256, 256, 1, 3, 2, 16)
ATTENTION_BWD(256_wide, 256, 2, 2, 4, 32)
