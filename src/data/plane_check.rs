//! All of a plane of weights, looked at: what `data verify` says of it.
use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use super::plane::{NotedWeights, PlaneKind};
use super::shard::Shard;
use super::weights::{Plane, open_beside};
use crate::Result;

/// Weights that one thread looks at.
const RUN: u64 = 1 << 20;
/// Faults of a plane that are written out.
const LISTED: usize = 5;

/// The plane of weights beside a shard.
#[derive(Clone, Debug, Serialize)]
pub struct PlaneSummary {
    /// The file.
    pub path: PathBuf,
    /// Which weights it holds.
    #[serde(flatten)]
    pub kind: PlaneKind,
    /// Weights: one for each token of the shard.
    pub tokens: u64,
    /// How many of them are 0, which masks.
    pub zeros: u64,
    /// How many are below 0.
    pub negative: u64,
    /// Their mean; of the finite ones.
    pub mean: f64,
}

/// What was found of a plane.
#[derive(Default)]
pub(super) struct PlaneFound {
    pub(super) summary: Option<PlaneSummary>,
    /// The first faults.
    pub(super) faults: Vec<String>,
    /// Number of all of them.
    pub(super) total: u64,
}

#[derive(Default)]
struct Counts {
    zeros: u64,
    negative: u64,
    sum: f64,
    /// The first weights that are not meant, and their number.
    bad: Vec<(u64, f32)>,
    bad_total: u64,
}

/// Looks at every weight beside a shard and compares them with what its note says.
pub(super) fn check_plane(shard: &Shard, noted: Option<&NotedWeights>) -> Result<PlaneFound> {
    let plane = match open_beside(shard) {
        Ok(None) => return Ok(PlaneFound::default()),
        Ok(Some((plane, _))) => plane,
        Err(e) => return Ok(PlaneFound { faults: vec![e.to_string()], total: 1, summary: None }),
    };
    let runs = (0..plane.tokens.div_ceil(RUN)).into_par_iter().map(|run| count(&plane, run * RUN));
    let all = runs.collect::<Result<Vec<_>>>()?.into_iter().fold(Counts::default(), Counts::and);
    let mut found = PlaneFound { total: all.bad_total, ..PlaneFound::default() };
    found.faults = all.bad.iter().map(|(token, weight)| plane.unmeant(*token, *weight).to_string()).collect();
    if noted.is_some_and(|noted| !is_as_noted(&plane, noted).unwrap_or(false)) {
        found.total += 1;
        found.faults.push(format!(
            "{} is not the plane of weights that was written with the shard; copy it again, or tokenize again",
            plane.path().display()
        ));
    }
    found.summary = Some(PlaneSummary {
        path: plane.path().to_path_buf(),
        kind: plane.kind,
        tokens: plane.tokens,
        zeros: all.zeros,
        negative: all.negative,
        mean: all.sum / plane.tokens.max(1) as f64,
    });
    Ok(found)
}

fn is_as_noted(plane: &Plane, noted: &NotedWeights) -> Result<bool> {
    let hash = format!("{:032x}", xxh3_128(plane.bytes(0, plane.tokens)?));
    Ok(plane.kind == noted.kind && hash == noted.hash)
}

fn count(plane: &Plane, first: u64) -> Result<Counts> {
    let mut weights = vec![0.0; RUN.min(plane.tokens - first) as usize];
    plane.values(first, &mut weights)?;
    let mut counts = Counts::default();
    for (token, weight) in (first..).zip(weights) {
        counts.zeros += u64::from(weight == 0.0);
        counts.negative += u64::from(weight < 0.0);
        counts.sum += if weight.is_finite() { f64::from(weight) } else { 0.0 };
        if !plane.is_meant(weight) {
            counts.bad_total += 1;
            if counts.bad.len() < LISTED {
                counts.bad.push((token, weight));
            }
        }
    }
    Ok(counts)
}

impl Counts {
    fn and(mut self, later: Self) -> Self {
        self.zeros += later.zeros;
        self.negative += later.negative;
        self.sum += later.sum;
        self.bad_total += later.bad_total;
        self.bad.extend(later.bad);
        self.bad.truncate(LISTED);
        self
    }
}

impl PlaneSummary {
    /// A line for a person.
    pub fn line(&self) -> String {
        let share = 100.0 * self.zeros as f64 / self.tokens.max(1) as f64;
        let negative = if self.negative > 0 { format!(", {} below 0", self.negative) } else { String::new() };
        format!(
            "{}: {}, {} of {} weights are 0 ({share:.1} %){negative}, mean {:.4}",
            self.path.display(),
            self.kind.weights,
            self.zeros,
            self.tokens,
            self.mean
        )
    }
}
