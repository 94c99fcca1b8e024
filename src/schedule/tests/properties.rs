//! What holds for every schedule.
use super::*;
use proptest::prelude::*;

const CASES: u32 = 10_000;

/// A whole schedule of any name with random arguments that fit a run of at least 40 steps.
fn any_named() -> impl Strategy<Value = RawSchedule> {
    let decays = prop::sample::select(vec![
        "linear",
        "cosine",
        "one_minus_sqrt",
        "square",
        "mirror_cosine",
        "harmonic",
        "exp2",
        "exp_to",
        "exp_affine",
        "poly",
        "inv_sqrt_to",
        "exp",
        "inv_sqrt",
    ]);
    let plain = prop::sample::select(vec![
        "constant",
        "linear",
        "poly",
        "cosine",
        "cosine_restarts",
        "mirror_cosine",
        "one_minus_sqrt",
        "square",
        "harmonic",
        "exp",
        "exp_to",
        "exp_affine",
        "exp2",
        "inv_sqrt",
        "inv_sqrt_to",
        "inv_power",
        "linear_clamped",
        "cosine_legacy_neox",
        "half_cosine",
        "cosine_constant",
        "multistep",
        "one_cycle",
        "lr_range_test",
        "moderate_decay",
        "infinite_cosine",
        "infinite_inv_sqrt",
        "infinite_linear",
        "inv_sqrt_cooldown",
        "power",
        "plateau",
        "greedy",
    ]);
    let named = prop_oneof![
        4 => plain.prop_map(|name| (name, toml::Table::new())),
        1 => (decays.clone(), 1..60u32).prop_map(|(shape, share)| {
            ("wsd", args([("decay", format!("{share}%")), ("decay_shape", shape.to_owned())]))
        }),
        1 => (decays, 1..100u32, 1..9i64).prop_map(|(shape, share, periods)| {
            let mut table = args([("decay", format!("{share}%")), ("decay_shape", shape.to_owned())]);
            table.insert("periods".into(), periods.into());
            ("wsd_s", table)
        }),
        1 => (1..20u32, 1.0..3.0f64, 0.2..1.0f64).prop_map(|(share, longer, lower)| {
            let mut table = args([("period_factor", longer), ("peak_factor", lower)]);
            table.insert("period".into(), format!("{}%", share + 4).into());
            ("sgdr", table)
        }),
        1 => (1..50i64, 1..50i64, 0.3..1.0f64).prop_map(|(rise, fall, lower)| {
            let mut table = args([("rise", rise), ("fall", fall)]);
            table.insert("per_cycle".into(), lower.into());
            ("cyclic", table)
        }),
        1 => (0.5..1.0f64, 1..40i64).prop_map(|(gamma, every)| {
            let mut table = args([("every", every)]);
            table.insert("gamma".into(), gamma.into());
            ("exp_gamma", table)
        }),
        1 => (1e-3..10.0f64, 0.2..0.9f64).prop_map(|(scale, exponent)| {
            ("power_tokens", args([("scale", scale), ("exponent", exponent)]))
        }),
        1 => (0.1..4.0f64, 0.2..4.0f64).prop_map(|(theta, cycles)| {
            ("cosine", args([("theta", theta), ("cycles", cycles)]))
        }),
    ];
    (named, any_warmup(), 1e-9..1.0f64, 0.01..0.5f64).prop_map(|((name, args), warmup, lr, share)| {
        RawSchedule {
            name: Some(name.into()),
            lr: Some(Rate::Value(lr)),
            min_lr: Some(Rate::Value(lr * share)),
            args,
            ..warmup
        }
    })
}

