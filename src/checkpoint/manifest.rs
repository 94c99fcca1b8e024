//! `manifest.json`: what a checkpoint is, and the hashes that prove that it is still that.
//!
//! The text is JSON with sorted keys; its last entry is the XXH3-128 of every byte before the digits of that
//! entry, so a change of any byte is found. Equal state gives equal text: no times, no paths.
use super::names::{MANIFEST, is_plain_name};
use super::output::{FileRecord, hex};
use super::safetensors::TensorRecord;
use crate::error::one_line;
use crate::files::storage::{Storage, read_small};
use crate::model::ModelConfig;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use xxhash_rust::xxh3::xxh3_128;

/// The version this program writes, and the newest it reads.
pub const FORMAT: u64 = 2;
/// Room for 100,000 tensors; a larger file is none of ours.
const MANIFEST_MAX: usize = 64 << 20;
/// Between the body and the digits of the hash. `~` sorts after every other key.
const HASH_KEY: &str = ",\n  \"~xxh3_128\": \"";
const HASH_END: &str = "\"\n}\n";

/// Everything of a run that is not a tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Attempted optimizer steps; the schedule follows it.
    pub step: u64,
    /// Steps that changed the weights; Adam's bias correction follows it.
    pub applied: u64,
    /// Data position: samples consumed.
    pub sample: u64,
    /// Tokens trained on up to and with the step.
    pub tokens: u64,
    /// Key of every random number.
    pub seed: u64,
    /// Names the run; the log carries the same.
    pub run_id: String,
    /// The checkpoint or model this run began from.
    pub parent: Option<String>,
    /// The resolved configuration of the run.
    pub run_config: Value,
    /// What the run was made of.
    pub fingerprints: Fingerprints,
    /// What the training loop carries besides (loss windows, the hash of a forward pass); opaque here.
    #[serde(default)]
    pub extra: Value,
}

/// Hashes, in hex, of what a resumed run must find unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fingerprints {
    /// Of the model's configuration.
    pub model: String,
    /// Of the tokenizer: its identity, in older checkpoints the hash of the bytes of its `tokenizer.json`.
    pub tokenizer: String,
    /// Of the contents of the corpus.
    pub corpus: String,
}

/// A checkpoint's description of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`] of the writer.
    pub format: u64,
    /// Bytes of a block of a tensor; its last one may be shorter.
    pub block_bytes: u64,
    /// Sizes and constants of the model.
    pub model: ModelConfig,
    /// Where the run stands.
    pub state: RunState,
    /// Every file but the manifest, by name.
    pub files: BTreeMap<String, FileRecord>,
    /// Every tensor, by its name in its file.
    pub tensors: BTreeMap<String, TensorRecord>,
}

impl Manifest {
    /// The text of `manifest.json`.
    pub fn to_text(&self) -> String {
        let mut value = serde_json::to_value(self).expect("plain data with string keys is always JSON");
        value.sort_all_objects();
        let mut text = serde_json::to_string_pretty(&value).expect("a JSON value is always JSON");
        text.truncate(text.trim_end_matches("\n}").len());
        text.push_str(HASH_KEY);
        let hash = hex(xxh3_128(text.as_bytes()));
        text.push_str(&hash);
        text.push_str(HASH_END);
        text
    }

