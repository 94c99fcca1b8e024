//! The table of keys: what each accepts, what it is where nothing is given, what a resume may do with it, what it means.
//!
//! Everything that is said about a key is derived from here: the check of a file and of `--set`, the answer to a key that
//! does not exist, the rules of `rewarm resume` and its `--help`, `rewarm config`, and the tables of
//! docs/configuration.md, which a test writes.
use super::sections::{DataStart, DocumentMode, OptimizerStart, Overlap, PositionMode};
use super::{Cadence, Offset, Role, WhenEmpty};
use crate::data::Arrangement;
use crate::device::DeviceName;
use crate::model::{Init, Precision, Recompute};
use crate::ops::Gelu;
use crate::schedule::catalogue::{SCHEDULE, SHAPE, WARMUP_SHAPE};
use crate::schedule::kind::{Kind, Kind::*, parsed, unfit};
use crate::schedule::range::{
    ABOVE_0, AT_LEAST_0, BELOW_1, FROM_0, FROM_1, FROM_2, INSIDE_1, SHARE, SIZE, U32, UP_TO_1,
};
use crate::schedule::{Counter, LrScaling, Tail, WarmupConvention};
use strum::VariantNames;

/// A key of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Its dotted name; `[]` stands for an entry of an array of tables.
    pub name: &'static str,
    /// The kind and range that it accepts.
    pub kind: Kind,
    /// What it is where it is not given: [`REQUIRED`], [`NONE`], a TOML value (which a test compares with what the types
    /// say), or words. An entry of an array of tables cannot do without the required ones.
    pub default: &'static str,
    /// What a resume may do with it.
    pub on_resume: OnResume,
    /// What it means: a line of Markdown.
    pub meaning: &'static str,
}

/// What a resume may do with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnResume {
    /// Change it: weights and losses stay the same but for the rounding of a device. Paths are among these keys because
    /// fingerprints compare what is found there.
    Free,
    /// Change it on a processor, which sums gradients in an order that does not depend on it.
    FreeOnCpu,
    /// Change it with `--override`: it is part of the plan. The sizes of steps are not, since positions in the data are
    /// counted by them.
    Plan,
    /// Change it with `--override` between precisions whose weights and moments are f32: the state of the run is the same
    /// in each of them.
    PlanInF32,
    /// Refuse a change: the run would be another one.
    Fixed,
}
use OnResume::*;

/// The default of a key that must be given.
pub(super) const REQUIRED: &str = "required";
/// The default of a key without which there is nothing.
pub(super) const NONE: &str = "–";

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    on_resume: OnResume,
    meaning: &'static str,
) -> Key {
    Key { name, kind, default, on_resume, meaning }
}

/// A [`DeviceName`].
const DEVICE: Kind = {
    const EXPECTED: &str = r#""cpu", "cuda:0" (or another number), "emulated" or "auto""#;
    let read = |value: &toml::Value, at: &str| match value.as_str().map(str::parse::<DeviceName>) {
        Some(Ok(_)) => Ok(value.clone()),
        _ => Err(unfit(value, at, EXPECTED)),
    };
    Read(read, EXPECTED)
};

/// A [`Cadence`].
const CADENCE: Kind = {
    const EXPECTED: &str = r#"a number of steps, or a time such as "30m""#;
    Read(|value, at| parsed::<Cadence>(value, at, EXPECTED), EXPECTED)
};

/// An [`Offset`].
const OFFSET: Kind = {
    const EXPECTED: &str = r#"a number of tokens, such as "10M", or "after:RUN""#;
    Read(|value, at| parsed::<Offset>(value, at, EXPECTED), EXPECTED)
};

/// An [`Arrangement`].
const ORDER: Kind = {
    const EXPECTED: &str =
        r#""shuffled", "stored", "packed", "sorted:KEY", or "sorted:-KEY", the largest first"#;
    Read(|value, at| parsed::<Arrangement>(value, at, EXPECTED), EXPECTED)
};

