//! Boundaries, joins and defaults; beside it golden vectors, properties over random schedules, and refusals.
mod formulas;
mod golden;
mod properties;
mod refusals;

use super::*;

fn raw(name: &str) -> RawSchedule {
    RawSchedule {
        name: Some(name.into()),
        lr: Some(Rate::Value(3e-4)),
        min_lr: Some(Rate::Value(3e-5)),
        warmup: Some(Length::Steps(10)),
        ..RawSchedule::default()
    }
}

/// Steps of 4 sequences, 4096 tokens.
fn run(steps: u64) -> RunSize {
    RunSize { steps, tokens_per_step: 4096, samples_per_step: 4 }
}

fn args<V: Into<toml::Value>, const N: usize>(args: [(&str, V); N]) -> toml::Table {
    args.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect()
}

fn compile(raw: &RawSchedule, total: u64) -> Schedule {
    raw.validate().unwrap().compile(&run(total), None).unwrap()
}

fn wsd(shape: &str) -> RawSchedule {
    RawSchedule { args: args([("decay", "100 steps"), ("decay_shape", shape)]), ..raw("wsd") }
}

fn refusal(raw: &RawSchedule, total: u64) -> String {
    raw.validate().and_then(|config| config.compile(&run(total), None)).unwrap_err().to_string()
}

#[test]
fn boundaries_are_exact_and_the_last_rate_is_held() {
    for name in ["linear", "cosine", "wsd"] {
        let schedule = compile(&raw(name), 1000);
        assert_eq!(schedule.lr(0), 0.0, "{name}");
        assert_eq!(schedule.lr(10), 3e-4, "{name}");
        assert!(schedule.lr(999) > 3e-5, "{name}");
        for step in [1000, 1001, 1_000_000, u64::MAX] {
            assert_eq!(schedule.lr(step), 3e-5, "{name} at {step}");
        }
    }
}

#[test]
fn warmup_conventions_differ_by_one_step() {
    let one = RawSchedule { warmup_convention: Some(WarmupConvention::OneBased), ..raw("constant") };
    let (zero, one) = (compile(&raw("constant"), 1000), compile(&one, 1000));
    for step in 0..10 {
        assert_eq!(one.lr(step), zero.lr(step + 1));
    }
    assert_eq!(one.lr(9), 3e-4);
}

#[test]
fn a_warmup_may_fill_the_run_or_be_absent() {
    let all = RawSchedule { warmup: Some(Length::Percent(100.0)), ..raw("cosine") };
    assert_eq!(compile(&all, 10).lr(5), 1.5e-4);
    let none = RawSchedule { warmup: Some(Length::Steps(0)), ..raw("cosine") };
    assert_eq!(compile(&none, 10).lr(0), 3e-4);
}

fn phase(shape: &str, length: Option<Length>, to: Option<f64>) -> RawPhase {
    RawPhase { shape: args([("shape", shape)]), length, to: to.map(Rate::Value), ..RawPhase::default() }
}

fn listed(phases: Vec<RawPhase>) -> RawSchedule {
    RawSchedule { name: None, min_lr: None, phases: Some(phases), ..raw("") }
}

/// Cool down, re-warm, hold for the rest, anneal: rates join without a jump.
#[test]
fn phases_continue_from_the_previous_rate() {
    let raw = listed(vec![
        phase("cosine", Some(Length::Percent(30.0)), Some(1e-5)),
        phase("linear", Some(Length::Tokens(50 * 4096)), Some(2e-4)),
        phase("constant", None, None),
        phase("one_minus_sqrt", Some(Length::Steps(100)), Some(0.0)),
    ]);
    let schedule = compile(&raw, 1000);
    assert_eq!(schedule.joins(), [10, 310, 360, 900, 1000]);
    for (join, rate) in [(10, 3e-4), (310, 1e-5), (360, 2e-4), (899, 2e-4), (900, 2e-4), (1000, 0.0)] {
        assert_eq!(schedule.lr(join), rate, "at {join}");
    }
    for join in [10, 310, 360] {
        assert!((schedule.lr(join) - schedule.lr(join - 1)).abs() < 4e-5, "a jump at {join}");
    }
    assert_eq!(schedule.peak(), 3e-4);
}

