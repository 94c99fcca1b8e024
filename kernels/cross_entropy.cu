// cross_entropy_fwd_bwd: softmax, loss and gradient in the place of the logits, one block per row;
// cross_entropy_fwd_bwd_long: the same for rows that do not fit in shared memory; cross_entropy_fwd: the loss alone.
// logits [rows, padded] bf16, rows ld apart, becomes (softmax - onehot) * scale * weight; columns from V on are
// masked: whatever they hold has probability 0 and gradient 0. targets [rows] i32; weights [rows] f32 or null (all
// 1); losses [rows] f32 = lse - logit[target], not multiplied by the weight. A negative target or a weight of 0
// masks a row: loss 0, gradient 0, logits not read. A target of negative weight is not to be predicted: its loss is
// -ln(1 - p) of its probability p, and the gradient -p / (1 - p) * (softmax - onehot) * scale * |weight|, where 1 - p
// is at least 1e-5. A target >= V makes its loss and its row NaN, so that the step is skipped. padded and ld multiples
// of 8, logits at a multiple of 16 bytes, V <= padded.
// Grid rows blocks of 512 threads; shared memory 256 bytes, fwd_bwd 256 + 2*padded (padded <= 50,560 fits in 99 KB).
// Moves 4*rows*padded + 12*rows bytes (long: 6*, fwd: 2*), 5*rows*V FLOP: memory-bound.
// Deterministic: a thread's columns, and the order in which threads combine, depend on V alone.
// Milakov & Gimelshein 2018, arXiv:1805.02867, algorithm 3 (one pass for maximum and sum); Welleck et al. 2020,
// arXiv:1908.04319 (unlikelihood).
#include "prim.h"
#include "reduce.h"

namespace {

constexpr int THREADS = 512;   // two blocks of a row of 50,304 fill an SM of 228 KB
constexpr int BATCH = 4;       // loads of 16 bytes in flight per thread
constexpr float LOG2E = 1.4426950408889634f;
constexpr float LEAST_REST = 1e-5f;   // of 1 - p
constexpr float LOWEST = -3.4028234663852886e38f;   // below every maximum, and unlike -infinity it can be subtracted

// The difference first: it is exact for close numbers, which are those that matter.
DEVICE float exp_from(float x, float most) { return exp2_approx((x - most) * LOG2E); }

// Of the warps: maximum, and sum of e^(x - maximum).
struct CrossEntropySmem {
    float most[32], sum[32];
};

struct Running {
    float most, sum;   // sum of e^(x - most)

    DEVICE void add(const Vec<bf16, 8>& x, int cols) {
        float f[8], m = LOWEST;
        UNROLL for (int j = 0; j < 8; j++) {
            f[j] = j < cols ? to_float(x[j]) : -INFINITY;
            m = max_nan(m, f[j]);
        }
        if (!(m <= most)) {
            sum *= exp_from(most, m);
            most = m;
        }
        UNROLL for (int j = 0; j < 8; j++) sum += exp_from(f[j], most);
    }

    // Every lane gets that of the warp.
    DEVICE void combine_warp() {
        float all = warp_max(most);
        sum = warp_sum(sum * exp_from(most, all));
        most = all;
    }

