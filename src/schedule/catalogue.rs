//! Every shape, warmup and preset: what it computes, what it takes, where it comes from and what it is for.
//!
//! `rewarm schedule list` prints this table, `docs/schedules.md` is generated from it, and a configuration is checked
//! against it.

/// One named thing.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// As a configuration writes it.
    pub name: &'static str,
    /// Arguments without which it has no meaning.
    pub required: &'static [&'static str],
    /// Arguments with a default.
    pub optional: &'static [&'static str],
    /// What it computes.
    pub formula: &'static str,
    /// Paper or program.
    pub source: &'static str,
    /// When to use it.
    pub purpose: &'static str,
}

impl Entry {
    /// Whether it takes the argument.
    pub fn takes(&self, argument: &str) -> bool {
        self.required.contains(&argument) || self.optional.contains(&argument)
    }
}

const fn entry(
    name: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Entry {
    Entry { name, required, optional, formula: "", source: "", purpose: "" }
}

/// [`super::Shape`]: phases of a list, and whole schedules.
pub const SHAPES: &[Entry] = &[
    entry("constant", &[], &[]),
    entry("linear", &[], &[]),
    entry("poly", &[], &["power"]),
    entry("cosine", &[], &["theta", "cycles"]),
    entry("cosine_restarts", &[], &["cycles"]),
    entry("mirror_cosine", &[], &[]),
    entry("one_minus_sqrt", &[], &[]),
    entry("square", &[], &[]),
    entry("harmonic", &[], &[]),
    entry("exp", &[], &["rate"]),
    entry("exp_to", &[], &[]),
    entry("exp_halflife", &["half_life"], &[]),
    entry("exp_gamma", &["gamma"], &["every"]),
    entry("exp_affine", &[], &["rate"]),
    entry("exp2", &[], &[]),
    entry("inv_sqrt", &[], &["timescale"]),
    entry("inv_sqrt_to", &[], &["steepness"]),
    entry("inv_power", &[], &["timescale", "exponent"]),
    entry("cyclic", &["rise"], &["fall", "per_cycle", "per_step"]),
    entry("table", &["x", "y"], &["interpolation"]),
];

const INFINITE: &[&str] = &["constant_lr", "cooldown", "anneal", "anneal_shape"];

/// [`super::Preset`]: whole schedules.
pub const PRESETS: &[Entry] = &[
    entry("linear_clamped", &[], &[]),
    entry("d2z", &[], &[]),
    entry("cosine_legacy_neox", &[], &[]),
    entry("half_cosine", &[], &[]),
    entry("cosine_constant", &[], &["hold"]),
    entry("sgdr", &[], &["period", "period_factor", "peak_factor"]),
    entry("multistep", &[], &["milestones", "gamma"]),
    entry("one_cycle", &[], &["divisor", "final_divisor"]),
    entry("lr_range_test", &[], &["spacing", "every"]),
    entry("wsd", &[], &["decay", "decay_shape"]),
    entry("wsd_s", &[], &["periods", "decay", "decay_shape"]),
    entry("moderate_decay", &[], &["decay"]),
    entry("infinite_cosine", &[], INFINITE),
    entry("infinite_inv_sqrt", &[], &["constant_lr", "cooldown", "steepness", "anneal", "anneal_shape"]),
    entry("infinite_linear", &[], INFINITE),
    entry("inv_sqrt_cooldown", &[], &["timescale", "decay"]),
    entry("power", &[], &["timescale", "exponent", "decay"]),
    entry("power_tokens", &["scale"], &["exponent", "decay"]),
    entry("plateau", &[], &["factor", "patience", "pause", "threshold", "window"]),
    entry(
        "greedy",
        &[],
        &["factor", "patience", "pause", "pause_up", "threshold", "window", "ceiling", "reset_after"],
    ),
];

/// [`super::WarmupShape`].
pub const WARMUPS: &[Entry] = &[
    entry("linear", &[], &[]),
    entry("cosine", &[], &[]),
    entry("one_minus_sqrt", &[], &[]),
    entry("quadratic", &[], &[]),
    entry("poly", &["power"], &[]),
    entry("log", &[], &[]),
    entry("exp", &[], &[]),
    entry("saturating", &["timescale"], &[]),
    entry("constant", &[], &[]),
];

/// The entry of a whole schedule.
pub fn named(name: &str) -> Option<&'static Entry> {
    SHAPES.iter().chain(PRESETS).find(|entry| entry.name == name)
}

/// The name most like `name`, where one is near.
pub fn nearest(name: &str, entries: &[&'static [Entry]]) -> Option<&'static str> {
    let names = entries.iter().flat_map(|list| list.iter()).map(|entry| entry.name);
    let distance = |known: &str| strsim::damerau_levenshtein(name, known);
    names.min_by_key(|known| distance(known)).filter(|known| distance(known) <= 1 + name.len() / 3)
}