#[test]
fn a_phase_may_jump_and_the_last_rate_is_held_behind_a_short_list() {
    let mut hot = phase("linear", Some(Length::Steps(100)), Some(1e-4));
    hot.from = Some(Rate::Value(1e-3));
    let schedule = compile(&listed(vec![phase("constant", Some(Length::Steps(90)), None), hot]), 1000);
    assert_eq!((schedule.lr(99), schedule.lr(100), schedule.lr(200)), (3e-4, 1e-3, 1e-4));
    assert_eq!(schedule.lr(999), 1e-4);
    assert_eq!(schedule.peak(), 1e-3);
}

#[test]
fn percentages_that_fill_the_run_fill_it_in_steps() {
    let third = |to| phase("linear", Some(Length::Percent(33.3)), Some(to));
    let mut raw = listed(vec![third(2e-4), third(1e-4), third(0.0)]);
    raw.warmup = Some(Length::Percent(0.1));
    for total in [7, 10, 99, 1000, 12_345] {
        assert_eq!(compile(&raw, total).joins().last(), Some(&total));
    }
}

#[test]
fn a_skipped_update_repeats_its_rate_where_applied_ones_are_counted() {
    let counted = |counter: Counter| {
        let schedule = compile(&RawSchedule { counter: Some(counter), ..raw("cosine") }, 1000);
        assert_eq!(schedule.looks_back(), counter == Counter::Applied);
        // The update of step 3 is skipped.
        [(2, 0), (3, 0), (4, 1), (5, 1)]
            .map(|(step, skipped)| schedule.lr(schedule.counter.count(step, skipped)))
    };
    let close = |found: [f64; 4], tenths: [f64; 4]| {
        found.iter().zip(tenths).all(|(lr, tenth)| (lr - 3e-5 * tenth).abs() < 1e-18)
    };
    assert!(close(counted(Counter::Attempted), [2.0, 3.0, 4.0, 5.0]));
    assert!(close(counted(Counter::Applied), [2.0, 3.0, 3.0, 4.0]));
}

#[test]
fn a_hold_comes_before_the_warmup() {
    let raw = RawSchedule { pre_hold: Some(Length::Samples(20)), ..raw("constant") };
    let schedule = compile(&raw, 1000);
    assert_eq!([0, 4, 5, 10, 15].map(|step| schedule.lr(step)), [0.0, 0.0, 0.0, 1.5e-4, 3e-4]);
    assert_eq!((schedule.warmup_steps, schedule.joins()), (15, vec![5, 15, 1000]));
}

#[test]
fn tails_hold_the_last_rate_or_the_lowest() {
    let raw = listed(vec![phase("linear", Some(Length::Steps(490)), Some(1e-4))]);
    let raw = RawSchedule { min_lr: Some(Rate::Value(3e-5)), ..raw };
    assert_eq!(compile(&raw, 1000).lr(500), 1e-4);
    assert_eq!(compile(&RawSchedule { tail: Some(Tail::MinLr), ..raw.clone() }, 1000).lr(500), 3e-5);
    assert!(refusal(&RawSchedule { tail: Some(Tail::Error), ..raw }, 1000).contains("schedule.tail"));
}

#[test]
fn tables_go_through_their_points() {
    let mut raw = RawSchedule { min_lr: None, warmup: Some(Length::Steps(0)), ..raw("table") };
    raw.args = toml::from_str("x = [100, \"20%\", \"2048000 tokens\"]\ny = [\"100%\", 1e-4, 0]").unwrap();
    let straight = compile(&raw, 1000);
    let found = [0, 100, 150, 200, 350, 500, 999].map(|step| straight.lr(step));
    for (found, expected) in found.iter().zip([3e-4, 3e-4, 2e-4, 1e-4, 5e-5, 0.0, 0.0]) {
        assert!((found - expected).abs() < 1e-18, "{found}, not {expected}");
    }
    raw.args.insert("interpolation".into(), "hold".into());
    let steps = compile(&raw, 1000);
    assert_eq!([0, 199, 200, 499, 500].map(|step| steps.lr(step)), [3e-4, 3e-4, 1e-4, 1e-4, 0.0]);
}

