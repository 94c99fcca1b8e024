//! What a GPT-NeoX model is: its sizes, and the published Pythia presets.
use crate::ops::{Gelu, Heads};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Token ids of one role, in `config.json`'s spelling: null, a number or a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TokenIds {
    /// No token has it.
    #[default]
    None,
    /// One token has it.
    One(u32),
    /// Several tokens have it.
    Many(Vec<u32>),
}

impl TokenIds {
    /// All of the ids.
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Self::None => &[],
            Self::One(id) => std::slice::from_ref(id),
            Self::Many(ids) => ids,
        }
    }
}

/// A validated GPT-NeoX configuration. Field names follow Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// `V`: rows of the embedding, padding included.
    pub vocab_size: usize,
    /// `C`, the width of the residual stream.
    pub hidden_size: usize,
    /// `L`, the number of blocks.
    pub num_hidden_layers: usize,
    /// `H`, the number of heads of each block.
    pub num_attention_heads: usize,
    /// `F`, the width of the MLP, usually `4·C`.
    pub intermediate_size: usize,
    /// Longest sequence the model was made for.
    pub max_position_embeddings: usize,
    /// Share of the head size that rotates; `D·rotary_pct` truncated gives the rotary size.
    pub rotary_pct: f64,
    /// Base of the rotary frequencies (`rope_theta`).
    pub rotary_emb_base: f64,
    /// ε of every LayerNorm.
    pub layer_norm_eps: f64,
    /// Activation of the MLP.
    pub gelu: Gelu,
    /// `x + attn(ln1(x)) + mlp(ln2(x))` if true, else `h = x + attn(ln1(x)); h + mlp(ln2(h))`.
    pub use_parallel_residual: bool,
    /// Whether `query_key_value` and `dense` have biases.
    pub attention_bias: bool,
    /// Whether the output matrix is the embedding itself.
    pub tie_word_embeddings: bool,
    /// σ of the normal initialisation (`init = "normal"`).
    pub initializer_range: f64,
    /// Token that starts a text; carried for Hugging Face.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a text; the token between documents (EOD) is one.
    pub eos_token_id: TokenIds,
}

impl ModelConfig {
    /// `D = C/H`, the elements of a head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Dimensions of each head that rotate.
    pub fn rotary_size(&self) -> usize {
        (self.head_size() as f64 * self.rotary_pct) as usize
    }

    /// Shape of the interleaved queries, keys and values.
    pub fn heads(&self) -> Heads {
        Heads { count: self.num_attention_heads, size: self.head_size(), rotary: self.rotary_size() }
    }

    /// Refuses sizes that no GPT-NeoX can have, naming the field, its value and the rule.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        for (name, value) in positive {
            // 2^31: token and position indices are i32 on every device.
            if value == 0 || value >= 1 << 31 {
                return Err(Error::refused(format!(
                    "model.{name} is {value}; it must be between 1 and 2^31 - 1"
                )));
            }
        }
        let (c, h) = (self.hidden_size, self.num_attention_heads);
        if !c.is_multiple_of(h) {
            return Err(Error::refused(format!(
                "model.hidden_size {c} does not divide into {h} attention heads; choose a multiple of {h}"
            )));
        }
        if !(0.0..=1.0).contains(&self.rotary_pct) {
            return Err(Error::refused(format!(
                "model.rotary_pct is {}; it must be in 0..=1",
                self.rotary_pct
            )));
        }
        let rot = self.rotary_size();
        if !rot.is_multiple_of(2) {
            return Err(Error::refused(format!(
                "model.rotary_pct {} of head size {} gives {rot} rotary dimensions; they rotate in pairs, so it must be even",
                self.rotary_pct,
                self.head_size()
            )));
        }
        if !(self.rotary_emb_base.is_finite() && self.rotary_emb_base > 0.0) {
            return Err(Error::refused(format!(
                "model.rotary_emb_base is {}; it must be a positive number",
                self.rotary_emb_base
            )));
        }
        if !(self.layer_norm_eps.is_finite() && self.layer_norm_eps > 0.0) {
            return Err(Error::refused(format!(
                "model.layer_norm_eps is {}; it must be a positive number",
                self.layer_norm_eps
            )));
        }
        if !(self.initializer_range.is_finite() && self.initializer_range > 0.0) {
            return Err(Error::refused(format!(
                "model.initializer_range is {}; it must be a positive number",
                self.initializer_range
            )));
        }
        Ok(())
    }

    /// Number of trained scalars.
    pub fn parameters(&self) -> u64 {
        let (v, c, f) = (self.vocab_size as u64, self.hidden_size as u64, self.intermediate_size as u64);
        let attention_biases = if self.attention_bias { 4 * c } else { 0 };
        let layer = 4 * c * c + 2 * c * f + attention_biases + f + c + 4 * c;
        let heads = if self.tie_word_embeddings { 1 } else { 2 };
        heads * v * c + self.num_hidden_layers as u64 * layer + 2 * c
    }

    /// Useful FLOPs of one training step per token at sequence length `time`: 6 per matmul parameter
    /// (embedding, norms and biases excluded, `V` as stored), and causal attention at half of `T²`.
    pub fn flops_per_token(&self, time: usize) -> f64 {
        let (v, c, f) = (self.vocab_size as f64, self.hidden_size as f64, self.intermediate_size as f64);
        let l = self.num_hidden_layers as f64;
        6.0 * (l * (4.0 * c * c + 2.0 * c * f) + v * c) + 6.0 * l * c * time as f64
    }
}

