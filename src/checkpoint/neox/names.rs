//! What GPT-NeoX calls a tensor, what Hugging Face does, and how the ranks of model parallelism share it.

/// The place of a module in the sequence that the model is, and what a tensor is called in it: 0 the embedding, 2 and on the
/// blocks, then the last norm and the output matrix. The places between them are functions without tensors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    pub(super) place: usize,
    pub(super) leaf: String,
}

/// The first block.
const FIRST: usize = 2;

impl Name {
    /// Of `2.attention.dense.weight`, or the same below `sequential.` or `module.`; a tied embedding is module 0.
    pub(super) fn parse(full: &str) -> Option<Self> {
        let bare = ["module.", "sequential."]
            .iter()
            .fold(full, |name, start| name.strip_prefix(start).unwrap_or(name));
        if let Some(leaf) = bare.strip_prefix("tied_modules.embed.") {
            return Some(Self { place: 0, leaf: leaf.into() });
        }
        let (place, leaf) = bare.split_once('.')?;
        Some(Self { place: place.parse().ok()?, leaf: leaf.into() })
    }

    /// Whether it is trained. Buffers are computed anew.
    pub(super) fn is_trained(&self) -> bool {
        !["rotary_emb.inv_freq", "attention.bias", "attention.masked_bias"]
            .iter()
            .any(|end| self.leaf.ends_with(end))
    }

    /// As Hugging Face calls it.
    pub(super) fn hugging_face(&self) -> String {
        match self.leaf.as_str() {
            "word_embeddings.weight" => "gpt_neox.embed_in.weight".into(),
            "norm.weight" => "gpt_neox.final_layer_norm.weight".into(),
            "norm.bias" => "gpt_neox.final_layer_norm.bias".into(),
            "final_linear.weight" => "embed_out.weight".into(),
            leaf => {
                // So called since September 2024.
                let leaf = leaf
                    .replace("mlp.linear1.", "mlp.dense_h_to_4h.")
                    .replace("mlp.linear2.", "mlp.dense_4h_to_h.");
                format!("gpt_neox.layers.{}.{leaf}", self.place.saturating_sub(FIRST))
            }
        }
    }
}

/// How a tensor is put together from those of the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Merge {
    /// Rows of one rank after those of the one before.
    Rows,
    /// Each row in stretches, one of each rank.
    Columns,
    /// Added up.
    Sum,
    /// The same on all, up to rounding.
    Mean,
}

impl Merge {
    /// Of the weights of a tensor that Hugging Face calls `name`.
    ///
    /// With the parallel residual each rank adds its own bias before the sum over ranks; with the sequential one the bias is
    /// added behind it, and all ranks have the same.
    pub(super) fn of_weights(name: &str, parallel_residual: bool) -> Self {
        let ends = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
        if ends(&["embed_in.weight", "embed_out.weight"])
            || ["query_key_value.", "dense_h_to_4h."].iter().any(|part| name.contains(part))
        {
            Self::Rows
        } else if ends(&["attention.dense.weight", "dense_4h_to_h.weight"]) {
            Self::Columns
        } else if parallel_residual && ends(&["attention.dense.bias", "dense_4h_to_h.bias"]) {
            Self::Sum
        } else {
            Self::Mean
        }
    }

    /// Of its moments: each rank saw the whole gradient of a bias that is added up.
    pub(super) fn of_moments(self) -> Self {
        if self == Self::Sum { Self::Mean } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_layouts_lead_to_those_of_hugging_face() {
        for (neox, expected) in [
            ("0.word_embeddings.weight", "gpt_neox.embed_in.weight"),
            ("tied_modules.embed.word_embeddings.weight", "gpt_neox.embed_in.weight"),
            ("sequential.2.attention.dense.bias", "gpt_neox.layers.0.attention.dense.bias"),
            ("module.7.mlp.linear1.weight", "gpt_neox.layers.5.mlp.dense_h_to_4h.weight"),
            ("9.norm.bias", "gpt_neox.final_layer_norm.bias"),
            ("10.final_linear.weight", "embed_out.weight"),
        ] {
            assert_eq!(Name::parse(neox).unwrap().hugging_face(), expected);
        }
        assert_eq!(Name::parse("word_embeddings"), None);
        assert!(!Name::parse("2.attention.rotary_emb.inv_freq").unwrap().is_trained());
    }
}
