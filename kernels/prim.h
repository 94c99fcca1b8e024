// The vocabulary of the kernels: every CUDA primitive once, its device half (PTX) beside its host half (emu.h).
// A kernel touches global memory, and vectors in shared memory, through these functions only; README.md has the
// table and the rules. HERE is a hidden last argument on the host: the file and line of the call.
#pragma once

#ifdef __CUDACC__
#include <cstdint>
#define DEVICE __device__ __forceinline__
#define HERE
#define HERE_ONLY
#define PASS
#define UNROLL _Pragma("unroll")
#define UNROLL_BY(n) UNROLL_TEXT(unroll n)   // 1 for not at all
#define UNROLL_TEXT(text) _Pragma(#text)
// KERNEL(name, threads per block at most, arguments...) { body }
#define KERNEL(name, threads, ...) extern "C" __global__ void __launch_bounds__(threads) name(__VA_ARGS__)
// A struct among the arguments that is indexed at run time, without a copy of it in local memory.
#define IN_PLACE const __grid_constant__
// DYNAMIC_SMEM(T, s): the block's shared memory as `T& s`; the launch gives sizeof(T) bytes.
#define DYNAMIC_SMEM(T, s)                             \
    extern __shared__ __align__(1024) uint8_t smem_[]; \
    T& s = *reinterpret_cast<T*>(smem_)
#else
#include "emu.h"
#define DEVICE inline
#define IN_PLACE const
#define HERE , emu::Where where = {__builtin_FILE(), __builtin_LINE()}
#define HERE_ONLY emu::Where where = {__builtin_FILE(), __builtin_LINE()}
#define PASS , where
#define KERNEL(name, threads, ...)                               \
    static void name(__VA_ARGS__);                               \
    static emu::Entry emu_entry_##name(#name, threads, &name);   \
    static void name(__VA_ARGS__)
#define DYNAMIC_SMEM(T, s) T& s = *static_cast<T*>(emu::shared(sizeof(T), {__builtin_FILE(), __builtin_LINE()}))
// Blocks have one dimension, grids three.
#define threadIdx (emu::self->index)
#define blockDim (emu::block->threads_total)
#define blockIdx (emu::block->index)
#define gridDim (emu::block->grid)
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) float2 { float x, y; };
template <class T> DEVICE T min(T a, T b) { return b < a ? b : a; }
template <class T> DEVICE T max(T a, T b) { return a < b ? b : a; }
#define UNROLL
#define UNROLL_BY(n)
#endif

constexpr uint32_t ALL_LANES = 0xffffffffu;

DEVICE int lane_id() { return int(threadIdx.x) % 32; }
DEVICE int warp_id() { return int(threadIdx.x) / 32; }

// ---- Numbers ---------------------------------------------------------------------------------------------------

struct bf16 { uint16_t bits; };

// N elements that move as one access of N * sizeof(T) bytes, a power of two up to 16.
template <class T, int N> struct alignas(sizeof(T) * N) Vec {
    static_assert(sizeof(T) * N <= 16, "the widest access is 16 bytes");
    T v[N];
    DEVICE T& operator[](int i) { return v[i]; }
    DEVICE const T& operator[](int i) const { return v[i]; }
};

DEVICE uint32_t float_bits(float x) {
#ifdef __CUDACC__
    return __float_as_uint(x);
#else
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
#endif
}

DEVICE float bits_float(uint32_t u) {
#ifdef __CUDACC__
    return __uint_as_float(u);
#else
    float x;
    memcpy(&x, &u, 4);
    return x;
#endif
}

DEVICE float to_float(bf16 x) { return bits_float(uint32_t(x.bits) << 16); }

