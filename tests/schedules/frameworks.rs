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
