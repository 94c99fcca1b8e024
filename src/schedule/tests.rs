//! Golden vectors of `reference/schedules.md` §2.5 (hi = 3e-4, lo = 3e-5, W = 10, T = 1000), boundaries,
//! joins, and properties over random schedules.
use super::*;
use proptest::prelude::*;

const STEPS: [u64; 14] = [0, 1, 5, 10, 11, 100, 255, 505, 752, 900, 901, 950, 990, 1000];

/// Printed with nine digits, hence the tolerance.
const TOLERANCE: f64 = 1e-8;

fn raw(name: &str) -> RawSchedule {
    RawSchedule {
        name: Some(name.into()),
        lr: Some(3e-4),
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

fn assert_golden(name: &str, raw: &RawSchedule, golden: [f64; 14]) {
    let schedule = compile(raw, 1000);
    for (step, expected) in STEPS.into_iter().zip(golden) {
        let lr = schedule.lr(step);
        assert!((lr - expected).abs() <= TOLERANCE * expected, "{name} at {step}: {lr:e}, not {expected:e}");
    }
}

#[test]
#[rustfmt::skip]
fn golden_vectors() {
    let to_zero = |name| RawSchedule { min_lr: Some(Rate::Value(0.0)), ..raw(name) };
    assert_golden("hf/linear", &to_zero("linear"), [0.0, 3e-05, 0.00015, 0.0003, 0.00029969697, 0.000272727273, 0.000225757576, 0.00015, 7.51515152e-05, 3.03030303e-05, 3e-05, 1.51515152e-05, 3.03030303e-06, 0.0]);
    assert_golden("hf/cosine", &to_zero("cosine"), [0.0, 3e-05, 0.00015, 0.0003, 0.000299999245, 0.000293923946, 0.000256904126, 0.00015, 4.41024073e-05, 7.48933234e-06, 7.34152256e-06, 1.8841667e-06, 7.55186425e-08, 0.0]);
    assert_golden("hf/cosine_with_min_lr", &raw("cosine"), [0.0, 3e-05, 0.00015, 0.0003, 0.00029999932, 0.000294531551, 0.000261213713, 0.000165, 6.96921666e-05, 3.67403991e-05, 3.66073703e-05, 3.169575e-05, 3.00679668e-05, 3e-05]);
    assert_golden("megatron/WSD-linear", &wsd("linear"), [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0002973, 0.000165, 5.7e-05, 3e-05]);
    assert_golden("megatron/WSD-cosine", &wsd("cosine"), [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000299933386, 0.000165, 3.66073703e-05, 3e-05]);
    assert_golden("megatron/WSD-minus_sqrt", &wsd("one_minus_sqrt"), [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.000273, 0.000109081169, 4.38555095e-05, 3e-05]);
    // Current GPT-NeoX lifts step 0 to that of step 1; from there on the values agree.
    assert_golden("neox/constant", &raw("constant"), [0.0, 3e-05, 0.00015, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003, 0.0003]);
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
    // GPT-NeoX's linear: toward 0, cut off at min_lr (its row "neox/linear").
    for (step, expected) in [(0, 0.0), (752, 7.51515152e-05), (901, 3e-5), (950, 3e-5), (1000, 3e-5)] {
        assert!((compile(&raw, 1000).lr(step) - expected).abs() <= TOLERANCE * expected, "at {step}");
    }
}

#[test]
fn impossible_schedules_are_refused_by_key_with_a_remedy() {
    let cases: Vec<(RawSchedule, &str, &str)> = vec![
        (RawSchedule { lr: None, ..raw("cosine") }, "schedule.lr", "give the peak"),
        (RawSchedule { lr: Some(0.0), ..raw("cosine") }, "schedule.lr", "must be positive"),
        (RawSchedule { lr: Some(f64::NAN), ..raw("cosine") }, "schedule.lr", "must be positive"),
        (RawSchedule { min_lr: Some(Rate::Value(1.0)), ..raw("cosine") }, "schedule.min_lr", "leave it out"),
        (RawSchedule { warmup: Some(Length::Steps(1001)), ..raw("cosine") }, "schedule.warmup", "shorter"),
        (RawSchedule { args: args([("decay", 995)]), ..raw("wsd") }, "schedule.decay", "lengthen"),
        (RawSchedule { args: args([("decay", 9)]), ..raw("cosine") }, "schedule.decay", "remove"),
        (
            RawSchedule { args: args([("decay_shape", "cosine")]), ..raw("linear") },
            "schedule.decay_shape",
            "remove",
        ),
        (raw("cosin"), "schedule.name", "\"cosine\""),
        (listed(vec![]), "schedule.phases", "list a phase"),
        (RawSchedule { name: Some("wsd".into()), ..listed(vec![]) }, "schedule.name", "remove one"),
        (listed(vec![phase("linear", None, None)]), "schedule.phases[0].to", "give the rate"),
        (listed(vec![phase("constant", None, Some(1.0))]), "schedule.phases[0].to", "remove"),
        (listed(vec![phase("linear", None, Some(-1.0))]), "schedule.phases[0].to", "at least 0"),
        (listed(vec![phase("constant", None, None); 2]), "schedule.phases", "only one"),
        (listed(vec![phase("constant", Some(Length::Steps(1000)), None)]), "schedule.phases", "shorten them"),
    ];
    for (raw, key, remedy) in cases {
        let message = refusal(&raw, 1000);
        assert!(message.contains(key) && message.contains(remedy), "{message}");
    }
    assert!(refusal(&raw("cosine"), 0).contains("0 steps"));
}

#[test]
fn defaults_are_those_of_pythia_and_survive_a_round_trip() {
    let config = RawSchedule { lr: Some(1e-3), ..RawSchedule::default() }.validate().unwrap();
    assert_eq!(
        (config.min_lr, config.warmup, &config.plan),
        (1e-4, Length::Percent(1.0), &Plan::Shape(Shape::plain_cosine()))
    );
    for raw in
        [raw("cosine"), raw("constant"), wsd("one_minus_sqrt"), listed(vec![phase("constant", None, None)])]
    {
        let config = raw.validate().unwrap();
        assert_eq!(config.to_raw().validate().unwrap(), config);
    }
}

#[test]
fn shown_points_include_joins_and_the_last_update() {
    let schedule = compile(&wsd("linear"), 1000);
    let points = show::points(&schedule, Some(300));
    assert_eq!(points.iter().map(|p| p.step).collect::<Vec<_>>(), [0, 10, 300, 600, 900, 999]);
    assert!(show::table(&points).contains("900  3.000000e-4"));
    assert_eq!(show::csv(&points).lines().nth(2), Some("10,3e-4"));
    assert_eq!(show::json(&schedule, &points)["points"][1]["step"], 10);
    let plot = show::plot(&schedule, 60, 8);
    assert_eq!(plot.lines().count(), 10);
    assert!(
        plot.starts_with("  3.00e-4 ┤") && plot.contains('█') && plot.trim_end().ends_with("999"),
        "{plot}"
    );
}

fn any_raw() -> impl Strategy<Value = RawSchedule> {
    let shapes = prop_oneof![Just("linear"), Just("cosine"), Just("one_minus_sqrt")];
    let names = prop_oneof![Just("constant"), Just("linear"), Just("cosine"), Just("wsd")];
    let one_based = any::<bool>();
    (names, shapes, 1e-9..1.0f64, 0.0..=1.0f64, 0.0..=50.0f64, 0.0..=50.0f64, one_based).prop_map(
        |(name, shape, lr, share, warmup, decay, one_based)| RawSchedule {
            name: Some(name.into()),
            lr: Some(lr),
            min_lr: Some(Rate::Value(lr * share)),
            warmup: Some(Length::Percent(warmup)),
            warmup_convention: one_based.then_some(WarmupConvention::OneBased),
            args: match name {
                "wsd" => args([("decay", format!("{decay}%")), ("decay_shape", shape.to_owned())]),
                _ => toml::Table::new(),
            },
            ..RawSchedule::default()
        },
    )
}

proptest! {
    #[test]
    fn rates_are_finite_bounded_and_pure(raw in any_raw(), total in 1u64..100_000, steps in prop::collection::vec(0u64..200_000, 32)) {
        let schedule = compile(&raw, total);
        let forward: Vec<f64> = steps.iter().map(|&s| schedule.lr(s)).collect();
        let mut backward: Vec<f64> = steps.iter().rev().map(|&s| schedule.clone().lr(s)).collect();
        backward.reverse();
        for (lr, again) in forward.iter().zip(&backward) {
            prop_assert!(lr.is_finite() && *lr >= 0.0 && *lr <= raw.lr.unwrap(), "{lr}");
            prop_assert_eq!(lr.to_bits(), again.to_bits());
        }
        prop_assert_eq!(schedule.joins().last().copied(), Some(total));
    }
}
