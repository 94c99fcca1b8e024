//! The bound of design §4 for a kernel: twice the error of a naive f32 computation with the same stated rounding
//! points, and one rounding of the output.
use crate::reference::measure::{Error, error};

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

/// Judges `x [R, cols]` as a whole, by its worst row and its largest error. `naive` has the kernel's rounding points (round
/// its output with [`crate::rig::bf16s`] where the kernel stores bf16); `exact` is f64. Prints what it used.
pub fn judge(what: &str, stored: Stored, x: &[f32], naive: &[f32], exact: &[f64], cols: usize) {
    assert_eq!(x.len(), exact.len(), "{what}");
    let (e, n) = (error(x, exact, cols), error(naive, exact, cols));
    let largest = exact.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
    let rounding = stored.rounding();
    let bound = Error {
        whole: 2.0 * n.whole + rounding,
        row: 2.0 * n.row + rounding,
        max: 2.0 * n.max + rounding * largest,
    };
    let share = e.share(bound);
    println!("{what:44} row {:.1e}  max {:.1e}  {:3.0} % of bound", e.row, e.max, 100.0 * share);
    // Not `>`, which a NaN would pass.
    assert!(share <= 1.0, "{what}: {e:?} exceeds {bound:?}");
}
