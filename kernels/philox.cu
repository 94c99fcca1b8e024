// philox_bits, philox_uniform, philox_normal: out [n] from counter-based random numbers.
// Element i is word i % 4 of Philox4x32-10(seed; i / 4, stream): the same for every grid. bits: u32; uniform: f32 in
// (0, 1), 23 bits and a half; normal: f32 mean + sigma * N(0, 1), words 0 and 1 (2 and 3) give a pair by Box-Muller.
// out at a multiple of 16 bytes.
// Grid ceil(n / 1024) blocks of 256 threads; shared memory: none.
// Writes 4*n bytes, 10 rounds of 2 wide products per 4 elements: bound by the integer units or memory.
// Deterministic: elements are independent.
// Salmon et al. 2011, SC'11; Box & Muller 1958.
#include "philox.h"
#include "prim.h"

namespace {

constexpr int THREADS = 256;

DEVICE float uniform(uint32_t bits) { return (float(bits >> 9) + 0.5f) * 0x1p-23f; }

// Sine and cosine of u turns, u in (0, 1): the nearest quarter and a polynomial (Cephes sinf, cosf). cosf itself
// needs a stack frame for large arguments.
DEVICE Vec<float, 2> sin_cos_turns(float u) {
    float quarters = rintf(4 * u);
    float x = (4 * u - quarters) * 1.5707963267948966f, x2 = x * x;
    float s = fmaf(fmaf(fmaf(-1.9515295891e-4f, x2, 8.3321608736e-3f), x2, -1.6666654611e-1f) * x2, x, x);
    float c = fmaf(fmaf(2.443315711809948e-5f, x2, -1.388731625493765e-3f), x2, 4.166664568298827e-2f);
    c = fmaf(c * x2, x2, fmaf(-0.5f, x2, 1.0f));
    int q = int(quarters) & 3;
    float sine = q & 1 ? c : s, cosine = q & 1 ? s : c;
    return {{q & 2 ? -sine : sine, q == 1 || q == 2 ? -cosine : cosine}};
}

struct Bits {
    using T = uint32_t;
    DEVICE Vec<T, 4> of(uint4 r) const { return {{r.x, r.y, r.z, r.w}}; }
};

struct Uniform {
    using T = float;
    DEVICE Vec<T, 4> of(uint4 r) const { return {{uniform(r.x), uniform(r.y), uniform(r.z), uniform(r.w)}}; }
};

struct Normal {
    using T = float;
    float mean, sigma;

    DEVICE Vec<T, 4> of(uint4 r) const {
        float far0 = sqrtf(-2 * logf(uniform(r.x))), far1 = sqrtf(-2 * logf(uniform(r.z)));
        Vec<float, 2> a = sin_cos_turns(uniform(r.y)), b = sin_cos_turns(uniform(r.w));
        return {{fmaf(sigma, far0 * a[1], mean), fmaf(sigma, far0 * a[0], mean), fmaf(sigma, far1 * b[1], mean),
                 fmaf(sigma, far1 * b[0], mean)}};
    }
};

template <class Kind>
DEVICE void fill(const Kind& kind, typename Kind::T* out, int64_t n, uint64_t seed, uint64_t stream) {
    int64_t quad = int64_t(blockIdx.x) * THREADS + int64_t(threadIdx.x), i = quad * 4;
    if (i >= n) return;
    Vec<typename Kind::T, 4> x = kind.of(philox(seed, uint64_t(quad), stream));
    if (i + 4 <= n) {
        store(out + i, x);
    } else {
        UNROLL for (int k = 0; k < 3; k++)
            if (i + k < n) store(out + i + k, x[k]);
    }
}

}   // namespace

KERNEL(philox_bits, THREADS, uint32_t* out, int64_t n, uint64_t seed, uint64_t stream) {
    fill(Bits{}, out, n, seed, stream);
}

KERNEL(philox_uniform, THREADS, float* out, int64_t n, uint64_t seed, uint64_t stream) {
    fill(Uniform{}, out, n, seed, stream);
}

KERNEL(philox_normal, THREADS, float* out, int64_t n, uint64_t seed, uint64_t stream, float mean, float sigma) {
    fill(Normal{mean, sigma}, out, n, seed, stream);
}
