//! Every shape, warmup and preset: what it computes, what it takes, where it comes from and what it is for.
//!
//! A configuration is read by these tables, `rewarm schedule list` prints them, and `docs/schedules.md`, which
//! follows, is generated from them (`rewarm schedule list --markdown > docs/schedules.md`).
#![doc = include_str!("../../docs/schedules.md")]
mod arguments;
mod entry;
mod page;
mod plans;
mod presets;
mod shapes;
mod warmups;

use super::kind::{Kind, unfit};
use crate::Result;
pub use arguments::{Argument, ArgumentDefault};
pub use entry::{Entry, Named};
pub(super) use entry::{Motion, WARMUP, Warmup};
pub use page::{example, listing, markdown};
pub use presets::PRESETS;
pub use shapes::SHAPES;
use toml::Value;
pub use warmups::WARMUPS;

/// A whole schedule.
pub(crate) const SCHEDULE: Kind = Kind::Read(|value, at| name(&[SHAPES, PRESETS], value, at), NAME);
/// A shape whose arguments stand beside it.
pub(crate) const SHAPE: Kind = Kind::Read(|value, at| name(&[SHAPES], value, at), NAME);
/// A warmup with its arguments.
pub(crate) const WARMUP_SHAPE: Kind = Kind::Read(
    |value, at| Named::read(value, WARMUPS, at).map(|warmup| warmup.to_value()),
    entry::NAME_OR_TABLE,
);

const NAME: &str = r#"a name of `rewarm schedule list`, such as "cosine""#;

fn name(lists: &[&'static [Entry]], value: &Value, at: &str) -> Result<Value> {
    let name = value.as_str().ok_or_else(|| unfit(value, at, NAME))?;
    entry::find(lists, name, at).map(|_| value.clone())
}

/// The arguments that may stand in `[schedule]` or in a phase; a name may come up several times.
pub(crate) fn arguments() -> impl Iterator<Item = &'static Argument> {
    SHAPES.iter().chain(PRESETS).flat_map(|entry| entry.arguments)
}
