//! `rewarm edit`: a model changed without training.
use super::common::one_of;
use super::tokenizer::of_model;
use crate::checkpoint::{self, Dtype, Export, MAX_SHARD_BYTES, with_history};
use crate::console::{note, print};
use crate::edit::{Edits, Repeat, Rows, Shrink, check_ids};
use crate::model::{Init, ParamTable};
use crate::ops::Part;
use crate::train::OpenModel;
use crate::{Error, Result};
use std::path::PathBuf;

/// Arguments of `rewarm edit`.
#[derive(Debug, clap::Args)]
pub struct EditArgs {
    /// Hugging Face directory, run directory (its newest step) or step directory
    model: PathBuf,
    /// The new directory, a Hugging Face model; its parents are made where they are missing
    output: PathBuf,
    /// L of shrink and perturb, weights ← L·weights + P·(a fresh initialisation) [default, with --perturb: 0.4]
    #[arg(long, value_name = "L")]
    shrink: Option<f64>,
    /// P of the same [default, with --shrink: 0.1]
    #[arg(long, value_name = "P")]
    perturb: Option<f64>,
    /// Gains and biases of norms, too, which stay as they are otherwise
    #[arg(long)]
    shrink_norms: bool,
    /// How the fresh model starts [default: small]
    #[arg(long, value_parser = one_of::<Init>())]
    init: Option<Init>,
    /// Blocks START up to END (not included; the first is 0) once more, behind themselves
    #[arg(long, value_name = "START:END", value_parser = range)]
    repeat_layers: Option<(usize, usize)>,
    /// The inserted blocks add nothing until they are trained: their output projections are 0
    #[arg(long, requires = "repeat_layers")]
    zero_repeated: bool,
    /// Rows of the vocabulary: the last ones go, or new ones come, the mean of the old with noise
    #[arg(long, value_name = "ROWS")]
    vocab: Option<usize>,
    /// Base of the rotary frequencies, larger for longer sequences
    #[arg(long, value_name = "BASE")]
    rotary_base: Option<f64>,
    /// Longest sequence (max_position_embeddings)
    #[arg(long, value_name = "N")]
    positions: Option<usize>,
    /// Key of the random numbers
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Element type of the weights [default: that of the model, f32 for checkpoints]
    #[arg(long, value_parser = one_of::<Dtype>())]
    dtype: Option<Dtype>,
}

/// START:END.
fn range(text: &str) -> Result<(usize, usize), String> {
    let parts = text.split_once(':').and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    parts.ok_or("expected START:END, as in 12:28".into())
}

impl EditArgs {
    fn edits(&self) -> Result<Edits> {
        let shrinks = self.shrink.is_some() || self.perturb.is_some();
        if !shrinks && (self.shrink_norms || self.init.is_some()) {
            return Err(Error::refused(
                "--shrink-norms and --init say how a model is shrunk and perturbed; give --shrink or --perturb, too",
            ));
        }
        let edits = Edits {
            shrink: shrinks.then(|| Shrink {
                lambda: self.shrink.unwrap_or(0.4),
                perturb: self.perturb.unwrap_or(0.1),
                init: self.init.unwrap_or_default(),
                seed: self.seed,
                norms: self.shrink_norms,
            }),
            repeat: self.repeat_layers.map(|(start, end)| Repeat { start, end, zeroed: self.zero_repeated }),
            rows: self.vocab.map(|count| Rows { count, seed: self.seed }),
            rotary_base: self.rotary_base,
            positions: self.positions,
        };
        if edits.told().is_empty() {
            return Err(Error::refused(
                "no edit is asked for; give --shrink, --perturb, --repeat-layers, --vocab, --rotary-base or --positions \
                 (`rewarm export` writes a model as it is)",
            ));
        }
        Ok(edits)
    }
}

/// Runs the command.
pub fn run(args: &EditArgs) -> Result<()> {
    let edits = args.edits()?;
    checkpoint::check_new(&args.output)?;
    OpenModel::read(&args.model, |source| write(args, &edits, source))?;
    edits.told().iter().for_each(|edit| note(edit));
    print(&args.output.display().to_string())
}

fn write(args: &EditArgs, edits: &Edits, source: &OpenModel) -> Result<()> {
    let old = source.config();
    let config = edits.config(old).map_err(|e| e.within(&args.model.display().to_string()))?;
    if config.vocab_size < old.vocab_size {
        let tokenizer = of_model(source, None)?;
        check_ids(config.vocab_size, old, tokenizer.as_ref())?;
        if tokenizer.is_none() {
            note("no tokenizer.json lies beside the model: whether ids in use are dropped was not checked");
        }
    }
    if source.manifest().is_some() {
        note("moments stay behind: the next phase begins them anew");
    }
    let history = format!("edit of {}: {}", args.model.display(), edits.told().join("; "));
    let (before, table) = (ParamTable::new(old), ParamTable::new(&config));
    let weights = edits.apply(source.open_tensors(&before, Part::Weights)?, old, &before)?;
    let told = with_history(&edits.raw_config(source.raw_config()), &history);
    let export = Export {
        config: &config,
        table: &table,
        dtype: args.dtype.unwrap_or(source.dtype()),
        base_config: Some(&told),
        companions_from: Some(source.dir()),
        max_shard_bytes: MAX_SHARD_BYTES,
    };
    checkpoint::export(&args.output, &export, &weights)
}
