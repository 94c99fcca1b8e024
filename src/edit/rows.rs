//! Another number of rows in the embedding and the output matrix: the last ones go, or new ones come behind them.
//!
//! A new row is the mean of the old rows of its matrix plus normal noise, a tenth of the standard deviation of their elements
//! about that mean: near nothing that a token means, and no two the same.
use crate::checkpoint::Tensors;
use crate::data::TextTokenizer;
use crate::model::{ModelConfig, Param, ParamTable};
use crate::ops::draw_in_order;
use crate::random::draw_normal_from;
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Standard deviation of the noise, in those of the old elements.
const NOISE: f64 = 0.1;

/// How many rows, and the seed of new ones.
#[derive(Clone, Copy, Debug)]
pub struct Rows {
    /// Rows of the new model's vocabulary.
    pub count: usize,
    /// Of the noise.
    pub seed: u64,
}

/// What new rows of a matrix are drawn from.
struct Fresh {
    /// Of the old rows, `[C]`.
    mean: Vec<f64>,
    sigma: f64,
    key: u64,
}

impl Fresh {
    /// From the whole of a matrix `[V, C]`, in its order.
    fn of(old: &Tensors, param: &Param, seed: u64) -> Result<Self> {
        let (rows, cols) = (param.place.rows as f64, param.place.cols);
        let (mut sums, mut squares) = (vec![0.0; cols], 0.0);
        let source = |first: usize, values: &mut [f32]| old(param, first, values);
        draw_in_order(&source, param.place.elements(), |first, values| {
            for (i, value) in (first..).zip(values) {
                let value = f64::from(*value);
                sums[i % cols] += value;
                squares += value * value;
            }
            Ok(())
        })?;
        let mean: Vec<f64> = sums.iter().map(|sum| sum / rows).collect();
        let of_means: f64 = mean.iter().map(|mean| mean * mean).sum();
        let variance = (squares / rows - of_means) / cols as f64;
        let key = xxh3_64_with_seed(format!("new rows of {}", param.name).as_bytes(), seed);
        Ok(Self { mean, sigma: NOISE * variance.max(0.0).sqrt(), key })
    }

    /// Elements of the new rows, from index `first` of the first of them on.
    fn draw(&self, first: usize, values: &mut [f32]) {
        draw_normal_from(values, first, self.sigma, self.key);
        for (i, value) in (first..).zip(values) {
            *value = (self.mean[i % self.mean.len()] + f64::from(*value)) as f32;
        }
    }
}

impl Rows {
    /// `table` is that of the model before, whose matrices are read once through where they get rows.
    pub(super) fn apply<'a>(self, old: Box<Tensors<'a>>, table: &ParamTable) -> Result<Box<Tensors<'a>>> {
        if self.count <= table.embed.rows {
            // A matrix without its last rows is its beginning.
            return Ok(old);
        }
        let places = [table.embed.offset, table.head.offset];
        let of_tokens = table.params.iter().filter(|param| places.contains(&param.place.offset));
        let fresh: BTreeMap<String, Fresh> = of_tokens
            .map(|param| Ok((param.name.clone(), Fresh::of(&*old, param, self.seed)?)))
            .collect::<Result<_>>()?;
        let kept = table.embed.elements();
        Ok(Box::new(move |param, first, values| {
            let Some(fresh) = fresh.get(&param.name) else { return old(param, first, values) };
            let (before, behind) = values.split_at_mut(kept.saturating_sub(first).min(values.len()));
            if !before.is_empty() {
                old(param, first, before)?;
            }
            fresh.draw((first + before.len()).saturating_sub(kept), behind);
            Ok(())
        }))
    }
}

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} rows of vocabulary (new ones: seed {})", self.count, self.seed)
    }
}

/// Refuses a vocabulary without ids that the tokenizer gives or that `config.json` names.
pub fn check_ids(rows: usize, config: &ModelConfig, tokenizer: Option<&TextTokenizer>) -> Result<()> {
    if let Some(tokenizer) = tokenizer.filter(|tokenizer| tokenizer.vocab_size() as usize > rows) {
        return Err(Error::refused(format!(
            "--vocab is {rows}, and {} has ids up to {}; expected {} rows or more",
            tokenizer.name(),
            tokenizer.vocab_size() - 1,
            tokenizer.vocab_size()
        )));
    }
    let named = config.eos_token_id.as_slice().iter().chain(&config.bos_token_id);
    match named.filter(|id| **id as usize >= rows && (**id as usize) < config.vocab_size).max() {
        None => Ok(()),
        Some(id) => Err(Error::refused(format!(
            "--vocab is {rows}, and config.json names id {id} as an end or a beginning of texts; expected {} rows or more",
            id + 1
        ))),
    }
}
