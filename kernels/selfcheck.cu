// One tiny kernel per primitive: what each must do is stated independently in tests/kernels/selfcheck.rs, and the
// same file is the first thing to run on a device nobody has used before. All but selfcheck_atomic are one block.
#include "philox.h"
#include "prim.h"
#include "reduce.h"

// out [3, threads] = lane, warp, block threads.
KERNEL(selfcheck_indices, 1024, int* out) {
    int i = int(threadIdx.x), n = int(blockDim.x);
    store(out + i, lane_id());
    store(out + n + i, warp_id());
    store(out + 2 * n + i, n);
}

// One warp. out [6, 32]: xor 5, down 3, from lane 7, ballot of odd values, any, all.
KERNEL(selfcheck_warp, 32, const int* in, int* out) {
    int lane = lane_id();
    int x = load(in + lane);
    store(out + lane, shuffle_xor(x, 5));
    store(out + 32 + lane, shuffle_down(x, 3));
    store(out + 64 + lane, shuffle(x, 7));
    store(out + 96 + lane, int(vote_ballot(x & 1)));
    store(out + 128 + lane, int(vote_any(x == 40)));
    store(out + 160 + lane, int(vote_all(x < 40)));
}

// out [blocks, 32] = what each thread found in the counter to which it added 2: which of them depends on the order.
KERNEL(selfcheck_atomic, 32, int* counter, int* out) {
    store(out + 32 * blockIdx.x + threadIdx.x, atomic_add(counter, 2));
}

// out [n] bf16 = in [n] f32; back [n] f32 = out; packed [n/2] = pairs; then exp2, log2, rcp, rsqrt of |in|.
KERNEL(selfcheck_numbers, 256, const float* in, bf16* out, float* back, uint32_t* packed, float* approx, int n) {
    for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) {
        float x = load(in + i);
        bf16 r = to_bf16(x);
        store(out + i, r);
        store(back + i, to_float(r));
        store(approx + i, exp2_approx(x));
        store(approx + n + i, log2_approx(fabsf(x)));
        store(approx + 2 * n + i, rcp_approx(x));
        store(approx + 3 * n + i, rsqrt_approx(fabsf(x)));
        if (i % 2 == 0) store(packed + i / 2, pack_bf16(x, load(in + i + 1)));
    }
}

struct CopySmem {
    Vec<uint32_t, 4> a[128];
};

// 128 threads; out[i] = in[127 - i] through shared memory and cp.async, zero from `valid` on.
KERNEL(selfcheck_cp_async, 128, const uint4* in, uint4* out, int valid) {
    DYNAMIC_SMEM(CopySmem, s);
    int i = int(threadIdx.x);
    cp_async(&s.a[i], in + i, i < valid);
    cp_async_commit();
    cp_async_wait<0>();
    sync_block();
    store(out + i, bits_as<uint4>(load_shared(&s.a[127 - i])));
}

struct TileSmem {
    bf16 tile[32][8];
};

// One warp. in [32, 8] bf16 is four 8 x 8 matrices; out [2, 32, 4] registers, plain and transposed.
KERNEL(selfcheck_ldmatrix, 32, const bf16* in, uint32_t* out) {
    DYNAMIC_SMEM(TileSmem, s);
    int lane = lane_id();
    store_shared(s.tile[31 - lane], load<8>(in + 8 * (31 - lane)));
    sync_warp();
    uint32_t r[4], t[4], half[2], half_t[2];
    ldmatrix_x4(r, s.tile[lane]);
    ldmatrix_x4<true>(t, s.tile[lane]);
    ldmatrix_x2(half, s.tile[lane]);
    ldmatrix_x2<true>(half_t, s.tile[lane]);
    store(out + 4 * lane, Vec<uint32_t, 4>{{r[0], r[1], r[2], r[3]}});
    store(out + 128 + 4 * lane, Vec<uint32_t, 4>{{t[0], t[1], t[2], t[3]}});
    store(out + 256 + 4 * lane, Vec<uint32_t, 4>{{half[0], half[1], half_t[0], half_t[1]}});
}

// One warp. Registers in, registers out: a [32, 4], b [32, 2], c [32, 4].
KERNEL(selfcheck_mma, 32, const uint32_t* a, const uint32_t* b, const float* c, float* d) {
    int lane = lane_id();
    Vec<uint32_t, 4> va = load<4>(a + 4 * lane);
    Vec<uint32_t, 2> vb = load<2>(b + 2 * lane);
    Vec<float, 4> vc = load<4>(c + 4 * lane);
    mma(vc.v, va.v, vb.v);
    store(d + 4 * lane, vc);
}