// To nearest, ties to even; every NaN becomes 0x7fff.
DEVICE bf16 to_bf16(float x) {
#ifdef __CUDACC__
    bf16 r;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
    return r;
#else
    if (x != x) return {0x7fff};
    uint32_t u = float_bits(x);
    return {uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
#endif
}

// Two in one register, `lo` in the lower half: the order of the fragments of mma.
DEVICE uint32_t pack_bf16(float lo, float hi) {
#ifdef __CUDACC__
    uint32_t r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#else
    return to_bf16(lo).bits | uint32_t(to_bf16(hi).bits) << 16;
#endif
}

DEVICE float lo_float(uint32_t packed) { return bits_float(packed << 16); }
DEVICE float hi_float(uint32_t packed) { return bits_float(packed & 0xffff0000u); }

// 2^x, log2 x, 1/x, 1/sqrt(x), each within 2 ulp on a GPU (subnormals flushed), exact on the host.
#ifdef __CUDACC__
#define APPROXIMATE(name, instruction, host)                   \
    DEVICE float name(float x) {                               \
        float y;                                               \
        asm(instruction " %0, %1;" : "=f"(y) : "f"(x));        \
        return y;                                              \
    }
#else
#define APPROXIMATE(name, instruction, host) \
    DEVICE float name(float x) { return float(host); }
#endif
APPROXIMATE(exp2_approx, "ex2.approx.ftz.f32", exp2(double(x)))
APPROXIMATE(log2_approx, "lg2.approx.ftz.f32", log2(double(x)))
APPROXIMATE(rcp_approx, "rcp.approx.ftz.f32", 1.0 / double(x))
APPROXIMATE(rsqrt_approx, "rsqrt.approx.ftz.f32", 1.0 / sqrt(double(x)))
#undef APPROXIMATE

// ---- Global memory ---------------------------------------------------------------------------------------------

template <int BYTES> struct Raw;
template <> struct Raw<16> { using T = uint4; };
template <> struct Raw<8> { using T = uint2; };
template <> struct Raw<4> { using T = unsigned; };
template <> struct Raw<2> { using T = unsigned short; };
template <> struct Raw<1> { using T = unsigned char; };

template <class To, class From> DEVICE To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

// One element: float, int, bf16, uint4, a Vec... of 1, 2, 4, 8 or 16 bytes.
template <class T> DEVICE T load(const T* p HERE) {
#ifdef __CUDACC__
    return bits_as<T>(*reinterpret_cast<const typename Raw<sizeof(T)>::T*>(p));
#else
    emu::check_global(p, sizeof(T), emu::Access::GlobalRead, where);
    T x;
    memcpy(&x, p, sizeof x);
    return x;
#endif
}

// Read once: evicted first.
template <class T> DEVICE T load_stream(const T* p HERE) {
#ifdef __CUDACC__
    return bits_as<T>(__ldcs(reinterpret_cast<const typename Raw<sizeof(T)>::T*>(p)));
#else
    return load(p PASS);
#endif
}

#ifdef __CUDACC__
// A plain assignment of a vector may become several stores.
DEVICE void store_raw(uint4* p, uint4 x) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" :: "l"(p), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}
DEVICE void store_raw(uint2* p, uint2 x) {
    asm volatile("st.global.v2.b32 [%0], {%1, %2};" :: "l"(p), "r"(x.x), "r"(x.y) : "memory");
}
template <class T> DEVICE void store_raw(T* p, T x) { *p = x; }
#endif

template <class T> DEVICE void store(T* p, T x HERE) {
#ifdef __CUDACC__
    store_raw(reinterpret_cast<typename Raw<sizeof(T)>::T*>(p), bits_as<typename Raw<sizeof(T)>::T>(x));
#else
    emu::check_global(p, sizeof(T), emu::Access::GlobalWrite, where);
    memcpy(p, &x, sizeof x);
#endif
}

// Not read again soon: evicted first.
template <class T> DEVICE void store_stream(T* p, T x HERE) {
#ifdef __CUDACC__
    __stcs(reinterpret_cast<typename Raw<sizeof(T)>::T*>(p), bits_as<typename Raw<sizeof(T)>::T>(x));
#else
    store(p, x PASS);
#endif
}

// N consecutive elements in one access: load<8>(x) of bf16 is 16 bytes, and x must be aligned to that.
template <int N, class T> DEVICE Vec<T, N> load(const T* p HERE) {
    return load(reinterpret_cast<const Vec<T, N>*>(p) PASS);
}
template <int N, class T> DEVICE Vec<T, N> load_stream(const T* p HERE) {
    return load_stream(reinterpret_cast<const Vec<T, N>*>(p) PASS);
}
template <int N, class T> DEVICE void store(T* p, Vec<T, N> x HERE) {
    store(reinterpret_cast<Vec<T, N>*>(p), x PASS);
}
template <int N, class T> DEVICE void store_stream(T* p, Vec<T, N> x HERE) {
    store_stream(reinterpret_cast<Vec<T, N>*>(p), x PASS);
}

// Adds to an integer in global memory and returns what was there. Integers only: their sum has no order.
DEVICE int atomic_add(int* p, int x HERE) {
#ifdef __CUDACC__
    return atomicAdd(p, x);
#else
    emu::check_global(p, 4, emu::Access::GlobalRead, where);
    emu::check_global(p, 4, emu::Access::GlobalWrite, where);
    return __atomic_fetch_add(p, x, __ATOMIC_RELAXED);
#endif
}

// ---- Shared memory ---------------------------------------------------------------------------------------------
// Scalars in shared memory may be read and written as plain C++; vectors go through these.

#ifdef __CUDACC__
DEVICE uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
// A plain assignment of a vector may become several stores.
DEVICE void store_shared_raw(uint4* p, uint4 x) {
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};"
                 :: "r"(shared_address(p)), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w) : "memory");
}
DEVICE void store_shared_raw(uint2* p, uint2 x) {
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" :: "r"(shared_address(p)), "r"(x.x), "r"(x.y) : "memory");
}
template <class T> DEVICE void store_shared_raw(T* p, T x) { *p = x; }
#endif

