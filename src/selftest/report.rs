//! What a self-test found.
use super::judge::Judgement;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// How a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The error is within its bound.
    Ok,
    /// The error exceeds its bound, or is no number.
    Wrong,
    /// The device reported an error.
    Failed,
    /// Not tried; the note says why.
    NotRun,
}

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Of the vocabulary; a primitive; or `step`.
    pub op: String,
    /// Sizes of the case, such as `64x768`.
    pub shape: String,
    /// The output and the measure of its error that came nearest to its bound.
    pub what: Option<String>,
    /// The error of that measure.
    pub error: Option<f64>,
    /// The largest value that it may have.
    pub bound: Option<f64>,
    /// Whether the row holds, does not, or was not run.
    pub verdict: Verdict,
    /// Why, where it is not the error.
    pub note: Option<String>,
}

impl Row {
    /// From what was judged.
    pub fn judged(op: &str, shape: &str, j: Judgement) -> Self {
        let verdict = if j.holds() { Verdict::Ok } else { Verdict::Wrong };
        let (error, bound) = (Some(j.error), Some(j.bound));
        let (op, shape) = (op.to_owned(), shape.to_owned());
        Self { op, shape, what: Some(j.what), error, bound, verdict, note: None }
    }

    /// A row whose verdict comes without an error and a bound.
    pub fn plain(op: &str, shape: &str, verdict: Verdict, note: Option<String>) -> Self {
        let (op, shape) = (op.to_owned(), shape.to_owned());
        Self { op, shape, what: None, error: None, bound: None, verdict, note }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Ok => "ok",
            Verdict::Wrong => "WRONG",
            Verdict::Failed => "FAILED",
            Verdict::NotRun => "not run",
        };
        let number = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.1e}"));
        let (error, bound) = (number(self.error), number(self.bound));
        write!(f, "{:18} {:34} {error:>8} {bound:>8}  {verdict:8}", self.op, self.shape)?;
        let rest = [self.what.as_deref(), self.note.as_deref()];
        write!(f, "{}", rest.into_iter().flatten().collect::<Vec<_>>().join("; "))
    }
}

/// What was tested with what.
#[derive(Clone, Debug, Serialize)]
pub struct Build {
    /// Version of rewarm, as in Cargo.toml.
    pub version: &'static str,
    /// The nvcc that compiled the kernels for GPUs.
    pub nvcc: Option<&'static str>,
    /// What it compiled them for.
    pub architectures: Vec<&'static str>,
}

impl Build {
    /// How the running binary was built.
    pub fn this() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            nvcc: option_env!("REWARM_NVCC_VERSION"),
            architectures: option_env!("REWARM_CUDA_ARCHS").unwrap_or("").split_whitespace().collect(),
        }
    }
}

/// All that a self-test found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// As the device calls itself.
    pub device: String,
    /// How the binary was built that ran the tests.
    pub build: Build,
    /// Every kernel, through the vocabulary where that has it.
    pub rows: Vec<Row>,
    /// Each primitive of `kernels/prim.h`.
    pub primitives: Vec<Row>,
    /// Whole training steps against the cpu backend.
    pub step: Vec<Row>,
    /// Kernels and products of one such step.
    pub launches: BTreeMap<&'static str, u64>,
    /// Kernels that rows and primitives launched.
    pub kernels: BTreeSet<String>,
    /// Seconds that all of it took.
    pub seconds: f64,
}

impl Report {
    /// The rows of all sections, in order.
    pub fn all(&self) -> impl Iterator<Item = &Row> {
        self.primitives.iter().chain(&self.rows).chain(&self.step)
    }

    /// How many lines have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.all().filter(|row| row.verdict == verdict).count()
    }

    /// Whether nothing is wrong and nothing failed.
    pub fn passed(&self) -> bool {
        self.count(Verdict::Wrong) + self.count(Verdict::Failed) == 0
    }
}
