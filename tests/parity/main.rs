//! The model against PyTorch, against a naive f64 model, and against itself: golden files, planted faults, training,
//! equal bits for any split of the work, generation, head sizes that the golden files lack.
mod bits;
mod diverged;
mod faults;
mod golden;
mod mixed;
mod oracle;
mod run;
mod sizes;
mod training;

use rewarm::reference;
