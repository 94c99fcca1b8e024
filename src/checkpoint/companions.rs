//! What lies beside the weights of a model and is not computed with: the tokenizer's files, settings of generation,
//! licences, code. Checkpoints, exports and averages carry it along unchanged.
use super::hf_config::JSON_MAX;
use crate::data::{END_OF_TEXT, TextTokenizer};
use crate::files::storage::{Disk, Storage, read_small};
use crate::model::ModelConfig;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A small file: its name, or its path in the directory, and its bytes.
pub type NamedFile = (String, Vec<u8>);

/// The tokenizer as the `tokenizers` library writes it.
const TOKENIZER: &str = "tokenizer.json";
/// How transformers opens it.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// What belongs to a tokenizer and goes when it is replaced. A chat template spells its special tokens.
const OF_TOKENIZER: [&str; 9] = [
    TOKENIZER,
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
];
/// The folder of more chat templates, one file each.
const MORE_TEMPLATES: &str = "additional_chat_templates";
/// How they end, and nothing else in that folder that transformers reads.
const TEMPLATE: &str = ".jinja";
/// Beginnings of the names of licences.
const LICENCES: [&str; 4] = ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"];

/// The files beside the weights of one model.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    tokenizer: Vec<NamedFile>,
    others: Vec<NamedFile>,
}

impl Companions {
    /// Those of a directory, a checkpoint's included. Its model card stays behind: it describes other weights.
    ///
    /// # Errors
    /// Refused when one cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        let mut found = Self::default();
        let read =
            |path: &Path| read_small(&Disk, path, JSON_MAX as usize).map_err(Error::input("read", path));
        let list = |dir: &Path| Disk.list(dir).map_err(Error::input("list", dir));
        // The code of a model goes with an entry of config.json that names it.
        let is_code = |name: &str| name.ends_with(".py") && names_code(dir);
        for name in list(dir)?.into_iter().filter(|e| !e.is_dir).map(|e| e.name) {
            if OF_TOKENIZER.contains(&name.as_str()) {
                found.tokenizer.push((name.clone(), read(&dir.join(&name))?));
            } else if let Some(template) = template_of_checkpoint(&name) {
                found.tokenizer.push((in_folder(template), read(&dir.join(&name))?));
            } else if name == "generation_config.json" || is_licence(&name) || is_code(&name) {
                found.others.push((name.clone(), read(&dir.join(&name))?));
            }
        }
        let templates = dir.join(MORE_TEMPLATES);
        if templates.is_dir() {
            for name in list(&templates)?.into_iter().map(|e| e.name).filter(|name| name.ends_with(TEMPLATE))
            {
                found.tokenizer.push((in_folder(&name), read(&templates.join(&name))?));
            }
        }
        Ok(found)
    }

    /// Puts the tokenizer at `path` in the place of this one, with the files beside it that belong to it; what belongs
    /// to the old one goes. Nothing changes where both are the same.
    ///
    /// # Errors
    /// Refused when `path` cannot be read or holds no tokenizer.
    pub fn set_tokenizer(&mut self, path: &Path) -> Result<()> {
        let json = std::fs::read(path).map_err(Error::input("read", path))?;
        let tokenizer = TextTokenizer::from_json(json.clone())
            .map_err(|e| Error::refused(format!("{}: {e}", path.display())))?;
        if let Some((_, own)) = self.tokenizer.iter().find(|file| file.0 == TOKENIZER)
            && TextTokenizer::from_json(own.clone()).is_ok_and(|own| own.identity() == tokenizer.identity())
        {
            return Ok(());
        }
        let before: BTreeSet<String> = self.tokenizer.drain(..).map(|file| file.0).collect();
        if let (Some(TOKENIZER), Some(dir)) = (path.file_name().and_then(|n| n.to_str()), path.parent()) {
            let dir = if dir == Path::new("") { Path::new(".") } else { dir };
            self.tokenizer = Self::read(dir)?.tokenizer;
        } else {
            self.tokenizer.push((TOKENIZER.into(), json));
        }
        let now: BTreeSet<String> = self.tokenizer.iter().map(|file| file.0.clone()).collect();
        let gone: Vec<&str> = before.difference(&now).map(String::as_str).collect();
        if !gone.is_empty() {
            log::info!(
                "note: {} takes the place of the model's tokenizer, whose {} are left out of checkpoints",
                path.display(),
                gone.join(", ")
            );
        }
        Ok(())
    }

    /// As [`Self::into_files`], for a checkpoint, which has no folders: `additional_chat_templates/NAME.jinja` is
    /// `additional_chat_templates.NAME.jinja` there.
    ///
    /// # Errors
    /// As [`Self::into_files`].
    pub fn into_plain_files(self, config: &ModelConfig) -> Result<Vec<NamedFile>> {
        let files = self.into_files(config)?;
        Ok(files.into_iter().map(|(name, bytes)| (name.replace('/', "."), bytes)).collect())
    }

    /// All of them, for a model of these sizes, by their paths in its directory. A tokenizer that does not say how transformers opens it gets a
    /// `tokenizer_config.json`: without one, transformers guesses by the type of the model, and normalises text and
    /// adds tokens that the tokenizer has not.
    ///
    /// # Errors
    /// Refused when `tokenizer.json` is no JSON.
    pub fn into_files(self, config: &ModelConfig) -> Result<Vec<NamedFile>> {
        let mut files = self.tokenizer;
        let has = |name: &str| files.iter().find(|file| file.0 == name);
        if let (Some((_, json)), None) = (has(TOKENIZER), has(TOKENIZER_CONFIG)) {
            let text = tokenizer_config(json, config)?;
            files.push((TOKENIZER_CONFIG.into(), text));
        }
        files.extend(self.others);
        Ok(files)
    }
}