template <class T> DEVICE T load_shared(const T* p HERE) {
#ifdef __CUDACC__
    return bits_as<T>(*reinterpret_cast<const typename Raw<sizeof(T)>::T*>(p));
#else
    emu::check_shared(p, sizeof(T), emu::Access::SharedRead, where);
    T x;
    memcpy(&x, p, sizeof x);
    return x;
#endif
}

template <class T> DEVICE void store_shared(T* p, T x HERE) {
#ifdef __CUDACC__
    store_shared_raw(reinterpret_cast<typename Raw<sizeof(T)>::T*>(p), bits_as<typename Raw<sizeof(T)>::T>(x));
#else
    emu::check_shared(p, sizeof(T), emu::Access::SharedWrite, where);
    memcpy(p, &x, sizeof x);
#endif
}

template <int N, class T> DEVICE Vec<T, N> load_shared(const T* p HERE) {
    return load_shared(reinterpret_cast<const Vec<T, N>*>(p) PASS);
}
template <int N, class T> DEVICE void store_shared(T* p, Vec<T, N> x HERE) {
    store_shared(reinterpret_cast<Vec<T, N>*>(p), x PASS);
}

// ---- Asynchronous copies (sm_80) -------------------------------------------------------------------------------

// Copies 16 bytes to shared memory, past L1; writes zeros and reads nothing where `valid` is false.
DEVICE void cp_async(void* to, const void* from, bool valid = true HERE) {
#ifdef __CUDACC__
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :: "r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
#else
    emu::async_copy(to, from, valid ? 16 : 0, where);
#endif
}

// Closes the group of the thread's copies since the last commit.
DEVICE void cp_async_commit(HERE_ONLY) {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    if (emu::enabled("cp_async_commit", where)) emu::async_commit();
#endif
}

// Waits until at most LEFT of the thread's groups are in flight. Others see the data after a barrier.
template <int LEFT> DEVICE void cp_async_wait(HERE_ONLY) {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" :: "n"(LEFT) : "memory");
#else
    if (emu::enabled("cp_async_wait", where)) emu::async_wait(LEFT);
#endif
}

// ---- Synchronisation: at most one of these calls on a source line, or a mutation removes two ------------------

DEVICE void sync_block(HERE_ONLY) {
#ifdef __CUDACC__
    __syncthreads();
#else
    if (emu::enabled("sync_block", where)) emu::meet_barrier(0, blockDim.x, true, "sync_block", where);
#endif
}

// Memory written by a lane before is seen by the other lanes after.
DEVICE void sync_warp(HERE_ONLY) {
#ifdef __CUDACC__
    __syncwarp();
#else
    if (emu::enabled("sync_warp", where)) emu::meet_warp(ALL_LANES, nullptr, "sync_warp", where, [](void* const*) {});
#endif
}

// Barrier `id` (1 to 15) of `threads` threads, whole warps: sync waits for all, arrive does not wait.
DEVICE void sync_named(int id, int threads HERE) {
#ifdef __CUDACC__
    asm volatile("bar.sync %0, %1;" :: "r"(id), "r"(threads) : "memory");
#else
    if (emu::enabled("sync_named", where)) emu::meet_barrier(id, threads, true, "sync_named", where);
#endif
}

DEVICE void arrive_named(int id, int threads HERE) {
#ifdef __CUDACC__
    asm volatile("bar.arrive %0, %1;" :: "r"(id), "r"(threads) : "memory");
#else
    if (emu::enabled("arrive_named", where)) emu::meet_barrier(id, threads, false, "arrive_named", where);
#endif
}

// ---- Warp ------------------------------------------------------------------------------------------------------