/// torch's and DeepSpeed's: `lr·gamma^⌊n/every⌋`, and a rate that moves every 100 steps only.
#[test]
fn stairs_are_level() {
    let mut raw = RawSchedule { min_lr: None, ..raw("exp_gamma") };
    raw.args = toml::from_str("gamma = 0.5\nevery = 100").unwrap();
    let schedule = compile(&raw, 1000);
    for (step, halvings) in [(10, 0), (109, 0), (110, 1), (209, 1), (210, 2), (999, 9)] {
        let expected = 3e-4 * 0.5f64.powi(halvings);
        assert!((schedule.lr(step) / expected - 1.0).abs() < 1e-12, "at {step}");
    }
    let mut raw = RawSchedule { warmup: None, ..self::raw("lr_range_test") };
    raw.args = args([("every", 100)]);
    let schedule = compile(&raw, 1000);
    assert_eq!((schedule.lr(0), schedule.lr(99)), (3e-5, 3e-5));
    assert!((schedule.lr(100) - 5.7e-5).abs() < 1e-18 && schedule.lr(199) == schedule.lr(100));
}

#[test]
fn rewarming_starts_from_the_last_rate_of_the_continued_run() {
    let raw = RawSchedule { warmup_from: Some(Rate::Previous), ..raw("cosine") };
    assert!(refusal(&raw, 1000).contains("schedule.warmup_from"));
    let schedule = raw.validate().unwrap().compile(&run(1000), Some(3e-5)).unwrap();
    assert_eq!((schedule.lr(0), schedule.lr(10)), (3e-5, 3e-4));
    assert!((schedule.lr(5) - 1.65e-4).abs() < 1e-12);
}

#[test]
fn min_lr_is_a_floor_after_the_warmup() {
    let mut raw = listed(vec![phase("linear", None, Some(0.0))]);
    raw.min_lr = Some(Rate::Value(3e-5));
    let schedule = compile(&raw, 1000);
    assert!(schedule.lr(900) > 3e-5);
    assert_eq!([0, 901, 950, 1000].map(|step| schedule.lr(step)), [0.0, 3e-5, 3e-5, 3e-5]);
}

#[test]
fn defaults_are_those_of_pythia_and_survive_a_round_trip() {
    let config = RawSchedule { lr: Some(Rate::Value(1e-3)), ..RawSchedule::default() }.validate().unwrap();
    assert_eq!((config.min_lr, config.warmup), (1e-4, Length::Percent(1.0)));
    let Plan::Named(cosine) = &config.plan else { panic!("{:?}", config.plan) };
    assert_eq!(cosine.entry.name, "cosine");
    assert_eq!(cosine.args, args([("theta", 1.0), ("cycles", 0.5)]));
    for raw in
        [raw("cosine"), raw("constant"), wsd("one_minus_sqrt"), listed(vec![phase("constant", None, None)])]
    {
        let config = raw.validate().unwrap();
        assert_eq!(config.to_raw().validate().unwrap(), config);
    }
}

/// A shape's defaults are left out unless it cannot do without an argument, a preset's are written: a resume compares them.
#[test]
fn a_resolved_section_is_written_as_earlier_runs_wrote_it() {
    for (given, written) in [
        ("name = \"poly\"\npower = 2", ""),
        ("name = \"cosine\"\ncycles = 2", "cycles = 2.0\n"),
        ("name = \"cyclic\"\nrise = \"5 steps\"", "rise = 5\nper_cycle = 1.0\nper_step = 1.0\n"),
        (
            "name = \"table\"\nx = [\"5.0%\"]\ny = [1]",
            "x = [\"5%\"]\ny = [1.0]\ninterpolation = \"linear\"\n",
        ),
        ("name = \"inv_sqrt_cooldown\"", "decay = \"10%\"\n"),
        (
            "name = \"wsd\"\ndecay_shape = {shape = \"poly\", power = 2}",
            "decay = \"10%\"\ndecay_shape = \"poly\"\n",
        ),
        (
            "name = \"infinite_inv_sqrt\"\nanneal_shape = {shape = \"poly\", power = 3}",
            "steepness = 10.0\nconstant_lr = \"55%\"\ncooldown = \"60%\"\nanneal = \"10%\"\n\n[anneal_shape]\nshape = \"poly\"\npower = 3.0\n",
        ),
    ] {
        let raw: RawSchedule = toml::from_str(&format!("lr = 1\n{given}")).unwrap();
        assert_eq!(toml::to_string(&raw.validate().unwrap().to_raw().args).unwrap(), written, "{given}");
    }
}