struct NamedSmem {
    int slots[2][32];
};

// 64 threads: warp 0 produces `rounds` rows of 32, warp 1 doubles them into out, two slots between them.
KERNEL(selfcheck_named, 64, const int* in, int* out, int rounds) {
    DYNAMIC_SMEM(NamedSmem, s);
    int lane = lane_id();
    for (int i = 0; i < rounds; i++) {
        int full = 1 + i % 2, empty = 3 + i % 2;
        if (warp_id() == 0) {
            int x = load(in + 32 * i + lane);
            if (i >= 2) sync_named(empty, 64);   // the slot was read
            s.slots[i % 2][31 - lane] = x;
            arrive_named(full, 64);
        } else {
            sync_named(full, 64);   // the slot was written
            int x = s.slots[i % 2][lane];
            if (i + 2 < rounds) arrive_named(empty, 64);
            store(out + 32 * i + lane, 2 * x);
        }
    }
}

// out [3, threads] = block sum and maximum, and the sum of the squares: each use must wait for the one before.
KERNEL(selfcheck_reduce, 1024, const float* in, float* out) {
    DYNAMIC_SMEM(ReduceSmem, s);
    int i = int(threadIdx.x);
    float x = load(in + i);
    store(out + i, block_sum(x, s));
    store(out + int(blockDim.x) + i, block_max(x, s));
    store(out + 2 * int(blockDim.x) + i, block_sum(x * x, s));
}

// out [n, 4] = philox(key, i, high).
KERNEL(selfcheck_philox, 128, uint64_t key, uint64_t high, uint32_t* out, int n) {
    for (int i = int(threadIdx.x); i < n; i += int(blockDim.x)) store((uint4*)out + i, philox(key, uint64_t(i), high));
}

struct GemmSmem {
    // Two stages; rows of 32 bf16 in four 16-byte pieces, piece p of row r at p ^ (r / 2 % 4): no bank conflicts.
    bf16 a[2][32][32], b[2][32][32];
};

DEVICE bf16* piece(bf16 (&tile)[32][32], int row, int p) { return &tile[row][8 * (p ^ (row / 2 % 4))]; }

// c [m, n] f32 = a [m, k] * b [n, k]^T, bf16, m and n multiples of 32, k of 32; 128 threads, grid (n/32, m/32).
// Every call of a real GEMM in its smallest form: two stages of cp.async, ldmatrix, mma; a warp owns 16 x 16.
KERNEL(selfcheck_gemm, 128, const bf16* a, const bf16* b, float* c, int n, int k) {
    DYNAMIC_SMEM(GemmSmem, s);
    int row0 = int(blockIdx.y) * 32, col0 = int(blockIdx.x) * 32;
    int lane = lane_id(), wm = warp_id() / 2 * 16, wn = warp_id() % 2 * 16;
    auto fetch = [&](int step) {
        int row = int(threadIdx.x) / 4, p = int(threadIdx.x) % 4;
        cp_async(piece(s.a[step % 2], row, p), a + int64_t(row0 + row) * k + step * 32 + p * 8);
        cp_async(piece(s.b[step % 2], row, p), b + int64_t(col0 + row) * k + step * 32 + p * 8);
    };
    float acc[2][4] = {};
    fetch(0);
    cp_async_commit();
    for (int step = 0; step < k / 32; step++) {
        if (step + 1 < k / 32) fetch(step + 1);
        cp_async_commit();   // empty at the last step, so that the count below is right
        cp_async_wait<1>();
        sync_block();   // everyone's copies of this stage have arrived
        UNROLL for (int kk = 0; kk < 2; kk++) {
            uint32_t fa[4], fb[4];
            ldmatrix_x4(fa, piece(s.a[step % 2], wm + lane % 16, 2 * kk + lane / 16));
            ldmatrix_x4(fb, piece(s.b[step % 2], wn + lane % 8 + lane / 16 * 8, 2 * kk + lane / 8 % 2));
            uint32_t b0[2] = {fb[0], fb[1]}, b1[2] = {fb[2], fb[3]};
            mma(acc[0], fa, b0);
            mma(acc[1], fa, b1);
        }
        sync_block();   // this stage was read by all before the next fetch overwrites it
    }
    UNROLL for (int j = 0; j < 2; j++)
        UNROLL for (int h = 0; h < 2; h++) {
            int64_t row = row0 + wm + h * 8 + lane / 4, col = col0 + wn + j * 8 + lane % 4 * 2;
            store(c + row * n + col, Vec<float, 2>{{acc[j][2 * h], acc[j][2 * h + 1]}});
        }
}

