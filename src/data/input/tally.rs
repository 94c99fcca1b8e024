//! What was left out, and why: counts, with the first names of each reason.
use std::fmt::Display;

/// Names kept of each reason.
const NAMED: usize = 3;

/// Counts of reasons in the order in which they were met.
#[derive(Clone, Debug, Default)]
pub struct Tally(Vec<Reason>);

#[derive(Clone, Debug)]
struct Reason {
    what: String,
    count: u64,
    first: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, what: &str, name: impl Display) {
        let at = self.0.iter().position(|reason| reason.what == what).unwrap_or(self.0.len());
        if at == self.0.len() {
            self.0.push(Reason { what: what.into(), count: 0, first: Vec::new() });
        }
        let reason = &mut self.0[at];
        reason.count += 1;
        if reason.first.len() < NAMED {
            reason.first.push(name.to_string());
        }
    }

    pub(super) fn merge(&mut self, other: Self) {
        for reason in other.0 {
            match self.0.iter_mut().find(|own| own.what == reason.what) {
                Some(own) => {
                    own.count += reason.count;
                    let room = NAMED - own.first.len();
                    own.first.extend(reason.first.into_iter().take(room));
                }
                None => self.0.push(reason),
            }
        }
    }

    /// All that was counted.
    pub(super) fn total(&self) -> u64 {
        self.0.iter().map(|reason| reason.count).sum()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How often `what` was the reason.
    pub fn count(&self, what: &str) -> u64 {
        self.0.iter().find(|reason| reason.what == what).map_or(0, |reason| reason.count)
    }

    /// A line for each reason: `3 hidden (.git, .cache, ...)`.
    pub fn lines(&self) -> Vec<String> {
        let line = |reason: &Reason| {
            let more = if reason.count > NAMED as u64 { ", ..." } else { "" };
            format!("{} {} ({}{more})", reason.count, reason.what, reason.first.join(", "))
        };
        self.0.iter().map(line).collect()
    }
}