    /// Checks the hash, then the version, then reads the rest. The error is the reason only.
    pub fn from_text(text: &[u8]) -> Result<Self, String> {
        check_hash(text)?;
        let mut value: Value =
            serde_json::from_slice(text).map_err(|e| format!("it is not JSON: {}", one_line(e)))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(1) => update_from_1(&mut value),
            Some(newer) if newer > FORMAT => {
                return Err(format!(
                    "it has format {newer}, and this program reads up to {FORMAT}; use the rewarm that wrote it"
                ));
            }
            other => return Err(format!("it has format {other:?}, where 1 to {FORMAT} is expected")),
        }
        if let Some(object) = value.as_object_mut() {
            object.shift_remove("~xxh3_128");
        }
        let manifest: Self = serde_json::from_value(value).map_err(one_line)?;
        if let Some(name) = manifest.files.keys().find(|name| !is_plain_name(name)) {
            return Err(format!("it lists the file {name:?}, which is no plain file name"));
        }
        if manifest.block_bytes == 0 {
            return Err("it has blocks of 0 bytes".into());
        }
        let blocks = |t: &TensorRecord| t.bytes.div_ceil(manifest.block_bytes);
        match manifest.tensors.iter().find(|(_, t)| blocks(t) != t.blocks.len() as u64) {
            Some((name, t)) => {
                let (have, want) = (t.blocks.len(), blocks(t));
                Err(format!("{name} has {have} hashes, where one for each of its {want} blocks is expected"))
            }
            None => Ok(manifest),
        }
    }

    /// Reads and checks the manifest of a step directory. The error is the reason only.
    pub fn read(storage: &dyn Storage, step_dir: &Path) -> Result<Self, String> {
        let text = read_small(storage, &step_dir.join(MANIFEST), MANIFEST_MAX)
            .map_err(|e| format!("cannot read {MANIFEST}: {e}"))?;
        Self::from_text(&text).map_err(|e| format!("{MANIFEST}: {e}"))
    }

    /// Bytes of all listed files.
    pub fn bytes(&self) -> u64 {
        self.files.values().fold(0, |sum, f| sum.saturating_add(f.bytes))
    }

    /// Refuses to continue this checkpoint with another model, naming each field with both values.
    pub fn check_model(&self, config: &ModelConfig) -> Result<()> {
        // Through text: a number printed and read again may differ from itself in the last place.
        let value = |c: &ModelConfig| -> Value {
            let text = serde_json::to_string(c).expect("plain data is always JSON");
            serde_json::from_str(&text).expect("it was printed in the line above")
        };
        let (saved, wanted) = (value(&self.model), value(config));
        let differences: Vec<String> = saved
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, was)| wanted.get(key) != Some(was))
            .map(|(key, was)| format!("model.{key} is {was} in the checkpoint and {} now", wanted[key]))
            .collect();
        refuse_differences(differences)
    }
}

impl Fingerprints {
    /// Refuses to continue with another model, tokenizer or corpus, naming both values.
    pub fn check(&self, now: &Self) -> Result<()> {
        let pairs = [
            ("model", &self.model, &now.model),
            ("tokenizer", &self.tokenizer, &now.tokenizer),
            ("corpus", &self.corpus, &now.corpus),
        ];
        let differences = pairs.into_iter().filter(|(_, was, is)| was != is).map(|(name, was, is)| {
            format!("the fingerprint of the {name} is {was} in the checkpoint and {is} now")
        });
        refuse_differences(differences.collect())
    }
}

fn refuse_differences(differences: Vec<String>) -> Result<()> {
    if differences.is_empty() {
        return Ok(());
    }
    Err(Error::refused(format!(
        "{}; `rewarm resume` continues the same run only: restore what changed, or start a new phase from this \
         checkpoint with `rewarm train`",
        differences.join("; ")
    )))
}

/// What format 1 said in today's words: files were hashed whole, and so were tensors.
fn update_from_1(manifest: &mut Value) {
    manifest["block_bytes"] = u64::MAX.into();
    let tensors = manifest.get_mut("tensors").and_then(Value::as_object_mut);
    for tensor in tensors.into_iter().flatten().filter_map(|(_, tensor)| tensor.as_object_mut()) {
        if let Some(hash) = tensor.shift_remove("xxh3_128") {
            tensor.insert("blocks".into(), Value::Array(vec![hash]));
        }
    }
}

/// Compares the digits at the end of `text` with the hash of what precedes them.
fn check_hash(text: &[u8]) -> Result<(), String> {
    let body_len = text.len().checked_sub(32 + HASH_END.len()).ok_or("it is too short to hold its hash")?;
    let (body, tail) = text.split_at(body_len);
    let (digits, end) = tail.split_at(32);
    if !body.ends_with(HASH_KEY.as_bytes()) || end != HASH_END.as_bytes() {
        return Err("it does not end with its hash; it is incomplete or was edited".into());
    }
    let actual = hex(xxh3_128(body));
    if digits != actual.as_bytes() {
        return Err(format!(
            "its hash is {actual}, and it says {}; it is damaged or was edited",
            one_line(String::from_utf8_lossy(digits))
        ));
    }
    Ok(())
}
