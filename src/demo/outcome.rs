//! What the demo found: three rows, one sentence that the numbers make, and what the models write.
use crate::train::{EvalResult, Summary};
use crate::{Error, Result};
use std::path::PathBuf;

/// Loss of one model on both sides.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the model.
    pub name: String,
    /// On upstream documents that were held out.
    pub upstream: EvalResult,
    /// On downstream documents that were held out.
    pub downstream: EvalResult,
}

impl Row {
    /// From the last evaluations of a run.
    pub fn new(name: impl Into<String>, summary: &Summary) -> Result<Self> {
        let find = |set: &str| {
            let found = summary.evaluations.iter().find(|e| e.eval == set).cloned();
            found.ok_or_else(|| Error::failed(format!("the run was not evaluated on {set:?}")))
        };
        Ok(Self { name: name.into(), upstream: find("upstream")?, downstream: find("downstream")? })
    }
}

/// The table of the demo.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Losses after the first phase.
    pub before: Row,
    /// Continued at a constant rate.
    pub constant: Row,
    /// Continued with a re-warmed rate.
    pub rewarmed: Row,
}

/// Heads of the columns of [`Comparison::cells`].
pub const COLUMNS: [&str; 9] = [
    "model",
    "upstream loss",
    "change",
    "perplexity",
    "bits/byte",
    "downstream loss",
    "change",
    "perplexity",
    "bits/byte",
];

impl Comparison {
    /// The rows as text: losses in nats per token, changes against the model before.
    pub fn cells(&self) -> Vec<Vec<String>> {
        [&self.before, &self.constant, &self.rewarmed]
            .into_iter()
            .map(|row| {
                let mut cells = vec![row.name.clone()];
                for (now, before) in
                    [(&row.upstream, &self.before.upstream), (&row.downstream, &self.before.downstream)]
                {
                    let first = std::ptr::eq(now, before);
                    cells.push(format!("{:.3}", now.loss));
                    cells.push(if first { "".into() } else { signed(now.loss - before.loss) });
                    cells.push(format!("{:.1}", now.perplexity));
                    cells.push(now.bits_per_byte.map_or("".into(), |b| format!("{b:.3}")));
                }
                cells
            })
            .collect()
    }

    /// The table for a terminal of 80 columns.
    pub fn table(&self) -> String {
        let cells = self.cells();
        let name = cells.iter().map(|row| row[0].chars().count()).max().unwrap_or(0);
        let sides = ["upstream", "downstream"].map(|side| format!("{side:^29}"));
        let heads = format!("{:>6}{:>8}{:>7}{:>8}", "loss", "change", "ppl", "bits/B");
        let mut text = format!("{:name$}  {}  {}\n{:name$}  {heads}  {heads}\n", "", sides[0], sides[1], "");
        for row in &cells {
            let side = |i: usize| format!("{:>6}{:>8}{:>7}{:>8}", row[i], row[i + 1], row[i + 2], row[i + 3]);
            text += &format!("{:name$}  {}  {}\n", row[0], side(1), side(5));
        }
        text.lines().map(|line| line.trim_end().to_string() + "\n").collect()
    }

    /// What the numbers say, whatever they say.
    pub fn sentence(&self) -> String {
        let down = self.rewarmed.downstream.loss - self.constant.downstream.loss;
        let forgotten = |row: &Row| row.upstream.loss - self.before.upstream.loss;
        let (rewarmed, constant) = (forgotten(&self.rewarmed), forgotten(&self.constant));
        let verdict = match (down < 0.0, rewarmed > constant) {
            (true, true) => "It learned more of the new text and forgot more of the old",
            (true, false) => "It learned more of the new text and kept more of the old",
            (false, true) => "It learned less of the new text and forgot more of the old",
            (false, false) => "It learned less of the new text and kept more of the old",
        };
        format!(
            "Re-warming the learning rate ended at a downstream loss of {:.3}, {:.3} nats per token {} the constant rate; \
             its upstream loss moved by {} since phase 1, the constant rate's by {}. {verdict}.",
            self.rewarmed.downstream.loss,
            down.abs(),
            if down < 0.0 { "below" } else { "above" },
            signed(rewarmed),
            signed(constant),
        )
    }
}

fn signed(x: f64) -> String {
    format!("{}{:.3}", if x < 0.0 { '−' } else { '+' }, x.abs())
}

/// A beginning and how a model continued it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Name of the model that continued it.
    pub model: &'static str,
    /// The beginning that all models continue.
    pub prompt: String,
    /// All of it, prompt included.
    pub text: String,
}

/// A finished demo: its numbers and where they are.
#[derive(Clone, Debug)]
pub struct Demo {
    /// The numbers of all models.
    pub outcome: Comparison,
    /// What the models write.
    pub samples: [Sample; 2],
    /// Where the page is.
    pub report: PathBuf,
    /// Seconds that the whole demo took.
    pub seconds: f64,
    pub(super) facts: Vec<(&'static str, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, upstream: f64, downstream: f64) -> Row {
        let result = |set: &str, loss: f64| EvalResult {
            eval: set.into(),
            loss,
            by_end: None,
            standard_error: None,
            perplexity: loss.exp(),
            bits_per_byte: Some(loss / 2.0),
            tokens: 100,
            since: None,
        };
        Row {
            name: name.into(),
            upstream: result("upstream", upstream),
            downstream: result("downstream", downstream),
        }
    }

    #[test]
    fn the_sentence_follows_the_numbers() {
        let before = row("before", 3.0, 5.0);
        let outcome = |c: (f64, f64), r: (f64, f64)| Comparison {
            before: before.clone(),
            constant: row("constant", c.0, c.1),
            rewarmed: row("re-warmed", r.0, r.1),
        };
        let good = outcome((3.25, 4.0), (3.5, 3.5));
        let text = good.sentence();
        assert!(text.contains("downstream loss of 3.500, 0.500 nats per token below"), "{text}");
        assert!(text.contains("by +0.500 since phase 1, the constant rate's by +0.250"), "{text}");
        assert!(text.contains("learned more of the new text and forgot more"), "{text}");
        let text = outcome((3.25, 4.0), (2.9, 4.1)).sentence();
        assert!(text.contains("0.100 nats per token above") && text.contains("by −0.100"), "{text}");
        assert!(text.contains("learned less of the new text and kept more"), "{text}");
    }

    #[test]
    fn the_table_has_aligned_columns() {
        let outcome = Comparison {
            before: row("before", 3.0, 5.0),
            constant: row("constant", 3.25, 4.0),
            rewarmed: row("re-warmed to 3e-3", 3.5, 3.5),
        };
        let table = outcome.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 5);
        let width = lines[2].chars().count();
        assert!(lines[3..].iter().all(|line| line.chars().count() == width), "{table}");
        assert!(lines.iter().all(|line| line.chars().count() <= 80), "{table}");
        assert!(lines[3].contains("+0.250") && lines[4].contains("−1.500"), "{table}");
        assert!(outcome.cells().iter().all(|row| row.len() == COLUMNS.len()));
    }
}
