//! A model changed without training: its tensors pass from the files of the old one to those of the new one in pieces, and
//! what is done to them is done on the way.
mod depth;
mod rows;
mod shrink;

use crate::Result;
use crate::checkpoint::Tensors;
use crate::model::{ModelConfig, ParamTable};
use serde_json::{Value, json};

pub use depth::Repeat;
pub use rows::{Rows, check_ids};
pub use shrink::Shrink;

/// What is to be done to a model, in this order.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Towards a fresh initialisation.
    pub shrink: Option<Shrink>,
    /// Blocks once more.
    pub repeat: Option<Repeat>,
    /// Another number of rows in the embedding and the output matrix.
    pub rows: Option<Rows>,
    /// Another base of the rotary frequencies.
    pub rotary_base: Option<f64>,
    /// Another longest sequence.
    pub positions: Option<usize>,
}

impl Edits {
    /// Each of them, as it is told.
    pub fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        told.extend(self.shrink.as_ref().map(Shrink::to_string));
        told.extend(self.repeat.as_ref().map(Repeat::to_string));
        told.extend(self.rows.as_ref().map(Rows::to_string));
        told.extend(self.rotary_base.map(|base| format!("rotary base {base}")));
        told.extend(self.positions.map(|positions| format!("{positions} positions")));
        told
    }

    /// The sizes of the new model.
    ///
    /// # Errors
    /// Refused where there can be no such model, or no such edit of the old one.
    pub fn config(&self, old: &ModelConfig) -> Result<ModelConfig> {
        if let Some(shrink) = &self.shrink {
            shrink.check()?;
        }
        let mut new = old.clone();
        if let Some(repeat) = &self.repeat {
            repeat.check(old.num_hidden_layers)?;
            new.num_hidden_layers += repeat.count();
        }
        new.vocab_size = self.rows.map_or(old.vocab_size, |rows| rows.count);
        new.rotary_emb_base = self.rotary_base.unwrap_or(old.rotary_emb_base);
        new.max_position_embeddings = self.positions.unwrap_or(old.max_position_embeddings);
        new.validate().map_err(|e| e.within("the edited model"))?;
        Ok(new)
    }

    /// The tensors of the new model, computed where they are read out of those of the old one. Reads embeddings that get
    /// rows once through.
    ///
    /// # Errors
    /// Those of reading.
    pub fn apply<'a>(
        &'a self,
        old: Box<Tensors<'a>>,
        config: &'a ModelConfig,
        table: &'a ParamTable,
    ) -> Result<Box<Tensors<'a>>> {
        let mut tensors = old;
        if let Some(shrink) = &self.shrink {
            tensors = shrink.apply(tensors, config);
        }
        if let Some(repeat) = &self.repeat {
            tensors = repeat.apply(tensors, table);
        }
        match &self.rows {
            Some(rows) => rows.apply(tensors, table),
            None => Ok(tensors),
        }
    }

    /// The old `config.json` with nothing left in it that contradicts the new sizes, which are written over it.
    pub fn raw_config(&self, old: &Value) -> Value {
        let mut raw = old.clone();
        if let Some(base) = self.rotary_base {
            for place in ["", "/rope_scaling", "/rope_parameters"] {
                let Some(object) = raw.pointer_mut(place).and_then(Value::as_object_mut) else { continue };
                for key in ["rope_theta", "rotary_emb_base"] {
                    object.entry(key).and_modify(|value| *value = json!(base));
                }
            }
        }
        raw
    }
}
