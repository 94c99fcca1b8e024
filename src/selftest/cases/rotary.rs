//! The rotation of queries and keys.
use super::Case;
use crate::Result;
use crate::ops::{Heads, Shape};
use crate::reference::attention::{Dims, rotary};
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::rig::{BASE, On, Places, RowRun, draw, of};

/// Sequences, their heads, and the position of the first row.
#[derive(Clone, Copy)]
pub struct Rotary {
    /// Number and length of the sequences.
    pub s: Shape,
    /// Number and size of the heads.
    pub heads: Heads,
    /// Position of the first row of a single sequence.
    pub first: usize,
}

/// As the reference knows it.
pub fn dims(s: Shape, heads: Heads) -> Dims {
    Dims {
        batch: s.batch,
        time: s.time,
        heads: heads.count,
        size: heads.size,
        rotary: heads.rotary,
        base: BASE,
    }
}

impl Rotary {
    /// The queries, keys and values before they are rotated, `[B·T, 3C]`.
    pub fn qkv(&self) -> Vec<f32> {
        let width = dims(self.s, self.heads).width();
        draw(&mut Random::new(self.heads.rotary as u64), self.s.rows() * width, 0.0, 1.0)
    }
}

impl Case for Rotary {
    fn op(&self) -> &'static str {
        "rotary"
    }

    fn shape(&self) -> String {
        let (s, h) = (self.s, self.heads);
        let first = if self.first > 0 { format!(" from {}", self.first) } else { String::new() };
        format!("{} x {} x {} x {}, {} rotate{first}", s.batch, s.time, h.count, h.size, h.rotary)
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let mut places = Places::default();
        places.heads = Some(self.heads);
        let qkv = places.view(self.s.rows(), dims(self.s, self.heads).width());
        // Positions up to those of the rows.
        let whole = Shape { time: self.first + self.s.time, ..self.s };
        let mut rig = places.build(on, whole)?;
        rig.load()?;
        rig.write_act(qkv, &self.qkv())?;
        rig.ops().rotary(self.s, self.heads, qkv, self.first);
        let found = rig.read_act(qkv, self.s.rows())?;
        rig.finish(vec![("qkv", found)])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let d = dims(self.s, self.heads);
        let (mut naive, mut exact) = (self.qkv(), of::<f64>(&self.qkv()));
        rotary(d, &mut naive, self.first, 1.0);
        rotary(d, &mut exact, self.first, 1.0);
        vec![Expected::new("qkv", storage.stored(), d.size, naive, exact)]
    }
}
