//! attention_fwd.cu, attention_bwd.cu and attention_decode.cu against naive loops.
use crate::measure::{Stored, judge};
use crate::reference::Float;
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, every_mode, mutations, once};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer, Mode};
use rewarm::ops::attention as cut;
use rewarm::ops::{Heads, Shape};

/// Elements between the end of a row and the start of the next one: rows have their own strides.
const PAD: usize = 8;

/// f32 rounded to bf16, as the kernel's products see their operands; f64 stays exact.
trait Operand: Float {
    fn operand(self) -> Self;
}
impl Operand for f32 {
    fn operand(self) -> f32 {
        bf16::from_f32(self).to_f32()
    }
}
impl Operand for f64 {
    fn operand(self) -> f64 {
        self
    }
}

struct Case {
    s: Shape,
    heads: Heads,
    /// Position of the first token of each token's document.
    documents: Option<Vec<i32>>,
    /// `[rows, H, 3, D]`, without padding.
    qkv: Vec<f32>,
    dout: Vec<f32>,
}

impl Case {
    fn new(batch: usize, time: usize, heads: usize, size: usize) -> Self {
        let mut random = Random::new(time as u64 + size as u64);
        let elements = batch * time * heads * size;
        Self {
            s: Shape { batch, time },
            heads: Heads { count: heads, size, rotary: size / 4 / 2 * 2 },
            documents: None,
            qkv: bf16s(&random.normals(3 * elements, 0.0, 1.0)),
            dout: bf16s(&random.normals(elements, 0.0, 1.0)),
        }
    }

    /// Documents start at these positions, and at 0.
    fn documents(mut self, starts: &[usize]) -> Self {
        let start = |t: usize| starts.iter().copied().filter(|&s| s <= t).max().unwrap_or(0) as i32;
        self.documents = Some((0..self.s.rows()).map(|row| start(row % self.s.time)).collect());
        self
    }

    /// Queries and keys so long that scores reach about ± 50.
    fn large_scores(mut self) -> Self {
        let d = self.heads.size;
        let factor = (50.0 / 4.0f32).sqrt();
        for (i, x) in self.qkv.iter_mut().enumerate() {
            if i / d % 3 < 2 {
                *x = bf16::from_f32(*x * factor).to_f32();
            }
        }
        self
    }

    fn channels(&self) -> usize {
        self.heads.count * self.heads.size
    }

    fn start(&self, row: usize) -> usize {
        self.documents.as_ref().map_or(0, |d| d[row] as usize)
    }

    /// Query, key or value `[D]` of a row and head.
    fn part<T: Float>(&self, row: usize, head: usize, part: usize) -> Vec<T> {
        let d = self.heads.size;
        let from = ((row * self.heads.count + head) * 3 + part) * d;
        self.qkv[from..from + d].iter().map(|&x| T::of(f64::from(x))).collect()
    }

    /// `rows` of `cols` values, `PAD` elements apart, as bf16 in a buffer.
    fn upload(run: &mut Run, values: &[f32], cols: usize) -> Buffer<bf16> {
        let mut padded = vec![f32::NAN; values.len() / cols * (cols + PAD)];
        padded.chunks_mut(cols + PAD).zip(values.chunks(cols)).for_each(|(p, v)| p[..cols].copy_from_slice(v));
        run.upload_bf16(&padded)
    }

    fn documents_arg(&self, run: &mut Run) -> (Option<Buffer<i32>>, Arg) {
        let buffer = self.documents.as_ref().map(|d| run.upload(d));
        let arg = buffer.as_ref().map_or(Arg::address(0), Buffer::arg);
        (buffer, arg)
    }

    fn forward(&self, run: &mut Run) -> Result<()> {
        let (s, h, c) = (self.s, self.heads, self.channels());
        let qkv = Self::upload(run, &self.qkv, 3 * c);
        let out = run.poisoned::<bf16>(s.rows() * (c + PAD));
        let lse = run.poisoned::<f32>(s.rows() * h.count);
        let (_documents, documents) = self.documents_arg(run);
        let tile = cut::forward(h.size);
        let args = [
            qkv.arg(),
            ((3 * c + PAD) as i64).into(),
            out.arg(),
            ((c + PAD) as i64).into(),
            lse.arg(),
            documents,
            (s.time as i32).into(),
        ];
        let grid = [s.time.div_ceil(tile.queries), h.count, s.batch];
        run.launch(&format!("attention_fwd_{}", h.size), grid, 128, tile.shared_bytes, &args)?;
        run.output("out", &out);
        run.output("lse", &lse);
        Ok(())
    }

