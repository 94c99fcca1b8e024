// Stacks, and the switch from one to another. Included by emu.cc alone.
#pragma once
#include "emu_asan.h"
#include <sys/mman.h>
#include <unistd.h>

// Saves the callee's registers on this stack, stores the stack pointer in *from and continues at `to`.
extern "C" void emu_switch(void** from, void* to) asm("emu_switch");

#if defined(__x86_64__)
asm(R"(
.text
.globl emu_switch
emu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    retq
)");
#elif defined(__aarch64__)
asm(R"(
.text
.globl emu_switch
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
#else
#error "the stack switch is written for x86-64 and aarch64"
#endif

namespace emu {

constexpr size_t STACK_BYTES = 256 << 10;
constexpr size_t CACHE_WAY = 4096, APART = 128;   // of the first cache: what is this far apart has one place in it

// The stack number `n`, with a page below it that faults. Returns its top, or null. The tops of a warp's stacks lie at
// places of their own in the cache: at equal ones, lanes would push each other's frames out of it.
inline uint8_t* new_stack(size_t n) {
    size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes = page + STACK_BYTES + CACHE_WAY;
    void* p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    mprotect(p, page, PROT_NONE);
    return (uint8_t*)p + page + STACK_BYTES + n * APART % CACHE_WAY;
}

// Makes the next switch to the result call `entry`, on an empty stack.
inline void* fresh(uint8_t* top, void (*entry)()) {
#if defined(__x86_64__)
    void** sp = (void**)top - 8;   // six registers, the return address, and one word: sp % 16 == 8 at entry
    memset(sp, 0, 64);
    sp[6] = (void*)entry;
#else
    void** sp = (void**)top - 20;
    memset(sp, 0, 160);
    sp[11] = (void*)entry;   // x30
#endif
    return sp;
}

// Continues where `to` stopped; returns when somebody continues `from`, never where it is `done`.
inline void switch_to(Fiber& from, const Fiber& to, bool done = false) {
    leaving(from, to, done);
    emu_switch(&from.sp, to.sp);
    arrived(from);
}

}   // namespace emu
