//! Weights from Hugging Face directories: one file or shards; f32, f16, bf16 or f64; every tensor accounted for.
use super::dtype::Dtype;
use super::hf_config::{HfConfig, open_config};
use super::tensors::{Tensors, load_tensors};
use super::weight_files::{HEAD, Weights, open_files};
use crate::model::{ModelConfig, Param, ParamTable};
use crate::ops::{Part, State, draw_in_order};
use crate::{Error, Result};
use safetensors::Dtype as FileDtype;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Name of the embedding in a GPTNeoXForCausalLM.
const EMBEDDING: &str = "gpt_neox.embed_in.weight";
/// Buffers of old files, recomputed here: the causal mask, its fill value, the rotary frequencies.
const OLD_BUFFERS: [&str; 3] =
    [".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq"];

/// An open Hugging Face directory (a step directory is one too).
pub struct HfModel {
    /// Sizes of the model.
    pub config: ModelConfig,
    /// Format of the stored weights; f32 when they differ, so that an export in it loses nothing.
    pub dtype: Dtype,
    /// The whole `config.json`, for [`super::export`].
    pub raw_config: Value,
    /// What the user should know.
    pub notes: Vec<String>,
    dir: PathBuf,
    weights: Weights,
}

impl HfModel {
    /// Opens `config.json` and the headers of the weight files; reads no weights yet.
    ///
    /// # Errors
    /// Refused when a file is missing or damaged, or the model is not one this program computes.
    pub fn open(dir: &Path) -> Result<Self> {
        let HfConfig { model, mut notes, raw, .. } = open_config(dir)?;
        let weights = open_files(dir, raw.get("transformers_weights"), &mut notes)?;
        check_plausible(dir, &model, &weights)?;
        let formats: BTreeSet<&str> = (weights.place.keys())
            .filter(|name| !is_old_buffer(name))
            .filter_map(|name| float_name(weights.info(name)?.dtype))
            .collect();
        let dtype =
            formats.first().filter(|_| formats.len() == 1).and_then(|name| Dtype::from_torch_name(name));
        if dtype.is_none() {
            let list = formats.into_iter().collect::<Vec<_>>().join(" and ");
            notes.push(format!("{}: tensors are stored as {list}; an export will be float32", dir.display()));
        }
        let dtype = dtype.unwrap_or(Dtype::F32);
        Ok(Self { config: model, dtype, raw_config: raw, notes, dir: dir.into(), weights })
    }

    /// Reads every weight into those of `into`, piece by piece.
    ///
    /// # Errors
    /// Those of [`HfModel::open_tensors`], and of reading.
    pub fn load_weights(&self, table: &ParamTable, into: &mut dyn State) -> Result<()> {
        load_tensors(&self.open_tensors(table)?, table, into, Part::Weights)
    }

