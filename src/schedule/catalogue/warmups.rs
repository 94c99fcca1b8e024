//! The ways up to the peak. `p` is the progress through the warmup, `s` the step, `W` the length of the warmup.
use super::arguments::{POWER, TIMESCALE};
use super::entry::Entry;
use crate::schedule::Curve;

/// How the warmup goes from its first rate to the peak.
pub const WARMUPS: &[Entry] = &[
    Entry {
        name: "linear",
        formula: "`from + (peak − from)·p`",
        source: "all",
        purpose: "the default",
        build: |_, s| s.along(Curve::Ramp),
        ..Entry::ARRIVES
    },
    Entry {
        name: "cosine",
        formula: "`from + (peak − from)·½(1 − cos πp)`",
        source: "Hugging Face `warmup_type = \"cosine\"`; one-cycle",
        purpose: "a gentle end",
        build: |_, s| s.along(Curve::Cosine { theta: 1.0, cycles: 0.5 }),
        ..Entry::ARRIVES
    },
    Entry {
        name: "one_minus_sqrt",
        formula: "`from + (peak − from)(1 − √(1 − p))`",
        source: "Hugging Face `warmup_type = \"1-sqrt\"`",
        purpose: "a slow beginning",
        build: |_, s| s.along(Curve::Poly { power: 0.5 }),
        ..Entry::ARRIVES
    },
    Entry {
        name: "quadratic",
        formula: "`from + (peak − from)(1 − (1 − p)²)`",
        source: "IBM fms-fsdp",
        purpose: "a fast beginning",
        build: |_, s| s.along(Curve::Poly { power: 2.0 }),
        ..Entry::ARRIVES
    },
    Entry {
        name: "poly",
        arguments: &[POWER],
        example: "power = 2",
        formula: "`from + (peak − from)·p^power`",
        source: "–",
        purpose: "slower beginnings the higher the power",
        build: |args, s| s.along(Curve::Rise { power: args.get("power")? }),
        ..Entry::ARRIVES
    },
    Entry {
        name: "log",
        formula: "`from + (peak − from)·ln(s + 1)/ln W`",
        source: "DeepSpeed `WarmupLR`",
        purpose: "to match DeepSpeed's default",
        build: |_, s| s.along(Curve::Log),
        ..Entry::ARRIVES
    },
    Entry {
        name: "exp",
        formula: "`from·(peak/from)^p`, `warmup_from` above 0",
        source: "–",
        purpose: "equal factors in equal times",
        build: |_, s| s.along(Curve::Geometric),
        ..Entry::ARRIVES
    },
    Entry {
        name: "saturating",
        arguments: &[TIMESCALE],
        example: "timescale = 200",
        formula: "`from + (peak − from)(1 − e^(−s/timescale))`, then the peak",
        source: "–",
        purpose: "a fast beginning",
        build: |args, s| s.along(Curve::Exp { rate: 1.0 / s.steps(args.get("timescale")?) }),
        ..Entry::ARRIVES
    },
    Entry {
        name: "constant",
        formula: "`from`, then the peak",
        source: "nanotron `lr_warmup_style = constant`",
        purpose: "to match nanotron",
        build: |_, s| s.along(Curve::Constant),
        ..Entry::ARRIVES
    },
];
