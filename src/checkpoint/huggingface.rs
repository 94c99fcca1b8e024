//! Weights from Hugging Face directories: one file or shards; f32, f16 or bf16; every tensor accounted for.
use super::dtype::Dtype;
use super::hf_config::{HfConfig, open_config, read_json};
use super::safetensors::{TensorFile, scatter};
use super::storage::Disk;
use crate::model::{Matrix, ModelConfig, Param, ParamTable};
use crate::{Error, Result};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The one weight file of small models.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which file holds which tensor, in large models.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// The output matrix, which a tied model may or may not store.
const HEAD: &str = "embed_out.weight";
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
    files: Vec<TensorFile<'static>>,
    /// Tensor name to index in `files`.
    place: BTreeMap<String, usize>,
}

impl HfModel {
    /// Opens `config.json` and the headers of the weight files; reads no weights yet.
    ///
    /// # Errors
    /// Refused when a file is missing or damaged, or the model is not one this program computes.
    pub fn open(dir: &Path) -> Result<Self> {
        let HfConfig { model, mut notes, raw, .. } = open_config(dir)?;
        let (files, place) = open_files(dir)?;
        check_plausible(dir, &model, &files, &place)?;
        let formats: BTreeSet<&str> = (place.iter())
            .filter(|(name, _)| !is_old_buffer(name))
            .filter_map(|(name, &file)| Dtype::from_file(files[file].info(name)?.dtype))
            .map(Dtype::torch_name)
            .collect();
        let one =
            formats.first().filter(|_| formats.len() == 1).and_then(|name| Dtype::from_torch_name(name));
        if formats.len() > 1 {
            let list = formats.into_iter().collect::<Vec<_>>().join(" and ");
            notes.push(format!("{}: tensors are stored as {list}; an export will be float32", dir.display()));
        }
        let dtype = one.unwrap_or(Dtype::F32);
        Ok(Self { config: model, dtype, raw_config: raw, notes, dir: dir.into(), files, place })
    }

    /// Reads every weight into the flat buffer `w`, at least `table.total` long.
    ///
    /// # Errors
    /// Refused, with the names and shapes, when a tensor is missing, unknown, of another shape or format, or
    /// not finite, and when a tied model stores an output matrix that is not its embedding.
    pub fn load_weights(&self, table: &ParamTable, w: &mut [f32]) -> Result<()> {
        assert!(w.len() >= table.total, "a flat buffer holds {} of {} elements", w.len(), table.total);
        self.check(table)?;
        for param in &table.params {
            self.read(param, |first, values| scatter(param.place, first, values, w))?;
        }
        if table.find(HEAD).is_none() && self.place.contains_key(HEAD) {
            self.check_shape(HEAD, &[table.embed.rows, table.embed.cols])?;
            self.check_tied(table.embed, w)?;
        }
        Ok(())
    }

    /// Refuses, with the names and shapes, tensors that are missing, unknown, or of another shape or format.
    pub fn check(&self, table: &ParamTable) -> Result<()> {
        self.check_names(table)?;
        table.params.iter().try_for_each(|param| self.check_shape(&param.name, &param.shape))
    }

    /// Hands the values of one tensor, which [`HfModel::check`] has found, to `sink` piece by piece: the number of the
    /// first, and the values. Refused where one is not finite.
    pub fn read(&self, param: &Param, mut sink: impl FnMut(usize, &[f32])) -> Result<()> {
        let file = &self.files[self.place[&param.name]];
        file.read(&param.name, |first, values, _| {
            if let Some(i) = values.iter().position(|x| !x.is_finite()) {
                return Err(Error::refused(format!(
                    "{}: {} element {} is {}; a model with such weights cannot be trained, take another copy",
                    file.path().display(),
                    param.name,
                    first + i,
                    values[i]
                )));
            }
            sink(first, values);
            Ok(())
        })
    }

