//! Excess kurtosis of the residual stream, by which channels that stand out are seen: `m₄/m₂² − 3` over the channels of a
//! token, with moments about their mean, averaged over tokens. 0 for a normal distribution, about C where one of C channels
//! outweighs all others. As a measure of outliers: Bondarenko et al. 2023, arXiv:2306.12929; Park et al. 2025, arXiv:2506.19697.
use super::evaluate::Evaluation;
use crate::Result;
use crate::model::{Model, Workspace};
use crate::ops::{Act, Backend};
use rayon::prelude::*;
use serde::Serialize;

/// Of the stream where it goes into the blocks and into the norm in front of the head.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kurtosis {
    /// Of the input of every block.
    pub blocks: Vec<f64>,
    /// Of the input of the final norm.
    pub final_norm: f64,
}

impl Kurtosis {
    /// Of a few windows of a set, the same ones each time, with the present weights. A workspace of training keeps the
    /// stream of every block.
    pub fn measure(set: &Evaluation, model: &Model, ops: &mut dyn Backend, ws: &Workspace) -> Result<Self> {
        let last = ws.layers.last().map(|layer| layer.next);
        let streams: Vec<Act> = ws.layers.iter().map(|layer| layer.x).chain(last).collect();
        let mut means = vec![Mean::default(); streams.len()];
        set.sample(model, ops, ws, &mut |ops, rows| {
            for (stream, mean) in streams.iter().zip(&mut means) {
                mean.add(&ops.read_act(*stream, rows)?, stream.cols);
            }
            Ok(())
        })?;
        let mut blocks: Vec<f64> = means.into_iter().map(Mean::value).collect();
        let final_norm = blocks.pop().expect("there is a stream behind the last block");
        Ok(Self { blocks, final_norm })
    }

    /// The largest, and where it is, for a person. What is not a number is larger than all others.
    pub fn largest(&self) -> (f64, String) {
        let places = (0..self.blocks.len()).map(|i| format!("block {i}")).chain(["final norm".into()]);
        let values = self.blocks.iter().copied().chain([self.final_norm]);
        let rank = |value: f64| if value.is_nan() { f64::INFINITY } else { value };
        values.zip(places).max_by(|a, b| rank(a.0).total_cmp(&rank(b.0))).expect("a model has a final norm")
    }
}

/// A mean over tokens, in their order.
#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    tokens: u64,
}

impl Mean {
    /// Adds rows of `cols` channels.
    fn add(&mut self, rows: &[f32], cols: usize) {
        let of_rows: Vec<Option<f64>> = rows.par_chunks_exact(cols).map(of_token).collect();
        for kurtosis in of_rows.into_iter().flatten() {
            self.sum += kurtosis;
            self.tokens += 1;
        }
    }

    fn value(self) -> f64 {
        self.sum / self.tokens as f64
    }
}

/// Of the channels of one token; none where all are equal, as in the row of a token that was never trained.
fn of_token(x: &[f32]) -> Option<f64> {
    let n = x.len() as f64;
    let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
    let (mut second, mut fourth) = (0.0, 0.0);
    for x in x {
        let square = (f64::from(*x) - mean).powi(2);
        second += square;
        fourth += square * square;
    }
    (second != 0.0).then(|| n * fourth / (second * second) - 3.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::random::Random;

    /// 0 and 1 half and half have the least that there is, −2; one of n channels alone n + 1/(n − 1) − 5; many draws of a
    /// normal distribution nearly 0, with deviation √(24/n).
    #[test]
    fn figures_of_known_distributions() {
        let halves: Vec<f32> = (0..64).map(|i| (i % 2) as f32).collect();
        assert_eq!(of_token(&halves), Some(-2.0));
        let mut one = vec![0.25; 64];
        one[7] = 1000.0;
        let alone = of_token(&one).unwrap();
        assert!((alone - (64.0 + 1.0 / 63.0 - 5.0)).abs() < 1e-9, "{alone}");
        let normal: Vec<f32> = Random::new(3).normals(60_000, 5.0, 2.0);
        let found = of_token(&normal).unwrap();
        assert!(found.abs() < 5.0 * (24.0f64 / 60_000.0).sqrt(), "{found}");
        assert_eq!(of_token(&[3.5; 64]), None);
        assert!(of_token(&[f32::INFINITY, 1.0]).unwrap().is_nan());
    }

    #[test]
    fn tokens_count_alike_and_those_without_a_figure_not_at_all() {
        let mut mean = Mean::default();
        mean.add(&[0.0, 1.0, 0.0, 1.0, 7.0, 7.0, 7.0, 7.0, 0.0, 0.0, 0.0, 1.0], 4);
        let alone = 4.0 + 1.0 / 3.0 - 5.0;
        assert!((mean.value() - (alone - 2.0) / 2.0).abs() < 1e-15 && mean.tokens == 2, "{}", mean.value());
    }

    #[test]
    fn the_largest_is_named() {
        let found = Kurtosis { blocks: vec![1.0, 7.5, -1.0], final_norm: 7.0 };
        assert_eq!(found.largest(), (7.5, "block 1".into()));
        assert_eq!(Kurtosis { final_norm: 8.0, ..found.clone() }.largest().1, "final norm");
        assert_eq!(Kurtosis { blocks: vec![9.0, -f64::NAN], ..found }.largest().1, "block 1");
    }
}
