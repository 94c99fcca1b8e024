//! Asking a schedule for its rates.
//!
//! `cargo run --release --example schedule -- examples/recipes/tiny.toml`; without a file, of a schedule written here.
use rewarm::config::RawConfig;
use std::path::PathBuf;

/// Re-warm to 3e-4, hold, and leave a tail that any later run can begin from. Nothing else of a run has to be given.
const INFINITE: &str = r#"
[schedule]
lr = 3e-4
warmup = "1%"
[[schedule.phases]]
shape = "cosine"
length = "20%"
to = 1e-4
[[schedule.phases]]
shape = "constant"
[[schedule.phases]]
shape = "exp_to"
length = "10%"
to = 1e-5
"#;

fn main() -> rewarm::Result<()> {
    let raw = match std::env::args_os().nth(1).map(PathBuf::from) {
        Some(path) => RawConfig::load(Some(&path), &[])?,
        None => RawConfig::from_toml_str(INFINITE, "this example", &["train.steps=1000".into()])?,
    };
    // Lengths in percent, tokens or samples become steps here; what does not fit is refused by its key.
    let schedule = raw.preview_schedule(None)?;

    // A schedule has no state: a rate is a function of the step, so a run resumes exactly and may be looked at anywhere.
    println!("{} steps, the first {} of them warm up", schedule.total, schedule.warmup_steps);
    println!("step    rate");
    for step in (0..schedule.total).step_by((schedule.total / 10).max(1) as usize) {
        println!("{step:<7} {:.3e}", schedule.lr(step));
    }

    // Underneath are phases that follow curves. At a join the rate is that of the phase that begins.
    for join in schedule.joins() {
        println!("a phase begins at step {join}, from {:.3e}", schedule.lr(join));
    }
    Ok(())
}
