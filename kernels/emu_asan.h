// What the address sanitizer is told: where buffers end, and which stack runs. Without it, nothing.
#pragma once
#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EMU_ASAN
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(EMU_ASAN)
#define EMU_ASAN
#endif

#ifdef EMU_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emu {

// Where a stack stopped, and its bounds: locals that others point to are tracked by the stack they lie on.
struct Fiber {
    void* sp;
    const void* bottom;
    size_t bytes;
    void* fake;   // the sanitizer's own
};

#ifdef EMU_ASAN
constexpr bool ASAN = true;
inline void poison(const void* p, size_t bytes) { __asan_poison_memory_region(p, bytes); }
inline void unpoison(const void* p, size_t bytes) { __asan_unpoison_memory_region(p, bytes); }
// Before a switch; whoever is `done` is not returned to.
inline void leaving(Fiber& from, const Fiber& to, bool done) {
    __sanitizer_start_switch_fiber(done ? nullptr : &from.fake, to.bottom, to.bytes);
}
// After it, on the stack of `now`. `home` gets the bounds of the stack that was left, if it has none yet.
inline void arrived(const Fiber& now) { __sanitizer_finish_switch_fiber(now.fake, nullptr, nullptr); }
inline void arrived_fresh(Fiber& home) {
    Fiber from{};
    __sanitizer_finish_switch_fiber(nullptr, &from.bottom, &from.bytes);
    if (!home.bottom) home.bottom = from.bottom, home.bytes = from.bytes;
}
#else
constexpr bool ASAN = false;
inline void poison(const void*, size_t) {}
inline void unpoison(const void*, size_t) {}
inline void leaving(Fiber&, const Fiber&, bool) {}
inline void arrived(const Fiber&) {}
inline void arrived_fresh(Fiber&) {}
#endif

}   // namespace emu
