//! The presets: whole schedules that are more than one shape. `s` is the step, `W` the length of the warmup, `T` that of
//! the run.
use super::arguments::*;
use super::entry::Entry;
use super::plans::{self, ANNEAL_SHAPE, DECAY_SHAPE, PLAIN_COSINE};
use crate::schedule::{Curve, Length, Rate};

const PRESET: Entry = Entry { is_preset: true, ..Entry::ARRIVES };

const INFINITE: &[Argument] =
    &[CONSTANT_LR.or("\"55%\""), COOLDOWN.or("\"60%\""), ANNEAL.or("\"10%\""), ANNEAL_SHAPE.or("\"exp_to\"")];

/// Whole schedules, put together for a purpose.
pub const PRESETS: &[Entry] = &[
    Entry {
        name: "linear_clamped",
        formula: "`max(min_lr, lr·(1 − r))`",
        source: "GPT-NeoX `linear`",
        purpose: "to match GPT-NeoX: straight towards 0, cut off at `min_lr`",
        build: plans::straight_to_0,
        ..PRESET
    },
    Entry {
        name: "d2z",
        formula: "`lr·(1 − r)`",
        source: "Bergsma et al. 2025, arXiv:2502.15938",
        purpose: "a run of known length that no other run continues; the better the longer it is (20 tokens per parameter and more)",
        min_lr: |_| 0.0,
        build: plans::d2z,
        ..PRESET
    },
    Entry {
        name: "cosine_legacy_neox",
        formula: "`max(min_lr, lr·½(1 + cos(π(s − W)/T)))` until `s = T − W`, then constant",
        source: "GPT-NeoX before #1008 (August 2023)",
        purpose: "to reproduce Pythia and Gupta et al. 2023 (arXiv:2308.04014): a tenth is reached at 80.5 % of the run",
        build: plans::cosine_legacy_neox,
        ..PRESET
    },
    Entry {
        name: "half_cosine",
        formula: "`min_lr + (lr − min_lr)·½(1 + cos(π(1 + r)/2))`",
        source: "OLMo-core `HalfCosWithWarmup`",
        purpose: "the second half of a cosine whose first half another run has done; the warmup leads to the middle",
        top: |_, s| Ok(s.min_lr + (s.lr - s.min_lr) / 2.0),
        build: plans::half_cosine,
        ..PRESET
    },
    Entry {
        name: "cosine_constant",
        arguments: &[HOLD.or("\"20%\"")],
        formula: "cosine to `min_lr`, then `min_lr` for `hold` (20 %)",
        source: "GPT-NeoX `lr_decay_iters`, axolotl `cosine_constant_lr_ratio`, epfml `cos_inf`",
        purpose: "a run that may be continued at its last rate",
        build: plans::cosine_constant,
        ..PRESET
    },
    Entry {
        name: "sgdr",
        arguments: &[PERIOD.or("\"10%\""), PERIOD_FACTOR.or("2"), PEAK_FACTOR.or("1")],
        formula: "cosines from `lr·peak_factor^i` to `min_lr` over `period·period_factor^i` (10 %, 2, 1)",
        source: "Loshchilov & Hutter 2016, arXiv:1608.03983; torch `CosineAnnealingWarmRestarts`, optax `sgdr_schedule`",
        purpose: "checkpoints of several lengths from one run",
        build: plans::sgdr,
        ..PRESET
    },
    Entry {
        name: "multistep",
        arguments: &[MILESTONES.or("[\"80%\", \"90%\"]"), GAMMA.or("0.316")],
        formula: "`lr·gamma^k` after k milestones (80 % and 90 %, 0.316)",
        source: "DeepSeek LLM, arXiv:2401.02954; torch `MultiStepLR`",
        purpose: "a run that can be continued from its first part",
        min_lr: |_| 0.0,
        build: plans::multistep,
        ..PRESET
    },
    Entry {
        name: "one_cycle",
        arguments: &[DIVISOR.or("25"), FINAL_DIVISOR.or("1e4")],
        formula: "cosine up from `lr/divisor` over the warmup (30 %), cosine down to `lr/(divisor·final_divisor)` (25, 10⁴)",
        source: "Smith & Topin 2017, arXiv:1708.07120; torch `OneCycleLR`, optax `cosine_onecycle_schedule`",
        purpose: "short runs at high rates",
        min_lr: |_| 0.0,
        warmup: |args| {
            let from = Rate::OfPeak(100.0 / args.get::<f64>("divisor")?);
            Ok((Length::Percent(30.0), from, "cosine"))
        },
        build: plans::one_cycle,
        ..PRESET
    },
    Entry {
        name: "lr_range_test",
        arguments: &[SPACING.or("\"linear\""), EVERY.or_absent("a step")],
        formula: "from `min_lr` (0.1 %) up to `lr`, straight or (`spacing = \"log\"`) by equal factors, in stairs of `every`",
        source: "Smith 2015, arXiv:1506.01186; DeepSpeed `LRRangeTest`, OLMo-core `ExponentialScheduler`",
        purpose: "to find the highest stable rate: not a training run",
        is_preset: true,
        min_lr: |lr| lr / 1000.0,
        build: plans::lr_range_test,
        ..Entry::RISES
    },
    Entry {
        name: "wsd",
        arguments: &[DECAY.or("\"10%\""), DECAY_SHAPE.or("\"linear\"")],
        formula: "`lr`, then `decay_shape` (linear) to `min_lr` over the last `decay` (10 %)",
        source: "Hu et al. 2024, arXiv:2404.06395; Hägele et al. 2024, arXiv:2405.18392",
        purpose: "a run whose length may change: any checkpoint of the stable part can be decayed",
        build: plans::wsd,
        ..PRESET
    },
    Entry {
        name: "wsd_s",
        arguments: &[PERIODS.or("4"), DECAY.or("\"10%\""), DECAY_SHAPE.or("\"harmonic\"")],
        formula: "`periods` (4) times `wsd`, each from `lr`; `decay` (10 % of the period), `decay_shape` (harmonic)",
        source: "Wen et al. 2024, arXiv:2410.05192; OLMo-core `WSDS`",
        purpose: "good checkpoints at several lengths in one run",
        build: plans::wsd_s,
        ..PRESET
    },
    Entry {
        name: "moderate_decay",
        arguments: &[DECAY.or("\"20%\"")],
        formula: "`lr`, then `1 − √r` to a third of it over the last `decay` (20 %)",
        source: "arXiv:2511.18903",
        purpose: "data sorted by quality, with averaging: the best data still meet a high rate",
        min_lr: |lr| lr / 3.0,
        build: plans::moderate_decay,
        ..PRESET
    },
    Entry {
        name: "infinite_cosine",
        arguments: INFINITE,
        formula: "cosine to `constant_lr` (55 %) over `cooldown` (60 %), constant, `anneal_shape` (exp_to) to `min_lr` over the last `anneal` (10 %)",
        source: "Ibrahim et al. 2024, arXiv:2403.08763; Singh et al. 2025, arXiv:2503.02844; GPT-NeoX #1194",
        purpose: "continual pre-training: the next data set begins at the constant rate, without re-warming",
        build: |args, s| plans::infinite(args, s, PLAIN_COSINE),
        ..PRESET
    },
    Entry {
        name: "infinite_inv_sqrt",
        arguments: &[
            STEEPNESS.or("10"),
            CONSTANT_LR.or("\"55%\""),
            COOLDOWN.or("\"60%\""),
            ANNEAL.or("\"10%\""),
            ANNEAL_SHAPE.or("\"exp_to\""),
        ],
        formula: "as `infinite_cosine`, the cooldown by `inv_sqrt_to`",
        source: "as `infinite_cosine`",
        purpose: "as `infinite_cosine`, with most of the cooldown at its beginning",
        build: |args, s| plans::infinite(args, s, Curve::InvSqrtTo { steepness: args.get("steepness")? }),
        ..PRESET
    },
    Entry {
        name: "infinite_linear",
        arguments: INFINITE,
        formula: "as `infinite_cosine`, the cooldown linear",
        source: "`constant_infinite` of Singh et al. 2025, arXiv:2503.02844",
        purpose: "as `infinite_cosine`",
        build: |args, s| plans::infinite(args, s, Curve::Linear),
        ..PRESET
    },
    Entry {
        name: "inv_sqrt_cooldown",
        arguments: &[TIMESCALE.or_absent("the warmup"), DECAY.or("\"10%\"")],
        formula: "`inv_sqrt`, then linear to `min_lr` over the last `decay` (10 %)",
        source: "llm-foundry `inv_sqrt_with_warmup`, Levanter",
        purpose: "a run whose length may change, decayed at last",
        build: |args, s| plans::inv_power_then_linear(args, s, 0.5),
        ..PRESET
    },
    Entry {
        name: "power",
        arguments: &[TIMESCALE.or_absent("the warmup"), EXPONENT.or("0.51"), DECAY.or("\"10%\"")],
        formula: "`inv_power`, then linear to `min_lr` over the last `decay` (10 %)",
        source: "OLMo-core `power_lr`",
        purpose: "a run whose length may change, decayed at last",
        build: |args, s| plans::inv_power_then_linear(args, s, args.get("exponent")?),
        ..PRESET
    },
    Entry {
        name: "power_tokens",
        arguments: &[SCALE, EXPONENT.or("0.51"), DECAY.or("\"10%\"")],
        example: "scale = 300",
        formula: "`min(lr, scale·tokens^(−exponent))`, the warmup up to its value, then linear to `min_lr` over the last `decay` (0.51, 10 %)",
        source: "Shen et al. 2024, arXiv:2408.13359; lm-engine `power`",
        purpose: "one setting for all lengths and batch sizes",
        counts_tokens: true,
        top: plans::top_of_power_tokens,
        build: plans::power_tokens,
        ..PRESET
    },
    Entry {
        name: "plateau",
        arguments: &[
            FACTOR.or("0.1"),
            PATIENCE.or("10"),
            PAUSE.or("0"),
            THRESHOLD.or("1e-4"),
            WINDOW.or("100"),
            EPS.or("0"),
        ],
        formula: "`lr` times a factor; after `patience` (10) means of `window` (100) losses none of which is below `best·(1 − threshold)` (10⁻⁴), the factor is multiplied with `factor` (0.1), unless the rate falls by no more than `eps` (0)",
        source: "torch `ReduceLROnPlateau`, optax `reduce_on_plateau`",
        purpose: "a run without a plan; its rates are known as it goes",
        feedback: plans::plateau,
        build: |_, s| s.along(Curve::Constant),
        ..PRESET
    },
    Entry {
        name: "greedy",
        arguments: &[
            FACTOR.or("0.95"),
            PATIENCE.or("10"),
            PAUSE.or("0"),
            PAUSE_UP.or("0"),
            THRESHOLD.or("1e-6"),
            WINDOW.or("50"),
            CEILING.or("1"),
            RESET_AFTER.or("500"),
            EPS.or("0"),
        ],
        formula: "`lr` times a factor, which after `patience` (10) losses in a row, means of `window` (50), is divided by `factor` (0.95) if they fell and multiplied if not, unless the rate changes by no more than `eps` (0)",
        source: "arXiv:2512.14527; Hugging Face `greedy`",
        purpose: "a run without a plan; its rates are known as it goes",
        feedback: plans::greedy,
        build: |_, s| s.along(Curve::Constant),
        ..PRESET
    },
];
