//! Attention: forward, backward, and one query against a cache.
use super::Case;
use super::rotary::dims;
use crate::Result;
use crate::ops::{Documents, Heads, Inputs, Shape, attention as cut};
use crate::reference::Float;
use crate::reference::attention::{Dims, attend, attention, attention_bwd, rotary};
use crate::reference::measure::Stored::Approximate;
use crate::reference::random::Random;
use crate::selftest::judge::{Activations, Expected};
use crate::selftest::naive;
use crate::selftest::rig::{On, Places, Rig, RowRun, both, draw, of};
use std::ops::Range;

/// Causal attention of whole sequences.
#[derive(Clone, Copy)]
pub struct Attention {
    /// Number and length of the sequences.
    pub s: Shape,
    /// Number and size of the heads.
    pub heads: Heads,
    /// Lengths of the documents of each sequence, which are isolated, and from whose starts positions count; empty where a
    /// sequence is one.
    pub documents: &'static [usize],
    /// Whether the kernel is the one for devices with more shared memory than the smallest.
    pub wide: bool,
}

/// Its gradient, rotated back.
#[derive(Clone, Copy)]
pub struct AttentionBackward(pub Attention);

/// The last query of a single sequence.
#[derive(Clone, Copy)]
pub struct Decode(pub Attention);

impl Attention {
    fn dims(&self) -> Dims {
        dims(self.s, self.heads)
    }

    fn channels(&self) -> usize {
        self.heads.count * self.heads.size
    }

    /// qkv and the gradient of the output.
    fn inputs(&self) -> [Vec<f32>; 2] {
        let mut random = Random::new((self.s.time + self.heads.size) as u64);
        [3, 1].map(|parts| draw(&mut random, self.s.rows() * parts * self.channels(), 0.0, 1.0))
    }

    fn text(&self) -> String {
        let (s, h) = (self.s, self.heads);
        let wide = if self.wide { ", wide" } else { "" };
        let documents = if self.documents.is_empty() { "" } else { ", documents" };
        format!("{} x {} x {} x {}{documents}{wide}", s.batch, s.time, h.count, h.size)
    }

    /// Rows that attend to each other, and their sizes: sequences together, documents one by one.
    fn parts(&self) -> Vec<(Dims, Range<usize>)> {
        if self.documents.is_empty() {
            return vec![(self.dims(), 0..self.s.rows())];
        }
        let mut start = 0;
        let lengths = self.documents.iter().cycle().take(self.s.batch * self.documents.len());
        let part = |&time: &usize| {
            start += time;
            (Dims { batch: 1, time, ..self.dims() }, start - time..start)
        };
        lengths.map(part).collect()
    }

    /// Tells the backend where documents start.
    fn set_documents(&self, rig: &mut Rig) {
        if self.documents.is_empty() {
            return;
        }
        let start = |rows: &Range<usize>| (rows.start % self.s.time) as i32;
        let starts = |(_, rows): &(Dims, Range<usize>)| vec![start(rows); rows.len()];
        let starts: Vec<i32> = self.parts().iter().flat_map(starts).collect();
        let documents = Documents { starts: &starts, isolate: true, reset: true };
        let nothing = vec![0; starts.len()];
        rig.set_inputs(Inputs { documents, ..Inputs::new(&nothing, &nothing, 0.0) });
    }

    /// `out` and log-sum-exp of all rows, `of` the rows that attend to each other.
    fn forward<T: Float>(&self, qkv: &[T], of: impl Fn(Dims, &[T]) -> (Vec<T>, Vec<T>)) -> (Vec<T>, Vec<T>) {
        let (mut out, mut lse) = (Vec::new(), Vec::new());
        for (d, rows) in self.parts() {
            let (o, l) = of(d, &qkv[rows.start * d.width()..rows.end * d.width()]);
            out.extend(o);
            lse.extend(l);
        }
        (out, lse)
    }

    /// `dqkv` of all rows, likewise, from qkv, `out`, log-sum-exp and `dout`.
    fn backward<T: Float>(&self, given: [&[T]; 4], of: impl Fn(Dims, [&[T]; 4]) -> Vec<T>) -> Vec<T> {
        let parts = self.parts().into_iter().flat_map(|(d, rows)| {
            let widths = [d.width(), self.channels(), d.heads, self.channels()];
            let part = |i: usize| &given[i][rows.start * widths[i]..rows.end * widths[i]];
            of(d, std::array::from_fn(part))
        });
        parts.collect()
    }

    /// With the kernel that `shared_bytes` of [`Attention::room`] chooses.
    fn build(&self, mut places: Places, on: On, shared_bytes: usize) -> Result<Rig> {
        places.heads = Some(self.heads);
        let mut rig = places.build(on, self.s)?;
        if let Some(gpu) = rig.gpu() {
            gpu.assume_shared_bytes(shared_bytes)?;
        }
        rig.load()?;
        Ok(rig)
    }

    /// What `cut` is given for the wide kernel or the other one.
    fn room(&self) -> usize {
        if self.wide { usize::MAX } else { 0 }
    }

    /// `[R, H]` as `[B, H, T]`: the relative error of one logarithm near 0 is a lottery, of a sequence's it is not.
    fn by_head<T: Copy>(&self, x: &[T]) -> Vec<T> {
        let (t, h) = (self.s.time, self.heads.count);
        (0..x.len()).map(|i| x[(i / t / h * t + i % t) * h + i / t % h]).collect()
    }
}

