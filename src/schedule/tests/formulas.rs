//! Every formula that no golden vector covers, stated again and compared at every step: peak 1, 1000 steps of 4096 tokens,
//! 100 of them warmup, `min_lr` 0.1.
use super::*;
use std::f64::consts::PI;

const W: f64 = 100.0;
const T: f64 = 1000.0;
const LOW: f64 = 0.1;

/// `section` is `formula` at every step of `steps`.
#[track_caller]
fn assert_follows(section: &str, steps: std::ops::Range<u64>, formula: impl Fn(f64) -> f64) {
    let raw: RawSchedule = toml::from_str(&format!("lr = 1\nwarmup = 100\nmin_lr = 0.1\n{section}")).unwrap();
    let schedule = compile(&raw, T as u64);
    for step in steps {
        let (found, expected) = (schedule.lr(step), formula(step as f64));
        assert!((found - expected).abs() <= 1e-12, "{section} at {step}: {found}, not {expected}");
    }
}

/// Behind the warmup; the formula gets the progress.
#[track_caller]
fn assert_decays(section: &str, weight: impl Fn(f64) -> f64) {
    assert_follows(section, 100..1001, |s| LOW + (1.0 - LOW) * weight((s - W) / (T - W)));
}

#[test]
fn decays() {
    assert_decays("name = \"poly\"\npower = 3", |r| (1.0 - r).powi(3));
    assert_decays("name = \"square\"", |r| 1.0 - r * r);
    assert_decays("name = \"cosine\"\ntheta = 0.7", |r| 0.5 * (1.0 + (PI * r.powf(0.7)).cos()));
    assert_decays("name = \"cosine\"\ncycles = 2", |r| 0.5 * (1.0 + (4.0 * PI * r).cos()));
    // lm-engine: A·e^(−r) + B with the last rate f.
    let e = 1f64.exp();
    let (a, b) = ((1.0 - LOW) * e / (e - 1.0), (LOW * e - 1.0) / (e - 1.0));
    assert_decays("name = \"exp_affine\"", |r| (a * (-r).exp() + b - LOW) / (1.0 - LOW));
    assert_follows("name = \"harmonic\"", 100..1001, |s| {
        let r = (s - W) / (T - W);
        1.0 / (r / LOW + (1.0 - r))
    });
    assert_follows("name = \"exp_to\"", 100..1001, |s| LOW.powf((s - W) / (T - W)));
    // OLMo-core's half cosine: warmup to the middle, then the second half.
    let middle = LOW + (1.0 - LOW) / 2.0;
    assert_follows("name = \"half_cosine\"", 0..1001, |s| {
        let second = LOW + (1.0 - LOW) * (1.0 + (PI * ((s - W) + (T - W)) / (2.0 * (T - W))).cos()) / 2.0;
        if s < W { middle * s / W } else { second }
    });
    assert_follows("name = \"cosine_constant\"\nhold = 300", 100..1001, |s| {
        LOW + (1.0 - LOW) * 0.5 * (1.0 + (PI * ((s - W) / (700.0 - W)).min(1.0)).cos())
    });
}

#[test]
fn schedules_without_an_end() {
    let floor = |x: f64| x.max(LOW);
    assert_follows("name = \"inv_sqrt\"", 100..1001, |s| floor((W / s).sqrt()));
    assert_follows("name = \"inv_sqrt\"\ntimescale = 7", 100..1001, |s| {
        floor(1.0 / (1.0 + (s - W) / 7.0).sqrt())
    });
    assert_follows("name = \"inv_power\"\nexponent = 0.9", 100..1001, |s| floor((s / W).powf(-0.9)));
    assert_follows("name = \"exp_gamma\"\ngamma = 0.99", 100..1001, |s| floor(0.99f64.powf(s - W)));
    // OLMo's, towards a rate above 0.
    let olmo = "phases = [{shape = \"inv_sqrt\", to = 0.2}]";
    assert_follows(olmo, 100..1001, |s| 0.2 + 0.8 * (W / s).sqrt());
    // A tenth of the run down a line from wherever it is.
    let at = |s: f64| (W / s).sqrt();
    let cooled =
        |s: f64| if s < 900.0 { at(s) } else { LOW + (at(900.0) - LOW) * (1.0 - (s - 900.0) / 100.0) };
    assert_follows("name = \"inv_sqrt_cooldown\"", 100..1001, |s| floor(cooled(s)));
    let at = |s: f64| (s / W).powf(-0.51);
    let cooled =
        |s: f64| if s < 900.0 { at(s) } else { LOW + (at(900.0) - LOW) * (1.0 - (s - 900.0) / 100.0) };
    assert_follows("name = \"power\"", 100..1001, |s| floor(cooled(s)));
}

