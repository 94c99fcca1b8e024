//! Training: one step, the loop around it, evaluation and metrics.
mod branch;
mod choices;
mod claim;
mod deal;
mod display;
mod evaluate;
mod leave;
mod left;
mod metrics;
mod prepare;
mod replan;
mod run;
mod session;
mod source;
mod sources;
mod step;

pub use claim::lock_run;
pub use deal::{SourceUse, source_uses};
pub use evaluate::{EvalResult, Evaluation};
pub use left::readable;
pub use metrics::{Metrics, StepMetrics};
pub use replan::CONFIG;
pub use run::Summary;
pub use session::{Allow, Session};
pub use source::Source;
pub use sources::validation_sets;
pub use step::{Issued, Micro, StepResult, finish_step, issue_step, train_step};
