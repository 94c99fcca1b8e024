//! What one optimizer step keeps on a device: mirrors `kernels/step.h`.
use crate::ops::{AdamParam, Matrix};
use crate::{Error, Result};
use bytemuck::{Pod, Zeroable};

/// Groups of four elements in a tile of `adamw`.
const QUADS: usize = 2048;

/// The numbers of a step. The host writes the fields up to `step` before each; `adamw_step` the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepRecord {
    /// Learning rate before the multipliers of the tensors.
    pub rate: f64,
    /// β₁ and β₂, the decays of the two moments.
    pub betas: [f64; 2],
    /// ε, added after the square root.
    pub eps: f64,
    /// Largest global norm of the gradients; 0 switches clipping off.
    pub clip: f64,
    /// Factors on the decay of tensors, and of those whose decay follows the rate.
    pub decay_scale: [f64; 2],
    /// Key of the step's random numbers.
    pub seed: u64,
    /// Attempted steps: part of the counter of the random numbers.
    pub step: u64,
    /// Global norm before clipping.
    pub norm: f64,
    /// Sum of the absolute values of the gradients before clipping.
    pub abs_sum: f64,
    /// Factor on every gradient.
    pub clip_factor: f64,
    /// `1 / (1 - β₁^applied)` and `1 / √(1 - β₂^applied)`.
    pub corrections: [f64; 2],
    /// Updates that were not skipped, this one included; the first value comes from a checkpoint.
    pub applied: u64,
    /// 1 where the norm is not finite: the update changes nothing.
    pub skip: i32,
    /// Fills the record up to a multiple of 8 bytes; always 0.
    pub reserved: i32,
}

/// A tensor of the flat buffers.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct AdamSegment {
    offset: i64,
    ld: i64,
    master: i64,
    rows: i32,
    cols: i32,
    rate_multiplier: f64,
    weight_decay: f64,
    decay_follows_rate: i32,
    reserved: i32,
}

/// The work of one block.
#[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct AdamTile {
    segment: i32,
    index: i32,
}

/// The tables of an update; a grid has a block per tile.
pub struct AdamTables {
    /// A segment for each tensor, in the order of the flat buffers.
    pub segments: Vec<AdamSegment>,
    /// Those of trained tensors, then those of frozen ones.
    pub tiles: Vec<AdamTile>,
    /// How many are of trained tensors.
    pub trained: usize,
}

/// The tables of an update of `params`. `master` says where in w32 the master weights of a tensor begin; those without
/// any are rounded stochastically.
pub fn adam_tables(params: &[AdamParam], master: impl Fn(Matrix) -> Option<usize>) -> Result<AdamTables> {
    let (mut segments, mut tiles, mut frozen) = (Vec::new(), Vec::new(), Vec::new());
    for p in params {
        let m = p.place;
        let (rows, cols) = if m.ld == m.cols { (1, m.rows * m.cols) } else { (m.rows, m.cols) };
        if m.offset % 4 != 0 || (rows > 1 && m.ld % 4 != 0) {
            let message = format!("{m:?}: rows must start at multiples of 4 elements");
            return Err(Error::refused(message));
        }
        let fits =
            |n: usize| i32::try_from(n).map_err(|_| Error::refused(format!("{m:?}: too large a tensor")));
        let segment = fits(segments.len())?;
        segments.push(AdamSegment {
            offset: m.offset as i64,
            ld: m.ld as i64,
            master: master(m).map_or(-1, |at| at as i64),
            rows: fits(rows)?,
            cols: fits(cols)?,
            rate_multiplier: p.lr_mult,
            weight_decay: p.weight_decay,
            decay_follows_rate: i32::from(p.decay_follows_rate),
            reserved: 0,
        });
        let count = (rows * cols.div_ceil(4)).div_ceil(QUADS);
        let list = if p.is_frozen() { &mut frozen } else { &mut tiles };
        list.extend((0..fits(count)?).map(|index| AdamTile { segment, index }));
    }
    let trained = tiles.len();
    tiles.append(&mut frozen);
    Ok(AdamTables { segments, tiles, trained })
}