/// A length above 0, or a list of them.
const MILESTONES: Kind = {
    const EXPECTED: &str =
        r#"a length above 0, such as "10%", or a list of them, such as [1000, "2B tokens"]"#;
    let read = |value: &toml::Value, at: &str| match value {
        toml::Value::Array(_) => Lengths.read(value, at),
        toml::Value::Integer(_) | toml::Value::String(_) => SomeLength.read(value, at),
        _ => Err(unfit(value, at, EXPECTED)),
    };
    Read(read, EXPECTED)
};

/// A rate that is no share of the peak, since it is the peak.
const PEAK: Kind = {
    const EXPECTED: &str = "a finite number of at least 0, such as 1e-3, or \"previous\"";
    let read = |value: &toml::Value, at: &str| match value.as_str() {
        Some("previous") => Ok(value.clone()),
        Some(_) => Err(unfit(value, at, EXPECTED)),
        None => Number(AT_LEAST_0).read(value, at),
    };
    Read(read, EXPECTED)
};

/// Every key, in the order of the sections of a file. A test holds this list and [`super::RawConfig`] together. Arguments
/// of schedules stand in the catalogue; the keys of a phase, which all lists of phases share, in `schedule.phases[]`.
#[rustfmt::skip] // two lines each
pub(crate) const KEYS: &[Key] = &[
    key("run_dir", Text, REQUIRED, Free,
        "directory of the run: new, empty but for scripts and logs of a job, or with a run that ended before its \
         first checkpoint"),
    key("seed", Whole(FROM_0), "1234", Fixed,
        "key of the initial weights and of stochastic rounding, and of the order and the split of the data where \
         `data.seed` and `data.split_seed` are neither given nor inherited"),
    key("threads", Whole(FROM_0), "0", Free,
        "worker threads; 0: all cores"),
    key("device", DEVICE, "\"cpu\"", Free,
        "`\"cpu\"`; `\"cuda:0\"`, an NVIDIA GPU by its number; `\"emulated\"`, the GPU's kernels on the processor \
         (for tests: slow); `\"auto\"`, the first GPU that works, else the processor"),

    key("model.preset", Text, NONE, Fixed,
        "`pythia-14m`, `-31m`, `-70m`, `-160m`, `-410m`, `-1b`, `-1.4b`, `-2.8b`, `-6.9b`, `-12b`; further keys \
         override its sizes"),
    key("model.vocab_size", Whole(FROM_0), "preset", Fixed,
        "rows of the embedding"),
    key("model.hidden_size", Whole(FROM_0), "preset", Fixed,
        "width of the residual stream, a multiple of the heads"),
    key("model.num_hidden_layers", Whole(FROM_0), "preset", Fixed,
        "blocks"),
    key("model.num_attention_heads", Whole(FROM_0), "preset", Fixed,
        "heads"),
    key("model.intermediate_size", Whole(FROM_0), "4 × hidden", Fixed,
        "width of the MLP"),
    key("model.max_position_embeddings", Whole(FROM_0), "2048", Fixed,
        "longest sequence"),
    key("model.rotary_pct", Number(AT_LEAST_0), "0.25", Fixed,
        "share of each head that rotates; must give an even number of dimensions"),
    key("model.rotary_emb_base", Number(AT_LEAST_0), "10000", Fixed,
        "base of the rotary frequencies"),
    key("model.layer_norm_eps", Number(AT_LEAST_0), "1e-5", Fixed,
        "ε of the norms"),
    key("model.gelu", Choice(Gelu::VARIANTS), "\"erf\"", Fixed,
        "`\"erf\"` (as Hugging Face loads Pythia) or `\"tanh\"` (as Pythia was trained); also allowed together with \
         `[start]`"),
    key("model.use_parallel_residual", Flag, "true", Fixed,
        "parallel or sequential block"),
    key("model.attention_bias", Flag, "true", Fixed,
        "biases of qkv and dense"),
    key("model.tie_word_embeddings", Flag, "false", Fixed,
        "output matrix = embedding"),
    key("model.initializer_range", Number(AT_LEAST_0), "0.02", Fixed,
        "σ of `init = \"normal\"`"),
    key("model.bos_token_id", Whole(U32), "0", Fixed,
        "carried in `config.json`"),
    key("model.eos_token_id", Whole(U32), "0", Fixed,
        "carried in `config.json`"),
    key("model.init", Choice(Init::VARIANTS), "\"small\"", Fixed,
        "`\"small\"`: small_init and wang_init (Pythia up to 2.8B); `\"normal\"`: N(0, `initializer_range`)"),

    key("start.from", Text, NONE, Fixed,
        "a Hugging Face directory, a model of their hub (`owner/model@revision`), a run directory (its newest valid step), \
         or a `step-*` directory"),
    key("start.optimizer", Choice(OptimizerStart::VARIANTS), "\"reset\"", Fixed,
        "`\"keep\"` takes the moments over; needs a checkpoint of ours"),
    key("start.data", Choice(DataStart::VARIANTS), "\"restart\"", Fixed,
        "`\"continue\"`: every source that was read from goes on where it stands, in the same order, and others begin; \
         needs a checkpoint of ours and the same `data.seed` and `data.window`"),

    key("data.train", Texts, "required, or `data.mixture`", Free,
        "list of shards, prefixes or folders: Megatron `.bin/.idx`, llm.c `.bin`, `.npy`, `raw-u16:PATH`, \
         `raw-u32:PATH`; folders with what lies below them, through links; one file by two names is refused"),
    key("data.mixture", Tables, NONE, Plan,
        "several sources instead, each with its share (below)"),
    key("data.mixture[].name", Text, REQUIRED, Plan,
        "name of the source in the log and in tables"),
    key("data.mixture[].paths", Texts, REQUIRED, Free,
        "its shards, as in `data.train`"),
    key("data.mixture[].weight", Number(AT_LEAST_0), "1", Plan,
        "its share of what fractions leave, in proportion to the other weights"),
    key("data.mixture[].weight_phases", Phases, NONE, Plan,
        "how the weight changes, as `[[schedule.phases]]`"),
    key("data.mixture[].fraction", Number(SHARE), NONE, Plan,
        "instead: its share of all tokens"),
    key("data.mixture[].fraction_phases", Phases, NONE, Plan,
        "how the fraction changes, as `[[schedule.phases]]`"),
    key("data.mixture[].seed", Whole(FROM_0), "`data.seed`", Plan,
        "key of its order, such as that of the run whose order replay shall follow"),
    key("data.mixture[].order", ORDER, "\"shuffled\"", Plan,
        "how it is read: windows `\"shuffled\"`, otherwise in each epoch; as they are `\"stored\"`; windows that \
         were `\"packed\"` with whole documents, shuffled; or documents `\"sorted:KEY\"` by a number each (below)"),
    key("data.mixture[].subset", Tokens, NONE, Plan,
        "of how many tokens of its order it consists, the first ones: an epoch is once through these"),
    key("data.mixture[].epochs", Number(ABOVE_0), "1, at the start of a run", Plan,
        "how often a run may read it"),
    key("data.mixture[].tokens", Tokens, NONE, Plan,
        "how many tokens a run may take of it"),
    key("data.mixture[].offset", OFFSET, "the beginning", Plan,
        "where in its order it begins: tokens, or `\"after:RUN\"`, behind what the newest checkpoint of RUN has read"),
    key("data.mixture[].when_empty", Choice(WhenEmpty::VARIANTS), "\"refuse\"", Plan,
        "what becomes of a source that has given what it may: the run is `\"refuse\"`d before its first step; \
         `\"repeat\"`: it has no limit; `\"others\"`: they share what it had"),
    key("data.mixture[].role", Choice(Role::VARIANTS), NONE, Free,
        "as `role` of `[[data.validation]]`, of its set `heldout-NAME`: needs `data.validation_fraction`"),
    key("data.seq_len", Whole(SIZE), "all the model takes", Fixed,
        "tokens of a sequence"),
    key("data.window", Whole(SIZE), "that of the run in `start.from` that is continued, else `data.seq_len`", Fixed,
        "tokens of the windows that are shuffled, at least `data.seq_len`; one value for phases of any sequence length lets \
         `start.data = \"continue\"` go on at a token (below)"),
    key("data.seed", Whole(FROM_0), "that of the run in `start.from`, else `seed`", Fixed,
        "key of the order in which samples are read"),
    key("data.split_seed", Whole(FROM_0), "that of the run in `start.from`, else `seed`", Fixed,
        "key of the split: which documents `data.validation_fraction` holds out"),
    key("data.overlap", Choice(Overlap::VARIANTS), "\"refuse\"", Fixed,
        "what becomes of a phase that would train on what an earlier one held out, or evaluate on what one trained on: \
         `\"allow\"` says so, and does it"),
    key("data.documents", Choice(DocumentMode::VARIANTS), "\"join\"", Fixed,
        "what attention sees of the documents in a sequence: `\"join\"`, all that comes before; `\"isolate\"`, \
         what comes before in the same document (below)"),
    key("data.positions", Choice(PositionMode::VARIANTS), "\"continue\"", Fixed,
        "where positions are counted from: `\"continue\"`, the start of the sequence; `\"reset\"`, that of the \
         document"),
    key("data.loss_weights", Flag, "false", Fixed,
        "whether targets count by the planes of weights beside the shards, `PREFIX.weights` (below)"),
    key("data.validation_fraction", Number(BELOW_1), "0", Fixed,
        "share of the training documents held out as the set `heldout`; of every source of a mixture as \
         `heldout-NAME`"),
    key("data.role", Choice(Role::VARIANTS), NONE, Free,
        "as `role` of `[[data.validation]]`, of the set `heldout`: needs `data.validation_fraction`"),
    key("data.tokenizer", Text, "the model's, or beside the data", Free,
        "`tokenizer.json`, or its folder; must encode as the model's, and as the one that the data, validation sets \
         included, were made with"),
    key("data.skip", Texts, NONE, Plan,
        "what is left out of the training data, as in `[\"samples 548..552 of new\", \"documents new.bin:42..44\"]` \
         (below)"),
    key("data.validation", Tables, NONE, Free,
        "further named sets"),
    key("data.validation[].name", Text, REQUIRED, Free,
        "name of the set in the log and in tables"),
    key("data.validation[].paths", Texts, REQUIRED, Free,
        "its shards, as in `data.train`"),
    key("data.validation[].role", Choice(Role::VARIANTS), NONE, Free,
        "what its loss is compared for with that before the first step: `\"retain\"`, forgetting; `\"learn\"`, what was \
         learned (below)"),

    key("batch.sequences", Whole(SIZE), "8", Fixed,
        "sequences of an optimizer step; where it grows, in the end"),
    key("batch.micro", Whole(SIZE), "the largest that divides every size", FreeOnCpu,
        "sequences computed at once; memory grows with it, results do not change but for the rounding of a GPU"),
    key("batch.ramp.start", Whole(FROM_0), NONE, Fixed,
        "growth of the batch from this size: Megatron's `--rampup-batch-size`"),
    key("batch.ramp.increment", Whole(FROM_0), NONE, Fixed,
        "in steps of so many sequences"),
    key("batch.ramp.samples", Whole(FROM_0), NONE, Fixed,
        "over so many samples"),
    key("batch.stages", Tables, NONE, Fixed,
        "instead: a list of sizes; behind the last one comes `batch.sequences` (Megatron's \
         `--step-batch-size-schedule`)"),
    key("batch.stages[].sequences", Whole(SIZE), REQUIRED, Fixed,
        "sequences of a step of the stage"),
    key("batch.stages[].until", Tokens, REQUIRED, Fixed,
        "the token at which the next stage begins"),
    key("batch.lr_scaling", Choice(LrScaling::VARIANTS), NONE, Fixed,
        "the rate of a smaller step, times its share of `batch.sequences` (`\"linear\"`) or its root (`\"sqrt\"`)"),

    key("optim.betas", Pair(BELOW_1), "[0.9, 0.95]", Plan,
        "decay of the moments"),
    key("optim.eps", Number(ABOVE_0), "1e-8", Fixed,
        "added after the root"),
    key("optim.weight_decay", Number(AT_LEAST_0), "0.1", Plan,
        "decoupled, times the rate; not on LayerNorms and biases"),
    key("optim.weight_decay_phases", Phases, NONE, Plan,
        "how it changes, as `[[schedule.phases]]`: from its value above, to which percents refer; decays of groups \
         likewise"),
    key("optim.beta1_phases", Phases, NONE, Plan,
        "how the first beta changes, likewise"),
    key("optim.beta2_phases", Phases, NONE, Plan,
        "how the second beta changes, likewise"),
    key("optim.clip", Number(AT_LEAST_0), "1.0", Fixed,
        "largest global gradient norm; 0: off"),
    key("optim.layer_decay", Number(UP_TO_1), "1.0", Fixed,
        "factor on the rate for every block further from the output: the last block has it once, the embedding most \
         often (Howard & Ruder 2018; ELECTRA, BEiT)"),
    key("optim.groups", Tables, NONE, Fixed,
        "exceptions; each setting comes from the first matching rule that has it"),
    key("optim.groups[].pattern", Text, REQUIRED, Fixed,
        "Hugging Face tensor name with `*`"),
    key("optim.groups[].lr_mult", Number(AT_LEAST_0), NONE, Fixed,
        "factor on the rate; 0 freezes"),
    key("optim.groups[].weight_decay", Number(AT_LEAST_0), NONE, Fixed,
        "instead of `optim.weight_decay`"),
    key("optim.groups[].decay_follows_rate", Flag, NONE, Fixed,
        "multiplies the decay by rate / peak rate (AdamC, arXiv:2506.02285)"),

    key("schedule.name", SCHEDULE, "\"cosine\"", Plan,
        "a shape or a preset of the catalogue, with its arguments beside it, as in `name = \"wsd\", decay = \"20%\"`"),
    key("schedule.lr", PEAK, REQUIRED, Plan,
        "peak rate; `\"previous\"`: the last rate of the run in `start.from`"),
    key("schedule.min_lr", Rate, "lr / 10; 0 for constant and phases, and where the catalogue says so", Plan,
        "last rate, and floor after the warmup"),
    key("schedule.pre_hold", Length, NONE, Plan,
        "a hold before the warmup, which fills Adam's moments"),
    key("schedule.pre_hold_lr", Rate, "0", Plan,
        "its rate"),
    key("schedule.warmup", Length, "\"1%\"", Plan,
        "length of the warmup; 0 unless something of a warmup is given where `start.optimizer` is `\"keep\"`"),
    key("schedule.warmup_from", Rate, "0", Plan,
        "rate to start from; `\"previous\"`: the last rate of the run in `start.from`"),
    key("schedule.warmup_shape", WARMUP_SHAPE, "\"linear\"", Plan,
        "a warmup of the catalogue, or a table with arguments: `{shape = \"poly\", power = 2}`"),
    key("schedule.warmup_convention", Choice(WarmupConvention::VARIANTS), "\"zero_based\"", Plan,
        "rate of step s of W is s/W (Megatron, Hugging Face); `\"one_based\"`: (s+1)/W (torchtitan, llm.c); \
         `\"floor_one\"`: max(1, s)/W (GPT-NeoX since May 2026); `\"inclusive\"`: s/(W−1)"),
    key("schedule.tail", Choice(Tail::VARIANTS), "\"hold\"", Plan,
        "behind phases that do not fill the run: the last rate; `\"min_lr\"`; `\"error\"`: refused"),
    key("schedule.counter", Choice(Counter::VARIANTS), "\"attempted\"", Plan,
        "what the rate, weight decay and betas follow: steps, or `\"applied\"` updates only, as Megatron-LM and \
         DeepSpeed in fp16"),
    key("schedule.style", Text, NONE, Plan,
        "instead of everything else but `counter`: another framework's schedule, as in `\"hf:cosine_with_min_lr\"`, \
         or `\"refined:file\"`"),
    key("schedule.args", Arguments, NONE, Plan,
        "that framework's own arguments"),
    key("schedule.phases", Phases, NONE, Plan,
        "instead of `name`: a list"),
    key("schedule.phases[].shape", SHAPE, REQUIRED, Plan,
        "a shape of the catalogue, with its arguments beside it"),
    key("schedule.phases[].length", Length, "what the others leave", Plan,
        "length of the phase; one may leave it out"),
    key("schedule.phases[].from", Rate, "the rate before", Plan,
        "rate at its start; `\"previous\"`: of the first phase, the last rate of the run in `start.from`; of others, the \
         rate before"),
    key("schedule.phases[].to", Rate, "by its shape", Plan,
        "rate at its end"),
    key("schedule.phases[].part", Pair(AT_LEAST_0), "[0, 1]", Plan,
        "`[0, 0.5]` follows the first half of a shape whose ends are `from` and `to`"),

    key("train.steps", Whole(FROM_0), "required, or `train.tokens`", Plan,
        "length of the run in optimizer steps"),
    key("train.tokens", Tokens, "required, or `train.steps`", Plan,
        "length of the run in tokens, as in `tokens = \"10M\"`"),
    key("train.recompute", Choice(Recompute::VARIANTS), "\"none\"", Free,
        "what the backward pass computes again to save memory, with equal bits: nothing, the outputs of norms and \
         GELU (`\"cheap\"`), or all of a block but its output product (`\"block\"`)"),
    key("train.precision", Choice(Precision::VARIANTS), "f32 on a cpu, mixed on a GPU", PlanInF32,
        "what is kept in which format: everything in f32 (`\"f32\"`, on a cpu only); bf16 activations and a bf16 copy of \
         the weights for products, f32 master weights and moments (`\"mixed\"`); weights and moments in bf16, too, \
         rounded stochastically (`\"bf16\"`)"),
    key("train.ema", Number(INSIDE_1), NONE, Fixed,
        "decay, such as 0.999, of a moving average of the weights; not with `train.precision = \"bf16\"`"),
    key("train.separate_bias_gradients", Flag, "false", Fixed,
        "on a GPU, whether gradients of biases are always summed by a kernel of their own; it decides about bits"),

    key("eval.every", Whole(FROM_0), "100", Free,
        "steps between evaluations; 0: only before the first and after the last"),
    key("eval.sequences", Whole(FROM_0), "64", Free,
        "sequences of each set, evenly spread; 0: all"),
    key("eval.dense.until", SomeLength, NONE, Free,
        "evaluations at the beginning besides, as in `dense = {until = \"1%\"}`: up to this length of the run"),
    key("eval.dense.every", Whole(FROM_1), "1", Free,
        "steps between those"),
    key("eval.diagnostics", Flag, "false", Free,
        "whether evaluations also log how far the weights moved since step 0 and the kurtosis of the residual stream (below)"),
    key("checkpoint.every", CADENCE, "500", Free,
        "steps between checkpoints, or time (`\"30m\"`, `\"1h30m\"`: s, m, h, d), which changes no result; the last \
         step is saved anyway"),
    key("checkpoint.keep", Whole(FROM_2), "3", Free,
        "newest checkpoints that stay; at least 2, so that one is whole while the other is written"),
    key("checkpoint.milestones", MILESTONES, "the last stable step", Free,
        "checkpoints that are saved besides and stay: one every so much of the run (`\"10%\"`, `1000`, `\"2B tokens\"`), or \
         a list of places; and the last step before the decay of a schedule that has one, except with `[]`"),
    key("log.tensorboard", Flag, "false", Free,
        "whether the scalars of `metrics.jsonl` are also written to `RUN/tensorboard`, as event files of TensorBoard (below)"),
    key("head.chunk_rows", Whole(SIZE), "1024", Fixed,
        "rows of logits in memory at once, part of the arithmetic; 16384 on a GPU, less where memory is short, unless \
         it is given"),
];
