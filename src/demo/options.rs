//! What the demo is asked for.
use crate::model::Precision;
use std::path::PathBuf;

/// What the demo is asked to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where data, runs and report go.
    pub dir: PathBuf,
    /// [`super::Recipe::QUICK`] instead of [`super::Recipe::FULL`].
    pub quick: bool,
    /// Folders of text for upstream and downstream; by default the sources of rewarm's dependencies.
    pub folders: Option<(PathBuf, PathBuf)>,
    /// Seed of initialisation and data order.
    pub seed: u64,
    /// What the runs keep in which format.
    pub precision: Precision,
    /// The command that asked for it, for the report.
    pub command: String,
}
