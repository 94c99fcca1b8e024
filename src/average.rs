//! Averages of checkpoints, which do what a decay of the learning rate does (papers: arXiv:2511.18903 for constant
//! rates and sorted data, LAWA arXiv:2209.14981).
//!
//! With checkpoints `θ₀ … θ_k` and weights `c_j` that sum to 1, the update between `θ_{i−1}` and `θ_i` counts
//! `w_i = Σ_{j≥i} c_j`: a uniform average is a linear decay, and any decay is an average.
//!
//! The same sum with weights of one's own is WiSE-FT (arXiv:2109.01903), and with 1 and −1 arithmetic of tasks
//! (arXiv:2212.04089), of which an instruction residual (arXiv:2410.10739) is one.
use crate::checkpoint::HfModel;
use crate::data::TextTokenizer;
use crate::model::{ModelConfig, Param, ParamTable};
use crate::schedule::Curve;
use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// How much each checkpoint counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Method {
    /// All checkpoints count the same.
    Sma,
    /// In proportion to its place: 1, 2, …, the newest most.
    Wma,
    /// `M ← α·θ + (1 − α)·M` from the oldest on.
    Ema {
        /// Share of the newest.
        alpha: f64,
    },
    /// As if the rate had decayed between them, from its height at the oldest to nothing behind the newest.
    Decay(Curve),
}

impl Method {
    /// The weights of `count` checkpoints, oldest first; their sum is 1.
    pub fn weights(self, count: usize) -> Vec<f64> {
        let last = count - 1;
        match self {
            Self::Sma => vec![1.0 / count as f64; count],
            Self::Wma => {
                let total = (count * (count + 1)) as f64 / 2.0;
                (1..=count).map(|place| place as f64 / total).collect()
            }
            Self::Ema { alpha } => (0..count)
                .map(|i| if i == 0 { 1.0 } else { alpha } * (1.0 - alpha).powi((last - i) as i32))
                .collect(),
            Self::Decay(curve) => {
                // The share of the rate at the i-th of `last` updates; nothing behind the last.
                let share = |i: usize| curve.rate(i as f64, count as f64, 1.0, 0.0);
                (0..count).map(|i| share(i) - if i == last { 0.0 } else { share(i + 1) }).collect()
            }
        }
    }
}

/// The weighted sum of models of the same sizes, in f64 and in their order, rounded once, as tensors that are computed where
/// they are read. A model of weight 0 is not read, so one of weight 1 that is alone comes out with its bits.
///
/// # Errors
/// Refused when a model's files do not hold the tensors of `table`.
pub fn average<'a>(
    models: &'a [HfModel],
    weights: &'a [f64],
    table: &ParamTable,
) -> Result<impl Fn(&Param, usize, &mut [f32]) -> Result<()> + Sync + use<'a>> {
    assert_eq!(models.len(), weights.len(), "a weight for each");
    let models = models.iter().map(|model| model.open_tensors(table)).collect::<Result<Vec<_>>>()?;
    Ok(move |param: &Param, first: usize, values: &mut [f32]| {
        // −0, which leaves the sign of a zero alone.
        let mut sums = vec![-0.0; values.len()];
        for (model, weight) in models.iter().zip(weights).filter(|(_, weight)| **weight != 0.0) {
            model(param, first, values)?;
            sums.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32);
        Ok(())
    })
}

/// Refuses models that are not of the same sizes and constants as the first, naming both and what differs.
pub fn check_same(models: &[HfModel], names: &[String]) -> Result<()> {
    let all: Vec<Map<String, Value>> = models.iter().map(|model| constants(&model.config)).collect();
    for (other, name) in all.iter().zip(names) {
        let differs = all[0].iter().filter(|(key, value)| other.get(*key) != Some(value));
        let told: Vec<String> =
            differs.map(|(key, value)| format!("{key} is {} and {value}", other[key])).collect();
        if !told.is_empty() {
            return Err(Error::refused(format!(
                "{name} is a model of other sizes than {}: {}; only weights of one kind of model are added up",
                names[0],
                told.join(", ")
            )));
        }
    }
    Ok(())
}

