//! Hugging Face's `config.json` of GPT-NeoX, in the spelling of transformers 4 (`rotary_pct`,
//! `rotary_emb_base`) and of transformers 5 (`rope_parameters`). Both are read and both are written.
//!
//! What of a foreign file is refused is in `hf_rules.rs`. Defaults are those of `GPTNeoXConfig` (transformers,
//! `models/gpt_neox/configuration_gpt_neox.py`); sizes have none: a file without them is refused.
use super::dtype::Dtype;
use super::fields::Fields;
use super::hf_rules::{check, gelu, rotary};
use crate::model::{ModelConfig, TokenIds};
use crate::ops::Gelu;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Larger files are none of ours.
pub(super) const JSON_MAX: u64 = 256 << 20;

/// What a `config.json` says.
#[derive(Clone, Debug)]
pub struct HfConfig {
    /// Sizes and constants of the model, validated.
    pub model: ModelConfig,
    /// What it says of the format of the weights.
    pub dtype: Option<Dtype>,
    /// What is carried along without effect here, to be shown to the user.
    pub notes: Vec<String>,
    /// The whole file, so that an export keeps what only others read.
    pub raw: Value,
}

/// The model of a Hugging Face directory, or of a step directory.
///
/// # Errors
/// Refused when `config.json` is missing or describes what this program does not compute.
pub fn read_config(dir: &Path) -> Result<ModelConfig> {
    Ok(open_config(dir)?.model)
}

/// `config.json` of a directory.
pub fn open_config(dir: &Path) -> Result<HfConfig> {
    let path = dir.join("config.json");
    parse_config(read_json(&path)?, &path.display().to_string())
}

/// A JSON file of bounded size.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::metadata(path).map_err(Error::input("open", path))?.len();
    if bytes > JSON_MAX {
        return Err(Error::refused(format!(
            "{} has {bytes} bytes, where at most {JSON_MAX} are expected; it is not the file it should be",
            path.display()
        )));
    }
    let text = std::fs::read(path).map_err(Error::input("read", path))?;
    serde_json::from_slice(&text).map_err(|e| {
        Error::refused(format!("{} is no valid JSON: {e}; it is damaged, copy it again", path.display()))
    })
}

/// Understands a `config.json`; `origin` names it in messages.
pub fn parse_config(raw: Value, origin: &str) -> Result<HfConfig> {
    let Some(object) = raw.as_object() else {
        return Err(Error::refused(format!("{origin} holds no JSON object; it is not a config.json")));
    };
    let f = Fields { object, origin, prefix: "" };
    match f.optional("model_type").and_then(Value::as_str) {
        Some("gpt_neox") => {}
        found => {
            return Err(Error::refused(format!(
                "{origin}: model_type is {}, and rewarm trains gpt_neox (Pythia, GPT-NeoX-20B) only",
                found.unwrap_or("missing")
            )));
        }
    }
    let notes = check(&f)?;
    let (rotary_pct, rotary_emb_base) = rotary(&f)?;
    let model = ModelConfig {
        vocab_size: f.size("vocab_size")?,
        hidden_size: f.size("hidden_size")?,
        num_hidden_layers: f.size("num_hidden_layers")?,
        num_attention_heads: f.size("num_attention_heads")?,
        intermediate_size: f.size("intermediate_size")?,
        max_position_embeddings: f.size("max_position_embeddings")?,
        rotary_pct,
        rotary_emb_base,
        layer_norm_eps: f.number("layer_norm_eps")?.unwrap_or(1e-5),
        gelu: f.text("hidden_act")?.map_or(Ok(Gelu::Erf), |name| {
            gelu(name).ok_or_else(|| f.unexpected("hidden_act", "gelu (erf) or gelu_new, gelu_fast (tanh)"))
        })?,
        use_parallel_residual: f.flag("use_parallel_residual")?.unwrap_or(true),
        attention_bias: f.flag("attention_bias")?.unwrap_or(true),
        tie_word_embeddings: f.flag("tie_word_embeddings")?.unwrap_or(false),
        initializer_range: f.number("initializer_range")?.unwrap_or(0.02),
        bos_token_id: f.token("bos_token_id")?,
        eos_token_id: f.tokens("eos_token_id")?,
    };
    model.validate().map_err(|e| Error::refused(format!("{origin}: {e}")))?;
    let name = f.optional("dtype").or(f.optional("torch_dtype")).and_then(Value::as_str);
    let dtype = name.and_then(Dtype::from_torch_name);
    Ok(HfConfig { model, dtype, notes, raw })
}