#ifndef __CUDACC__
namespace emu {
template <class T> struct Shuffled { T in, out; int from; };
// Every lane gets the value of lane `from`, or its own where that is outside the warp.
template <class T> T shuffle(T x, int from, const char* what, Where where) {
    static_assert(sizeof(T) == 4, "shuffles move 4 bytes");
    Shuffled<T> mine{x, x, from};
    meet_warp(ALL_LANES, &mine, what, where, [](void* const* args) {
        auto lanes = reinterpret_cast<Shuffled<T>* const*>(args);
        for (int i = 0; i < WARP; i++) lanes[i]->out = lanes[lanes[i]->from & 31]->in;
    });
    return mine.out;
}
// As five shuffles would, with one meeting.
template <class T, class F> T butterfly(T x, F op, Where where) {
    static_assert(sizeof(T) == 4, "shuffles move 4 bytes");
    meet_warp(ALL_LANES, &x, "butterfly", where, [&](void* const* args) {
        T all[2][WARP];
        for (int i = 0; i < WARP; i++) all[0][i] = *static_cast<T*>(args[i]);
        int now = 0;
        for (int m = WARP / 2; m > 0; m /= 2, now = !now)
            for (int i = 0; i < WARP; i++) all[!now][i] = op(all[now][i], all[now][i ^ m]);
        for (int i = 0; i < WARP; i++) *static_cast<T*>(args[i]) = all[now][i];
    });
    return x;
}
struct Vote { bool in; uint32_t out; };
inline uint32_t ballot(bool x, Where where) {
    Vote mine{x, 0};
    meet_warp(ALL_LANES, &mine, "vote", where, [](void* const* args) {
        uint32_t all = 0;
        for (int i = 0; i < WARP; i++) all |= uint32_t(static_cast<Vote*>(args[i])->in) << i;
        for (int i = 0; i < WARP; i++) static_cast<Vote*>(args[i])->out = all;
    });
    return mine.out;
}
}   // namespace emu
#endif

// All 32 lanes take part. T: float, int or unsigned.
template <class T> DEVICE T shuffle_xor(T x, int mask HERE) {
#ifdef __CUDACC__
    return __shfl_xor_sync(ALL_LANES, x, mask);
#else
    return emu::shuffle(x, lane_id() ^ mask, "shuffle_xor", where);
#endif
}

template <class T> DEVICE T shuffle_down(T x, int delta HERE) {
#ifdef __CUDACC__
    return __shfl_down_sync(ALL_LANES, x, delta);
#else
    return emu::shuffle(x, lane_id() + delta > 31 ? lane_id() : lane_id() + delta, "shuffle_down", where);
#endif
}

template <class T> DEVICE T shuffle(T x, int lane HERE) {
#ifdef __CUDACC__
    return __shfl_sync(ALL_LANES, x, lane);
#else
    return emu::shuffle(x, lane, "shuffle", where);
#endif
}

// Each lane combines its x with that of the lane 16 away, the result with that 8 away, and so on: `op` is commutative.
template <class T, class F> DEVICE T butterfly(T x, F op HERE) {
#ifdef __CUDACC__
    UNROLL for (int m = 16; m > 0; m /= 2) x = op(x, __shfl_xor_sync(ALL_LANES, x, m));
    return x;
#else
    return emu::butterfly(x, op, where);
#endif
}

// Bit l is lane l's x.
DEVICE uint32_t vote_ballot(bool x HERE) {
#ifdef __CUDACC__
    return __ballot_sync(ALL_LANES, x);
#else
    return emu::ballot(x, where);
#endif
}

DEVICE bool vote_any(bool x HERE) { return vote_ballot(x PASS) != 0; }
DEVICE bool vote_all(bool x HERE) { return vote_ballot(x PASS) == ALL_LANES; }

// ---- Tensor cores (sm_80) --------------------------------------------------------------------------------------

