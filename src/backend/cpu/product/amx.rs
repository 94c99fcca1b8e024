//! `tdpbf16ps` of Intel's AMX: tiles of 16 rows of 64 bytes. Written as assembly: the intrinsics are not stable.

pub use machine::{Configured, granted, multiply};

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod machine {
    use crate::backend::cpu::product::panels::{A_ROWS, B_COLS, Left, Sums};
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::marker::PhantomData;
    use std::sync::OnceLock;

    /// Whether the processor has AMX with bf16 and the system lets this process use it: the state of a thread grows by
    /// 8 KiB, so Linux wants to be asked (Documentation/arch/x86/xstate.rst).
    pub fn granted() -> bool {
        static GRANTED: OnceLock<bool> = OnceLock::new();
        *GRANTED.get_or_init(|| {
            const BF16: u32 = 1 << 22;
            const TILE: u32 = 1 << 24;
            const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
            const XFEATURE_XTILEDATA: libc::c_ulong = 18;
            let features = __cpuid_count(7, 0).edx;
            let asked = || {
                // SAFETY: a request that changes what later instructions may do and touches no memory.
                unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
            };
            features & BF16 != 0 && features & TILE != 0 && asked()
        })
    }

    /// Shapes of the eight tiles, as `ldtilecfg` reads them.
    #[repr(C, align(64))]
    struct Shapes {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        row_bytes: [u16; 16],
        rows: [u8; 16],
    }

    /// While it lives, all eight tiles of this thread have 16 rows of 64 bytes.
    pub struct Configured(PhantomData<*const ()>);

    impl Configured {
        /// Configures the tiles.
        pub fn new() -> Self {
            assert!(granted(), "a processor with AMX");
            let each = |i: usize, value: u8| if i < 8 { value } else { 0 };
            let shapes = Shapes {
                palette: 1,
                start_row: 0,
                reserved: [0; 14],
                row_bytes: std::array::from_fn(|i| each(i, 64).into()),
                rows: std::array::from_fn(|i| each(i, 16)),
            };
            // SAFETY: the process may use tiles (above), and the shapes are valid for palette 1.
            unsafe { asm!("ldtilecfg [{}]", in(reg) &shapes, options(nostack, readonly)) };
            Self(PhantomData)
        }
    }

    impl Drop for Configured {
        fn drop(&mut self) {
            // SAFETY: the process may use tiles, and nobody reads them any more.
            unsafe { asm!("tilerelease", options(nostack, nomem)) };
        }
    }

    /// `sums = a·b`, or `sums += a·b`, of 32 rows, in a panel of two halves of `[pairs/16][16][16]` or as stored, and a
    /// panel of `[pairs][32]`: four tiles of sums, two of either factor. The rows are read past the first cache, which
    /// keeps the panel for the next ones (measured: 1.3 times as fast at 256 pairs).
    pub fn multiply(_: &Configured, a: Left, b: &[u32], sums: &mut Sums, accumulate: bool) {
        const BLOCK: usize = 16 * B_COLS;
        let blocks = b.len() / BLOCK;
        assert!(blocks > 0 && b.len() == blocks * BLOCK);
        // Of either half: where it begins, bytes from row to row and from block to block.
        let (a_top, a_bottom, a_row, a_step) = match a {
            Left::Panel(a) => {
                assert!(a.len() == b.len());
                (a.as_ptr().cast::<u8>(), a[a.len() / 2..].as_ptr().cast::<u8>(), 64, 1024usize)
            }
            Left::Rows(a) => {
                assert!(a.rows == A_ROWS && a.cols == 32 * blocks);
                let [top, bottom] = [0, 16].map(|i| a.row(i).as_ptr().cast::<u8>());
                (top, bottom, 2 * a.ld, 64)
            }
        };
        let top = sums.as_mut_ptr();
        // SAFETY: this thread's tiles are configured, for a `Configured` stays on its thread. Tiles of sums are the four
        // quarters of `sums`; those of the factors are inside of what was measured above: in each block, 16 rows of 64
        // bytes of either half of `a`, and 16 rows of 128 bytes of `b`. The compiler has no use for tiles, and all eight
        // are named.
        unsafe {
            asm!(
                "test {accumulate:e}, {accumulate:e}",
                "jz 2f",
                "tileloadd tmm0, [{top} + {row}]",
                "tileloadd tmm1, [{top} + {row} + 64]",
                "tileloadd tmm2, [{top} + {row} + 2048]",
                "tileloadd tmm3, [{top} + {row} + 2112]",
                "jmp 3f",
                "2:",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "3:",
                "tileloaddt1 tmm4, [{a_top} + {a_row}]",
                "tileloadd tmm6, [{b} + {row}]",
                "tileloaddt1 tmm5, [{a_bottom} + {a_row}]",
                "tileloadd tmm7, [{b} + {row} + 64]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a_top}, {a_step}",
                "add {a_bottom}, {a_step}",
                "add {b}, 2048",
                "dec {blocks}",
                "jnz 3b",
                "tilestored [{top} + {row}], tmm0",
                "tilestored [{top} + {row} + 64], tmm1",
                "tilestored [{top} + {row} + 2048], tmm2",
                "tilestored [{top} + {row} + 2112], tmm3",
                accumulate = in(reg) u32::from(accumulate),
                top = in(reg) top,
                row = in(reg) 4 * B_COLS,
                a_top = inout(reg) a_top => _,
                a_bottom = inout(reg) a_bottom => _,
                a_row = in(reg) a_row,
                a_step = in(reg) a_step,
                b = inout(reg) b.as_ptr() => _,
                blocks = inout(reg) blocks => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

/// No other processor has it, and no other system is asked.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
mod machine {
    use crate::backend::cpu::product::panels::{Left, Sums};

    /// Never.
    pub fn granted() -> bool {
        false
    }

    /// Never made.
    pub enum Configured {}

    impl Configured {
        /// Chosen where [`granted`] alone.
        pub fn new() -> Self {
            unreachable!("chosen on x86-64 alone")
        }
    }

    /// Chosen where [`granted`] alone.
    pub fn multiply(_: &Configured, _: Left, _: &[u32], _: &mut Sums, _: bool) {
        unreachable!("chosen on x86-64 alone");
    }
}
