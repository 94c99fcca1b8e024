//! Rotary position embedding in place on the interleaved queries and keys.
use super::element::Element;
use super::math::vectorize;
use super::memory::{RowsMut, for_row_blocks};
use crate::ops::{Documents, Heads, Shape};

/// Direction of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotate {
    /// By the angle of the position.
    Forward,
    /// Back: the transpose, which is its gradient.
    Backward,
}

/// cos and sin of every position and frequency, `[positions, rotary/2]` each.
pub struct Tables {
    cos: Vec<f32>,
    sin: Vec<f32>,
    half: usize,
}

impl Tables {
    /// Angles `t·base^(-2j/rotary)`. Frequency and angle are rounded to f32 as Hugging Face does, so that long
    /// positions agree with it; cos and sin are then exact to f32.
    pub fn new(positions: usize, rotary: usize, base: f64) -> Self {
        let half = rotary / 2;
        let frequency = |j: usize| 1.0 / (base as f32).powf((2 * j) as f32 / rotary as f32);
        let angles = (0..positions).flat_map(|t| (0..half).map(move |j| t as f32 * frequency(j)));
        let (cos, sin) = angles.map(|a| ((a as f64).cos() as f32, (a as f64).sin() as f32)).unzip();
        Self { cos, sin, half }
    }

    /// cos of every position and frequency, `[positions, rotary/2]`.
    pub fn cos(&self) -> &[f32] {
        &self.cos
    }

    /// The sines of all angles, laid out as [`Tables::cos`].
    pub fn sin(&self) -> &[f32] {
        &self.sin
    }

    /// cos and sin at a position, `[rotary/2]` each.
    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }
}

/// Rotates q and k of every row; row `t` of a sequence is at position `first + t`, or counts from its document.
pub fn rotate<E: Element>(
    s: Shape,
    heads: Heads,
    tables: &Tables,
    qkv: RowsMut<E>,
    first: usize,
    documents: Documents,
) {
    if heads.rotary == 0 {
        return;
    }
    for_row_blocks([qkv], 16, |start, [block]| {
        E::edit(block, |mut block| {
            for i in 0..block.rows {
                let position = first + documents.position(start + i, (start + i) % s.time);
                rotate_row(heads, tables, position, block.row(i), Rotate::Forward);
            }
        });
    });
}

/// Rotates q and k of the heads of a row at this position.
pub fn rotate_row(heads: Heads, tables: &Tables, position: usize, row: &mut [f32], direction: Rotate) {
    let (cos, sin) = tables.at(position);
    for head in row.chunks_exact_mut(3 * heads.size) {
        let (q, k) = head[..2 * heads.size].split_at_mut(heads.size);
        vectorize(
            #[inline(always)]
            || {
                rotate_one(&mut q[..heads.rotary], cos, sin, direction);
                rotate_one(&mut k[..heads.rotary], cos, sin, direction);
            },
        );
    }
}

/// Pairs are dimension j and j + rotary/2.
#[inline(always)]
fn rotate_one(x: &mut [f32], cos: &[f32], sin: &[f32], direction: Rotate) {
    let (a, b) = x.split_at_mut(cos.len());
    let sign = if direction == Rotate::Forward { 1.0 } else { -1.0 };
    for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
        let sin = sign * sin;
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}
