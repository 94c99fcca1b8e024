//! Every step of every schedule against the frameworks' own code, as `tools/golden_schedules.py` asked it.
use super::styled;
use rewarm::schedule::FeedbackState;
use rewarm::schedule::compat::STYLES;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Table;

/// Two settings of each, which are committed; the gate makes 200 and names their file here.
const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schedules/golden.jsonl");
const VARIABLE: &str = "REWARM_GOLDEN_SCHEDULES";

/// Of the peak, at every step.
const TOLERANCE: f64 = 1e-12;
/// Where the framework computes each rate from the one before, as torch's `CosineAnnealingLR`.
const RECURSIVE_TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    style: String,
    steps: u64,
    args: Table,
    rates: Vec<f64>,
    recursive: bool,
    /// What a schedule that looks at the loss was fed.
    #[serde(default)]
    losses: Vec<f64>,
}

impl Golden {
    /// The largest difference at a step, in shares of the peak.
    fn error(&self) -> f64 {
        let schedule = styled(&self.style, self.args.clone(), self.steps)
            .unwrap_or_else(|e| panic!("{} {} over {} steps: {e}", self.style, self.args, self.steps));
        assert_eq!(self.rates.len() as u64, self.steps);
        let peak = self.rates.iter().copied().fold(0.0, f64::max);
        assert!(peak > 0.0, "{} {}: no rate is above 0", self.style, self.args);
        assert_eq!(self.losses.is_empty(), schedule.feedback.is_none(), "{}", self.style);
        let (mut state, mut worst) = (FeedbackState::default(), 0.0_f64);
        for (step, rate) in self.rates.iter().enumerate() {
            let step = step as f64;
            worst = worst.max((schedule.lr_after(step, &state) - rate).abs() / peak);
            if let Some(loss) = self.losses.get(step as usize) {
                schedule.observe(step, *loss, &mut state);
            }
        }
        worst
    }
}

#[test]
fn every_step_is_the_frameworks_own() {
    let path = std::env::var(VARIABLE).unwrap_or(COMMITTED.into());
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let (mut worst, mut settings, mut steps) = (BTreeMap::new(), BTreeMap::<_, u64>::new(), 0);
    let mut wrong = Vec::new();
    for line in text.lines() {
        let golden: Golden = serde_json::from_str(line).unwrap();
        let error = golden.error();
        let tolerance = if golden.recursive { RECURSIVE_TOLERANCE } else { TOLERANCE };
        if error > tolerance {
            wrong.push(format!("{} {} over {} steps: {error:.1e}", golden.style, golden.args, golden.steps));
        }
        let worst = worst.entry((golden.recursive, golden.style.clone())).or_insert(error);
        *worst = error.max(*worst);
        *settings.entry(golden.style).or_default() += 1;
        steps += golden.steps;
    }
    for ((recursive, style), error) in &worst {
        println!("{style:42} {error:.1e}{}", if *recursive { "  (recursive)" } else { "" });
    }
    let fewest = settings.values().min().copied().unwrap_or(0);
    println!("{path}: {} styles, at least {fewest} settings each, {steps} steps", settings.len());
    assert!(wrong.is_empty(), "{} settings differ:\n{}", wrong.len(), wrong.join("\n"));
    let missing: Vec<&str> = STYLES
        .iter()
        .map(|style| style.name)
        .filter(|name| !name.starts_with("refined:") && !settings.contains_key(*name))
        .collect();
    assert!(missing.is_empty(), "compared with nothing: {missing:?}");
}