    /// Missing and unknown tensors, all of them in one message.
    fn check_names(&self, table: &ParamTable) -> Result<()> {
        let dir = self.dir.display();
        let known: BTreeSet<&str> = table.params.iter().map(|p| p.name.as_str()).collect();
        let missing: Vec<&str> = known.iter().copied().filter(|n| !self.place.contains_key(*n)).collect();
        let extra: Vec<&str> = (self.place.keys().map(String::as_str))
            .filter(|n| !known.contains(n) && !is_old_buffer(n) && *n != HEAD)
            .collect();
        let untied = known.contains(HEAD);
        if missing == [HEAD] && extra.is_empty() && untied {
            return Err(Error::refused(format!(
                "{dir}: {HEAD} is missing; if the output matrix is the embedding, set tie_word_embeddings to \
                 true in config.json, else the file is incomplete, copy it again"
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
        let file = &self.files[self.place[name]];
        let Some(info) = file.info(name) else {
            return Err(Error::refused(format!("{}: {name} is missing", file.path().display())));
        };
        let path = file.path().display();
        if Dtype::from_file(info.dtype).is_none() {
            return Err(Error::refused(format!(
                "{path}: {name} is stored as {:?} {:?}, where F32, F16 or BF16 {expected:?} is expected; \
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
    fn check_tied(&self, embed: Matrix, w: &[f32]) -> Result<()> {
        let file = &self.files[self.place[HEAD]];
        file.read(HEAD, |first, values, _| {
            let start = embed.offset + first;
            let same = values.iter().zip(&w[start..]).all(|(a, b)| a.to_bits() == b.to_bits());
            if same {
                return Ok(());
            }
            Err(Error::refused(format!(
                "{}: {HEAD} differs from gpt_neox.embed_in.weight, and config.json says they are one \
                 (tie_word_embeddings); set it to false to train both",
                file.path().display()
            )))
        })
    }
}

fn is_old_buffer(name: &str) -> bool {
    name.starts_with("gpt_neox.layers.") && OLD_BUFFERS.iter().any(|b| name.ends_with(b))
}

/// Refuses sizes far beyond what the files hold, before anyone allocates a buffer of such sizes. Smaller
/// contradictions are found, and named, tensor by tensor.
fn check_plausible(
    dir: &Path,
    config: &ModelConfig,
    files: &[TensorFile],
    place: &BTreeMap<String, usize>,
) -> Result<()> {
    let elements = |(name, &file): (&String, &usize)| {
        files[file].info(name).map_or(0, |i| i.shape.iter().map(|&n| n as u128).product::<u128>())
    };
    let held: u128 = place.iter().map(elements).sum();
    let [v, c, f, l] =
        [config.vocab_size, config.hidden_size, config.intermediate_size, config.num_hidden_layers]
            .map(|n| n as u128);
    let asked = v * c + l * (4 * c * c + 2 * c * f);
    if asked / 16 > held || l > place.len() as u128 {
        return Err(Error::refused(format!(
            "{}: config.json describes {l} layers and {asked} weights, and the files hold {} tensors with {held} \
             elements; check that both belong together",
            dir.display(),
            place.len()
        )));
    }
    Ok(())
}

type Files = (Vec<TensorFile<'static>>, BTreeMap<String, usize>);

/// The weight files of a directory; the single file before the index, as transformers chooses.
fn open_files(dir: &Path) -> Result<Files> {
    let single = dir.join(SINGLE);
    if single.exists() {
        let file = TensorFile::open(&Disk, &single)?;
        let place = file.names().into_iter().map(|name| (name, 0)).collect();
        return Ok((vec![file], place));
    }
    let index = dir.join(INDEX);
    if index.exists() {
        return open_shards(dir, &index);
    }
    let dir_name = dir.display();
    if dir.join("pytorch_model.bin").exists() || dir.join("pytorch_model.bin.index.json").exists() {
        return Err(Error::refused(format!(
            "{dir_name} has its weights in pytorch_model.bin only, a pickle, which can run any code when it is \
             opened; convert it where you trust it: python -c \"from transformers import AutoModelForCausalLM as M; \
             M.from_pretrained('{dir_name}', dtype='auto').save_pretrained('{dir_name}-safetensors')\""
        )));
    }
    Err(Error::refused(format!(
        "{dir_name} has neither {SINGLE} nor {INDEX}; is the path that of a downloaded Hugging Face model?"
    )))
}

fn open_shards(dir: &Path, index: &Path) -> Result<Files> {
    let bad = |why: String| Error::refused(format!("{}: {why}; copy the model again", index.display()));
    let value = read_json(index)?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad("it has no weight_map".into()))?;
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, file) in map {
        let file = file.as_str().filter(|f| super::manifest::is_plain_name(f));
        let file =
            file.ok_or_else(|| bad(format!("the file of {name} is {}, no plain file name", map[name])))?;
        numbers.insert(file, 0);
    }
    let mut files = Vec::new();
    let mut place = BTreeMap::new();
    for (file, number) in &mut numbers {
        *number = files.len();
        files.push(TensorFile::open(&Disk, &dir.join(file))?);
        for name in files[*number].names() {
            if let Some(other) = place.insert(name.clone(), *number) {
                let other = files[other].path().display();
                return Err(bad(format!(
                    "{name} is in {other} and in {file}, where one of them is expected"
                )));
            }
        }
    }
    for (name, file) in map {
        let said = file.as_str().and_then(|f| numbers.get(f));
        if place.get(name) != said {
            return Err(bad(format!("{name} is not in {file}, where the index says it is")));
        }
    }
    Ok((files, place))
}