/// At most 30 % of the run.
fn any_warmup() -> impl Strategy<Value = RawSchedule> {
    let plain = vec!["linear", "cosine", "one_minus_sqrt", "quadratic", "log", "exp", "constant"];
    let saturating = toml::Value::Table(args([("shape", "saturating"), ("timescale", "1%")]));
    let shapes = prop_oneof![
        7 => prop::sample::select(plain).prop_map(toml::Value::from),
        1 => (0.2..4.0f64).prop_map(|power| {
            let mut poly = args([("shape", "poly")]);
            poly.insert("power".into(), power.into());
            poly.into()
        }),
        1 => Just(saturating),
    ];
    let conventions = prop::sample::select(vec![
        WarmupConvention::ZeroBased,
        WarmupConvention::OneBased,
        WarmupConvention::FloorOne,
        WarmupConvention::Inclusive,
    ]);
    (shapes, conventions, 0..20u32, 0..10u32, 0.001..0.9f64).prop_map(
        |(shape, convention, warmup, hold, from)| RawSchedule {
            warmup: Some(Length::Percent(warmup.into())),
            warmup_from: Some(Rate::OfPeak(100.0 * from)),
            warmup_shape: Some(shape),
            warmup_convention: Some(convention),
            pre_hold: (hold > 0).then_some(Length::Percent(hold.into())),
            ..RawSchedule::default()
        },
    )
}

/// Phases that continue from each other, with lengths in tenths of `unit` steps, and rates below the peak.
fn any_list(unit: u64) -> impl Strategy<Value = Vec<RawPhase>> {
    let shapes = prop::sample::select(vec!["linear", "cosine", "poly", "exp_to", "square"]);
    let phase = (shapes, 1..10u64, 0.01..1.0f64).prop_map(move |(shape, tenths, to)| RawPhase {
        to: Some(Rate::OfPeak(100.0 * to)),
        length: Some(Length::Steps(tenths * unit)),
        shape: args([("shape", shape)]),
        ..RawPhase::default()
    });
    prop::collection::vec(phase, 1..6)
}

