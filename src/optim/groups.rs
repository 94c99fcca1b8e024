//! Parameter groups by name pattern.
use crate::model::ParamTable;
use crate::ops::AdamParam;
use serde::{Deserialize, Serialize};

/// A group: every tensor whose Hugging Face name matches `pattern`, in which `*` stands for any characters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupRule {
    /// Name with wildcards.
    pub pattern: String,
    /// Multiplies the learning rate; 1 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lr_mult: Option<f64>,
    /// Replaces the weight decay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f64>,
}

/// Settings of every tensor, each from the first matching rule that sets it. Behind the given rules stands
/// Pythia's own: LayerNorm weights and all biases are not decayed.
pub fn assign(table: &ParamTable, rules: &[GroupRule], weight_decay: f64) -> Vec<AdamParam> {
    let settings = |name: &str, is_matrix: bool| {
        let default_decay = if is_matrix { weight_decay } else { 0.0 };
        let matching = || rules.iter().filter(|r| matches(&r.pattern, name));
        let lr_mult = matching().find_map(|r| r.lr_mult).unwrap_or(1.0);
        (lr_mult, matching().find_map(|r| r.weight_decay).unwrap_or(default_decay))
    };
    let params = table.params.iter().map(|p| {
        let (lr_mult, weight_decay) = settings(&p.name, p.shape.len() == 2);
        AdamParam { place: p.place, lr_mult, weight_decay }
    });
    params.collect()
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
        let rule = GroupRule { pattern: "*embed*".into(), lr_mult: Some(0.5), weight_decay: Some(0.0) };
        let params = assign(&table, &[rule], 0.1);
        assert_eq!(decay(&params, "embed_out.weight"), 0.0);
        assert_eq!(params[0].lr_mult, 0.5);
        assert_eq!(decay(&params, "gpt_neox.layers.0.attention.dense.weight"), 0.1);
    }
}
