//! Training from a configuration: what `rewarm train` does, in a program of one's own.
//!
//! `cargo run --release --example train -- examples/recipes/tiny.toml`, after the example `shards`.
use rewarm::config::Config;
use rewarm::train::Session;
use serde_json::Value;
use std::path::PathBuf;

fn main() -> rewarm::Result<()> {
    let path: PathBuf = std::env::args_os().nth(1).expect("usage: train CONFIG [KEY=VALUE]...").into();
    let sets: Vec<String> = std::env::args().skip(2).collect();

    // Parse, then mean: unknown keys, wrong kinds and impossible combinations are refused here, by name. `sets` override
    // the file, as `--set schedule.lr=1e-3` does.
    let config = Config::load(Some(&path), &sets)?;

    // Opens data and model, locks the run's directory, lays out memory. Everything that can be refused is refused here;
    // a directory that holds a run already is, since `Session::resume` goes on with that.
    let session = Session::start(config)?;
    println!("{}", session.describe().trim_end());
    let run_dir = session.run_dir().to_path_buf();

    // Evaluates, steps, logs and saves until the last step. Killed at any moment, the run can be resumed with equal bits.
    let summary = session.run()?;
    println!("{} steps, saved as {}", summary.step, summary.checkpoint.display());

    // The log has one JSON object a line: a step, or an evaluation.
    let log = run_dir.join("metrics.jsonl");
    let text = std::fs::read_to_string(&log).map_err(rewarm::Error::input("read", &log))?;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).expect("every line of the log is JSON");
        if let (Some(set), Some(loss)) = (line["eval"].as_str(), line["loss"].as_f64()) {
            println!("step {}: loss on {set} {loss:.3}", line["step"]);
        }
    }
    Ok(())
}
