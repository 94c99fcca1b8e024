// adamw_f32, adamw_bf16: one update of all tensors; adamw_step: the norm into the factors of the step;
// clear_gradients: g = 0 in tensors that are not trained, before the norm.
// g [total] f32; w32 f32, master weights: [total] (adamw_f32), or those of the segments that have them (adamw_bf16); w16
// [total] bf16: master weights to nearest, or, of segments without them, the weights; m, v [total] f32 or bf16. Such
// weights, and moments in bf16, are rounded stochastically: up with the probability of the part cut off, 16 bits of
// Philox(seed; element / 4, step) per value, so the split into blocks cannot change a bit. A tile is 8192 elements of one
// segment. Buffers at multiples of 16 bytes, segments as in step.h.
// Grid: as many blocks as tiles, 256 threads (adamw_step: 1 block of 32); shared memory: none.
// Moves 30*elements bytes (adamw_bf16 16, 22 with master weights; clear_gradients 4), 13*elements FLOP (f32 update):
// memory-bound.
// Lanes hold 4 elements: f32 moves in 16-byte accesses, bf16 in 8-byte ones, since 8 elements per lane would halve the
// use of f32 sectors.
// Moments that would be subnormal are 0, as on processors, where such numbers are slow.
// Deterministic: elements are independent.
// Loshchilov & Hutter 2019, arXiv:1711.05101, algorithm 2, the decay times the rate as PyTorch has it.
#include "philox.h"
#include "prim.h"
#include "step.h"

namespace {

constexpr int THREADS = 256;
constexpr int QUADS = 2048;   // of a tile: what a block reads beside its elements is below 1 %

struct Rates {
    float scale, step_size, decay, inverse_root, eps, c1, c2, b2;
};

DEVICE Rates rates(const StepRecord* r, const AdamSegment* s) {
    double rate = load(&r->rate) * load(&s->rate_multiplier);
    double beta1 = load(&r->beta1), beta2 = load(&r->beta2);
    double decay = load(&s->weight_decay) * load(r->decay_scale + load(&s->decay_follows_rate));
    return {float(load(&r->clip_factor)),
            float(rate * load(&r->correction1)),
            float(1.0 - rate * decay),
            float(load(&r->correction2)),
            float(load(&r->eps)),
            float(1.0 - beta1),
            float(1.0 - beta2),
            float(beta2)};
}

DEVICE float normal_or_zero(float x) { return fabsf(x) < 1.17549435e-38f ? 0.0f : x; }

DEVICE void update(float& w, float& m, float& v, float g, const Rates& r) {
    g *= r.scale;
    m = normal_or_zero(fmaf(g - m, r.c1, m));
    v = normal_or_zero(fmaf(r.c2 * g, g, r.b2 * v));
    w = fmaf(-r.step_size, m / fmaf(sqrtf(v), r.inverse_root, r.eps), w * r.decay);
}

// Up with probability (part cut off) / ulp: what 16 random bits carry over. Infinity stays.
DEVICE bf16 round_stochastic(float x, uint32_t random16) {
    if (x != x) return {0x7fff};
    return {uint16_t((float_bits(x) + random16) >> 16)};
}

DEVICE float moment(float x) { return x; }
DEVICE float moment(bf16 x) { return to_float(x); }
// An element has 32 random bits: the lower half for m, the upper for v, and for a weight the exclusive or of both, which
// is uniform and independent of either.
DEVICE void set_moments(float& m, float& v, float new_m, float new_v, uint32_t) { m = new_m, v = new_v; }
DEVICE void set_moments(bf16& m, bf16& v, float new_m, float new_v, uint32_t random) {
    m = round_stochastic(new_m, random & 0xffffu);
    v = round_stochastic(new_v, random >> 16);
}
DEVICE bf16 weight(float x, uint32_t random) { return round_stochastic(x, (random ^ random >> 16) & 0xffffu); }
DEVICE uint4 random_bits(float, uint64_t, uint64_t, int64_t) { return {}; }
DEVICE uint4 random_bits(bf16, uint64_t seed, uint64_t step, int64_t quad) {
    return philox(seed, uint64_t(quad), STREAM_ADAMW | step);
}

template <class Moment> struct Flat {
    float* w32;
    bf16* w16;
    Moment *m, *v;
    const float* g;
};

// N elements from i on; the first of them takes random word 0. With MASTER the weights are those of f.w32.
template <bool MASTER, int N, class Moment>
DEVICE void update_from(const Flat<Moment>& f, int64_t i, const Rates& r, const uint32_t* random) {
    Vec<float, N> w, g = load_stream<N>(f.g + i);
    Vec<Moment, N> m = load_stream<N>(f.m + i), v = load_stream<N>(f.v + i);
    Vec<bf16, N> low;
    if constexpr (MASTER) {
        w = load<N>(f.w32 + i);
    } else {
        low = load<N>(f.w16 + i);
        UNROLL for (int k = 0; k < N; k++) w[k] = to_float(low[k]);
    }
    UNROLL for (int k = 0; k < N; k++) {
        float mk = moment(m[k]), vk = moment(v[k]);
        update(w[k], mk, vk, g[k], r);
        set_moments(m[k], v[k], mk, vk, random[k]);
        low[k] = MASTER ? to_bf16(w[k]) : weight(w[k], random[k]);
    }
    if constexpr (MASTER) store_stream(f.w32 + i, w);
    store_stream(f.m + i, m);
    store_stream(f.v + i, v);
    store(f.w16 + i, low);
}

// Calls f(first element, count) for the groups of four elements of the block's tile; the last of a row may be partial.
template <class F> DEVICE void for_quads(const AdamTile* tiles, const AdamSegment* segments, const F& f) {
    Vec<int32_t, 2> tile = load<2>(&tiles[blockIdx.x].segment);
    const AdamSegment* s = segments + tile[0];
    int64_t offset = load(&s->offset), ld = load(&s->ld);
    Vec<int32_t, 2> size = load<2>(&s->rows);
    int cols = size[1];
    uint32_t quads = (uint32_t(cols) + 3) / 4;
    int64_t first = int64_t(tile[1]) * QUADS;
    int64_t row0 = first / quads;
    uint32_t quad0 = uint32_t(first - row0 * quads);
    int count = int(min(int64_t(size[0]) * quads - first, int64_t(QUADS)));
    for (int i = int(threadIdx.x); i < count; i += THREADS) {
        uint32_t at = quad0 + uint32_t(i), row = at / quads, col = (at - row * quads) * 4;
        f(offset + (row0 + row) * ld + col, min(cols - int(col), 4));
    }
}

template <bool MASTER, class Moment>
DEVICE void adamw(const AdamTile* tiles, const AdamSegment* segments, const Flat<Moment>& f, const StepRecord* record) {
    Rates r = rates(record, segments + load(&tiles[blockIdx.x].segment));
    uint64_t seed = load(&record->seed), step = load(&record->step);
    for_quads(tiles, segments, [&](int64_t element, int count) {
        uint4 bits = random_bits(Moment{}, seed, step, element / 4);
        uint32_t random[4] = {bits.x, bits.y, bits.z, bits.w};
        if (count == 4) {
            update_from<MASTER, 4>(f, element, r, random);
        } else {
            UNROLL for (int k = 0; k < 3; k++)
                if (k < count) update_from<MASTER, 1>(f, element + k, r, random + k);
        }
    });
}

DEVICE double power(double x, uint64_t n) {
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1) result *= x;
    return result;
}

}   // namespace