    /// Its weights, to be read tensor by tensor. Whoever reads one that is not finite is refused it.
    ///
    /// # Errors
    /// Refused, with the names and shapes, when a tensor is missing, unknown, or of another shape or format, and when a
    /// tied model stores an output matrix that is not its embedding.
    pub fn open_tensors(&self, table: &ParamTable) -> Result<Box<Tensors<'_>>> {
        self.check_names(table)?;
        table.params.iter().try_for_each(|param| self.check_shape(&param.name, &param.shape))?;
        if table.find(HEAD).is_none() && self.weights.has(HEAD) {
            self.check_shape(HEAD, &[table.embed.rows, table.embed.cols])?;
            self.check_tied(table.embed.elements())?;
        }
        Ok(Box::new(|param, first, values| self.fill(param, first, values)))
    }

    fn fill(&self, param: &Param, first: usize, values: &mut [f32]) -> Result<()> {
        let (file, stored) = self.weights.find(&param.name);
        file.fill(stored, first, values)?;
        match values.iter().position(|x| !x.is_finite()) {
            None => Ok(()),
            Some(i) => Err(Error::refused(format!(
                "{}: {} element {} is {}; a model with such weights cannot be trained, take another copy",
                file.path().display(),
                param.name,
                first + i,
                values[i]
            ))),
        }
    }

    /// Missing and unknown tensors, all of them in one message.
    fn check_names(&self, table: &ParamTable) -> Result<()> {
        let dir = self.dir.display();
        let known: BTreeSet<&str> = table.params.iter().map(|p| p.name.as_str()).collect();
        let missing: Vec<&str> = known.iter().copied().filter(|n| !self.weights.has(n)).collect();
        let extra: Vec<&str> = (self.weights.place.keys().map(String::as_str))
            .filter(|n| !known.contains(n) && !is_old_buffer(n) && *n != HEAD)
            .collect();
        let untied = known.contains(HEAD);
        if missing == [HEAD] && extra.is_empty() && untied {
            return Err(Error::refused(format!(
                "{dir}: {HEAD} is missing, which transformers would fill with random numbers; if the output matrix is \
                 the embedding, set tie_word_embeddings to true in config.json, else copy the model again, or save it \
                 with its head (GPTNeoXForCausalLM)"
            )));
        }
        if missing.is_empty() && extra.is_empty() {
            return Ok(());
        }
        let mut parts = Vec::new();
        for (what, names) in [("missing", missing), ("unknown", extra)] {
            if !names.is_empty() {
                let shown = names.iter().take(6).copied().collect::<Vec<_>>().join(", ");
                let dots = if names.len() > 6 { ", …" } else { "" };
                parts.push(format!("{} tensors are {what}: {shown}{dots}", names.len()));
            }
        }
        Err(Error::refused(format!(
            "{dir}: {}; config.json asks for a GPT-NeoX of {} layers with its {} tensors: \
             check that both belong together",
            parts.join(", and "),
            table.layers.len(),
            table.params.len()
        )))
    }

    fn check_shape(&self, name: &str, expected: &[usize]) -> Result<()> {
        let (file, stored) = self.weights.find(name);
        let path = file.path().display();
        let Some(info) = file.info(stored) else {
            return Err(Error::refused(format!("{path}: {name} is missing")));
        };
        if float_name(info.dtype).is_none() {
            return Err(Error::refused(format!(
                "{path}: {name} is stored as {:?} {:?}, where F32, F16, BF16 or F64 {expected:?} is expected; \
                 convert it to one of these first",
                info.dtype, info.shape
            )));
        }
        if info.shape == expected {
            return Ok(());
        }
        let reversed: Vec<usize> = info.shape.iter().rev().copied().collect();
        let hint = if reversed == expected {
            "it looks transposed: Hugging Face stores [out, in]"
        } else {
            "check that config.json belongs to these weights"
        };
        Err(Error::refused(format!(
            "{path}: {name} has shape {:?}, where {expected:?} is expected; {hint}",
            info.shape
        )))
    }

    /// The stored output matrix of a tied model must be the embedding, bit for bit.
    fn check_tied(&self, elements: usize) -> Result<()> {
        let [(file, head), (other, embedding)] = [HEAD, EMBEDDING].map(|name| self.weights.find(name));
        let mut same = Vec::new();
        draw_in_order(&|first, values| file.fill(head, first, values), elements, |first, values| {
            same.resize(values.len(), 0.0);
            other.fill(embedding, first, &mut same)?;
            if values.iter().zip(&same).all(|(a, b)| a.to_bits() == b.to_bits()) {
                return Ok(());
            }
            Err(Error::refused(format!(
                "{}: {HEAD} differs from {EMBEDDING}, and config.json says they are one \
                 (tie_word_embeddings); set it to false to train both",
                file.path().display()
            )))
        })
    }
}

fn is_old_buffer(name: &str) -> bool {
    name.starts_with("gpt_neox.layers.") && OLD_BUFFERS.iter().any(|b| name.ends_with(b))
}

/// PyTorch's name of a format that is read.
fn float_name(dtype: FileDtype) -> Option<&'static str> {
    match dtype {
        FileDtype::F64 => Some("float64"),
        _ => Dtype::from_file(dtype).map(Dtype::torch_name),
    }
}

/// Refuses sizes far beyond what the files hold, before anyone allocates a buffer of such sizes. Smaller
/// contradictions are found, and named, tensor by tensor.
fn check_plausible(dir: &Path, config: &ModelConfig, weights: &Weights) -> Result<()> {
    let elements = |name: &String| {
        weights.info(name).map_or(0, |i| i.shape.iter().map(|&n| n as u128).product::<u128>())
    };
    let tensors = weights.place.len();
    let held: u128 = weights.place.keys().map(elements).sum();
    let [v, c, f, l] =
        [config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers]
            .map(|n| n as u128);
    let asked = v * c + l * (4 * c * c + 2 * c * f);
    if asked / 16 > held || l > tensors as u128 {
        return Err(Error::refused(format!(
            "{}: config.json describes {l} layers and {asked} weights, and the files hold {tensors} tensors with {held} \
             elements; check that both belong together",
            dir.display()
        )));
    }
    Ok(())
}
