//! Time by operation.
use super::{Profile, Step};
use crate::bench::{Ceilings, Summary};
use serde::Serialize;
use std::collections::HashMap;
use std::fmt;

/// All calls of one operation in the profiled steps.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The operation and the weight that it uses.
    pub name: String,
    /// How often it occurs in a step.
    pub calls_per_step: f64,
    /// Of a step, in seconds.
    pub total_s: f64,
    /// Of the steps' time.
    pub share: f64,
    /// Of a call, in seconds.
    pub mean_s: f64,
    /// Of a call, at least.
    pub bytes: f64,
    /// Of a call, at least.
    pub flops: f64,
    /// Bytes per second, in 10⁹, of the bytes that its cost counts.
    pub gb_per_s: f64,
    /// Floating-point operations per second, in 10⁹.
    pub gflop_per_s: f64,
    /// The least time at the ceilings / the time taken.
    pub share_of_roofline: f64,
}

/// Where the time of the steps went, most of it first.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Number of profiled steps.
    pub steps: usize,
    /// Median step in seconds, on the clock of the device.
    pub step_s: f64,
    /// A row for each operation, most of the time first.
    pub rows: Vec<Row>,
    /// Kernels and products of a GPU; no cost is known of them by themselves.
    pub launches: Vec<Row>,
    /// Of the steps' time, between operations.
    pub gaps_share: f64,
    /// Seconds of a step between operations.
    pub gaps_s: f64,
    /// What the device can do at best.
    pub ceilings: Ceilings,
    /// Host seconds of the median plain step, and of the median profiled step.
    pub plain_and_profiled_s: [f64; 2],
}

#[derive(Default)]
struct Sum {
    calls: usize,
    seconds: f64,
    bytes: f64,
    flops: f64,
    least_s: f64,
}

impl Table {
    /// Sums up what the profiled steps took, operation by operation.
    pub fn new(profile: &Profile, ceilings: Ceilings) -> Self {
        let steps = &profile.steps;
        let of_steps: f64 = steps.iter().map(|s| s.seconds).sum();
        let operations = steps.iter().flat_map(|s| &s.calls).map(|c| {
            let least_s = ceilings.least_s(c.cost.bytes, c.cost.flops);
            let (bytes, flops) = (c.cost.bytes, c.cost.flops);
            (c.label(), Sum { calls: 1, seconds: c.seconds(), bytes, flops, least_s })
        });
        let rows = rows(operations, steps.len(), of_steps);
        let launches = steps.iter().flat_map(|s| &s.launches);
        let launches = launches
            .map(|(name, [from, to])| (name.clone(), Sum { calls: 1, seconds: to - from, ..Sum::default() }));
        let launches = self::rows(launches, steps.len(), of_steps);
        let in_operations: f64 = steps.iter().map(Step::in_operations).sum();
        let gaps = of_steps - in_operations;
        let median = |samples: &[f64]| Summary::of(samples).median;
        Self {
            steps: steps.len(),
            step_s: median(&steps.iter().map(|s| s.seconds).collect::<Vec<_>>()),
            rows,
            launches,
            gaps_share: gaps / of_steps,
            gaps_s: gaps / steps.len() as f64,
            ceilings,
            plain_and_profiled_s: [median(&profile.plain_s), median(&profile.profiled_s)],
        }
    }
}

impl Step {
    /// Seconds of the step that lie inside of operations.
    pub fn in_operations(&self) -> f64 {
        self.calls.iter().map(|c| c.seconds()).sum()
    }
}

fn rows(calls: impl Iterator<Item = (String, Sum)>, steps: usize, of_steps: f64) -> Vec<Row> {
    let mut sums: HashMap<String, Sum> = HashMap::new();
    for (name, call) in calls {
        let sum = sums.entry(name).or_default();
        sum.calls += call.calls;
        sum.seconds += call.seconds;
        sum.bytes += call.bytes;
        sum.flops += call.flops;
        sum.least_s += call.least_s;
    }
    let row = |(name, s): (String, Sum)| Row {
        name,
        calls_per_step: s.calls as f64 / steps as f64,
        total_s: s.seconds / steps as f64,
        share: s.seconds / of_steps,
        mean_s: s.seconds / s.calls as f64,
        bytes: s.bytes / s.calls as f64,
        flops: s.flops / s.calls as f64,
        gb_per_s: s.bytes / s.seconds / 1e9,
        gflop_per_s: s.flops / s.seconds / 1e9,
        share_of_roofline: s.least_s / s.seconds,
    };
    let mut rows: Vec<Row> = sums.into_iter().map(row).collect();
    rows.sort_by(|a, b| b.total_s.total_cmp(&a.total_s).then_with(|| a.name.cmp(&b.name)));
    rows
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["calls", "total ms", "share", "mean µs", "MB", "GFLOP", "GB/s", "GFLOP/s", "roofline"];
        write!(f, "{:<26}", "operation")?;
        heads.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
        for r in &self.rows {
            write!(
                f,
                "\n{:<26}{:>10}{:>10.3}{:>9.1}%{:>10.1}{:>10.3}{:>10.3}{:>10.1}{:>10.1}{:>9.1}%",
                r.name,
                r.calls_per_step,
                r.total_s * 1e3,
                r.share * 1e2,
                r.mean_s * 1e6,
                r.bytes / 1e6,
                r.flops / 1e9,
                r.gb_per_s,
                r.gflop_per_s,
                r.share_of_roofline * 1e2
            )?;
        }
        let (gaps, share) = (self.gaps_s * 1e3, self.gaps_share * 1e2);
        write!(f, "\n{:<26}{:>10}{gaps:>10.3}{share:>9.1}%", "(between operations)", "")?;
        write!(f, "\n{:<26}{:>10}{:>10.3}{:>9.1}%", "step", "", self.step_s * 1e3, 100.0)?;
        if !self.launches.is_empty() {
            write!(
                f,
                "\n\n{:<26}{:>10}{:>10}{:>10}{:>10}",
                "launch", "calls", "total ms", "share", "mean µs"
            )?;
        }
        for r in &self.launches {
            let (total, share, mean) = (r.total_s * 1e3, r.share * 1e2, r.mean_s * 1e6);
            write!(f, "\n{:<26}{:>10}{total:>10.3}{share:>9.1}%{mean:>10.1}", r.name, r.calls_per_step)?;
        }
        let [plain, profiled] = self.plain_and_profiled_s;
        write!(
            f,
            "\n\nroofline: {:.1} GB/s (copy), {:.1} GFLOP/s (matrix product), measured in this call\nmedian of {} steps on \
             the host: {:.3} ms plain, {:.3} ms profiled ({:+.1} %)",
            self.ceilings.copy_bytes_per_s / 1e9,
            self.ceilings.matmul_flops_per_s / 1e9,
            self.steps,
            plain * 1e3,
            profiled * 1e3,
            (profiled / plain - 1.0) * 1e2
        )
    }
}