    // Every thread gets that of the block.
    DEVICE void combine_block(CrossEntropySmem& s) {
        combine_warp();
        int lane = lane_id();
        if (lane == 0) {
            s.most[warp_id()] = most;
            s.sum[warp_id()] = sum;
        }
        sync_block();   // all warps' values are there
        bool one = lane < THREADS / 32;
        most = one ? s.most[lane] : LOWEST;
        sum = one ? s.sum[lane] : 0.0f;
        combine_warp();
    }
};

// Maximum and sum over the thread's columns: 8 from 8 * thread on, and every 8 * THREADS further. Keeps them in `row`.
template <bool KEEP> DEVICE Running read_row(const bf16* x, Vec<bf16, 8>* row, int vocab) {
    Running r{LOWEST, 0};
    for (int start = int(threadIdx.x) * 8; start < vocab; start += BATCH * THREADS * 8) {
        Vec<bf16, 8> v[BATCH];
        UNROLL for (int b = 0; b < BATCH; b++)
            if (start + b * THREADS * 8 < vocab) v[b] = load<8>(x + start + b * THREADS * 8);
        UNROLL for (int b = 0; b < BATCH; b++) {
            int col = start + b * THREADS * 8;
            if (col >= vocab) continue;
            if (KEEP) store_shared(row + col / 8, v[b]);
            r.add(v[b], vocab - col);
        }
    }
    return r;
}

DEVICE Vec<bf16, 8> gradient(const Vec<bf16, 8>& x, float most, float factor, int cols, int onehot, float subtract) {
    Vec<bf16, 8> g;
    UNROLL for (int j = 0; j < 8; j++) {
        float p = exp_from(to_float(x[j]), most) * factor;
        if (j == onehot) p -= subtract;
        g[j] = j < cols ? to_bf16(p) : bf16{0};
    }
    return g;
}

// GRADIENT: 0 none, 1 from the row in shared memory, 2 from a second pass.
template <int GRADIENT>
DEVICE void cross_entropy(bf16* logits, int64_t ld, const int* targets, const float* weights, float* losses,
                          float scale, int vocab, int padded) {
    DYNAMIC_SMEM(CrossEntropySmem, s);
    Vec<bf16, 8>* kept = reinterpret_cast<Vec<bf16, 8>*>(&s + 1);
    int64_t i = blockIdx.x;
    bf16* x = logits + i * ld;
    int target = load(targets + i);
    float weight = weights ? load(weights + i) : 1.0f;
    if (target < 0 || weight == 0) {
        if (threadIdx.x == 0) store(losses + i, 0.0f);
        for (int col = int(threadIdx.x) * 8; GRADIENT && col < padded; col += THREADS * 8)
            store(x + col, Vec<bf16, 8>{});
        return;
    }
    bool known = target < vocab;
    float picked = 0;   // read before the row is overwritten
    if (threadIdx.x == 0 || (GRADIENT && weight < 0)) picked = known ? to_float(load(x + target)) : NAN;

    Running r = read_row<GRADIENT == 1>(x, kept, vocab);
    r.combine_block(s);
    if (GRADIENT == 0 && threadIdx.x) return;
    weight = weights ? load(weights + i) : 1.0f;   // again: a register less during the walk
    float loss = (r.most - picked) + logf(r.sum), odds = 1;
    if (weight < 0) {
        float own = exp_from(picked, r.most);
        odds = own / fmaxf(r.sum - own, LEAST_REST * r.sum);
        loss = log1pf(odds);   // -ln(1 - p)
    }
    if (threadIdx.x == 0) store(losses + i, loss);
    if (GRADIENT == 0) return;

    float subtract = known ? scale * weight * odds : NAN, factor = subtract / r.sum;
    for (int col = int(threadIdx.x) * 8; col < padded; col += THREADS * 8) {
        Vec<bf16, 8> v{};
        if (col < vocab) v = GRADIENT == 1 ? load_shared(kept + col / 8) : load<8>(x + col);
        store(x + col, gradient(v, r.most, factor, vocab - col, target - col, subtract));
    }
}

}   // namespace

KERNEL(cross_entropy_fwd, THREADS, const bf16* logits, int64_t ld, const int* targets, const float* weights,
       float* losses, int vocab) {
    cross_entropy<0>(const_cast<bf16*>(logits), ld, targets, weights, losses, 0, vocab, vocab);
}

KERNEL(cross_entropy_fwd_bwd, THREADS, bf16* logits, int64_t ld, const int* targets, const float* weights,
       float* losses, float scale, int vocab, int padded) {
    cross_entropy<1>(logits, ld, targets, weights, losses, scale, vocab, padded);
}

KERNEL(cross_entropy_fwd_bwd_long, THREADS, bf16* logits, int64_t ld, const int* targets, const float* weights,
       float* losses, float scale, int vocab, int padded) {
    cross_entropy<2>(logits, ld, targets, weights, losses, scale, vocab, padded);
}
