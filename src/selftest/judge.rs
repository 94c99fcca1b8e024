//! What a row must leave, and the verdict on what it left.
use crate::reference::measure::{Error, Stored, error};
use half::bf16;

/// What an operation left, by name.
pub type Outputs = Vec<(&'static str, Vec<f32>)>;

/// What a backend keeps activations in, which decides where naive code rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activations {
    /// The `cpu` backend, which rounds to f32.
    F32,
    /// The `gpu` backend, which rounds activations to bf16.
    Bf16,
}

impl Activations {
    /// What an output that is an activation is stored as.
    pub fn stored(self) -> Stored {
        match self {
            Self::F32 => Stored::F32,
            Self::Bf16 => Stored::Bf16,
        }
    }

    /// Each value as an activation keeps it.
    pub fn kept(self, values: &[f32]) -> Vec<f32> {
        match self {
            Self::F32 => values.to_vec(),
            Self::Bf16 => bf16s(values),
        }
    }
}

/// What one output must be.
pub struct Expected {
    /// Name of the output, as in [`Outputs`].
    pub name: &'static str,
    /// What the kernel stores.
    pub stored: Stored,
    /// Elements of what is judged as one row.
    pub cols: usize,
    /// In f32 with the kernel's rounding points, before the output is rounded.
    pub naive: Vec<f32>,
    /// The values that the reference computes in f64.
    pub exact: Vec<f64>,
}

impl Expected {
    /// Judged by rows of `cols`.
    pub fn new(name: &'static str, stored: Stored, cols: usize, naive: Vec<f32>, exact: Vec<f64>) -> Self {
        Self { name, stored, cols, naive, exact }
    }

    /// An output that must be these values, bit for bit.
    pub fn bits(name: &'static str, values: Vec<f32>) -> Self {
        let exact = values.iter().map(|&x| f64::from(x)).collect();
        Self { name, stored: Stored::Exact, cols: values.len(), naive: values, exact }
    }
}

/// How near its bound a row came, in the measure that came nearest.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The output and the measure that came nearest to their bound.
    pub what: String,
    /// The error of that output.
    pub error: f64,
    /// The largest error that it may have.
    pub bound: f64,
}

impl Judgement {
    /// Share of the bound; NaN is infinitely much.
    pub fn share(&self) -> f64 {
        match (self.error, self.bound) {
            (0.0, _) => 0.0,
            (e, b) if e.is_nan() || b.is_nan() => f64::INFINITY,
            (e, b) => e / b,
        }
    }

    /// Whether the bound holds.
    pub fn holds(&self) -> bool {
        self.share() <= 1.0
    }
}

/// The worst of all outputs.
pub fn judge(found: &Outputs, expected: &[Expected]) -> Judgement {
    let judged = expected.iter().flat_map(|e| {
        let output = found.iter().find(|(name, _)| *name == e.name);
        judge_one(output.map_or(&[], |(_, values)| values), e)
    });
    judged.max_by(|a, b| a.share().total_cmp(&b.share())).expect("every row has an output")
}

fn judge_one(found: &[f32], expected: &Expected) -> Vec<Judgement> {
    let Expected { name, stored, cols, naive, exact } = expected;
    let judgement =
        |measure: &str, error, bound| Judgement { what: format!("{name}, {measure}"), error, bound };
    if found.len() != exact.len() {
        return vec![judgement("elements missing", f64::INFINITY, 0.0)];
    }
    let naive: Vec<f32> = match stored {
        Stored::Bf16 => bf16s(naive),
        _ => naive.clone(),
    };
    let (e, n) = (error(found, exact, *cols), error(&naive, exact, *cols));
    // The difference of two equal sums: errors of it are all there is.
    if *stored != Stored::Exact && exact.iter().all(|x| x.abs() < 1e-12) {
        return vec![judgement("max", e.max, 1e-5)];
    }
    let Error { whole, row, max } = stored.bound(n, exact);
    vec![judgement("whole", e.whole, whole), judgement("row", e.row, row), judgement("max", e.max, max)]
}

/// Each value rounded to bf16.
pub fn bf16s(values: &[f32]) -> Vec<f32> {
    values.iter().map(|&x| bf16::from_f32(x).to_f32()).collect()
}
