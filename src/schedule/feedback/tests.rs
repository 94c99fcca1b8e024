//! The rules against Hugging Face's and torch's, and their state through a checkpoint.
use crate::schedule::*;

fn schedule(name: &str, args: &[(&str, f64)]) -> Schedule {
    let args = args.iter().map(|(key, x)| {
        let whole = ["patience", "pause", "pause_up", "window", "reset_after"].contains(key);
        ((*key).to_owned(), if whole { toml::Value::Integer(*x as i64) } else { (*x).into() })
    });
    let raw = RawSchedule {
        name: Some(name.into()),
        lr: Some(Rate::Value(1.0)),
        min_lr: Some(Rate::Value(0.02)),
        warmup: Some(Length::Steps(2)),
        args: args.collect(),
        ..RawSchedule::default()
    };
    let run = RunSize { steps: 1000, tokens_per_step: 1, samples_per_step: 1 };
    raw.validate().unwrap().compile(&run, None).unwrap()
}

/// A loss that falls, stalls and jumps, without a generator of random numbers.
fn loss(step: u64) -> f64 {
    let noise = ((step * 2_654_435_761) % 1000) as f64 / 1000.0;
    5.0 / (1.0 + 0.05 * (step % 300) as f64) + 0.3 * noise
}

/// The rate after each of `steps` observations.
fn rates(schedule: &Schedule, steps: u64) -> Vec<f64> {
    let mut state = FeedbackState::default();
    (0..steps)
        .map(|step| {
            schedule.observe(step as f64, loss(step), &mut state);
            schedule.lr_after(step as f64 + 1.0, &state)
        })
        .collect()
}

fn greedy() -> Schedule {
    let args = [
        ("factor", 0.8),
        ("patience", 3.0),
        ("pause", 2.0),
        ("pause_up", 1.0),
        ("ceiling", 1.5),
        ("window", 5.0),
        ("reset_after", 3.0),
    ];
    schedule("greedy", &args)
}

fn plateau() -> Schedule {
    let args = [("factor", 0.5), ("patience", 2.0), ("threshold", 1e-2), ("pause", 1.0), ("window", 10.0)];
    schedule("plateau", &args)
}

/// What transformers 5.23's `GreedyLR` and torch 2.15's `ReduceLROnPlateau` (fed the mean of ten losses) gave for the
/// same losses and arguments, with `eps = 0`.
#[test]
fn rates_are_those_of_hugging_face_and_torch() {
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-12;
    let found = rates(&greedy(), 900);
    for (step, expected) in [
        (2, 1.0),
        (50, 1.5),
        (162, 1.2000000000000002),
        (200, 0.39321600000000023),
        (290, 0.02),
        (302, 0.02),
        (303, 1.0), // begun again
        (484, 0.9600000000000003),
        (500, 0.6144000000000003),
        (650, 1.0),
        (899, 0.02161727821137841),
    ] {
        assert!(close(found[step], expected), "greedy at {step}: {}, not {expected}", found[step]);
    }
    assert!(close(found[2..].iter().sum(), 793.0685200067496));
    let found = rates(&plateau(), 900);
    let mut changes = (1..900).filter(|&i| found[i] != found[i - 1]).map(|i| (i, found[i]));
    assert_eq!(changes.next().map(|c| c.0), Some(1)); // the warmup ends
    let expected = [(321, 0.5), (361, 0.25), (401, 0.125), (441, 0.0625), (481, 0.03125), (521, 0.02)];
    assert_eq!(changes.collect::<Vec<_>>(), expected);
}

#[test]
fn the_state_survives_a_checkpoint_bit_for_bit() {
    for schedule in [greedy(), plateau()] {
        let expected = rates(&schedule, 900);
        let mut state = FeedbackState::default();
        for (step, expected) in expected.into_iter().enumerate() {
            schedule.observe(step as f64, loss(step as u64), &mut state);
            let text = serde_json::to_string(&state).unwrap();
            state = serde_json::from_str(&text).unwrap();
            let lr = schedule.lr_after(step as f64 + 1.0, &state);
            assert_eq!(lr.to_bits(), expected.to_bits(), "at {step}: {text}");
        }
    }
}

/// As runs before `eps` wrote it.
#[test]
fn a_state_that_was_written_earlier_is_read() {
    let text = r#"{"factor":0.5,"best":2.5,"good":0,"bad":1,"pause":3,"at_floor":0,"losses":[2.75,3.0]}"#;
    let state: FeedbackState = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_string(&state).unwrap(), text);
}

/// From 1 by 0.5: what torch 2.15's `ReduceLROnPlateau` does with `eps = 0.1` too.
#[test]
fn a_change_of_no_more_than_eps_is_left_out() {
    let lowest = |eps: f64| {
        let args = [("factor", 0.5), ("patience", 0.0), ("window", 1.0), ("eps", eps)];
        let schedule = schedule("plateau", &args);
        let mut state = FeedbackState::default();
        (0..50).for_each(|step| schedule.observe(f64::from(step), 1.0, &mut state));
        schedule.lr_after(50.0, &state)
    };
    assert_eq!([0.0, 0.1, 0.125, 0.3].map(lowest), [0.02, 0.125, 0.25, 0.5]);
}

#[test]
fn rates_stay_between_the_floor_and_the_ceiling() {
    for (schedule, highest) in [(greedy(), 1.5), (plateau(), 1.0)] {
        assert!(rates(&schedule, 2000)[1..].iter().all(|lr| (0.02..=highest).contains(lr)));
        assert!(schedule.looks_back());
    }
}