impl Case for Attention {
    fn op(&self) -> &'static str {
        "attention"
    }

    fn shape(&self) -> String {
        self.text()
    }

    fn large(&self) -> bool {
        self.s.time >= 2048
    }

    fn optional(&self) -> bool {
        self.wide
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (rows, [values, _]) = (self.s.rows(), self.inputs());
        let mut places = Places::default();
        let (qkv, out) = (places.view(rows, 3 * self.channels()), places.view(rows, self.channels()));
        let lse = places.stat(rows, self.heads.count);
        let room = cut::forward(self.heads.size, self.room()).shared_bytes;
        let mut rig = self.build(places, on, room)?;
        self.set_documents(&mut rig);
        rig.write_act(qkv, &values)?;
        rig.ops().attention(self.s, self.heads, qkv, out, lse);
        let (out, lse) = (rig.read_act(out, rows)?, rig.read_stat(lse, rows)?);
        rig.finish(vec![("out", out), ("lse", self.by_head(&lse))])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (d, [qkv, _]) = (self.dims(), self.inputs());
        let exact = || self.forward(&of::<f64>(&qkv), |d, qkv| attention(d, qkv, 0));
        let (naive, exact) = both(|| naive_forward(self, &qkv, storage), exact);
        let lse = (self.by_head(&naive.1), self.by_head(&exact.1));
        vec![
            Expected::new("out", storage.stored(), d.size, naive.0, exact.0),
            Expected::new("lse", Approximate, self.s.time, lse.0, lse.1),
        ]
    }
}

/// By a device's rounding points, or by none.
fn naive_forward(case: &Attention, qkv: &[f32], storage: Activations) -> (Vec<f32>, Vec<f32>) {
    case.forward(qkv, |d, qkv| match storage {
        Activations::F32 => attention(d, qkv, 0),
        Activations::Bf16 => naive::forward(d, qkv),
    })
}

/// Gradient of qkv before the rotation.
fn rotated_back<T: Float>(d: Dims, [qkv, out, lse, dout]: [&[T]; 4]) -> Vec<T> {
    let mut dqkv = attention_bwd(d, qkv, out, lse, dout);
    rotary(d, &mut dqkv, 0, -1.0);
    dqkv
}

const PARTS: [&str; 3] = ["dq", "dk", "dv"];

/// One of the three of every head.
fn part<T: Copy>(dqkv: &[T], size: usize, part: usize) -> Vec<T> {
    dqkv.chunks(size).skip(part).step_by(3).flatten().copied().collect()
}

impl Case for AttentionBackward {
    fn op(&self) -> &'static str {
        "attention_bwd"
    }

    fn shape(&self) -> String {
        self.0.text()
    }

    fn large(&self) -> bool {
        self.0.large()
    }

    fn optional(&self) -> bool {
        self.0.wide
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (case, [values, gradient]) = (self.0, self.0.inputs());
        let (rows, c) = (case.s.rows(), case.channels());
        let mut places = Places::default();
        let (qkv, dqkv) = (places.view(rows, 3 * c), places.view(rows, 3 * c));
        let (out, dout, lse) =
            (places.view(rows, c), places.view(rows, c), places.stat(rows, case.heads.count));
        let room = cut::backward(case.heads.size, case.room()).shared_bytes;
        let (outs, sums) = naive_forward(&case, &values, on.storage());
        let mut rig = case.build(places, on, room)?;
        case.set_documents(&mut rig);
        rig.write_act(qkv, &values)?;
        rig.write_act(out, &outs)?;
        rig.write_stat(lse, &sums)?;
        rig.write_act(dout, &gradient)?;
        rig.ops().attention_bwd(case.s, case.heads, qkv, out, lse, dout, dqkv);
        let found = rig.read_act(dqkv, rows)?;
        rig.finish((0..3).map(|i| (PARTS[i], part(&found, case.heads.size, i))).collect())
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (d, [qkv, dout]) = (self.0.dims(), self.0.inputs());
        let (out, lse) = naive_forward(&self.0, &qkv, storage);
        let out = storage.kept(&out);
        let exact = || {
            let given: [Vec<f64>; 4] = [&qkv, &out, &lse, &dout].map(|x| of(x));
            self.0.backward(given.each_ref().map(|x| &x[..]), rotated_back)
        };
        let naive = || {
            self.0.backward([&qkv, &out, &lse, &dout], |d, given @ [qkv, out, lse, dout]| match storage {
                Activations::F32 => rotated_back(d, given),
                Activations::Bf16 => naive::backward(d, qkv, out, lse, dout),
            })
        };
        let (naive, exact) = both(naive, exact);
        let expected = |i| {
            Expected::new(
                PARTS[i],
                storage.stored(),
                d.size,
                part(&naive, d.size, i),
                part(&exact, d.size, i),
            )
        };
        (0..3).map(expected).collect()
    }
}

impl Case for Decode {
    fn op(&self) -> &'static str {
        "attention_decode"
    }

    fn shape(&self) -> String {
        self.0.text()
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let (case, [values, _]) = (self.0, self.0.inputs());
        let mut places = Places::default();
        let (qkv, out) = (places.view(case.s.time, 3 * case.channels()), places.act(1, case.channels()));
        let mut rig = case.build(places, on, cut::decode_shared_bytes(case.heads.size))?;
        rig.write_act(qkv, &values)?;
        rig.ops().attention_decode(case.heads, qkv, case.s.time - 1, out);
        let out = rig.read_act(out, 1)?;
        rig.finish(vec![("out", out)])
    }

    fn expect(&self, storage: Activations) -> Vec<Expected> {
        let (d, [qkv, _]) = (self.0.dims(), self.0.inputs());
        let last = self.0.s.time - 1;
        let naive = naive_forward(&self.0, &qkv, storage).0.split_off(last * self.0.channels());
        vec![Expected::new("out", storage.stored(), d.size, naive, attend::<f64>(d, &of(&qkv), 0, last, 0).0)]
    }
}
