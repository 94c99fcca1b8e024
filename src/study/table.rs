//! What a study found, for a terminal.
use std::fmt::{self, Display, Formatter};

use super::findings::{Findings, Group, Mean};

/// `2.345 ±0.012`, the spread only where there is one.
fn shown(mean: Option<Mean>, sign: bool) -> String {
    let Some(Mean { mean, spread, .. }) = mean else { return "–".into() };
    let number = match (sign, mean < 0.0) {
        (true, false) => format!("+{mean:.4}"),
        (true, true) => format!("−{:.4}", mean.abs()),
        (false, _) => format!("{mean:.4}"),
    };
    number + &spread.map_or(String::new(), |spread| format!(" ±{spread:.4}"))
}

/// Of a group, how many of its runs are in the means.
fn runs(group: &Group) -> String {
    let done = group.loss.iter().flatten().map(|mean| mean.runs).max().unwrap_or(0);
    let failed = if group.failed > 0 { format!(", {} failed", group.failed) } else { String::new() };
    if done == group.runs { format!("{done}") } else { format!("{done} of {}{failed}", group.runs) }
}

/// Of a set of a group, how many of the runs that forgot something made that good.
fn made_good(group: &Group, set: usize) -> String {
    let of = group.peak[set].map_or(0, |mean| mean.runs);
    group.recovered[set].map_or("–".into(), |recovered| format!("{recovered} of {of}"))
}

impl Display for Findings {
    /// A row per group: runs, and of each set the loss in the end and how much it changed, means ± spread over seeds; of one
    /// that is to be retained the most that it was forgotten, too, and how many runs made that good.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rows = vec![vec![String::new(), "runs".into()]];
        let retained = |set: usize| self.groups.iter().any(|group| group.peak[set].is_some());
        for (i, set) in self.sets.iter().enumerate() {
            rows[0].extend([set.clone(), "change".into()]);
            rows[0].extend(["peak", "recovered"].map(String::from).into_iter().filter(|_| retained(i)));
        }
        rows.extend(self.groups.iter().map(|group| {
            let mut row = vec![group.name.clone(), runs(group)];
            for i in 0..self.sets.len() {
                row.extend([shown(group.loss[i], false), shown(group.change[i], true)]);
                let gap = || [shown(group.peak[i], true), made_good(group, i)];
                row.extend(retained(i).then(gap).into_iter().flatten());
            }
            row
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).enumerate();
            let line: String = cells
                .map(
                    |(i, (cell, width))| {
                        if i == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") }
                    },
                )
                .collect();
            writeln!(f, "{}", line.trim_end())?;
        }
        let unmoved = self.groups.iter().filter(|group| group.is_unmoved());
        let unmoved: Vec<&str> = unmoved.map(|group| group.name.as_str()).collect();
        if !unmoved.is_empty() {
            writeln!(
                f,
                "the seeds change nothing in: {}; a run that starts from another reads in that one's order whatever seed is: \
                 vary \"data.seed\"",
                unmoved.join(", ")
            )?;
        }
        for (name, error) in self.failed() {
            writeln!(f, "failed: {name}: {error}")?;
        }
        Ok(())
    }
}
