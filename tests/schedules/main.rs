//! Other frameworks' schedules: the rates that they give, and what is refused.
mod frameworks;
mod golden;
mod list_refusals;
mod refine;
mod refusals;

use rewarm::schedule::{RawSchedule, RunSize, Schedule};
use toml::Table;

/// The schedule of a `style` with these arguments over a run of `steps`.
fn styled(style: &str, args: Table, steps: u64) -> rewarm::Result<Schedule> {
    let raw = RawSchedule { style: Some(style.into()), style_args: Some(args), ..RawSchedule::default() };
    raw.validate()?.compile(&RunSize { steps, tokens_per_step: 1, samples_per_step: 1 }, None)
}

/// Over 100 steps, with an error that says so.
#[track_caller]
fn refused(style: &str, args: &str, expected: &str) {
    let error = styled(style, args.parse().unwrap(), 100).expect_err(expected).to_string();
    assert!(error.contains(expected), "{style} {args}: {error}");
}
