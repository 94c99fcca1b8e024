//! The bound of design §4 for a kernel: twice the error of a naive f32 computation with the same stated rounding
//! points, and one rounding of the output.
use crate::reference::measure::error;

/// Relative size of half an ulp of what the output is stored in.
#[derive(Clone, Copy, Debug)]
pub enum Stored {
    /// 8 significant bits.
    Bf16,
    /// 24 significant bits.
    F32,
}

impl Stored {
    fn rounding(self) -> f64 {
        match self {
            Self::Bf16 => 2f64.powi(-8),
            Self::F32 => 2f64.powi(-24),
        }
    }
}

/// Judges `x [R, cols]` by its worst row and its largest error. `naive` has the kernel's rounding points (round
/// its output with [`crate::rig::bf16s`] where the kernel stores bf16); `exact` is f64. Prints what it used.
pub fn judge(what: &str, stored: Stored, x: &[f32], naive: &[f32], exact: &[f64], cols: usize) {
    assert_eq!(x.len(), exact.len(), "{what}");
    let (e, n) = (error(x, exact, cols), error(naive, exact, cols));
    let largest = exact.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
    let (row, max) = (2.0 * n.row + stored.rounding(), 2.0 * n.max + stored.rounding() * largest);
    println!("{what:44} row {:.1e} of {row:.1e}  max {:.1e} of {max:.1e}", e.row, e.max);
    // Not `>`, which a NaN would pass.
    assert!(e.row <= row && e.max <= max, "{what}: {e:?} exceeds row {row:.3e}, max {max:.3e}");
}