#[test]
fn shown_points_include_joins_and_the_last_update() {
    let schedule = compile(&wsd("linear"), 1000);
    let constant = |base| Quantity::compile("", base, &[], &run(1000)).unwrap();
    let quantities = Quantities {
        steps: schedule.total,
        batch: BatchPlan::new(4, []),
        lr_scaling: None,
        weight_decay: constant(0.1),
        betas: [constant(0.9), constant(0.95)],
    };
    let points = show::points(&schedule, &quantities, Some(300), None);
    assert_eq!(points.iter().map(|p| p.step).collect::<Vec<_>>(), [0, 10, 300, 600, 900, 999]);
    assert!(show::table(&points).contains("900  3.000000e-4"));
    assert_eq!(show::csv(&points).lines().nth(2), Some("10,3e-4"));
    assert_eq!(show::json(&schedule, &quantities, &points)["points"][1]["step"], 10);
    let points = show::points(&schedule, &quantities, Some(300), Some(1024));
    assert!(show::table(&points).contains("  10    40960  3.000000e-4"), "{}", show::table(&points));
    assert_eq!(show::csv(&points).lines().nth(2), Some("10,40960,3e-4"));
    assert_eq!(show::json(&schedule, &quantities, &points)["points"][1]["tokens"], 40960);
    assert_eq!(show::sparkline(&schedule, 11), "▁█████████▂");
}

/// Kept moments need no warmup, unless something of one is said; what takes its timescale from it says so.
#[test]
fn a_phase_that_keeps_moments_has_no_warmup_by_default() {
    let lr = Some(Rate::Value(1e-3));
    let named = |name: &str| RawSchedule { name: Some(name.into()), lr, ..RawSchedule::default() };
    let warmup = |raw: &RawSchedule| raw.validate_after(true).unwrap().warmup;
    assert_eq!(warmup(&named("cosine")), Length::Steps(0));
    assert_eq!(named("cosine").validate_after(false).unwrap(), named("cosine").validate().unwrap());
    assert_eq!(
        warmup(&RawSchedule { warmup: Some(Length::Percent(2.0)), ..named("wsd") }),
        Length::Percent(2.0)
    );
    assert_eq!(
        warmup(&RawSchedule { warmup_from: Some(Rate::Previous), ..named("wsd") }),
        Length::Percent(1.0)
    );
    assert_eq!(warmup(&named("one_cycle")), Length::Percent(30.0), "a part of it");
    let error = named("inv_sqrt").validate_after(true).unwrap_err().to_string();
    assert!(error.contains("schedule.timescale is missing") && error.contains("schedule.warmup"), "{error}");
}

/// The rate of another run becomes a number before anything is made of it.
#[test]
fn a_rate_of_the_run_before_is_settled() {
    let first =
        |from| RawPhase { from: Some(from), shape: args([("shape", "constant")]), ..RawPhase::default() };
    let phases = |from| RawSchedule {
        lr: Some(Rate::Value(1e-3)),
        phases: Some(vec![first(from), RawPhase { length: Some(Length::Steps(5)), ..first(Rate::Previous) }]),
        ..RawSchedule::default()
    };
    let peak = RawSchedule { lr: Some(Rate::Previous), ..RawSchedule::default() };
    for (raw, key) in [(phases(Rate::Previous), "schedule.phases[0].from"), (peak, "schedule.lr")] {
        assert_eq!(raw.refers_back(), Some(key));
        for error in [raw.validate().unwrap_err(), raw.settled(None).unwrap_err()] {
            assert!(error.to_string().contains(key) && error.to_string().contains("no run"), "{error}");
        }
        let settled = raw.settled(Some(3e-4)).unwrap();
        assert_eq!(settled.refers_back(), None);
        let written = settled.validate().unwrap().to_raw();
        assert_eq!(written.validate().unwrap(), settled.validate().unwrap());
        let rates = (written.lr.unwrap(), written.phases.map(|phases| [0, 1].map(|i| phases[i].from)));
        match key {
            "schedule.lr" => assert_eq!(rates, (Rate::Value(3e-4), None)),
            _ => assert_eq!(rates.1, Some([Some(Rate::Value(3e-4)), Some(Rate::Previous)])),
        }
    }
    // What was not said is not written for the first phase: it would be another run's.
    let unsaid = RawSchedule {
        phases: Some(vec![RawPhase { from: None, ..first(Rate::Previous) }]),
        ..phases(Rate::Previous)
    };
    assert_eq!(unsaid.validate().unwrap().to_raw().phases.unwrap()[0].from, None);
}