/// Style, arguments, first step, and the framework's own rates from there on, in shares of 1e-3.
type Row = (&'static str, &'static str, u64, &'static [f64]);

/// Growth, stairs, and bounds on the other side than usual; a milestone at the first step; a rate that another scheduler
/// sets anew at each step and the next one multiplies, for longer than a power can be told from 0; a factor that ends at
/// -0, where torch's own rates fall below 0 by rounding.
const EDGES: &[Row] = &[
    ("optax:exponential_decay", "decay_rate = 2.0\nstaircase = true\nend_value = 5e-4", 0, &[0.5; 9]),
    ("optax:exponential_decay", "decay_rate = 1.0\nstaircase = true\nend_value = 5e-4", 0, &[0.5; 9]),
    ("optax:exponential_decay", "decay_rate = 0.5\nstaircase = true\nend_value = 2e-3", 0, &[2.0; 9]),
    ("optax:exponential_decay", "decay_rate = 2.0\nstaircase = true", 3, &[1.0, 2.0, 2.0, 2.0, 2.0, 4.0]),
    (
        "optax:exponential_decay",
        "decay_rate = 2.0\nstaircase = true\nend_value = 3e-3",
        3,
        &[1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0],
    ),
    (
        "optax:exponential_decay",
        "decay_rate = 2.0\nstaircase = true\ntransition_begin = 3",
        5,
        &[1.0, 1.0, 2.0, 2.0, 2.0, 2.0, 4.0],
    ),
    (
        "optax:warmup_exponential_decay_schedule",
        "peak_value = 1e-3\nwarmup_steps = 2\ndecay_rate = 2.0\nstaircase = true\nend_value = 1e-3",
        0,
        &[0.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
    ),
    ("torch:MultiStepLR", "milestones = [0, 0, 3]\ngamma = 0.5", 0, &[0.25, 0.25, 0.25, 0.125, 0.125]),
    (
        "torch:ChainedScheduler",
        "[[schedulers]]\nstyle = \"torch:CyclicLR\"\nbase_lr = 1e-4\nmax_lr = 1e-3\nstep_size_up = 2\n\
         cycle_momentum = false\n[[schedulers]]\nstyle = \"torch:ExponentialLR\"\ngamma = 0.1",
        398,
        &[0.1, 0.055, 0.01, 0.055, 0.1],
    ),
    (
        "torch:ChainedScheduler",
        "[[schedulers]]\nstyle = \"torch:LinearLR\"\nstart_factor = 1.0\nend_factor = -0.0\ntotal_iters = 4\n\
         [[schedulers]]\nstyle = \"torch:CosineAnnealingLR\"\nT_max = 4\neta_min = -0.0",
        0,
        &[1.0, 0.6401650429449553, 0.25, 0.03661165235168157, 0.0, 0.14644660940672623, 0.5],
    ),
];

#[test]
fn ends_of_arguments() {
    for (style, args, first, rates) in EDGES {
        let mut args: Table = args.parse().unwrap();
        match *style {
            "optax:exponential_decay" => args.extend([("init_value".into(), 1e-3.into())]),
            "optax:warmup_exponential_decay_schedule" => args.extend([("init_value".into(), 0.0.into())]),
            _ if args.get("schedulers").is_some_and(|list| list[0].get("base_lr").is_some()) => (),
            _ => args.extend([("lr".into(), 1e-3.into())]),
        }
        if style.starts_with("optax") {
            args.insert("transition_steps".into(), 4.into());
        }
        let schedule = styled(style, args.clone(), 1000).unwrap_or_else(|e| panic!("{style} {args}: {e}"));
        for (step, rate) in (*first..).zip(*rates) {
            let found = schedule.lr(step);
            assert!(
                (found - 1e-3 * rate).abs() < 1e-15,
                "{style} {args} at {step}: {found:e}, not {rate}e-3"
            );
            assert!(found.is_sign_positive(), "{style} {args} at {step}: {found:e}");
        }
    }
}

#[test]
fn every_example_is_complete_and_moves_as_it_should() {
    for style in STYLES {
        let Some(schedule) = style.show() else { continue };
        assert!(schedule.peak() <= 1e-3 * 1.0001, "{}: {}", style.name, schedule.peak());
        let rates: Vec<f64> = (0..1000).map(|step| schedule.lr(step)).collect();
        // Those that look at the loss are shown without it.
        let constant = schedule.feedback.is_some()
            || style.name.ends_with(":constant")
            || style.name == "optax:constant_schedule";
        assert_eq!(
            constant && style.name != "megatron:constant" && !style.name.starts_with("neox"),
            rates.iter().all(|rate| *rate == rates[0]),
            "{}",
            style.name
        );
    }
}