// Each does one thing wrong, chosen by `what`; tests/kernels/emulator.rs states the report expected.
KERNEL(selfcheck_fault, 128, int what, int* out) {
    DYNAMIC_SMEM(CopySmem, s);
    int i = int(threadIdx.x);
    if (what == 0 && i < 64) sync_block();   // deadlock
    if (what == 1) {
        if (i < 64) sync_block();   // two places
        else sync_block();
    }
    if (what == 2) store(out + 128 + i, i);   // behind the buffer
    if (what == 3) store((uint2*)(out + 1), uint2{0, 0});   // misaligned
    if (what == 4) store_shared(&s.a[i + 1], Vec<uint32_t, 4>{});   // behind shared memory
    if (what == 5) s.a[i + 1].v[0] = 0;   // the same, without a primitive
    if (what == 6 && i < 16) shuffle_xor(i, 1);   // half a warp
    if (what == 7) store(out - 1 + 0 * i, 0);   // before the buffer
    if (what == 8) load((const int*)&s);   // not global memory
    if (what == 9) i = int(load_shared(&s.a[i])[0]);   // poison
    store(out + int(threadIdx.x), i);
}

#ifdef EMU_ASAN
// Two frames at the same place: the red zones between the arrays of one lie inside the array of the other.
static __attribute__((noinline)) int three_arrays(int n) {
    volatile int a[1024] = {}, b[1024] = {}, c[1024] = {};
    if (lane_id()) shuffle_xor(n, 1);   // never met: lane 0 is gone
    return a[n % 1024] + b[n % 1024] + c[n % 1024];
}
static __attribute__((noinline)) int one_array(int n) {
    volatile int all[4096];
    for (int i = 0; i < 4096; i++) all[i] = n;
    return all[n % 4096];
}

// What only the sanitizers see: plain C++ where a primitive should stand, and undefined behaviour.
KERNEL(selfcheck_sanitize, 32, int what, int* out) {
    DYNAMIC_SMEM(CopySmem, s);
    volatile int local[4] = {};
    volatile int *global = out, *shared = (int*)s.a, *volatile stack = local;   // whose, the compiler forgets
    int n = 32 + shuffle_xor(0, 1);   // not known to the compiler; and every lane has been switched to
    if (what == 0) global[n] = 0;   // behind the buffer
    if (what == 1) global[-n] = 0;   // before the buffer
    if (what == 2) global[n + 8192] = 0;   // behind every buffer
    if (what == 3) shared[16 * n] = 0;   // behind shared memory
    if (what == 4) shared[-n] = 0;   // before shared memory
    if (what == 5) stack[n / 8] = 0;   // behind a local
    if (what == 6) local[n / 8] = 0;   // the same, by index
    if (what == 7) local[0] = 0x7fffffff + n;   // overflow
    if (what == 8) local[0] = 1 << n;   // shift
    if (what == 9) *(volatile int*)((char*)out + n / 16) = 0;   // misaligned
    if (what == 10) n = three_arrays(n);
    if (what == 11) n = one_array(n);
}
#endif

struct BanksSmem {
    float at[1280];
};

// One warp: lane i writes and reads four floats at i * stride (at most 36).
KERNEL(selfcheck_banks, 32, int stride, float* out) {
    DYNAMIC_SMEM(BanksSmem, s);
    float* mine = s.at + lane_id() * stride;
    store_shared(mine, Vec<float, 4>{{1, 2, 3, 4}});
    store(out + 4 * lane_id(), load_shared<4>(mine));
}

struct Pair {
    float scale;
    int shift;
};

// Blocks of 32 threads; out [z, y, x, 32] = scale * index + shift.
KERNEL(selfcheck_grid, 32, Pair p, float* out) {
    int block = (int(blockIdx.z) * int(gridDim.y) + int(blockIdx.y)) * int(gridDim.x) + int(blockIdx.x);
    int i = block * 32 + lane_id();
    store(out + i, p.scale * float(i) + float(p.shift));
}

// `rounds` calls of one primitive, for timing.
KERNEL(selfcheck_speed, 1024, int rounds, int what) {
    float x = float(threadIdx.x), c[4] = {};
    uint32_t a[4] = {}, b[2] = {};
    for (int i = 0; i < rounds; i++) {
        if (what == 0) sync_block();
        if (what == 1) x = shuffle_xor(x, 1);
        if (what == 2) mma(c, a, b);
    }
}
