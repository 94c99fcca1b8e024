//! Depth up-scaling (SOLAR, arXiv:2312.15166): blocks START..END are there once more, behind themselves. SOLAR's 48 of 32
//! layers, 0..24 and then 8..32, are 8..24 inserted.
use crate::checkpoint::Tensors;
use crate::model::ParamTable;
use crate::{Error, Result};
use std::borrow::Cow;
use std::fmt;

/// Which blocks.
#[derive(Clone, Copy, Debug)]
pub struct Repeat {
    /// The first, counted from 0.
    pub start: usize,
    /// The one behind the last.
    pub end: usize,
    /// Whether the inserted ones write 0 into the residual stream, so that the model computes what it did.
    pub zeroed: bool,
}

/// What a block adds to the residual stream: the products at the ends of attention and MLP, with their biases.
const OUTPUTS: [&str; 2] = ["attention.dense.", "mlp.dense_4h_to_h."];

impl Repeat {
    pub(super) fn count(&self) -> usize {
        self.end - self.start
    }

    pub(super) fn check(&self, layers: usize) -> Result<()> {
        let Self { start, end, .. } = *self;
        if start < end && end <= layers {
            return Ok(());
        }
        Err(Error::refused(format!(
            "--repeat-layers is {start}:{end}, and the model has {layers} blocks; expected START:END with START < END <= \
             {layers}, END not included"
        )))
    }

    /// The old block that a new one is, and whether it is an inserted copy.
    fn origin(&self, block: usize) -> (usize, bool) {
        let old = if block < self.end { block } else { block - self.count() };
        (old, (self.end..self.end + self.count()).contains(&block))
    }

    /// What the tensor of that name was called, and whether it is 0.
    fn source<'n>(&self, name: &'n str) -> (Cow<'n, str>, bool) {
        let prefix = "gpt_neox.layers.";
        let parts = name.strip_prefix(prefix).and_then(|rest| rest.split_once('.'));
        let Some((block, rest)) = parts.and_then(|(block, rest)| Some((block.parse().ok()?, rest))) else {
            return (name.into(), false);
        };
        let (old, copy) = self.origin(block);
        let zero = copy && self.zeroed && OUTPUTS.iter().any(|output| rest.starts_with(output));
        (format!("{prefix}{old}.{rest}").into(), zero)
    }

    /// `table` is that of the old model.
    pub(super) fn apply<'a>(self, old: Box<Tensors<'a>>, table: &'a ParamTable) -> Box<Tensors<'a>> {
        Box::new(move |param, first, values| {
            let (name, zero) = self.source(&param.name);
            if zero {
                values.fill(0.0);
                return Ok(());
            }
            old(table.find(&name).expect("blocks have the same tensors"), first, values)
        })
    }
}

impl fmt::Display for Repeat {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { start, end, zeroed } = self;
        write!(f, "blocks {start}:{end} once more behind themselves")?;
        if *zeroed { write!(f, ", their outputs 0") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solars_layers_are_the_first_24_and_the_last_24() {
        let repeat = Repeat { start: 8, end: 24, zeroed: false };
        let blocks: Vec<usize> = (0..32 + repeat.count()).map(|block| repeat.origin(block).0).collect();
        assert_eq!(blocks, (0..24).chain(8..32).collect::<Vec<_>>());
    }
}
