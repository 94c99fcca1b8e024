//! How wrong a result is, and how wrong it may be (design §4).
use super::Float;

/// Half an ulp of f32, relative: what rounding the output once costs.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;
/// Rows below this share of the tensor's root-mean-square row are measured against that share of it.
const TINY: f64 = 1e-3;

/// Distance of a tensor to the exact one.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// Worst row, ‖x − r‖/‖r‖.
    pub row: f64,
    /// Largest |x − r|.
    pub max: f64,
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// Euclidean norm.
pub fn length<T: Float>(x: &[T]) -> f64 {
    norm(x.iter().map(|x| x.to_f64()))
}

/// Euclidean norm of the difference.
pub fn distance<A: Float, B: Float>(x: &[A], y: &[B]) -> f64 {
    assert_eq!(x.len(), y.len());
    norm(x.iter().zip(y).map(|(x, y)| x.to_f64() - y.to_f64()))
}

/// Largest difference of two elements; NaN where there is one.
pub fn max_difference<A: Float, B: Float>(x: &[A], y: &[B]) -> f64 {
    assert_eq!(x.len(), y.len());
    let larger = |a: f64, d: f64| if d > a || d.is_nan() { d } else { a };
    x.iter().zip(y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs()).fold(0.0, larger)
}

/// Distance of `x` to `exact`, both `[R, cols]`.
pub fn error<T: Float>(x: &[T], exact: &[f64], cols: usize) -> Error {
    let rows = exact.len().div_ceil(cols).max(1);
    let floor = (TINY * length(exact) / (rows as f64).sqrt()).max(f64::MIN_POSITIVE);
    let row = x.chunks(cols).zip(exact.chunks(cols)).map(|(x, r)| distance(x, r) / length(r).max(floor));
    let larger = |a: f64, d: f64| if d > a || d.is_nan() { d } else { a };
    Error { row: row.fold(0.0, larger), max: max_difference(x, exact) }
}

/// The error a result may have where plain f32 code has that of `naive`: twice as much, and one rounding.
pub fn bound(naive: &[f32], exact: &[f64], cols: usize) -> Error {
    let naive = error(naive, exact, cols);
    let largest = exact.iter().fold(0.0, |a: f64, x| a.max(x.abs()));
    Error { row: 2.0 * naive.row + ROUNDING, max: 2.0 * naive.max + ROUNDING * largest }
}

/// The largest share of its bound that a result used, by name, over all the shapes of a test.
#[derive(Default)]
pub struct Ledger {
    rows: Vec<(String, f64, Error, usize)>,
    failures: Vec<String>,
}

impl Ledger {
    /// Measures `x [R, cols]`; `what` names the tensor, `shape` this instance of it.
    pub fn check(&mut self, what: &str, shape: &str, x: &[f32], naive: &[f32], exact: &[f64], cols: usize) {
        let (e, b) = (error(x, exact, cols), bound(naive, exact, cols));
        let share = |e: f64, b: f64| if e == 0.0 { 0.0 } else { e / b };
        let used = share(e.row, b.row).max(share(e.max, b.max));
        // Not `used > 1`, which a NaN would pass.
        if !(used <= 1.0) {
            self.failures.push(format!("{what} {shape}: {e:?} exceeds {b:?}"));
        }
        match self.rows.iter_mut().find(|r| r.0 == what) {
            Some(r) => {
                r.3 += 1;
                r.2 = Error { row: r.2.row.max(e.row), max: r.2.max.max(e.max) };
                r.1 = r.1.max(used);
            }
            None => self.rows.push((what.into(), used, e, 1)),
        }
    }

    /// Prints the worst of every tensor, and panics if a bound was exceeded.
    pub fn close(self) {
        for (what, used, e, count) in &self.rows {
            println!(
                "{what:32} {count:4} shapes  worst row {:.1e}  max {:.1e}  {:3.0} % of the bound",
                e.row,
                e.max,
                100.0 * used
            );
        }
        let shown: Vec<_> = self.failures.iter().take(20).map(String::as_str).collect();
        assert!(
            shown.is_empty(),
            "{} results exceed their bound:\n{}",
            self.failures.len(),
            shown.join("\n")
        );
    }
}
