//! Every shape, warmup and preset: what it computes, what it takes, where it comes from and what it is for.
//!
//! A configuration is checked against these tables, `rewarm schedule list` prints them, and `docs/schedules.md`, which
//! follows, is generated from them (`rewarm schedule list --markdown > docs/schedules.md`).
#![doc = include_str!("../../docs/schedules.md")]
mod entries;
mod page;

pub use entries::{PRESETS, SHAPES, WARMUPS};
pub use page::{example, listing, markdown};

/// One named thing.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As a configuration writes it.
    pub name: &'static str,
    /// Arguments without which it has no meaning.
    pub required: &'static [&'static str],
    /// Arguments with a default.
    pub optional: &'static [&'static str],
    /// Arguments of the drawing, as lines of TOML.
    pub example: &'static str,
    /// What it computes.
    pub formula: &'static str,
    /// Paper or program.
    pub source: &'static str,
    /// When to use it.
    pub purpose: &'static str,
}

impl Entry {
    /// Whether it takes the argument.
    pub fn takes(&self, argument: &str) -> bool {
        self.required.contains(&argument) || self.optional.contains(&argument)
    }
}

/// The entry of a whole schedule.
pub fn named(name: &str) -> Option<&'static Entry> {
    SHAPES.iter().chain(PRESETS).find(|entry| entry.name == name)
}

/// The name most like `name`, where one is near.
pub fn nearest(name: &str, entries: &[&'static [Entry]]) -> Option<&'static str> {
    let names = entries.iter().flat_map(|list| list.iter()).map(|entry| entry.name);
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    names.min_by_key(|known| distance(known)).filter(|known| distance(known) <= 1 + name.len() / 3)
}
