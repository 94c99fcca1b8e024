//! Schedules that are lists of others: `[[schedule.args.schedulers]]`, each entry with a `style` of the same framework
//! and that style's arguments.
use super::args::Args;
use super::{Style, find_for};
use crate::Result;
use crate::schedule::RunSize;
use crate::schedule::pieces::Pieces;

/// An entry of such a list.
pub(super) struct Part {
    pub style: &'static Style,
    pub args: Args,
}

impl Part {
    /// The list `name`, whose entries are styles of the framework that the list is of.
    pub fn list(args: &Args, name: &'static str) -> Result<Vec<Self>> {
        args.tables(name)?.into_iter().map(Self::read).collect()
    }

    /// A table with a `style` of the framework that its list is of.
    pub fn read(mut args: Args) -> Result<Self> {
        let style = find_for(&args.key("style"), args.text("style")?)?;
        let framework = |name: &str| name.split(':').next().map(str::to_owned);
        if framework(style.name) != framework(&args.style) {
            let what =
                format!("is {:?}; {} puts together schedules of its own framework", style.name, args.style);
            return Err(args.refused("style", what));
        }
        args.style = style.name.into();
        Ok(Self { style, args })
    }

    /// An error about the style.
    pub fn refused(&self, what: &str) -> crate::Error {
        self.args.refused("style", format!("is {:?}, {what}", self.style.name))
    }

    /// The pieces over `steps` steps of its own; refused if they look at the loss.
    pub fn build(&self, steps: u64, run: &RunSize) -> Result<Pieces> {
        let pieces = (self.style.build)(&self.args, &RunSize { steps: steps.max(1), ..*run })?;
        self.args.finish()?;
        if pieces.feedback.is_some() {
            return Err(self.refused("which looks at the loss; the framework takes it alone only"));
        }
        Ok(pieces)
    }
}

/// The list `name` of steps: increasing, and one fewer than the `parts` that they separate.
pub(super) fn boundaries(args: &Args, name: &'static str, parts: &[Part]) -> Result<Vec<u64>> {
    let steps = args.steps(name)?;
    if let Some(pair) = steps.windows(2).find(|pair| pair[1] <= pair[0]) {
        return Err(args.refused(name, format!("has {} after {}; they must increase", pair[1], pair[0])));
    }
    if steps.len() + 1 != parts.len() {
        let what =
            format!("has {} entries for {} schedules; give one fewer than those", steps.len(), parts.len());
        return Err(args.refused(name, what));
    }
    Ok(steps)
}

/// The parts behind each other, each counting from its boundary.
pub(super) fn in_sequence(parts: &[Part], boundaries: &[u64], run: &RunSize) -> Result<Pieces> {
    let starts = [0].iter().chain(boundaries);
    let ends = boundaries.iter().chain([&run.steps]).map(|end| *end.min(&run.steps));
    let mut pieces = Pieces::default();
    for ((part, start), end) in parts.iter().zip(starts).zip(ends) {
        let next = part.build(end.saturating_sub(*start), run)?;
        pieces = if *start == 0 { next } else { pieces.append(*start, next) };
    }
    Ok(pieces)
}