/// The tokens at which transformers' `generate` ends a text of this model: those of `generation_config.json`
/// where there is one, whatever it says, else those that `config` (the whole `config.json`) names.
pub fn end_tokens(dir: &Path, config: &Value) -> Result<TokenIds> {
    let path = dir.join("generation_config.json");
    let generation = if path.exists() { Some(read_json(&path)?) } else { None };
    let (value, origin) = match &generation {
        Some(value) => (value, path),
        None => (config, dir.join("config.json")),
    };
    let origin = origin.display().to_string();
    let object = value.as_object().ok_or_else(|| {
        Error::refused(format!("{origin} holds no JSON object; it is damaged, copy it again"))
    })?;
    Fields { object, origin: &origin, prefix: "" }.tokens("eos_token_id")
}

/// The `config.json` of a model whose weights are stored as `dtype`, with sorted keys as transformers writes
/// them. Entries of `base`, the file of an imported model, that mean the same or are unknown here are kept.
pub fn config_json(config: &ModelConfig, dtype: Dtype, base: Option<&Value>) -> Value {
    let mut out = base.and_then(Value::as_object).cloned().unwrap_or_default();
    let act = match config.gelu {
        Gelu::Erf => "gelu",
        Gelu::Tanh => "gelu_new",
    };
    let same_act = out.get("hidden_act").and_then(Value::as_str).and_then(gelu) == Some(config.gelu);
    if !same_act {
        out.insert("hidden_act".into(), act.into());
    }
    // The files that it names are not written.
    out.shift_remove("transformers_weights");
    let mut rope = out.get("rope_parameters").and_then(Value::as_object).cloned().unwrap_or_default();
    set(&mut rope, "partial_rotary_factor", json!(config.rotary_pct));
    set(&mut rope, "rope_theta", json!(config.rotary_emb_base));
    set(&mut rope, "rope_type", json!("default"));
    for (key, value) in [
        ("architectures", json!(["GPTNeoXForCausalLM"])),
        ("model_type", json!("gpt_neox")),
        ("vocab_size", json!(config.vocab_size)),
        ("hidden_size", json!(config.hidden_size)),
        ("num_hidden_layers", json!(config.num_hidden_layers)),
        ("num_attention_heads", json!(config.num_attention_heads)),
        ("intermediate_size", json!(config.intermediate_size)),
        ("max_position_embeddings", json!(config.max_position_embeddings)),
        ("rotary_pct", json!(config.rotary_pct)),
        ("rotary_emb_base", json!(config.rotary_emb_base)),
        ("rope_parameters", Value::Object(rope)),
        ("layer_norm_eps", json!(config.layer_norm_eps)),
        ("use_parallel_residual", json!(config.use_parallel_residual)),
        ("attention_bias", json!(config.attention_bias)),
        ("tie_word_embeddings", json!(config.tie_word_embeddings)),
        ("initializer_range", json!(config.initializer_range)),
        ("dtype", json!(dtype.torch_name())),
        ("torch_dtype", json!(dtype.torch_name())),
    ] {
        set(&mut out, key, value);
    }
    // A model that was imported keeps its ids as they were spelled: null, absent and a list differ in transformers.
    if base.is_none() {
        out.insert("bos_token_id".into(), json!(config.bos_token_id));
        out.insert("eos_token_id".into(), json!(config.eos_token_id));
        out.insert("use_cache".into(), json!(true));
    }
    let mut out = Value::Object(out);
    out.sort_all_objects();
    out
}

/// What was done to a model, oldest first: an entry that checkpoints, exports and averages keep as one unknown to them.
const HISTORY: &str = "rewarm_history";

/// `raw`, a whole `config.json`, with one more line in the history of its model.
pub fn with_history(raw: &Value, line: &str) -> Value {
    let mut raw = raw.clone();
    if let Some(object) = raw.as_object_mut() {
        let line = json!(format!("rewarm {}: {line}", env!("CARGO_PKG_VERSION")));
        match object.get_mut(HISTORY).and_then(Value::as_array_mut) {
            Some(lines) => lines.push(line),
            None => drop(object.insert(HISTORY.into(), json!([line]))),
        }
    }
    raw
}

/// Sets an entry unless it is the same number already (10000 for 10000.0).
fn set(object: &mut Map<String, Value>, key: &str, value: Value) {
    let same = object.get(key).and_then(Value::as_f64).zip(value.as_f64()).is_some_and(|(a, b)| a == b);
    if !same {
        object.insert(key.into(), value);
    }
}

/// The text of a JSON file.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value is always JSON");
    (text + "\n").into_bytes()
}
