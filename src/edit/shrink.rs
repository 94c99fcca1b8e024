//! Shrink and perturb (Ash & Adams 2020, arXiv:1910.08475): `θ ← λ·θ + p·θ'`, where θ' is a fresh initialisation of the same
//! model. Matrices and biases, whose initialisation is 0; the paper has every parameter, and with `norms` so does this.
use crate::checkpoint::Tensors;
use crate::model::{Init, ModelConfig, draw_initial};
use crate::{Error, Result};
use std::fmt;

/// How far towards which initialisation.
#[derive(Clone, Copy, Debug)]
pub struct Shrink {
    /// λ, what is left of the weights.
    pub lambda: f64,
    /// p, how much of the initialisation is added.
    pub perturb: f64,
    /// How the fresh model starts.
    pub init: Init,
    /// Its seed.
    pub seed: u64,
    /// Whether gains and biases of norms are changed, too.
    pub norms: bool,
}

impl Shrink {
    pub(super) fn check(&self) -> Result<()> {
        check_share("shrink", self.lambda)?;
        check_share("perturb", self.perturb)
    }

    /// Sums in f64, rounded once. Without a share of the initialisation none is drawn: λ = 1 leaves all bits.
    pub(super) fn apply<'a>(self, old: Box<Tensors<'a>>, config: &'a ModelConfig) -> Box<Tensors<'a>> {
        let Self { lambda, perturb, .. } = self;
        Box::new(move |param, first, values| {
            old(param, first, values)?;
            if !self.norms && param.name.contains("norm.") {
                return Ok(());
            }
            if perturb == 0.0 {
                values.iter_mut().for_each(|value| *value = (lambda * f64::from(*value)) as f32);
                return Ok(());
            }
            let mut fresh = vec![0.0; values.len()];
            draw_initial(config, param, self.init, self.seed, first, &mut fresh);
            for (value, fresh) in values.iter_mut().zip(fresh) {
                *value = (lambda * f64::from(*value) + perturb * f64::from(fresh)) as f32;
            }
            Ok(())
        })
    }
}

impl fmt::Display for Shrink {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { lambda, perturb, init, seed, norms } = self;
        let norms = if *norms { "norms too" } else { "norms left alone" };
        write!(f, "{lambda} of the weights + {perturb} of an initialisation ({init}, seed {seed}), {norms}")
    }
}

/// Refuses a number that is below 0, infinite or none.
fn check_share(name: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(Error::refused(format!("--{name} is {value}; it must be a number of 0 or more")))
}