/// Name, layers, hidden size, heads, vocabulary as stored.
type Preset = (&'static str, usize, usize, usize, usize);

/// Every published Pythia size (Biderman et al. 2023, arXiv:2304.01373, table 1).
pub const PRESETS: &[Preset] = &[
    ("pythia-14m", 6, 128, 4, 50304),
    ("pythia-31m", 6, 256, 8, 50304),
    ("pythia-70m", 6, 512, 8, 50304),
    ("pythia-160m", 12, 768, 12, 50304),
    ("pythia-410m", 24, 1024, 16, 50304),
    ("pythia-1b", 16, 2048, 8, 50304),
    ("pythia-1.4b", 24, 2048, 16, 50304),
    ("pythia-2.8b", 32, 2560, 32, 50304),
    ("pythia-6.9b", 32, 4096, 32, 50432),
    ("pythia-12b", 36, 5120, 40, 50688),
];

/// The configuration of a published Pythia model, as its `config.json` has it.
pub fn preset(name: &str) -> Option<ModelConfig> {
    let &(_, layers, hidden, heads, vocab) = PRESETS.iter().find(|p| p.0 == name)?;
    Some(ModelConfig {
        vocab_size: vocab,
        hidden_size: hidden,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        intermediate_size: 4 * hidden,
        max_position_embeddings: 2048,
        rotary_pct: 0.25,
        rotary_emb_base: 10000.0,
        layer_norm_eps: 1e-5,
        gelu: Gelu::Erf,
        use_parallel_residual: true,
        attention_bias: true,
        tie_word_embeddings: false,
        initializer_range: 0.02,
        bos_token_id: Some(0),
        eos_token_id: TokenIds::One(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter counts as published on the model cards.
    #[test]
    fn presets_have_the_published_parameter_counts() {
        let published: &[(&str, u64)] = &[
            ("pythia-14m", 14_067_712),
            ("pythia-31m", 30_494_720),
            ("pythia-70m", 70_426_624),
            ("pythia-160m", 162_322_944),
            ("pythia-410m", 405_334_016),
            ("pythia-1b", 1_011_781_632),
            ("pythia-1.4b", 1_414_647_808),
            ("pythia-2.8b", 2_775_208_960),
            ("pythia-6.9b", 6_857_302_016),
            ("pythia-12b", 11_846_072_320),
        ];
        assert_eq!(published.len(), PRESETS.len());
        for &(name, count) in published {
            let config = preset(name).unwrap();
            config.validate().unwrap();
            assert_eq!(config.parameters(), count, "{name}");
        }
    }

    #[test]
    fn impossible_sizes_are_refused_by_name() {
        let good = preset("pythia-14m").unwrap();
        let bad = |change: fn(&mut ModelConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(bad(|c| c.num_attention_heads = 3).contains("does not divide"));
        assert!(bad(|c| c.rotary_pct = 0.1).contains("even"));
        assert!(bad(|c| c.rotary_pct = 1.5).contains("rotary_pct"));
        assert!(bad(|c| c.vocab_size = 0).contains("vocab_size"));
        assert!(bad(|c| c.layer_norm_eps = f64::NAN).contains("layer_norm_eps"));
    }
}
