//! What a study found: its runs, and of those that differ in seeds alone the mean and the spread.
use serde::Serialize;

use super::plan::{Planned, StudyPlan};
use super::record::{RunRecord, SetLosses, Status};
use crate::Result;
use crate::report::GapPoint;

/// `study.json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Findings {
    /// Names of the validation sets, in the order in which they were met.
    pub sets: Vec<String>,
    /// Runs that differ in seeds alone.
    pub groups: Vec<Group>,
    /// Runs that others start from.
    pub ancestors: Vec<StudyRun>,
    /// All others.
    pub cells: Vec<StudyRun>,
}

/// One run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StudyRun {
    /// Its name.
    pub name: String,
    /// What became of it; none: it was not begun.
    #[serde(flatten)]
    pub state: Option<Status>,
}

/// Runs that differ in seeds alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// Their name without seeds.
    pub name: String,
    /// Their settings.
    pub settings: Vec<(String, String)>,
    /// How many there are, and how many of them failed.
    pub runs: usize,
    /// Those that failed.
    pub failed: usize,
    /// By set, in the order of [`Findings::sets`]: the loss after the last step, nats per token; none where no run has it.
    pub loss: Vec<Option<Mean>>,
    /// The same of how much it changed since before the first step.
    pub change: Vec<Option<Mean>>,
    /// The same of the most that it was above the loss before the first step; none where it is not to be retained.
    pub peak: Vec<Option<Mean>>,
    /// How many of those runs made that good before their last step.
    pub recovered: Vec<Option<usize>>,
}

/// A mean over finished runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// Sample standard deviation; none of one run.
    pub spread: Option<f64>,
    /// Of how many runs.
    pub runs: usize,
}

impl Mean {
    /// None of nothing.
    fn of(values: &[f64]) -> Option<Self> {
        let runs = values.len();
        let mean = values.iter().sum::<f64>() / runs as f64;
        let squares = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        let spread = (runs > 1).then(|| (squares / (runs - 1) as f64).sqrt());
        (runs > 0).then_some(Self { mean, spread, runs })
    }
}

impl Findings {
    /// Of what is kept of the runs of a study.
    pub fn read(plan: &StudyPlan) -> Result<Self> {
        let row = |run: &Planned| {
            Ok(StudyRun { name: run.name.clone(), state: RunRecord::read(run)?.map(|record| record.state) })
        };
        let ancestors = plan.ancestors.iter().map(row).collect::<Result<_>>()?;
        let cells: Vec<StudyRun> = plan.cells.iter().map(row).collect::<Result<_>>()?;
        let mut sets: Vec<String> = Vec::new();
        for set in cells.iter().flat_map(StudyRun::sets) {
            if !sets.contains(&set.set) {
                sets.push(set.set.clone());
            }
        }
        let mut groups: Vec<Group> = Vec::new();
        for planned in &plan.cells {
            if groups.iter().all(|group| group.name != planned.group) {
                let of_group = |(cell, row): (&Planned, _)| (cell.group == planned.group).then_some(row);
                let rows: Vec<&StudyRun> = plan.cells.iter().zip(&cells).filter_map(of_group).collect();
                groups.push(Group::of(planned, &rows, &sets));
            }
        }
        Ok(Self { sets, groups, ancestors, cells })
    }

    /// Runs that failed.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.ancestors.iter().chain(&self.cells).filter_map(|row| match &row.state {
            Some(Status::Failed { error }) => Some((row.name.as_str(), error.as_str())),
            _ => None,
        })
    }

    /// How many runs are neither finished nor failed.
    pub fn open(&self) -> usize {
        let is_open = |row: &&StudyRun| matches!(row.state, None | Some(Status::Begun));
        self.ancestors.iter().chain(&self.cells).filter(is_open).count()
    }
}

impl StudyRun {
    fn sets(&self) -> &[SetLosses] {
        match &self.state {
            Some(Status::Finished(measured)) => &measured.sets,
            _ => &[],
        }
    }
}

impl Group {
    /// Whether its runs, which differ in seeds, all came to the very same.
    pub(super) fn is_unmoved(&self) -> bool {
        let mut spreads = self.loss.iter().flatten().filter_map(|mean| mean.spread).peekable();
        spreads.peek().is_some() && spreads.all(|spread| spread == 0.0)
    }

    fn of(first: &Planned, rows: &[&StudyRun], sets: &[String]) -> Self {
        let of_set = |name: &String| -> Vec<&SetLosses> {
            rows.iter().flat_map(|row| row.sets()).filter(|set| set.set == *name).collect()
        };
        let by_set: Vec<Vec<&SetLosses>> = sets.iter().map(of_set).collect();
        let means = |value: fn(&SetLosses) -> Option<f64>| {
            let mean =
                |of: &Vec<&SetLosses>| Mean::of(&of.iter().filter_map(|s| value(s)).collect::<Vec<_>>());
            by_set.iter().map(mean).collect()
        };
        let recovered = |of: &Vec<&SetLosses>| {
            let gaps: Vec<GapPoint> = of.iter().filter_map(|set| set.gap).collect();
            (!gaps.is_empty()).then(|| gaps.iter().filter(|gap| gap.is_made_good()).count())
        };
        let has_failed = |row: &&&StudyRun| matches!(row.state, Some(Status::Failed { .. }));
        Self {
            name: first.group.clone(),
            settings: first.settings.clone(),
            runs: rows.len(),
            failed: rows.iter().filter(has_failed).count(),
            loss: means(|set| Some(set.after)),
            change: means(|set| Some(set.after - set.before)),
            peak: means(|set| set.gap.map(|gap| gap.peak)),
            recovered: by_set.iter().map(recovered).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against arithmetic: 1, 2, 3, 4 have a sample variance of 5/3.
    #[test]
    fn means_and_spreads() {
        assert_eq!(Mean::of(&[]), None);
        assert_eq!(Mean::of(&[2.5]), Some(Mean { mean: 2.5, spread: None, runs: 1 }));
        let spread = Some((5f64 / 3.0).sqrt());
        assert_eq!(Mean::of(&[1.0, 2.0, 3.0, 4.0]), Some(Mean { mean: 2.5, spread, runs: 4 }));
    }
}
