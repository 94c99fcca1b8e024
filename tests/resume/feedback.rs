//! Schedules that look at the loss: what they remember is in the checkpoint.
use crate::support::*;
use crate::{TINY, assert_equal_runs, moved, rewind, tiny};

#[test]
fn a_schedule_that_looks_at_the_loss_resumes_bit_for_bit() {
    let own = "lr = 1e-2\nwarmup = 0";
    assert!(TINY.contains(own));
    for schedule in [
        format!("{own}\nname = \"greedy\"\npatience = 0\nwindow = 2"),
        format!("{own}\nname = \"plateau\"\npatience = 0\nwindow = 2\nfactor = 0.9"),
        "style = \"torch:ReduceLROnPlateau\"\nargs = { lr = 1e-2, patience = 0, window = 2, factor = 0.9 }"
            .into(),
    ] {
        let whole = tiny();
        whole.config("feedback.toml", &TINY.replace(own, &schedule));
        line(&whole, "train DIR/feedback.toml").ok();
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
