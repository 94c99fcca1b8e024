//! attention_fwd.cu, attention_bwd.cu and attention_decode.cu against naive loops.
use crate::measure::{Stored, judge};
use crate::reference::random::Random;
use crate::reference::{Float, cast};
use crate::rig::{Outputs, Run, bf16s, check_traffic, count, every_mode, mutations, once};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer, Counters, Mode};
use rewarm::ops::attention as cut;
use rewarm::ops::cost::Cost;
use rewarm::ops::{Heads, Shape};

/// Elements between the end of a row and the start of the next one: rows have their own strides.
const PAD: usize = 16;

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

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

fn add<T: Float>(to: &mut [T], factor: T, x: &[T]) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to += factor * x);
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

    /// Queries, keys or values `[rows, D]` of a head.
    fn part<T: Float>(&self, head: usize, part: usize) -> Vec<Vec<T>> {
        let parts = self.qkv.chunks(self.heads.size).skip(3 * head + part).step_by(3 * self.heads.count);
        parts.map(cast::<f32, T>).collect()
    }

    /// `rows` of `cols` values, `PAD` elements apart, as bf16 in a buffer.
    fn upload(run: &mut Run, values: &[f32], cols: usize) -> Buffer<bf16> {
        let mut padded = vec![f32::NAN; values.len() / cols * (cols + PAD)];
        padded
            .chunks_mut(cols + PAD)
            .zip(values.chunks(cols))
            .for_each(|(p, v)| p[..cols].copy_from_slice(v));
        run.upload_bf16(&padded)
    }

    fn documents_arg(&self, run: &mut Run) -> Arg {
        self.documents.as_ref().map_or(Arg::address(0), |d| run.upload(d).arg())
    }

    fn forward(&self, run: &mut Run) -> Result<()> {
        let qkv = Self::upload(run, &self.qkv, 3 * self.channels());
        let document = self.documents_arg(run);
        self.launch_forward(run, &qkv, document)?;
        Ok(())
    }

    fn launch_forward(
        &self,
        run: &mut Run,
        qkv: &Buffer<bf16>,
        document: Arg,
    ) -> Result<(Buffer<bf16>, Buffer<f32>)> {
        let (s, h, c) = (self.s, self.heads, self.channels());
        let out = run.poisoned::<bf16>(s.rows() * (c + PAD));
        let lse = run.poisoned::<f32>(s.rows() * h.count);
        let tile = cut::forward(h.size);
        let args = [
            qkv.arg(),
            ((3 * c + PAD) as i64).into(),
            out.arg(),
            ((c + PAD) as i64).into(),
            lse.arg(),
            document,
            (s.time as i32).into(),
        ];
        let grid = [s.time.div_ceil(tile.queries), h.count, s.batch];
        run.launch(&format!("attention_fwd_{}", h.size), grid, 128, tile.shared_bytes, &args)?;
        run.output("out", &out);
        run.output("lse", &lse);
        Ok((out, lse))
    }

    /// Scaled scores of a query against the keys it sees, and the first of those.
    fn scores<T: Float>(&self, q: &[Vec<T>], k: &[Vec<T>], row: usize) -> (usize, Vec<T>) {
        let scale = T::of(1.0) / T::of(self.heads.size as f64).sqrt();
        let first = row / self.s.time * self.s.time + self.start(row);
        (first, k[first..=row].iter().map(|k| dot(&q[row], k) * scale).collect())
    }

    /// `out [rows, C]` and `lse [rows, H]`; probabilities are rounded before they meet the values.
    fn reference<T: Operand>(&self) -> [Vec<T>; 2] {
        let (rows, h, d) = (self.s.rows(), self.heads.count, self.heads.size);
        let (mut out, mut lse) = (vec![T::default(); rows * h * d], vec![T::default(); rows * h]);
        for head in 0..h {
            let [q, k, v] = [0, 1, 2].map(|p| self.part::<T>(head, p));
            for row in 0..rows {
                let (first, scores) = self.scores(&q, &k, row);
                let most = scores.iter().copied().fold(scores[0], |a, b| if b > a { b } else { a });
                let p: Vec<T> = scores.iter().map(|&x| (x - most).exp()).collect();
                let total = p.iter().copied().sum::<T>();
                let o = &mut out[(row * h + head) * d..][..d];
                for (v, p) in v[first..].iter().zip(p) {
                    add(o, p.operand(), v);
                }
                o.iter_mut().for_each(|o| *o = *o / total);
                lse[row * h + head] = most + total.ln();
            }
        }
        [out, lse]
    }

    /// Gradients of q, k and v `[rows, C]` each; probabilities and their gradient are rounded before products, and
    /// so is the output that the forward left.
    fn reference_bwd<T: Operand>(&self) -> [Vec<T>; 3] {
        let (rows, h, d) = (self.s.rows(), self.heads.count, self.heads.size);
        let [out, lse] = self.reference::<T>();
        let scale = T::of(1.0) / T::of(d as f64).sqrt();
        let mut all = [0, 1, 2].map(|_| vec![T::default(); rows * h * d]);
        for head in 0..h {
            let [q, k, v] = [0, 1, 2].map(|p| self.part::<T>(head, p));
            let at = |row: usize| (row * h + head) * d..(row * h + head + 1) * d;
            for row in 0..rows {
                let g: Vec<T> = cast(&self.dout[at(row)]);
                let o: Vec<T> = out[at(row)].iter().map(|o| o.operand()).collect();
                // Backwards: in the order of `dp` a query's difference with itself would be luckily exact.
                let delta = o.iter().zip(&g).rev().map(|(&o, &g)| o * g).sum::<T>();
                let (first, scores) = self.scores(&q, &k, row);
                for (key, score) in (first..).zip(scores) {
                    let p = (score - lse[row * h + head]).exp();
                    let ds = (p * (dot(&g, &v[key]) - delta)).operand();
                    add(&mut all[0][at(row)], ds, &k[key]);
                    add(&mut all[1][at(key)], ds, &q[row]);
                    add(&mut all[2][at(key)], p.operand(), &g);
                }
            }
            for row in 0..rows {
                all[..2].iter_mut().flat_map(|x| &mut x[at(row)]).for_each(|x| *x *= scale);
                all[..2].iter_mut().for_each(|x| self.rotate_back(row, &mut x[at(row)]));
            }
        }
        all
    }

    fn rotate_back<T: Float>(&self, row: usize, x: &mut [T]) {
        let pairs = self.heads.rotary / 2;
        for j in 0..pairs {
            let [c, s] = self.angle(self.position(row), j).map(|x| T::of(f64::from(x)));
            let (a, b) = (x[j], x[j + pairs]);
            (x[j], x[j + pairs]) = (a * c + b * s, b * c - a * s);
        }
    }

    /// Tokens count from the start of their document.
    fn position(&self, row: usize) -> usize {
        row % self.s.time - self.start(row)
    }

    /// cos and sin, as in the table.
    fn angle(&self, position: usize, j: usize) -> [f32; 2] {
        let angle = position as f64 * 10_000f64.powf(-2.0 * j as f64 / self.heads.rotary as f64);
        [angle.cos() as f32, angle.sin() as f32]
    }

    /// Forward, then the three kernels of the backward.
    fn backward(&self, run: &mut Run) -> Result<()> {
        let (s, h, c) = (self.s, self.heads, self.channels());
        let (cut, shares, pairs) = (cut::backward(h.size), cut::shares(s.time, h.size), h.rotary / 2);
        let qkv = Self::upload(run, &self.qkv, 3 * c);
        let dout = Self::upload(run, &self.dout, c);
        let document = self.documents_arg(run);
        let (out, lse) = self.launch_forward(run, &qkv, document.clone())?;
        let [stats_len, dq_len] = cut::scratch(s, h);
        let (stats, dq) = (run.poisoned::<f32>(stats_len), run.poisoned::<f32>(dq_len));
        let dqkv = run.poisoned::<bf16>(s.rows() * (3 * c + PAD));
        let table = |i: usize| -> Vec<f32> {
            (0..s.time * pairs).map(|x| self.angle(x / pairs, x % pairs)[i]).collect()
        };
        let (cos, sin) = (run.upload(&table(0)), run.upload(&table(1)));
        let positions: Vec<i32> = (0..s.rows()).map(|row| self.position(row) as i32).collect();
        let positions = run.upload(&positions);
        let (ld, wide): (Arg, Arg) = (((c + PAD) as i64).into(), ((3 * c + PAD) as i64).into());
        let int = |x: usize| Arg::from(x as i32);

        let args =
            [out.arg(), ld.clone(), dout.arg(), ld.clone(), lse.arg(), stats.arg(), int(s.time), int(h.size)];
        let grid = [s.time.div_ceil(cut::ROWS), h.count, s.batch];
        run.launch("attention_bwd_stats", grid, 128, 0, &args)?;

        let rotation = [cos.arg(), sin.arg(), positions.arg(), int(h.rotary), int(s.time)];
        let mut args = vec![qkv.arg(), wide.clone(), dout.arg(), ld, stats.arg(), document.clone(), dq.arg()];
        args.extend([dqkv.arg(), wide.clone()]);
        args.extend(rotation.clone());
        let name = format!("attention_bwd_{}", h.size);
        run.launch(&name, [shares, h.count, s.batch], cut.threads, cut.shared_bytes, &args)?;

        let mut args = vec![dq.arg(), document, dqkv.arg(), wide];
        args.extend(rotation);
        args.push(int(shares));
        let grid = [s.time.div_ceil(cut::DQ_QUERIES), h.count, s.batch];
        run.launch(&format!("attention_bwd_dq_{}", h.size), grid, 128, cut::dq_shared_bytes(h.size), &args)?;
        run.output("dqkv", &dqkv);
        Ok(())
    }

    fn judge_backward(&self, outputs: &Outputs) {
        let (c, d) = (self.channels(), self.heads.size);
        let dqkv = outputs.get("dqkv");
        assert!(
            dqkv.chunks(3 * c + PAD).all(|row| row[3 * c..].iter().all(|x| x.is_nan())),
            "beside its columns"
        );
        let dqkv = Self::unpadded(dqkv, 3 * c);
        let (naive, exact) = (self.reference_bwd::<f32>(), self.reference_bwd::<f64>());
        for (part, what) in ["dq", "dk", "dv"].into_iter().enumerate() {
            let x: Vec<f32> = dqkv.chunks(d).skip(part).step_by(3).flatten().copied().collect();
            // Of a single key the gradient is the difference of two equal sums of D products.
            if exact[part].iter().all(|x| x.abs() < 1e-12) {
                assert!(x.iter().all(|x| x.abs() < 1e-5), "{}", self.name(what));
                continue;
            }
            judge(&self.name(what), Stored::Bf16, &x, &bf16s(&naive[part]), &exact[part], d);
        }
    }

    fn check_backward(&self) {
        self.judge_backward(&every_mode(|run| self.backward(run)));
    }

    /// The last row of the first sequence is the query.
    fn decode(&self, run: &mut Run) -> Result<()> {
        let (h, c) = (self.heads, self.channels());
        let (qkv, out) = (Self::upload(run, &self.qkv, 3 * c), run.poisoned::<bf16>(c));
        let position = Arg::from(self.s.time as i32 - 1);
        let args = [qkv.arg(), ((3 * c + PAD) as i64).into(), out.arg(), position];
        let (name, smem) = (format!("attention_decode_{}", h.size), cut::decode_shared_bytes(h.size));
        run.launch(&name, [h.count, 1, 1], cut::DECODE_THREADS, smem, &args)?;
        run.output("out", &out);
        Ok(())
    }

    fn check_decode(&self) {
        let (c, d) = (self.channels(), self.heads.size);
        let outputs = every_mode(|run| self.decode(run));
        let last = |out: Vec<f64>| out[(self.s.time - 1) * c..].to_vec();
        let naive: Vec<f32> = last(cast(&self.reference::<f32>()[0])).iter().map(|&x| x as f32).collect();
        let exact = last(self.reference::<f64>()[0].clone());
        judge(&self.name("decode"), Stored::Bf16, outputs.get("out"), &bf16s(&naive), &exact, d);
    }

    fn name(&self, what: &str) -> String {
        let documents = if self.documents.is_some() { " documents" } else { "" };
        let (s, h) = (self.s, self.heads);
        format!("attention {what} {}x{}x{}x{}{documents}", s.batch, s.time, h.count, h.size)
    }

    fn unpadded(values: &[f32], cols: usize) -> Vec<f32> {
        values.chunks(cols + PAD).flat_map(|row| &row[..cols]).copied().collect()
    }

    fn judge_forward(&self, outputs: &Outputs) {
        let c = self.channels();
        let ([naive, naive_lse], [exact, exact_lse]) = (self.reference::<f32>(), self.reference::<f64>());
        let out = outputs.get("out");
        assert!(
            out.chunks(c + PAD).all(|row| row[c..].iter().all(|x| x.is_nan())),
            "wrote beside its columns"
        );
        // One row per query and head: a head must not hide behind another.
        judge(
            &self.name("out"),
            Stored::Bf16,
            &Self::unpadded(out, c),
            &bf16s(&naive),
            &exact,
            self.heads.size,
        );
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
fn backward_of_every_head_size_and_awkward_lengths() {
    for size in cut::SIZES {
        for (batch, time, heads) in [(1, 1, 1), (2, 37, 2), (1, 161, 1)] {
            Case::new(batch, time, heads, size).check_backward();
        }
    }
}

#[test]
fn backward_of_large_scores_documents_and_other_rotations() {
    for size in [32, 80, 256] {
        Case::new(1, 150, 2, size).large_scores().check_backward();
        Case::new(2, 200, 1, size).documents(&[1, 2, 70, 135]).check_backward();
    }
    for rotary in [0, 64] {
        let mut case = Case::new(1, 70, 2, 64);
        case.heads.rotary = rotary;
        case.check_backward();
    }
}

/// Several shares, and documents that leave some of them without keys.
#[test]
fn backward_of_several_shares() {
    let case = Case::new(1, 1100, 1, 64);
    assert_eq!(cut::shares(1100, 64), 3);
    let one = |case: &Case| case.judge_backward(&once(&Mode::default(), |run| case.backward(run)).unwrap().0);
    one(&case);
    one(&case.documents(&[300, 400, 900]));
    one(&Case::new(1, 600, 1, 256));
}

#[test]
fn both_at_2049() {
    let case = Case::new(1, 2049, 1, 64);
    let (outputs, _) = once(&Mode::default(), |run| case.backward(run)).unwrap();
    case.judge_forward(&outputs);
    case.judge_backward(&outputs);
}

#[test]
fn decode_against_a_cache() {
    for size in cut::SIZES {
        for time in [1, 2, 77, 300] {
            Case::new(1, time, 3, size).check_decode();
        }
        Case::new(1, 130, 2, size).large_scores().check_decode();
        let case = Case::new(1, 512, 4, size);
        let cost = cut::decode_cost(case.heads, case.s.time - 1);
        check_traffic(&count(|run| case.decode(run)), cost.bytes);
    }
}

fn check_cost(what: &str, case: &Case, counters: &Counters, cost: Cost) {
    let name = case.name(what);
    println!("{name}: {} bytes of {}, {} FLOP", counters.bytes(), cost.bytes, counters.mma_flops);
    assert_eq!(counters.mma_flops as f64, cost.flops, "{name}");
    check_traffic(counters, cost.bytes);
}

/// At 2,048 for one head size; the others shorter, where the same formula must hold exactly (it is judged at 2,048
/// in `ops::attention`).
#[test]
fn traffic_and_work_are_the_cost() {
    for size in cut::SIZES {
        let case = Case::new(1, if size == 64 { 2048 } else { 576 }, 2, size);
        let (s, heads) = (case.s, case.heads);
        let forward = count(|run| case.forward(run));
        check_cost("fwd", &case, &forward, cut::forward_cost(s, heads));
        let mut both = count(|run| case.backward(run));
        both.mma_flops -= forward.mma_flops;
        both.bytes_read -= forward.bytes_read;
        both.bytes_written -= forward.bytes_written;
        both.sectors_read -= forward.sectors_read;
        both.sectors_written -= forward.sectors_written;
        check_cost("bwd", &case, &both, cut::backward_cost(s, heads));
    }
}

#[test]
fn every_synchronisation_is_needed() {
    for size in [64, 80, 128] {
        mutations(&format!("attention {size}"), &[], |run| Case::new(1, 200, 1, size).backward(run));
    }
    mutations("attention_decode", &[], |run| Case::new(1, 20, 1, 64).decode(run));
}