fn list(phases: Vec<RawPhase>, lr: f64) -> RawSchedule {
    RawSchedule {
        lr: Some(Rate::Value(lr)),
        warmup: Some(Length::Steps(0)),
        phases: Some(phases),
        ..RawSchedule::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Behind the warmup; during it never above the peak, and never below its start.
    #[test]
    fn rates_stay_between_min_lr_and_the_peak(raw in any_named(), total in 40u64..100_000, shares in prop::collection::vec(0.0..1.2f64, 16)) {
        let config = raw.validate().unwrap();
        let schedule = config.compile(&run(total), None).unwrap();
        let again = schedule.clone();
        for share in shares {
            let step = (share * total as f64) as u64;
            let lr = schedule.lr(step);
            prop_assert_eq!(lr.to_bits(), again.lr(step).to_bits());
            prop_assert!(lr.is_finite() && lr >= 0.0 && lr <= config.lr, "{} at {}", lr, step);
            prop_assert!(step < schedule.warmup_steps || lr >= config.min_lr, "{} at {}", lr, step);
        }
    }

    /// Whatever its parts are, a schedule ends with the run, and its phases have no gap.
    #[test]
    fn phases_fill_the_run(raw in any_named(), total in 40u64..100_000) {
        let schedule = compile(&raw, total);
        prop_assert_eq!(schedule.phases()[0].start, 0);
        prop_assert!(schedule.phases().windows(2).all(|pair| pair[0].start < pair[1].start));
        let last = schedule.phases().last().unwrap();
        let open = matches!(raw.name.as_deref(), Some("cosine_legacy_neox" | "cosine_constant"));
        prop_assert!(last.start == total || open, "the last phase starts at {}", last.start);
    }

    /// A list whose last phase takes the rest ends with the run, in steps and in percent.
    #[test]
    fn lists_fill_the_run(shares in prop::collection::vec(0.1..20.0f64, 1..5), total in 1u64..100_000) {
        let phase = |length| RawPhase { length, to: Some(Rate::Value(0.0)), ..phase("linear", None, None) };
        let mut phases: Vec<RawPhase> = shares.into_iter().map(|s| phase(Some(Length::Percent(s)))).collect();
        phases.push(phase(None));
        let schedule = compile(&list(phases, 1.0), total);
        prop_assert_eq!(schedule.joins().last().copied(), Some(total));
    }

    /// A phase without a `from` starts at the rate at which the one before ended.
    #[test]
    fn phases_join_without_a_jump(phases in any_list(1), lr in 1e-9..1.0f64) {
        let total = phases.iter().map(|p| match p.length { Some(Length::Steps(n)) => n, _ => 0 }).sum();
        let schedule = compile(&list(phases, lr), total);
        for pair in schedule.phases().windows(2) {
            let join = pair[1].start as f64;
            let (before, after) = (pair[0].rate(join), pair[1].rate(join));
            prop_assert!((before - after).abs() <= 1e-15 * lr, "{} and {} at {}", before, after, join);
        }
    }

    /// A phase cut in two, anywhere, is the same schedule: to the bit where the two follow one curve, and within
    /// rounding where a configuration writes them as parts of one shape.
    #[test]
    fn splitting_a_phase_changes_nothing(raw in any_named(), total in 40u64..20_000, share in 0.0..1.0f64, shape in prop::sample::select(vec!["linear", "cosine", "poly", "exp_to", "square", "one_minus_sqrt", "harmonic", "mirror_cosine", "cosine_restarts"])) {
        let whole = compile(&raw, total);
        let at = (share * total as f64) as u64;
        let mut phases = whole.phases().to_vec();
        let i = phases.partition_point(|phase| phase.start <= at);
        phases.insert(i, Phase { start: at, ..phases[i - 1] });
        let cut = Schedule::new(phases, whole.warmup_steps, total, whole.counter);
        let (from, to) = (Some(Rate::OfPeak(100.0)), Some(Rate::OfPeak(10.0)));
        let part = |start: f64, end: f64, length| RawPhase { from, to, part: Some([start, end]), length, shape: args([("shape", shape)]) };
        let at = at.clamp(1, total - 1);
        let joint = at as f64 / total as f64;
        let one = compile(&list(vec![part(0.0, 1.0, None)], 1.0), total);
        let two = compile(&list(vec![part(0.0, joint, Some(Length::Steps(at))), part(joint, 1.0, None)], 1.0), total);
        for step in (0..total).step_by((total / 40) as usize) {
            prop_assert_eq!(whole.lr(step).to_bits(), cut.lr(step).to_bits());
            // A restart is a jump, and on which side of it a step lies may be a matter of rounding.
            let period = 3.0 * step as f64 / total as f64;
            let near_a_jump = shape == "cosine_restarts" && (period - period.round()).abs() < 1e-9;
            prop_assert!((one.lr(step) - two.lr(step)).abs() <= 1e-11 || near_a_jump, "at {}", step);
        }
    }

    /// With a constant batch it makes no difference whether lengths are steps, samples or tokens.
    #[test]
    fn tokens_samples_and_steps_agree(phases in any_list(1), samples in 1u64..64, time in 1u64..4096, warmup in 0u64..50) {
        let total = 1000;
        let run = RunSize { steps: total, tokens_per_step: samples * time, samples_per_step: samples };
        let written = |of: &dyn Fn(u64) -> Length| {
            let mut raw = list(phases.clone(), 1.0);
            for phase in raw.phases.iter_mut().flatten() {
                if let Some(Length::Steps(n)) = phase.length {
                    phase.length = Some(of(n));
                }
            }
            raw.warmup = Some(of(warmup));
            raw.validate().unwrap().compile(&run, None).unwrap()
        };
        let steps = written(&Length::Steps);
        prop_assert_eq!(&steps, &written(&|n| Length::Samples(n * samples)));
        prop_assert_eq!(&steps, &written(&|n| Length::Tokens(n * samples * time)));
    }

    /// Whatever a schedule is, its resolved form means the same.
    #[test]
    fn a_resolved_schedule_is_the_same_schedule(raw in any_named()) {
        let config = raw.validate().unwrap();
        let text = toml::to_string(&config.to_raw()).unwrap();
        let again: RawSchedule = toml::from_str(&text).unwrap();
        prop_assert_eq!(again.validate().unwrap(), config);
    }
}
