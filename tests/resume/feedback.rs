//! Schedules that look at the loss: what they remember is in the checkpoint.
use crate::support::*;
use crate::{assert_equal_runs, moved, rewind, tiny};

#[test]
fn a_schedule_that_looks_at_the_loss_resumes_bit_for_bit() {
    for schedule in [
        "--set schedule.name=greedy --set schedule.patience=0 --set schedule.window=2",
        "--set schedule.name=plateau --set schedule.patience=0 --set schedule.window=2 --set schedule.factor=0.9",
    ] {
        let whole = tiny();
        line(&whole, &format!("train DIR/tiny.toml {schedule}")).ok();
        let rates: Vec<f64> =
            log(&whole.join("run")).iter().filter_map(|point| point["lr"].as_f64()).collect();
        assert!(rates[9] < rates[0], "nothing is remembered at step 10: {rates:?}");
        assert!(rates[10..].iter().any(|rate| *rate != rates[9]), "nothing happens after it: {rates:?}");
        for step in [10, 15] {
            let dir = moved(&whole);
            rewind(&dir, step);
            line(&dir, "resume DIR/run").ok();
            assert_equal_runs(&dir.join("run"), &whole.join("run"), &format!("{schedule}, from step {step}"));
        }
    }
}
