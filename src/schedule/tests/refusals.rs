//! What cannot be meant is refused with the key and the rule.
use super::*;
use crate::config::RawConfig;

/// The message about `[schedule]` with this content, in a run of `steps`.
#[track_caller]
fn refused(section: &str, steps: u64) -> String {
    let text = format!("[schedule]\n{section}");
    let found = RawConfig::from_toml_str(&text, "configuration", &[])
        .and_then(|raw| raw.preview_schedule(Some(steps)))
        .expect_err(section);
    assert_eq!(found.exit_code(), 1);
    found.to_string()
}

#[test]
fn impossible_schedules_are_refused_by_key_with_a_remedy() {
    let cases = [
        // Lengths beyond the budget.
        ("lr = 1\nwarmup = 1001", "schedule.warmup", "shorter"),
        ("lr = 1\npre_hold = 600\nwarmup = 500", "schedule.warmup", "shorter"),
        ("lr = 1\npre_hold = 1001\nwarmup = 0", "schedule.pre_hold", "shorter"),
        ("lr = 1\nname = \"wsd\"\ndecay = 995", "schedule.decay", "lengthen"),
        ("lr = 1\nname = \"power\"\ndecay = 995", "schedule.decay", "lengthen"),
        ("lr = 1\nname = \"cosine_constant\"\nhold = 995", "schedule.hold", "lengthen"),
        ("lr = 1\nname = \"infinite_cosine\"\ncooldown = \"95%\"", "schedule.cooldown", "lengthen"),
        ("lr = 1\nname = \"wsd_s\"\ndecay = 300", "schedule.decay", "schedule.periods"),
        ("lr = 1\nname = \"multistep\"\nmilestones = [1001]", "schedule.milestones[0]", "end of the run"),
        ("lr = 1\nname = \"multistep\"\nmilestones = [5]", "schedule.milestones[0]", "end of the warmup"),
        ("lr = 1\nname = \"multistep\"\nmilestones = [500, 400]", "schedule.milestones[1]", "increase"),
        ("lr = 1\nphases = [{shape = \"constant\", length = 1000}]", "schedule.phases", "shorten them"),
        (
            "lr = 1\nphases = [{shape = \"constant\", length = 900}]\ntail = \"error\"",
            "schedule.tail",
            "hold",
        ),
        // Fractions outside of [0, 1].
        ("lr = 1\nwarmup = \"101%\"", "schedule.warmup", "between 0% and 100%"),
        ("lr = 1\nwarmup = \"-1%\"", "schedule.warmup", "between 0% and 100%"),
        ("lr = 1\nwarmup = 0.01", "schedule.warmup", "\"1%\""),
        (
            "lr = 1\nphases = [{shape = \"linear\", to = 0, part = [0.5, 1.5]}]",
            "schedule.phases[0].part",
            "0..=1",
        ),
        (
            "lr = 1\nphases = [{shape = \"linear\", to = 0, part = [0.5, 0.5]}]",
            "schedule.phases[0].part",
            "increasing",
        ),
        ("lr = 1\nphases = [{shape = \"exp\", part = [0, 0.5]}]", "schedule.phases[0].part", "has none"),
        // Rates.
        ("name = \"cosine\"", "schedule.lr", "give the peak"),
        ("lr = 0", "schedule.lr", "must be positive"),
        ("lr = nan", "schedule.lr", "finite"),
        ("lr = -1", "schedule.lr", "at least 0"),
        ("lr = 1\nmin_lr = 2", "schedule.min_lr", "leave it out"),
        ("lr = 1\nmin_lr = \"200%\"", "schedule.min_lr", "leave it out"),
        ("lr = 1\nmin_lr = \"previous\"", "schedule.min_lr", "\"10%\""),
        ("lr = 1\nname = \"d2z\"\nmin_lr = 0.1", "schedule.min_lr", "\"linear\""),
        (
            "lr = 1\nname = \"infinite_linear\"\nconstant_lr = 2",
            "schedule.constant_lr",
            "between schedule.min_lr",
        ),
        (
            "lr = 1\nname = \"infinite_linear\"\nconstant_lr = 0.01",
            "schedule.constant_lr",
            "between schedule.min_lr",
        ),
        ("lr = 1\npre_hold = 9\npre_hold_lr = \"previous\"", "schedule.pre_hold_lr", "start.from"),
        ("lr = 1\npre_hold_lr = 0.1", "schedule.pre_hold_lr", "schedule.pre_hold"),
        ("lr = 1\nwarmup_shape = \"exp\"", "schedule.warmup_from is", "positive"),
        (
            "lr = 1\nwarmup_shape = \"exp\"\nwarmup_convention = \"floor_one\"",
            "schedule.warmup_from is",
            "positive",
        ),
        ("lr = 1\nname = \"exp_to\"\nmin_lr = 0", "schedule.min_lr is 0", "two positive rates"),
        ("lr = 1\nname = \"harmonic\"\nmin_lr = 0", "schedule.min_lr is 0", "two positive rates"),
        // Decays to a rate above their start.
        (
            "lr = 1\nphases = [{shape = \"linear\", to = 0.1, length = 9}, {shape = \"one_minus_sqrt\", to = 0.2}]",
            "schedule.phases[1].to is 0.2",
            "starts at 0.1",
        ),
        ("lr = 1\nphases = [{shape = \"exp\", to = 2}]", "schedule.phases[0].to", "below its start"),
        (
            "lr = 1\nphases = [{shape = \"harmonic\", to = \"200%\"}]",
            "schedule.phases[0].to",
            "below its start",
        ),
        // Names.
        ("lr = 1\nname = \"cosin\"", "schedule.name", "did you mean \"cosine\"?"),
        ("lr = 1\nname = \"infinite_cos\"", "schedule.name", "did you mean \"infinite_cosine\"?"),
        (
            "lr = 1\nphases = [{shape = \"one_minus_sqr\", to = 0}]",
            "schedule.phases[0].shape",
            "\"one_minus_sqrt\"?",
        ),
        ("lr = 1\nphases = [{shape = \"wsd\"}]", "schedule.phases[0].shape", "\"linear\""),
        ("lr = 1\nwarmup_shape = \"quadratik\"", "schedule.warmup_shape", "\"quadratic\"?"),
        ("lr = 1\nname = \"wsd\"\ndecay_shape = \"lin\"", "schedule.decay_shape", "\"linear\""),
        ("lr = 1\nname = \"wsd\"\ndecay_shape = \"cyclic\"", "schedule.decay_shape", "does not decay"),
        ("lr = 1\nname = \"wsd\"\ndecay_shape = \"constant\"", "schedule.decay_shape", "does not decay"),
        ("lr = 1\ntail = \"last\"", "schedule.tail", "\"hold\""),
        ("lr = 1\ncounter = \"skipped\"", "schedule.counter", "\"applied\""),
        // Arguments.
        ("lr = 1\ndecay = 9", "schedule.decay", "\"wsd\""),
        ("lr = 1\nname = \"linear\"\ndecay_shape = \"cosine\"", "schedule.decay_shape", "remove"),
        ("lr = 1\nname = \"exp_halflife\"", "schedule.half_life is missing", "needs it"),
        ("lr = 1\nname = \"exp_gamma\"", "schedule.gamma is missing", "needs it"),
        ("lr = 1\nname = \"cyclic\"", "schedule.rise is missing", "needs it"),
        ("lr = 1\nname = \"power_tokens\"", "schedule.scale is missing", "needs it"),
        (
            "lr = 1\nname = \"wsd\"\ndecay_shape = \"exp_halflife\"",
            "schedule.decay_shape.half_life is missing",
            "needs it",
        ),
        (
            "lr = 1\nphases = [{shape = \"exp_halflife\"}]",
            "schedule.phases[0].half_life is missing",
            "needs it",
        ),
        (
            "lr = 1\nphases = [{shape = \"linear\", to = 0, power = 2}]",
            "schedule.phases[0].power",
            "\"poly\"",
        ),
        ("lr = 1\nwarmup_shape = {shape = \"poly\"}", "schedule.warmup_shape.power is missing", "needs it"),
        ("lr = 1\nwarmup_shape = {shape = \"linear\", power = 2}", "schedule.warmup_shape.power", "\"poly\""),
        ("lr = 1\nwarmup_shape = {shape = \"poly\", power = 0}", "schedule.warmup_shape.power", "above 0"),
        (
            "lr = 1\nwarmup_shape = {shape = \"saturating\", timescale = 0}",
            "schedule.warmup_shape.timescale",
            "a length above 0",
        ),
        ("lr = 1\nwarmup_shape = {power = 2}", "schedule.warmup_shape", "no `shape`"),
        ("lr = 1\nname = \"poly\"\npower = 0", "schedule.power", "above 0"),
        ("lr = 1\nname = \"poly\"\npower = \"2\"", "schedule.power", "number"),
        ("lr = 1\nname = \"exp_gamma\"\ngamma = 1.1", "schedule.gamma", "at most 1"),
        ("lr = 1\nname = \"sgdr\"\nperiod_factor = 0.5", "schedule.period_factor", "at least 1"),
        ("lr = 1\nname = \"sgdr\"\nperiod = 0", "schedule.period", "a length above 0"),
        ("lr = 1\nname = \"wsd_s\"\nperiods = 4000000000", "schedule.periods", "1,000,000"),
        ("lr = 1\nname = \"wsd_s\"\nperiods = 0", "schedule.periods", "from 1 to 1,000,000"),
        ("lr = 1\nname = \"plateau\"\nfactor = 1", "schedule.factor", "below 1"),
        ("lr = 1\nname = \"plateau\"\neps = -1", "schedule.eps", "at least 0"),
        ("lr = 1\nname = \"greedy\"\nwindow = 0", "schedule.window", "at least 1"),
        ("lr = 1\nname = \"greedy\"\nceiling = 0.5", "schedule.ceiling", "at least 1"),
        (
            "lr = 1\nname = \"wsd\"\ndecay_shape = {shape = \"poly\", power = 0}",
            "schedule.decay_shape.power",
            "above 0",
        ),
        // Tables.
        ("lr = 1\nname = \"table\"\nx = [0, 5]\ny = [1]", "schedule.x has 2 points", "at least one"),
        ("lr = 1\nname = \"table\"\nx = []\ny = []", "schedule.x has 0 points", "at least one"),
        ("lr = 1\nname = \"table\"\nx = [0, 5, 5]\ny = [1, 1, 1]", "schedule.x[2]", "must increase"),
        ("lr = 1\nname = \"table\"\nx = [0, \"50%\", 100]\ny = [1, 1, 1]", "schedule.x[2]", "must increase"),
        ("lr = 1\nname = \"table\"\nx = [0, 1001]\ny = [1, 1]", "schedule.x", "behind its end"),
        ("lr = 1\nname = \"table\"\nx = [0, 5]\ny = [1, nan]", "schedule.y", "not a rate"),
        ("lr = 1\nname = \"table\"\nx = [0, 5]\ny = [inf, 1]", "schedule.y", "not a rate"),
        ("lr = 1\nname = \"table\"\nx = [0, nan]\ny = [1, 1]", "schedule.x", "whole number"),
        ("lr = 1\nname = \"table\"\nx = [0, 5]\ny = [1, \"previous\"]", "schedule.y[1]", "\"10%\""),
        (
            "lr = 1\nphases = [{shape = \"table\", x = [9, 5], y = [1, 1]}]",
            "schedule.phases[0].x[1]",
            "must increase",
        ),
        // Lists.
        ("lr = 1\nphases = []", "schedule.phases", "list a phase"),
        ("lr = 1\nname = \"wsd\"\nphases = []", "schedule.name", "remove one"),
        ("lr = 1\ndecay = 9\nphases = []", "schedule.decay", "remove one"),
        ("lr = 1\nphases = [{shape = \"linear\"}]", "schedule.phases[0].to", "give the rate"),
        ("lr = 1\nphases = [{to = 1}]", "schedule.phases[0].shape", "needs shape"),
        ("lr = 1\nphases = [{shape = \"constant\", to = 1}]", "schedule.phases[0].to", "remove"),
        (
            "lr = 1\nphases = [{shape = \"linear\", to = \"previous\"}]",
            "schedule.phases[0].to",
            "\"constant\"",
        ),
        ("lr = 1\nphases = [{shape = \"constant\"}, {shape = \"constant\"}]", "schedule.phases", "only one"),
    ];
    for (section, key, remedy) in cases {
        let message = refused(section, 1000);
        assert!(message.contains(key) && message.contains(remedy), "{section}\n{message}\n{key}, {remedy}");
    }
}

