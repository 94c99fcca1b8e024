//! The sizes of a model, as its tensors say them.
use super::rank::Rank;
use crate::model::{ModelConfig, PRESETS, preset};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// What the tensors of a model say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    vocab: usize,
    hidden: usize,
    inner: usize,
    layers: usize,
    tied: bool,
    attention_bias: bool,
}

impl Sizes {
    /// Of all ranks, `model_ranks` of which share each layer.
    pub(super) fn of(ranks: &[Rank], model_ranks: usize, dir: &Path) -> Result<Self> {
        let params = ranks.iter().flat_map(|rank| &rank.params);
        let shapes: BTreeMap<String, &[usize]> =
            params.map(|param| (param.name.hugging_face(), param.shape.as_slice())).collect();
        let rows = |name: &str| match shapes.get(name) {
            Some([rows, cols]) => Ok((rows * model_ranks, *cols)),
            _ => {
                Err(Error::refused(format!("{}: it has no matrix {name}; is it a GPT-NeoX?", dir.display())))
            }
        };
        let (vocab, hidden) = rows("gpt_neox.embed_in.weight")?;
        let (inner, _) = rows("gpt_neox.layers.0.mlp.dense_h_to_4h.weight")?;
        let is_layer = |name: &&String| name.ends_with(".input_layernorm.weight");
        Ok(Self {
            vocab,
            hidden,
            inner,
            layers: shapes.keys().filter(is_layer).count(),
            tied: !shapes.contains_key("embed_out.weight"),
            attention_bias: shapes.contains_key("gpt_neox.layers.0.attention.dense.bias"),
        })
    }

    fn of_config(config: &ModelConfig) -> Self {
        Self {
            vocab: config.vocab_size,
            hidden: config.hidden_size,
            inner: config.intermediate_size,
            layers: config.num_hidden_layers,
            tied: config.tie_word_embeddings,
            attention_bias: config.attention_bias,
        }
    }

    /// Refuses the configuration of a model of other sizes.
    pub(super) fn check(self, config: &ModelConfig, origin: &str) -> Result<()> {
        if Self::of_config(config) == self {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{origin} describes {}, and the tensors are {}; give the config.json of this model",
            Self::of_config(config).text(),
            self.text()
        )))
    }

    /// The published model of these sizes: heads, rotary share and the like cannot be seen in tensors.
    pub(super) fn preset(self, dir: &Path) -> Result<ModelConfig> {
        let known = PRESETS.iter().filter_map(|entry| preset(entry.0));
        known.into_iter().find(|config| Self::of_config(config) == self).ok_or_else(|| {
            Error::refused(format!(
                "{}: the tensors are {}, which is no published Pythia; what they do not say, such as the number of heads, is \
                 taken from a config.json: give the folder of one with --like",
                dir.display(),
                self.text()
            ))
        })
    }

    pub(super) fn text(self) -> String {
        let Self { vocab, hidden, inner, layers, tied, attention_bias } = self;
        let tied = if tied { "tied" } else { "untied" };
        let bias = if attention_bias { "with" } else { "without" };
        format!(
            "{layers} layers of {hidden} (MLP {inner}), vocabulary {vocab}, {tied}, {bias} biases in attention"
        )
    }
}
