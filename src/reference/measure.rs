//! How wrong a result is, and how wrong it may be.
use super::Float;

/// Half an ulp of f32, relative: what rounding the output once costs.
const ROUNDING: f64 = 1.0 / (1u64 << 24) as f64;
/// Rows below this share of the tensor's root-mean-square row are measured against that share of it.
const TINY: f64 = 1e-3;

/// Distance of a tensor to the exact one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Error {
    /// Of the whole tensor, ‖x − r‖/‖r‖.
    pub whole: f64,
    /// The same of its worst row.
    pub row: f64,
    /// Largest |x − r|.
    pub max: f64,
}

impl Error {
    fn worse(self, other: Self) -> Self {
        let Self { whole, row, max } = other;
        Self { whole: larger(self.whole, whole), row: larger(self.row, row), max: larger(self.max, max) }
    }

    /// The largest share of `bound` that is used up; above 1, or NaN, it is exceeded.
    pub fn share(self, bound: Self) -> f64 {
        let share = |e: f64, b: f64| if e == 0.0 { 0.0 } else { e / b };
        let all = [share(self.whole, bound.whole), share(self.row, bound.row), share(self.max, bound.max)];
        all.into_iter().fold(0.0, larger)
    }
}

/// What a result is stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// bf16, 8 significant bits.
    Bf16,
    /// f32, 24 significant bits.
    F32,
    /// The same, by functions that a GPU approximates to 2⁻²².
    Approximate,
    /// Equal bits are asked for.
    Exact,
}

impl Stored {
    /// Relative size of half an ulp, or of what is allowed instead.
    fn rounding(self) -> f64 {
        match self {
            Self::Bf16 => 2f64.powi(-8),
            Self::F32 => ROUNDING,
            Self::Approximate => 4.0 * ROUNDING,
            Self::Exact => 0.0,
        }
    }

    /// What a kernel's error may be: twice that of a naive f32 computation with the same stated rounding points, and
    /// one rounding of the output.
    pub fn bound(self, naive: Error, exact: &[f64]) -> Error {
        let rounding = self.rounding();
        Error {
            whole: 2.0 * naive.whole + rounding,
            row: 2.0 * naive.row + rounding,
            max: 2.0 * naive.max + rounding * largest(exact),
        }
    }
}

/// The larger one; NaN where there is one.
fn larger(a: f64, b: f64) -> f64 {
    if b > a || b.is_nan() { b } else { a }
}

fn norm(x: impl Iterator<Item = f64>) -> f64 {
    x.map(|x| x * x).sum::<f64>().sqrt()
}

/// The Euclidean norm of `x`, in f64.
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
    x.iter().zip(y).map(|(x, y)| (x.to_f64() - y.to_f64()).abs()).fold(0.0, larger)
}

/// Distance of `x` to `exact`, both `[R, cols]`.
pub fn error<T: Float>(x: &[T], exact: &[f64], cols: usize) -> Error {
    let rows = exact.len().div_ceil(cols).max(1);
    // Where all is 0 in theory, errors are absolute.
    let size = if exact.iter().all(|x| *x == 0.0) { 1.0 } else { length(exact) };
    let floor = TINY * size / (rows as f64).sqrt();
    let row = x.chunks(cols).zip(exact.chunks(cols)).map(|(x, r)| distance(x, r) / length(r).max(floor));
    Error { whole: distance(x, exact) / size, row: row.fold(0.0, larger), max: max_difference(x, exact) }
}

/// Independent draws of the inputs of a shape whose output has this many elements: so many that the worst errors of two
/// correct computations are alike, which for one draw of a few numbers they are not.
pub fn draws(elements: usize) -> usize {
    (2000 / elements).clamp(3, 50)
}

/// What is known of one kind of result, for one shape or for all of them.
struct Judged {
    what: String,
    shape: String,
    /// Worst errors of the results, and of naive f32 code.
    ours: Error,
    naive: Error,
    /// Largest exact value.
    largest: f64,
}

impl Judged {
    /// Twice the error of naive code, and one rounding.
    fn bound(&self) -> Error {
        Error {
            whole: 2.0 * self.naive.whole + ROUNDING,
            row: 2.0 * self.naive.row + ROUNDING,
            max: 2.0 * self.naive.max + ROUNDING * self.largest,
        }
    }
}

/// Judges results by kind and shape, each by the worst of its draws.
#[derive(Default)]
pub struct Judge {
    entries: Vec<Judged>,
}

impl Judge {
    /// Measures a draw of `x [R, cols]`; `what` names the kind, `shape` this instance of it.
    pub fn check(&mut self, what: &str, shape: &str, x: &[f32], naive: &[f32], exact: &[f64], cols: usize) {
        let ours = error(x, exact, cols);
        self.record(what, shape, ours, error(naive, exact, cols), largest(exact));
    }

    /// For results whose worst rows and elements are differences of nearly equal numbers, where errors are a lottery
    /// in which the order of summation draws. `naive` has results of several orders, one as good as the other. The
    /// whole tensor is judged for each shape, its worst row and element among those of all shapes.
    pub fn check_pooled(
        &mut self,
        what: &str,
        shape: &str,
        x: &[f32],
        naive: &[&[f32]],
        exact: &[f64],
        cols: usize,
    ) {
        let ours = error(x, exact, cols);
        let naive = naive.iter().map(|x| error(x, exact, cols)).fold(Error::default(), Error::worse);
        let whole = |e: Error| Error { whole: e.whole, ..Error::default() };
        let rest = |e: Error| Error { whole: 0.0, ..e };
        self.record(what, shape, whole(ours), whole(naive), 0.0);
        self.record(what, "all shapes", rest(ours), rest(naive), largest(exact));
    }

    fn record(&mut self, what: &str, shape: &str, ours: Error, naive: Error, largest: f64) {
        let entry = match self.entries.iter_mut().position(|e| e.what == what && e.shape == shape) {
            Some(i) => &mut self.entries[i],
            None => {
                let (what, shape) = (what.into(), shape.into());
                let zero = Error::default();
                self.entries.push(Judged { what, shape, ours: zero, naive: zero, largest: 0.0 });
                self.entries.last_mut().expect("just pushed")
            }
        };
        entry.ours = entry.ours.worse(ours);
        entry.naive = entry.naive.worse(naive);
        entry.largest = entry.largest.max(largest);
    }

    /// Prints the worst of every kind, and panics if a bound was exceeded.
    pub fn close(self) {
        let mut kinds: Vec<&str> = Vec::new();
        for e in &self.entries {
            if !kinds.contains(&e.what.as_str()) {
                kinds.push(&e.what);
            }
        }
        let mut failures = Vec::new();
        for kind in kinds {
            let (mut worst, mut used, mut count) = (Error::default(), 0.0, 0);
            for e in self.entries.iter().filter(|e| e.what == kind) {
                let share = e.ours.share(e.bound());
                if share > 1.0 || share.is_nan() {
                    failures.push(format!("{kind} {}: {:?} exceeds {:?}", e.shape, e.ours, e.bound()));
                }
                (worst, used, count) = (worst.worse(e.ours), larger(used, share), count + 1);
            }
            let Error { whole, row, max } = worst;
            println!(
                "{kind:34} {count:3} shapes  whole {whole:.1e}  worst row {row:.1e}  max {max:.1e}  {:3.0} % of bound",
                100.0 * used
            );
        }
        assert!(failures.is_empty(), "{} bounds exceeded:\n{}", failures.len(), failures.join("\n"));
    }
}

fn largest(x: &[f64]) -> f64 {
    x.iter().fold(0.0, |a, x| a.max(x.abs()))
}