KERNEL(adamw_f32, THREADS, const AdamTile* tiles, const AdamSegment* segments, float* w32, bf16* w16, float* m,
       float* v, const float* g, const StepRecord* record) {
    if (load(&record->skip)) return;
    adamw<true, float>(tiles, segments, {w32, w16, m, v, g}, record);
}

KERNEL(adamw_bf16, THREADS, const AdamTile* tiles, const AdamSegment* segments, float* w32, bf16* w16, bf16* m,
       bf16* v, const float* g, const StepRecord* record) {
    if (load(&record->skip)) return;
    const AdamSegment* s = segments + load(&tiles[blockIdx.x].segment);
    int64_t master = load(&s->master);
    if (master < 0) {
        adamw<false, bf16>(tiles, segments, {nullptr, w16, m, v, g}, record);
    } else {
        adamw<true, bf16>(tiles, segments, {w32 + (master - load(&s->offset)), w16, m, v, g}, record);
    }
}

KERNEL(clear_gradients, THREADS, const AdamTile* tiles, const AdamSegment* segments, float* g) {
    for_quads(tiles, segments, [&](int64_t element, int count) {
        if (count == 4) {
            store(g + element, Vec<float, 4>{});
        } else {
            for (int k = 0; k < count; k++) store(g + element + k, 0.0f);
        }
    });
}

// sums [2] f64 of global_norm_final. Clips as torch.nn.utils.clip_grad_norm_; counts the update unless it is skipped.
KERNEL(adamw_step, 32, const double* sums, StepRecord* r) {
    if (threadIdx.x != 0) return;
    double norm = sqrt(load(sums)), clip = load(&r->clip);
    bool skip = !(norm <= 1.7976931348623157e308);   // infinite or NaN
    uint64_t applied = load(&r->applied) + (skip ? 0 : 1);
    store(&r->norm, norm);
    store(&r->abs_sum, load(sums + 1));
    store(&r->clip_factor, clip > 0 ? min(clip / (norm + 1e-6), 1.0) : 1.0);
    store(&r->correction1, 1.0 / (1.0 - power(load(&r->beta1), applied)));
    store(&r->correction2, 1.0 / sqrt(1.0 - power(load(&r->beta2), applied)));
    store(&r->applied, applied);
    store(&r->skip, int32_t(skip));
}
