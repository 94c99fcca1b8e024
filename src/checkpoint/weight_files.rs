//! The files that a model's weights are in, one or shards, of safetensors or of `torch.save`, and what is where.
use super::foreign::{adapter, describe};
use super::hf_config::read_json;
use super::safetensors::TensorFile;
use super::torch::{Tensor, TorchFile};
use crate::files::storage::{Disk, Storage};
use crate::{Error, Result};
use safetensors::Dtype as FileDtype;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Component, Path};

/// The one weight file of small models.
pub(super) const SINGLE: &str = "model.safetensors";
/// Which file holds which tensor, in large models.
pub(super) const INDEX: &str = "model.safetensors.index.json";
/// Both, as they were called before safetensors.
const SINGLE_TORCH: &str = "pytorch_model.bin";
const INDEX_TORCH: &str = "pytorch_model.bin.index.json";
/// The output matrix, which a tied model may or may not store.
pub(super) const HEAD: &str = "embed_out.weight";

/// An open file of named tensors.
pub(super) enum WeightFile {
    Safetensors(TensorFile<'static>),
    Torch(TorchFile<'static>),
}

/// Shape and format of a tensor.
pub(super) struct Info<'a> {
    pub(super) shape: &'a [usize],
    pub(super) dtype: FileDtype,
}

impl WeightFile {
    fn open(path: &Path) -> Result<Self> {
        if path.extension().is_some_and(|end| end == "bin") {
            let file = TorchFile::open(&Disk, path)?;
            if file.root().entries().next().is_none() {
                return Err(Error::refused(format!(
                    "{} holds no tensors by name; is it the weights of a model?",
                    path.display()
                )));
            }
            return Ok(Self::Torch(file));
        }
        Ok(Self::Safetensors(TensorFile::open(&Disk, path)?))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Safetensors(file) => file.path(),
            Self::Torch(file) => file.path(),
        }
    }

    fn names(&self) -> Vec<String> {
        match self {
            Self::Safetensors(file) => file.names(),
            Self::Torch(file) => {
                let tensors = file.root().entries().filter(|(_, value)| value.tensor().is_some());
                tensors.map(|(name, _)| name.into()).collect::<BTreeSet<_>>().into_iter().collect()
            }
        }
    }

    pub(super) fn info(&self, name: &str) -> Option<Info<'_>> {
        match self {
            Self::Safetensors(file) => {
                let info = file.info(name)?;
                Some(Info { shape: &info.shape, dtype: info.dtype })
            }
            Self::Torch(file) => {
                let tensor = tensor_of(file, name)?;
                Some(Info { shape: tensor.shape(), dtype: tensor.dtype() })
            }
        }
    }

    /// Fills `values` with those of a tensor that is there from row-major index `first` on.
    pub(super) fn fill(&self, name: &str, first: usize, values: &mut [f32]) -> Result<()> {
        match self {
            Self::Safetensors(file) => file.fill(name, first, values),
            Self::Torch(file) => match tensor_of(file, name) {
                Some(tensor) => file.fill(tensor, first, values),
                None => Err(Error::refused(format!("{} has no tensor {name}", file.path().display()))),
            },
        }
    }
}

fn tensor_of<'a>(file: &'a TorchFile, name: &str) -> Option<&'a Tensor> {
    file.root().get(name)?.tensor()
}

/// The open files of a model and what is where.
#[derive(Default)]
pub(super) struct Weights {
    pub(super) files: Vec<WeightFile>,
    /// By the name of the tensor here.
    pub(super) place: BTreeMap<String, Stored>,
}

/// Where a tensor is stored.
pub(super) struct Stored {
    /// Index of its file.
    file: usize,
    /// Its name in the file.
    name: String,
}

impl Weights {
    /// Opens one more file. Refused where it has a tensor that is there already.
    fn add(&mut self, path: &Path) -> Result<()> {
        let file = WeightFile::open(path)?;
        let number = self.files.len();
        for name in file.names() {
            let here = our_name(&name);
            if let Some(other) = self.place.get(&here) {
                return Err(Error::refused(format!(
                    "{name} is in {} and, as {}, in {}, where one of them is expected; copy the model again",
                    path.display(),
                    other.name,
                    self.files.get(other.file).map_or(path, WeightFile::path).display()
                )));
            }
            self.place.insert(here, Stored { file: number, name });
        }
        self.files.push(file);
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.place.contains_key(name)
    }