/// What a model is computed by: all of its configuration but names of tokens and how it began.
fn constants(config: &ModelConfig) -> Map<String, Value> {
    let mut all = match serde_json::to_value(config) {
        Ok(Value::Object(all)) => all,
        _ => unreachable!("a configuration is an object"),
    };
    ["bos_token_id", "eos_token_id", "initializer_range"].iter().for_each(|key| drop(all.remove(*key)));
    all
}

/// Refuses models whose tokenizers give one id to different tokens. Tokens that only one of them has are no contradiction:
/// a model of instructions has more of them than what it was made of.
pub fn check_tokenizers(dirs: &[&Path], names: &[String]) -> Result<()> {
    let mut first: Option<(TextTokenizer, &String)> = None;
    for (dir, name) in dirs.iter().zip(names) {
        let path = dir.join("tokenizer.json");
        if !path.exists() {
            continue;
        }
        let json = std::fs::read(&path).map_err(Error::input("read", &path))?;
        let Some((known, of)) = &first else {
            first = Some((TextTokenizer::from_file(&path, json)?, name));
            continue;
        };
        if json == known.json() {
            continue;
        }
        if let Some((id, [before, here])) = known.conflict(&TextTokenizer::from_file(&path, json)?) {
            return Err(Error::refused(format!(
                "{of} and {name} are of different vocabularies: id {id} is {before:?} in the one and {here:?} in the other; \
                 only weights of one vocabulary are added up"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSINE: Curve = Curve::Cosine { theta: 1.0, cycles: 0.5 };

    #[test]
    fn weights_sum_to_one() {
        let methods = [
            Method::Sma,
            Method::Wma,
            Method::Ema { alpha: 0.2 },
            Method::Decay(Curve::OneMinusSqrt),
            Method::Decay(COSINE),
        ];
        for method in methods {
            for count in 1..20 {
                let weights = method.weights(count);
                assert!(
                    (weights.iter().sum::<f64>() - 1.0).abs() < 1e-12 && weights.len() == count,
                    "{method:?}"
                );
                assert!(weights.iter().all(|weight| *weight >= 0.0), "{method:?} {weights:?}");
            }
        }
    }

    #[test]
    fn an_ema_is_the_recursion() {
        let thetas = [3.0, -1.0, 4.0, 1.0, 5.0];
        let recursive = thetas[1..].iter().fold(thetas[0], |mean, theta| 0.2 * theta + 0.8 * mean);
        let weights = Method::Ema { alpha: 0.2 }.weights(5);
        let direct: f64 = weights.iter().zip(thetas).map(|(weight, theta)| weight * theta).sum();
        assert!((direct - recursive).abs() < 1e-12);
    }

    /// Plain gradient descent on constant gradients: averaging its checkpoints ends where a decayed rate ends.
    #[test]
    fn an_average_ends_where_the_decay_ends() {
        let gradients = [0.3, -1.2, 0.7, 2.0, -0.4, 1.1];
        let count = gradients.len() + 1;
        let mut thetas = vec![10.0];
        for (i, gradient) in gradients.iter().enumerate() {
            thetas.push(thetas[i] - gradient);
        }
        for (curve, share) in [
            (Curve::Linear, (|r| 1.0 - r) as fn(f64) -> f64),
            (Curve::OneMinusSqrt, |r| 1.0 - r.sqrt()),
            (COSINE, |r| 0.5 + 0.5 * (std::f64::consts::PI * r).cos()),
        ] {
            let decayed = gradients
                .iter()
                .zip(1..)
                .fold(10.0, |theta, (gradient, i)| theta - share(f64::from(i) / count as f64) * gradient);
            let weights = Method::Decay(curve).weights(count);
            let mean: f64 = weights.iter().zip(&thetas).map(|(weight, theta)| weight * theta).sum();
            assert!((mean - decayed).abs() < 1e-12, "{curve:?}: {mean} {decayed}");
        }
        let (uniform, linear) = (Method::Sma.weights(count), Method::Decay(Curve::Linear).weights(count));
        assert!(uniform.iter().zip(linear).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}
