//! Entries of a foreign `config.json` that change what transformers computes: read as it reads them, or refused by
//! name. `tests/huggingface/configs.jsonl` holds what it computes with each.
use super::fields::Fields;
use crate::Result;
use crate::ops::Gelu;
use serde_json::{Value, json};

/// Refuses models that are computed in another way than ours, and gives notes on what is carried along without effect.
pub fn check(f: &Fields) -> Result<Vec<String>> {
    let quantized = "none (quantized weights cannot be trained: save the model dequantized)";
    for (key, expected) in [
        ("quantization_config", quantized),
        ("compression_config", quantized),
        ("text_config", "none (the sizes belong to the top of the file)"),
    ] {
        if f.optional(key).is_some() {
            return Err(f.unexpected(key, expected));
        }
    }
    if f.inner("per_layer_config")?.is_some() {
        return Err(
            f.unexpected("per_layer_config", "none (layers that differ from each other are not computed)")
        );
    }
    if f.object.get("is_causal").is_some_and(|v| *v != true) {
        return Err(f.unexpected("is_causal", "true (attention to later tokens is not computed)"));
    }
    check_architecture(f)?;
    let (width, heads) = (f.size("hidden_size")?, f.size("num_attention_heads")?);
    // transformers takes it for the rotary frequencies alone.
    if f.optional("head_dim").is_some_and(|v| v.as_u64().is_none_or(|d| d * heads as u64 != width as u64)) {
        return Err(f.unexpected("head_dim", "hidden_size / num_attention_heads, or no such entry,"));
    }
    let mut notes = Vec::new();
    for key in ["attention_dropout", "hidden_dropout"] {
        match f.number(key)? {
            Some(p) if !(0.0..=1.0).contains(&p) => return Err(f.unexpected(key, "a probability")),
            Some(p) if p != 0.0 => notes.push(format!(
                "{}: {key} is {p}; rewarm trains without dropout and keeps the entry",
                f.origin
            )),
            _ => {}
        }
    }
    if f.optional("auto_map").is_some() {
        notes.push(format!(
            "{}: auto_map names code of the model's own; rewarm computes GPT-NeoX, as transformers does without \
             trust_remote_code, and carries the code along",
            f.origin
        ));
    }
    Ok(notes)
}

fn check_architecture(f: &Fields) -> Result<()> {
    let Some(value) = f.optional("architectures") else { return Ok(()) };
    let known = |name: &Value| ["GPTNeoXForCausalLM", "GPTNeoXModel"].iter().any(|known| name == known);
    match value.as_array() {
        Some(names) if names.is_empty() || names.iter().any(known) => Ok(()),
        _ => Err(f.unexpected(
            "architectures",
            "[\"GPTNeoXForCausalLM\"] (a model with another head or other code has no logits to train)",
        )),
    }
}

/// transformers' names of activations (`activations.py`, ACT2FN).
pub fn gelu(name: &str) -> Option<Gelu> {
    match name {
        "gelu" | "gelu_python" => Some(Gelu::Erf),
        "gelu_fast" | "gelu_new" | "gelu_accurate" | "gelu_pytorch_tanh" | "gelu_python_tanh" => {
            Some(Gelu::Tanh)
        }
        _ => None,
    }
}

/// Share of each head that rotates, and base of the rotary frequencies.
///
/// transformers 5 takes `rope_scaling`, where that has entries, in the place of `rope_parameters`, and what it does not
/// say from `rotary_pct` and `rotary_emb_base`, which are all that transformers 4 reads. A file that says two things is
/// refused: somebody will compute the other.
pub fn rotary(f: &Fields) -> Result<(f64, f64)> {
    let ropes = [f.inner("rope_scaling")?, f.inner("rope_parameters")?];
    for rope in ropes.iter().flatten() {
        for name in ["rope_type", "type"] {
            if rope.object.get(name).is_some_and(|t| t != "default") {
                return Err(
                    rope.unexpected(name, "\"default\" (scaled rotary embeddings are not implemented)")
                );
            }
        }
        if let Some((key, _)) = rope.object.iter().find(|(_, value)| value.is_object()) {
            return Err(
                rope.unexpected(key, "no object (layers that differ from each other are not computed)")
            );
        }
    }
    let share = agreed(f, &ropes, "partial_rotary_factor", "rotary_pct", 0.25)?;
    let base = agreed(f, &ropes, "rope_theta", "rotary_emb_base", 10000.0)?;
    Ok((share, base))
}

/// One of the two numbers, under its new name in the objects or its old name at the top, and every place the same.
fn agreed(f: &Fields, ropes: &[Option<Fields>; 2], new: &str, old: &str, default: f64) -> Result<f64> {
    let said = |rope: &Option<Fields>| rope.as_ref().map_or(Ok(None), |rope| rope.number(new));
    let taken = if ropes[0].is_some() { &ropes[0] } else { &ropes[1] };
    let value = said(taken)?.or(f.number(old)?).unwrap_or(default);
    let value_json = json!(value);
    for place in ropes.iter().flatten().chain([f]) {
        // At the top transformers 5 ignores the new names, and transformers 4 has let them win.
        for name in [new, old] {
            if place.number(name)?.is_some_and(|other| other != value) {
                let expected =
                    format!("the {value_json} that transformers 5 takes from elsewhere in this file");
                return Err(place.unexpected(name, &expected));
            }
        }
    }
    Ok(value)
}