    /// The file of a tensor that is there, and its name in it.
    pub(super) fn find(&self, name: &str) -> (&WeightFile, &str) {
        let stored = &self.place[name];
        (&self.files[stored.file], &stored.name)
    }

    /// Shape and format of a tensor that is there.
    pub(super) fn info(&self, name: &str) -> Option<Info<'_>> {
        let (file, stored) = self.find(name);
        file.info(stored)
    }
}

/// The name of a tensor here and in transformers 4. transformers 5 calls the output matrix `lm_head`, and a model that
/// was saved without it (`GPTNeoXModel`) leaves out the first part.
fn our_name(stored: &str) -> String {
    let bare = ["embed_in.", "layers.", "final_layer_norm."];
    match stored {
        "lm_head.weight" => HEAD.into(),
        _ if bare.iter().any(|start| stored.starts_with(start)) => format!("gpt_neox.{stored}"),
        _ => stored.into(),
    }
}

/// The weight files of a directory, as transformers chooses: those that config.json names, else the single file, else
/// the index. What it passes over goes into `notes`.
pub(super) fn open_files(dir: &Path, named: Option<&Value>, notes: &mut Vec<String>) -> Result<Weights> {
    let path = dir.display();
    if let Some(reason) = adapter(dir) {
        return Err(Error::refused(format!("{path} {reason}")));
    }
    let chosen = match named.filter(|v| !v.is_null()) {
        Some(name) => Some(name.as_str().filter(|n| is_inside(n) && n.contains(".safetensors")).ok_or_else(|| {
            Error::refused(format!(
                "{path}/config.json: transformers_weights is {name}, where the name of a file of safetensors in this \
                 directory is expected; correct the file"
            ))
        })?),
        None => {
            [SINGLE, INDEX, SINGLE_TORCH, INDEX_TORCH].into_iter().find(|name| dir.join(name).exists())
        }
    };
    let Some(chosen) = chosen else {
        let what = describe(dir).unwrap_or_else(|| {
            format!("has neither {SINGLE} nor {SINGLE_TORCH}, nor an index of either; is the path that of a downloaded Hugging Face model?")
        });
        return Err(Error::refused(format!("{path} {what}")));
    };
    let weights = if chosen.ends_with(".index.json") {
        open_shards(dir, &dir.join(chosen))?
    } else {
        let mut weights = Weights::default();
        weights.add(&dir.join(chosen))?;
        weights
    };
    tell_unused(dir, chosen, &weights, notes);
    Ok(weights)
}

/// Notes the weight files of a directory that are not read.
fn tell_unused(dir: &Path, chosen: &str, weights: &Weights, notes: &mut Vec<String>) {
    let used: BTreeSet<&OsStr> = weights.files.iter().filter_map(|file| file.path().file_name()).collect();
    let entries = Disk.list(dir).unwrap_or_default();
    let is_model = |name: &str| name.starts_with("model") && name.contains(".safetensors");
    let unused: Vec<String> = (entries.into_iter().map(|e| e.name))
        .filter(|name| is_model(name) && name != chosen && !used.contains(OsStr::new(name)))
        .collect();
    if !unused.is_empty() {
        notes.push(format!(
            "{}: {chosen} is read, as transformers does, and {} is not",
            dir.display(),
            unused.join(", ")
        ));
    }
}

fn open_shards(dir: &Path, index: &Path) -> Result<Weights> {
    let bad = |why: String| Error::refused(format!("{}: {why}; copy the model again", index.display()));
    let value = read_json(index)?;
    let map = value.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| bad("it has no weight_map".into()))?;
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, file) in map {
        let file = file.as_str().filter(|f| is_inside(f));
        let file = file.ok_or_else(|| {
            bad(format!(
                "the file of {name} is {}, no plain file name inside of the model's directory",
                map[name]
            ))
        })?;
        numbers.insert(file, 0);
    }
    let mut weights = Weights::default();
    for (file, number) in &mut numbers {
        *number = weights.files.len();
        weights.add(&dir.join(file))?;
    }
    for (name, file) in map {
        let said = file.as_str().and_then(|f| numbers.get(f));
        if weights.place.get(&our_name(name)).map(|stored| &stored.file) != said {
            return Err(bad(format!("{name} is not in {file}, where the index says it is")));
        }
    }
    Ok(weights)
}

/// Whether a path leads into the directory it is joined to, and not out of it.
fn is_inside(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}
