//! Initial weights, a pure function of the seed and the tensor's name.
use super::{ModelConfig, Param, ParamTable};
use crate::Result;
use crate::ops::{HostState, Part, State};
use crate::random::{BLOCK, draw_normal_from};
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How matrices start; biases are 0 and LayerNorm weights 1 either way.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Display, EnumString, VariantNames,
)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Init {
    /// small_init σ = √(2/(5C)), and wang_init σ = 2/(L·√C) for the two output matrices of a block, as Pythia
    /// up to 2.8B (Nguyen & Salazar 2019; GPT-NeoX `init_methods.py`).
    #[default]
    Small,
    /// Every matrix from N(0, `initializer_range`²).
    Normal,
}

impl Init {
    /// σ of a matrix.
    fn sigma(self, config: &ModelConfig, name: &str) -> f64 {
        let c = config.hidden_size as f64;
        match self {
            Init::Normal => config.initializer_range,
            Init::Small
                if name.ends_with("attention.dense.weight") || name.ends_with("dense_4h_to_h.weight") =>
            {
                2.0 / (config.num_hidden_layers as f64 * c.sqrt())
            }
            Init::Small => (2.0 / (5.0 * c)).sqrt(),
        }
    }
}

/// Elements drawn at a time.
const PIECE: usize = 256 * BLOCK;

/// The initial values of a tensor from row-major index `first` on.
pub fn draw_initial(
    config: &ModelConfig,
    param: &Param,
    init: Init,
    seed: u64,
    first: usize,
    values: &mut [f32],
) {
    if param.shape.len() == 2 {
        let key = xxh3_64_with_seed(param.name.as_bytes(), seed);
        draw_normal_from(values, first, init.sigma(config, &param.name), key);
    } else {
        values.fill(if param.name.ends_with("norm.weight") { 1.0 } else { 0.0 });
    }
}

/// Fills the weights of `into`, piece by piece.
pub fn initialize(
    config: &ModelConfig,
    table: &ParamTable,
    init: Init,
    seed: u64,
    into: &mut dyn State,
) -> Result<()> {
    for param in &table.params {
        let all = param.place.elements();
        for first in (0..all).step_by(PIECE) {
            let mut values = vec![0.0; PIECE.min(all - first)];
            draw_initial(config, param, init, seed, first, &mut values);
            into.write_state(Part::Weights, param.place, first, &values)?;
        }
    }
    Ok(())
}

/// The flat buffer that [`initialize`] fills, on the host.
pub fn initial_weights(config: &ModelConfig, table: &ParamTable, init: Init, seed: u64) -> Vec<f32> {
    let mut all = HostState::of_weights(vec![0.0; table.total]);
    initialize(config, table, init, seed, &mut all).expect("the host takes all values");
    all.w
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preset;

    #[test]
    fn initial_weights_have_the_stated_deviation_and_depend_on_the_seed_alone() {
        let mut config = preset("pythia-14m").unwrap();
        config.vocab_size = 1024;
        let table = ParamTable::new(&config);
        let draw = |init, seed| initial_weights(&config, &table, init, seed);
        let w = draw(Init::Small, 1);
        assert_eq!(w, draw(Init::Small, 1));
        assert_ne!(w, draw(Init::Small, 2));
        let sigma = |name: &str, w: &[f32]| {
            let x = table.find(name).unwrap().gather(w);
            (x.iter().map(|&x| (x as f64).powi(2)).sum::<f64>() / x.len() as f64).sqrt()
        };
        // small_init √(2/5d) = 0.05590 and wang_init 2/(L√d) = 0.029463 at 14M (d = 128, L = 6).
        assert!((sigma("gpt_neox.embed_in.weight", &w) / 0.05590 - 1.0).abs() < 0.01);
        assert!((sigma("gpt_neox.layers.3.mlp.dense_4h_to_h.weight", &w) / 0.029463 - 1.0).abs() < 0.01);
        assert!((sigma("embed_out.weight", &draw(Init::Normal, 1)) / 0.02 - 1.0).abs() < 0.01);
        assert_eq!(sigma("gpt_neox.layers.0.input_layernorm.weight", &w), 1.0);
        assert_eq!(sigma("gpt_neox.layers.0.mlp.dense_h_to_4h.bias", &w), 0.0);
    }
}