    /// `out [rows, C]` and `lse [rows, H]`; probabilities are rounded before they meet the values.
    fn reference<T: Operand>(&self) -> [Vec<T>; 2] {
        let (h, d) = (self.heads.count, self.heads.size);
        let scale = T::of(1.0) / T::of(d as f64).sqrt();
        let (mut out, mut lse) = (vec![], vec![]);
        for row in 0..self.s.rows() {
            let first = row / self.s.time * self.s.time;
            for head in 0..h {
                let q = self.part::<T>(row, head, 0);
                let keys = first + self.start(row)..row + 1;
                let dot = |k: Vec<T>| q.iter().zip(&k).map(|(&a, &b)| a * b).sum::<T>() * scale;
                let scores: Vec<T> = keys.clone().map(|k| dot(self.part(k, head, 1))).collect();
                let most = scores.iter().copied().fold(scores[0], |a, b| if b > a { b } else { a });
                let p: Vec<T> = scores.iter().map(|&x| (x - most).exp()).collect();
                let total = p.iter().copied().sum::<T>();
                let mut o = vec![T::default(); d];
                for (k, p) in keys.zip(p) {
                    let v = self.part::<T>(k, head, 2);
                    o.iter_mut().zip(v).for_each(|(o, v)| *o += p.operand() * v);
                }
                out.extend(o.into_iter().map(|o| o / total));
                lse.push(most + total.ln());
            }
        }
        [out, lse]
    }

    fn name(&self, what: &str) -> String {
        let documents = if self.documents.is_some() { " documents" } else { "" };
        let (s, h) = (self.s, self.heads);
        format!("attention {what} {}x{}x{}x{}{documents}", s.batch, s.time, h.count, h.size)
    }

    fn unpadded(values: &[f32], cols: usize) -> Vec<f32> {
        values.chunks(cols + PAD).flat_map(|row| &row[..cols]).copied().collect()
    }

    fn judge_forward(&self, outputs: &crate::rig::Outputs) {
        let c = self.channels();
        let ([naive, naive_lse], [exact, exact_lse]) = (self.reference::<f32>(), self.reference::<f64>());
        let out = outputs.get("out");
        assert!(out.chunks(c + PAD).all(|row| row[c..].iter().all(|x| x.is_nan())), "wrote beside its columns");
        // One row per query and head: a head must not hide behind another.
        judge(&self.name("out"), Stored::Bf16, &Self::unpadded(out, c), &bf16s(&naive), &exact, self.heads.size);
        judge(&self.name("lse"), Stored::F32, outputs.get("lse"), &naive_lse, &exact_lse, self.heads.count);
    }

    fn check_forward(&self) {
        self.judge_forward(&every_mode(|run| self.forward(run)));
    }
}


#[test]
fn forward_of_every_head_size_and_awkward_lengths() {
    for size in cut::SIZES {
        for (batch, time, heads) in [(1, 1, 1), (2, 37, 2), (1, 129, 1)] {
            Case::new(batch, time, heads, size).check_forward();
        }
    }
}

#[test]
fn forward_of_large_scores_constant_rows_and_documents() {
    for size in [32, 80, 128] {
        Case::new(1, 150, 2, size).large_scores().check_forward();
        Case::new(2, 200, 1, size).documents(&[1, 2, 70, 135]).check_forward();
        Case::new(1, 130, 1, size).documents(&(0..130).collect::<Vec<_>>()).check_forward();
    }
    let mut case = Case::new(1, 70, 1, 64);
    case.qkv.fill(3.0);
    case.check_forward();
}

#[test]
fn forward_at_2049() {
    let case = Case::new(1, 2049, 1, 64);
    case.judge_forward(&once(&Mode::default(), |run| case.forward(run)).unwrap().0);
}

#[test]
fn forward_traffic_and_work_are_the_cost() {
    for size in cut::SIZES {
        let case = Case::new(1, 2048, 1, size);
        let counters = count(|run| case.forward(run));
        let useful = (2 * 2048 * 2048 * size) as f64;
        println!(
            "attention_fwd_{size}: {} bytes, {} sectors, FLOP {:.3} of useful",
            counters.bytes(),
            counters.sectors(),
            counters.mma_flops as f64 / useful
        );
        assert!(counters.mma_flops as f64 <= 1.10 * useful, "{} FLOP", counters.mma_flops);
        check_traffic(&counters, cut::forward_moved(case.s, case.heads));
    }
}

#[test]
fn every_synchronisation_of_the_forward_is_needed() {
    for size in [64, 128] {
        mutations(&format!("attention_fwd_{size}"), &[], |run| Case::new(1, 200, 1, size).forward(run));
    }
}