#[test]
fn a_run_without_steps_has_no_schedule() {
    assert!(refused("lr = 1", 0).contains("0 steps"));
}

/// Without a configuration in between: types cannot say that a number is finite.
#[test]
fn numbers_that_are_none_are_refused() {
    for raw in [
        RawSchedule { lr: Some(Rate::Value(f64::NAN)), ..raw("cosine") },
        RawSchedule { min_lr: Some(Rate::Value(f64::NAN)), ..raw("cosine") },
        RawSchedule { warmup_from: Some(Rate::Value(f64::INFINITY)), ..raw("cosine") },
        RawSchedule { warmup_from: Some(Rate::OfPeak(f64::INFINITY)), ..raw("cosine") },
        RawSchedule {
            pre_hold: Some(Length::Steps(1)),
            pre_hold_lr: Some(Rate::Value(-1.0)),
            ..raw("cosine")
        },
        RawSchedule { args: args([("power", f64::INFINITY)]), ..raw("poly") },
        RawSchedule {
            warmup_shape: Some(toml::Value::Table("shape = \"poly\"\npower = inf".parse().unwrap())),
            ..raw("cosine")
        },
        listed(vec![phase("linear", None, Some(-1.0))]),
        listed(vec![RawPhase { from: Some(Rate::OfPeak(f64::NAN)), ..phase("linear", None, Some(0.0)) }]),
    ] {
        assert!(raw.validate().and_then(|config| config.compile(&run(1000), None)).is_err(), "{raw:?}");
    }
}