#ifndef __CUDACC__
namespace emu {
struct Ldmatrix { uint32_t* r; const void* row; uint16_t values[8]; };
// Matrix m is 8 rows of 8 bf16 at the addresses of lanes 8m..8m+7; lane l gets row l/4, columns 2(l%4) and +1. A
// lane reads its row when it arrives, so that a missing sync_warp shows.
template <int MATRICES, bool TRANS> void ldmatrix(uint32_t* r, const void* row, const char* what, Where where) {
    if (lane_id() < 8 * MATRICES) check_shared(row, 16, Access::SharedRead, where, false);
    Ldmatrix mine{r, row, {}};
    if (lane_id() < 8 * MATRICES) memcpy(mine.values, row, 16);
    meet_warp(ALL_LANES, &mine, what, where, [](void* const* args) {
        auto lanes = reinterpret_cast<Ldmatrix* const*>(args);
        uint16_t at[MATRICES][8][8];
        for (int m = 0; m < MATRICES; m++)
            for (int row = 0; row < 8; row++) memcpy(at[m][row], lanes[8 * m + row]->values, 16);
        for (int l = 0; l < WARP; l++) {
            int i = l / 4, j = 2 * (l % 4);
            uint32_t* r = lanes[l]->r;
            for (int m = 0; m < MATRICES; m++)
                r[m] = TRANS ? at[m][j][i] | uint32_t(at[m][j + 1][i]) << 16 : at[m][i][j] | uint32_t(at[m][i][j + 1]) << 16;
        }
        if (!block->launch->counting) return;
        void* rows[WARP];
        for (int l = 0; l < WARP; l++) rows[l] = const_cast<void*>(lanes[l]->row);
        count_ldmatrix(rows, 8 * MATRICES);
    });
}

struct Mma { float* c; const uint32_t *a, *b; };
typedef float Row4 __attribute__((vector_size(16)));
// g = lane / 4, t = lane % 4. A: register r holds row g + 8(r&1), columns 2t + 8(r>>1) and +1; B: rows 2t + 8r and
// +1, column g; C: register r holds row g + 8(r>>1), column 2t + (r&1).
inline void mma_m16n8k16(void* const* args) {
    auto lanes = reinterpret_cast<Mma* const*>(args);
    auto& [a, b, c] = block->mma;
    auto two = [](float* first, float* second, uint32_t x) { *first = lo_float(x), *second = hi_float(x); };
    for (int l = 0; l < WARP; l++) {
        const Mma& m = *lanes[l];
        int g = l / 4, t = 2 * (l % 4);
        two(&a[g][t], &a[g][t + 1], m.a[0]);
        two(&a[g + 8][t], &a[g + 8][t + 1], m.a[1]);
        two(&a[g][t + 8], &a[g][t + 9], m.a[2]);
        two(&a[g + 8][t + 8], &a[g + 8][t + 9], m.a[3]);
        memcpy(&c[g][t], m.c, 8);
        memcpy(&c[g + 8][t], m.c + 2, 8);
        two(&b[t][g], &b[t + 1][g], m.b[0]);
        two(&b[t + 8][g], &b[t + 9][g], m.b[1]);
    }
    for (int i = 0; i < 16; i += 4)   // four rows at a time hide the latency of an addition
        for (int j = 0; j < 8; j += 4) {
            Row4 s0 = *(Row4*)&c[i][j], s1 = *(Row4*)&c[i + 1][j], s2 = *(Row4*)&c[i + 2][j], s3 = *(Row4*)&c[i + 3][j];
            for (int k = 0; k < 16; k++) {
                Row4 bk = *(Row4*)&b[k][j];
                s0 += a[i][k] * bk;
                s1 += a[i + 1][k] * bk;
                s2 += a[i + 2][k] * bk;
                s3 += a[i + 3][k] * bk;
            }
            *(Row4*)&c[i][j] = s0, *(Row4*)&c[i + 1][j] = s1, *(Row4*)&c[i + 2][j] = s2, *(Row4*)&c[i + 3][j] = s3;
        }
    for (int l = 0; l < WARP; l++) {
        int g = l / 4, t = 2 * (l % 4);
        memcpy(lanes[l]->c, &c[g][t], 8);
        memcpy(lanes[l]->c + 2, &c[g + 8][t], 8);
    }
    block->counts.mma_flops += 2 * 16 * 8 * 16;
}
}   // namespace emu
#endif

// Loads 8 x 8 matrices of bf16 from shared memory into fragments; each lane gives the address of one row of 16
// bytes (lanes 0-7 of the first matrix, 8-15 of the second, ...). TRANS swaps rows and columns of each.
template <bool TRANS = false> DEVICE void ldmatrix_x4(uint32_t (&r)[4], const void* row HERE) {
#ifdef __CUDACC__
    if (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
#else
    emu::ldmatrix<4, TRANS>(r, row, "ldmatrix_x4", where);
#endif
}

template <bool TRANS = false> DEVICE void ldmatrix_x2(uint32_t (&r)[2], const void* row HERE) {
#ifdef __CUDACC__
    if (TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
#else
    emu::ldmatrix<2, TRANS>(r, row, "ldmatrix_x2", where);
#endif
}

// c[16 x 8] += a[16 x 16] * b[16 x 8], bf16 in, f32 accumulation, fragments as in the PTX ISA (mma.m16n8k16).
DEVICE void mma(float (&c)[4], const uint32_t (&a)[4], const uint32_t (&b)[2] HERE) {
#ifdef __CUDACC__
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    emu::Mma mine{c, a, b};
    emu::meet_warp(ALL_LANES, &mine, "mma", where, emu::mma_m16n8k16);
#endif
}