/// The name of a template by itself, where `name` is what a checkpoint calls it.
fn template_of_checkpoint(name: &str) -> Option<&str> {
    let template = name.strip_prefix(MORE_TEMPLATES)?.strip_prefix('.')?;
    (template.len() > TEMPLATE.len() && template.ends_with(TEMPLATE)).then_some(template)
}

fn in_folder(template: &str) -> String {
    format!("{MORE_TEMPLATES}/{template}")
}

fn is_licence(name: &str) -> bool {
    LICENCES.iter().any(|start| name.get(..start.len()).is_some_and(|n| n.eq_ignore_ascii_case(start)))
}

fn names_code(dir: &Path) -> bool {
    super::hf_config::read_json(&dir.join("config.json")).is_ok_and(|config| config.get("auto_map").is_some())
}

/// A `tokenizer_config.json` with which transformers gives the ids of `tokenizer`, a `tokenizer.json`, as they are.
fn tokenizer_config(tokenizer: &[u8], config: &ModelConfig) -> Result<Vec<u8>> {
    let value: Value = serde_json::from_slice(tokenizer)
        .map_err(|e| Error::refused(format!("{TOKENIZER} is no valid JSON: {e}; copy it again")))?;
    let special: Vec<(u64, &str)> = (value["added_tokens"].as_array().into_iter().flatten())
        .filter(|token| token["special"] == true)
        .filter_map(|token| Some((token["id"].as_u64()?, token["content"].as_str()?)))
        .collect();
    // A token that is not special already would become it, and change what texts are cut into.
    let named = |ids: &[u32]| {
        let is = |(id, _): &&(u64, &str)| ids.iter().any(|i| u64::from(*i) == *id);
        special.iter().find(is).map(|(_, content)| *content)
    };
    let end = special.iter().find(|(_, content)| *content == END_OF_TEXT).map(|(_, content)| *content);
    let mut out = Map::new();
    let bos = config.bos_token_id.and_then(|id| named(&[id]));
    let eos = named(config.eos_token_id.as_slice()).or(end);
    out.extend(bos.map(|token| ("bos_token".into(), json!(token))));
    out.insert("clean_up_tokenization_spaces".into(), json!(false));
    out.extend(eos.map(|token| ("eos_token".into(), json!(token))));
    out.insert("model_max_length".into(), json!(config.max_position_embeddings));
    out.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
    Ok(super::hf_config::pretty(&Value::Object(out)))
}
