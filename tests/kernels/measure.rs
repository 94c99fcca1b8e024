//! The bound for a kernel: twice the error of a naive f32 computation with the same stated rounding
//! points, and one rounding of the output.
pub use crate::reference::measure::Stored;
use crate::reference::measure::error;

/// Judges `x [R, cols]` as a whole, by its worst row and its largest error. `naive` has the kernel's rounding points (round
/// its output with [`crate::rig::bf16s`] where the kernel stores bf16); `exact` is f64. Prints what it used.
pub fn judge(what: &str, stored: Stored, x: &[f32], naive: &[f32], exact: &[f64], cols: usize) {
    assert_eq!(x.len(), exact.len(), "{what}");
    let e = error(x, exact, cols);
    let bound = stored.bound(error(naive, exact, cols), exact);
    let share = e.share(bound);
    println!("{what:44} row {:.1e}  max {:.1e}  {:3.0} % of bound", e.row, e.max, 100.0 * share);
    // Not `>`, which a NaN would pass.
    assert!(share <= 1.0, "{what}: {e:?} exceeds {bound:?}");
}
