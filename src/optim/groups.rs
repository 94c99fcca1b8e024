//! Parameter groups: by name pattern, and by depth.
use crate::model::ParamTable;
use crate::ops::AdamParam;
use serde::{Deserialize, Serialize};

/// A group: every tensor whose Hugging Face name matches `pattern`, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// Name of the tensors in Hugging Face's layout, with `*` for any text.
    pub pattern: String,
    /// Multiplies the learning rate; 1 when absent, and 0 freezes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_mult: Option<f64>,
    /// Replaces the weight decay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
    /// The decay is multiplied by rate / peak rate, so that what decays is proportional to the square of the rate:
    /// AdamC (Defazio 2025, arXiv:2506.02285), meant for layers that a norm follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay_follows_rate: Option<bool>,
}

/// Settings of every tensor, each from the first matching rule that sets it. Behind the given rules stands
/// Pythia's own: LayerNorm weights and all biases are not decayed.
pub fn assign(table: &ParamTable, rules: &[GroupRule], weight_decay: f64) -> Vec<AdamParam> {
    let params = table.params.iter().map(|p| {
        let matching = || rules.iter().filter(|r| matches(&r.pattern, &p.name));
        let default_decay = if p.shape.len() == 2 { weight_decay } else { 0.0 };
        AdamParam {
            place: p.place,
            lr_mult: matching().find_map(|r| r.lr_mult).unwrap_or(1.0),
            weight_decay: matching().find_map(|r| r.weight_decay).unwrap_or(default_decay),
            decay_follows_rate: matching().find_map(|r| r.decay_follows_rate).unwrap_or(false),
        }
    });
    params.collect()
}

/// Multiplies the rate of every tensor by `factor^depth`: 0 for the output and the last norm, 1 for the last block,
/// and so on down to the embedding. Howard & Ruder 2018, arXiv:1801.06146, §3.2 (discriminative fine-tuning); Clark et
/// al. 2020, arXiv:2003.10555; depths are counted as in BEiT's `LayerDecayValueAssigner`.
pub fn decay_by_depth(table: &ParamTable, factor: f64, params: &mut [AdamParam]) {
    for (param, named) in params.iter_mut().zip(&table.params) {
        param.lr_mult *= factor.powi(depth(&named.name, table.layers.len()) as i32); // few layers
    }
}

/// Blocks from a tensor up to the output, its own included; the embedding is below all `layers`.
fn depth(name: &str, layers: usize) -> usize {
    let block =
        name.strip_prefix("gpt_neox.layers.").and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
    match block {
        Some(block) => layers - block,
        None if name == "gpt_neox.embed_in.weight" => layers + 1,
        None => 0,
    }
}

/// Whether `name` matches `pattern`: the pieces between the stars appear in order, the outer ones at the ends.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    #[test]
    fn wildcards() {
        assert!(matches("*.bias", "a.bias") && !matches("*.bias", "a.bias.x") && matches("*", ""));
        assert!(matches("gpt_neox.layers.*.mlp.*", "gpt_neox.layers.3.mlp.dense_h_to_4h.weight"));
        assert!(matches("exact", "exact") && !matches("exact", "exactly") && !matches("a*b*b", "ab"));
    }

    #[test]
    fn norms_and_biases_are_not_decayed_unless_a_rule_says_so() {
        let mut config = preset("pythia-14m").unwrap();
        config.vocab_size = 64;
        let table = ParamTable::new(&config);
        let decay = |params: &[AdamParam], name: &str| {
            params[table.params.iter().position(|p| p.name == name).unwrap()].weight_decay
        };
        let params = assign(&table, &[], 0.1);
        assert_eq!(decay(&params, "gpt_neox.embed_in.weight"), 0.1);
        assert_eq!(decay(&params, "gpt_neox.final_layer_norm.weight"), 0.0);
        assert_eq!(decay(&params, "gpt_neox.layers.0.mlp.dense_h_to_4h.bias"), 0.0);
        let rule = GroupRule {
            pattern: "*embed*".into(),
            lr_mult: Some(0.5),
            weight_decay: Some(0.0),
            decay_follows_rate: None,
        };
        let params = assign(&table, &[rule], 0.1);
        assert_eq!(decay(&params, "embed_out.weight"), 0.0);
        assert_eq!(params[0].lr_mult, 0.5);
        assert_eq!(decay(&params, "gpt_neox.layers.0.attention.dense.weight"), 0.1);
    }

    #[test]
    fn rates_fall_from_the_output_to_the_embedding() {
        let config = preset("pythia-14m").unwrap();
        let table = ParamTable::new(&config);
        let mut params = assign(&table, &[], 0.1);
        decay_by_depth(&table, 0.5, &mut params);
        let last = config.num_hidden_layers - 1;
        for (name, depth) in [
            ("embed_out.weight".to_owned(), 0),
            ("gpt_neox.final_layer_norm.bias".to_owned(), 0),
            (format!("gpt_neox.layers.{last}.mlp.dense_4h_to_h.weight"), 1),
            (format!("gpt_neox.layers.{}.input_layernorm.weight", last - 1), 2),
            ("gpt_neox.layers.0.attention.dense.bias".to_owned(), last as i32 + 1),
            ("gpt_neox.embed_in.weight".to_owned(), last as i32 + 2),
        ] {
            let at = table.params.iter().position(|p| p.name == name).unwrap();
            assert_eq!(params[at].lr_mult, 0.5f64.powi(depth), "{name}");
        }
    }
}