/// lm-engine's: equal to the peak up to step 200, or below it from the beginning.
#[test]
fn power_in_tokens() {
    for meet in [200.25, 33.0] {
        let scale = (meet * 4096.0f64).sqrt();
        let section = format!("name = \"power_tokens\"\nscale = {scale:?}\nexponent = 0.5\ndecay = 100");
        let rate = |s: f64| (scale / (s * 4096.0).sqrt()).min(1.0);
        assert_follows(&section, 0..901, |s| if s < W { rate(W) * s / W } else { rate(s).max(LOW) });
    }
}

#[test]
fn cycles() {
    let cosine = |r: f64| 0.5 * (1.0 + (PI * r).cos());
    // torch's CosineAnnealingWarmRestarts: periods of 100, 200, 400 and what is left of 800.
    assert_follows("name = \"sgdr\"\nperiod = 100\npeak_factor = 0.5", 100..1000, |s| {
        let (mut n, mut period, mut peak) = (s - W, 100.0, 1.0);
        while n >= period {
            (n, period, peak) = (n - period, 2.0 * period, 0.5 * peak);
        }
        LOW + (peak - LOW) * cosine(n / period)
    });
    assert_follows("name = \"wsd_s\"\nperiods = 3\ndecay = 50\ndecay_shape = \"linear\"", 100..1000, |s| {
        let n = (s - W) % 300.0;
        if n < 250.0 { 1.0 } else { LOW + (1.0 - LOW) * (1.0 - (n - 250.0) / 50.0) }
    });
    // torch's CyclicLR, modes triangular2 and exp_range.
    let triangle = |s: f64| {
        let within = s % 90.0;
        if within <= 30.0 { within / 30.0 } else { (90.0 - within) / 60.0 }
    };
    let cyclic = "name = \"cyclic\"\nwarmup_from = 0\nrise = 30\nfall = 60";
    assert_follows(&format!("{cyclic}\nper_cycle = 0.5"), 100..1000, |s| {
        let n = s - W;
        LOW + (1.0 - LOW) * triangle(n) * 0.5f64.powf((n / 90.0).floor())
    });
    assert_follows(&format!("{cyclic}\nper_step = 0.995"), 100..1000, |s| {
        LOW + (1.0 - LOW) * triangle(s - W) * 0.995f64.powf(s - W)
    });
    assert_follows("name = \"one_cycle\"\nwarmup_from = \"4%\"\nwarmup_shape = \"cosine\"", 0..1001, |s| {
        let (up, down) = (0.04 + 0.96 * (1.0 - cosine(s / W)), LOW + (1.0 - LOW) * cosine((s - W) / (T - W)));
        if s < W { up } else { down }
    });
    assert_follows("name = \"multistep\"\nmilestones = [\"40%\", 700]\ngamma = 0.5", 100..1001, |s| {
        if s < 400.0 {
            1.0
        } else if s < 700.0 {
            0.5
        } else {
            0.25
        }
    });
    assert_follows("name = \"moderate_decay\"\ndecay = 200", 100..1001, |s| {
        LOW + (1.0 - LOW) * (1.0 - ((s - 800.0).max(0.0) / 200.0).sqrt())
    });
}

#[test]
fn warmups() {
    let up = |shape: &str, share: &dyn Fn(f64) -> f64| {
        let section = format!("name = \"constant\"\nwarmup_from = 0.2\nwarmup_shape = {shape}");
        assert_follows(&section, 0..200, |s| if s < W { 0.2 + 0.8 * share(s) } else { 1.0 });
    };
    up("\"linear\"", &|s| s / W);
    up("\"cosine\"", &|s| 0.5 * (1.0 - (PI * s / W).cos()));
    up("\"one_minus_sqrt\"", &|s| 1.0 - (1.0 - s / W).sqrt());
    up("\"quadratic\"", &|s| 1.0 - (1.0 - s / W).powi(2));
    up("{shape = \"poly\", power = 3}", &|s| (s / W).powi(3));
    up("\"log\"", &|s| (s + 1.0).ln() / W.ln());
    up("{shape = \"saturating\", timescale = 20}", &|s| 1.0 - (-s / 20.0).exp());
    up("\"constant\"", &|_| 0.0);
    up("\"exp\"", &|s| (0.2 * 5f64.powf(s / W) - 0.2) / 0.8);
    up("\"linear\"\nwarmup_convention = \"one_based\"", &|s| (s + 1.0) / W);
    up("\"linear\"\nwarmup_convention = \"floor_one\"", &|s| s.max(1.0) / W);
    up("\"linear\"\nwarmup_convention = \"inclusive\"", &|s| s / (W - 1.0));
}
