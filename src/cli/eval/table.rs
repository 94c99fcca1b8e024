//! Several models side by side: a row each, a column for each set, and what differs from the first row.
use crate::Result;
use crate::cli::common::print_json;
use crate::console::print;
use crate::train::EvalResult;
use serde::Serialize;

/// Rows are told as they come, on stdout.
pub struct Table {
    /// Width of the names of all rows.
    width: usize,
    json: bool,
    /// Losses of the first row.
    first: Vec<f64>,
}

#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    step: Option<u64>,
    #[serde(flatten)]
    result: &'a EvalResult,
    difference: f64,
}

impl Table {
    /// Of rows with these names; with `json` an object per row and set instead.
    pub fn new(names: &[String], json: bool) -> Self {
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        Self { width, json, first: Vec::new() }
    }

    /// A row, whose sets are those of the first: mean losses in nats per token, and their differences to the first row's.
    pub fn row(&mut self, model: &str, step: Option<u64>, results: &[EvalResult]) -> Result<()> {
        let begins = self.first.is_empty();
        if begins {
            self.first = results.iter().map(|result| result.loss).collect();
        }
        let rows = results.iter().zip(&self.first).map(|(result, first)| (result, result.loss - first));
        if self.json {
            let line = |(result, difference)| Line { model, step, result, difference };
            return rows.map(line).try_for_each(|line| print_json(&line));
        }
        if begins {
            let heads = results.iter().map(|result| format!("  {:>1$}", result.eval, cell_width(result)));
            print(&format!("{:1$}{2}", "", self.width, heads.collect::<String>()))?;
        }
        let cells = rows.map(|(result, difference)| {
            let difference = if begins { String::new() } else { format!(" ({difference:+.4})") };
            format!("  {:>1$}", format!("{:.4}{difference:10}", result.loss), cell_width(result))
        });
        print(&format!("{model:0$}{1}", self.width, cells.collect::<String>()))
    }
}

/// Room for a loss of two digits and a difference of one.
fn cell_width(result: &EvalResult) -> usize {
    result.eval.chars().count().max("10.0000 (+0.0000)".len())
}
