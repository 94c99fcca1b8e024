//! Averages of checkpoints, which do what a decay of the learning rate does (papers: arXiv:2511.18903 for constant
//! rates and sorted data, LAWA arXiv:2209.14981).
//!
//! With checkpoints `θ₀ … θ_k` and weights `c_j` that sum to 1, the update between `θ_{i−1}` and `θ_i` counts
//! `w_i = Σ_{j≥i} c_j`: a uniform average is a linear decay, and any decay is an average.
use crate::checkpoint::HfModel;
use crate::model::{Param, ParamTable};
use crate::schedule::Curve;
use crate::{Error, Result};

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

/// The weighted sum of models of the same sizes, in f64, as tensors that are computed where they are read.
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
        let mut sums = vec![0.0; values.len()];
        for (model, weight) in models.iter().zip(weights) {
            model(param, first, values)?;
            sums.iter_mut().zip(&*values).for_each(|(sum, value)| *sum += weight * f64::from(*value));
        }
        values.iter_mut().zip(sums).for_each(|(value, sum)| *value = sum as f32);
        Ok(())
    })
}

/// Refuses models that are not of the same sizes as the first.
pub fn check_same(models: &[HfModel], names: &[String]) -> Result<()> {
    match models.iter().zip(names).find(|(model, _)| model.config != models[0].config) {
        None => Ok(()),
        Some((_, name)) => Err(Error::refused(format!(
            "{name} is a model of other sizes than {}; only checkpoints of one model have an average",
            names[0]
        ))),
    }
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
