//! One case of attention: its inputs, the programs that run it, and what its outputs are held to.
use super::naive;
use crate::measure::{Stored, judge};
use crate::reference::cast;
use crate::reference::random::Random;
use crate::rig::{Outputs, Run, bf16s, every_mode, once};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer, Capability, Counters, Mode};
use rewarm::ops::attention as cut;
use rewarm::ops::{Heads, Shape};

/// Elements between the end of a row and the start of the next one: rows have their own strides.
const PAD: usize = 16;

pub struct Case {
    pub s: Shape,
    pub heads: Heads,
    /// Position of the first token of each token's document.
    documents: Option<Vec<i32>>,
    /// `[rows, H, 3, D]`, without padding.
    pub qkv: Vec<f32>,
    pub dout: Vec<f32>,
    /// Chooses the instances.
    capability: Capability,
}

impl Case {
    pub fn new(batch: usize, time: usize, heads: usize, size: usize) -> Self {
        let mut random = Random::new(time as u64 + size as u64);
        let elements = batch * time * heads * size;
        Self {
            s: Shape { batch, time },
            heads: Heads { count: heads, size, rotary: size / 4 / 2 * 2 },
            documents: None,
            qkv: bf16s(&random.normals(3 * elements, 0.0, 1.0)),
            dout: bf16s(&random.normals(elements, 0.0, 1.0)),
            capability: Capability::Sm86,
        }
    }

    /// On this GPU, not on the smallest.
    pub fn on(self, capability: Capability) -> Self {
        Self { capability, ..self }
    }

    /// The instance of the forward.
    pub fn forward_cut(&self) -> cut::Forward {
        cut::forward(self.heads.size, self.capability.shared_bytes())
    }

    /// The instance of the backward.
    pub fn backward_cut(&self) -> cut::Backward {
        cut::backward(self.heads.size, self.capability.shared_bytes())
    }

    /// Documents start at these positions, and at 0.
    pub fn documents(mut self, starts: &[usize]) -> Self {
        let start = |t: usize| starts.iter().copied().filter(|&s| s <= t).max().unwrap_or(0) as i32;
        self.documents = Some((0..self.s.rows()).map(|row| start(row % self.s.time)).collect());
        self
    }

    /// Queries and keys so long that scores reach about ± 50.
    pub fn large_scores(mut self) -> Self {
        let d = self.heads.size;
        let factor = (50.0 / 4.0f32).sqrt();
        for (i, x) in self.qkv.iter_mut().enumerate() {
            if i / d % 3 < 2 {
                *x = bf16::from_f32(*x * factor).to_f32();
            }
        }
        self
    }

    pub fn name(&self, what: &str) -> String {
        let documents = if self.documents.is_some() { " documents" } else { "" };
        let (s, h) = (self.s, self.heads);
        let on = self.capability;
        format!("attention {what} {}x{}x{}x{}{documents} {on}", s.batch, s.time, h.count, h.size)
    }

    fn channels(&self) -> usize {
        self.heads.count * self.heads.size
    }

    /// The position of the first token of the row's document.
    pub fn start(&self, row: usize) -> usize {
        self.documents.as_ref().map_or(0, |d| d[row] as usize)
    }

    /// Tokens count from the start of their document.
    pub fn position(&self, row: usize) -> usize {
        row % self.s.time - self.start(row)
    }

    /// cos and sin, as in the table.
    pub fn angle(&self, position: usize, j: usize) -> [f32; 2] {
        let angle = position as f64 * 10_000f64.powf(-2.0 * j as f64 / self.heads.rotary as f64);
        [angle.cos() as f32, angle.sin() as f32]
    }

    /// `rows` of `cols` values, `PAD` elements apart, as bf16 in a buffer.
    fn upload(run: &mut Run, values: &[f32], cols: usize) -> Buffer<bf16> {
        let mut padded = vec![f32::NAN; values.len() / cols * (cols + PAD)];
        let rows = padded.chunks_mut(cols + PAD).zip(values.chunks(cols));
        rows.for_each(|(p, v)| p[..cols].copy_from_slice(v));
        run.upload_bf16(&padded)
    }

    fn documents_arg(&self, run: &mut Run) -> Arg {
        self.documents.as_ref().map_or(Arg::address(0), |d| run.upload(d).arg())
    }

    fn launch_forward(
        &self,
        run: &mut Run,
        qkv: &Buffer<bf16>,
        document: Arg,
    ) -> Result<(Buffer<bf16>, Buffer<f32>, Counters)> {
        let (s, h, c) = (self.s, self.heads, self.channels());
        let out = run.poisoned::<bf16>(s.rows() * (c + PAD));
        let lse = run.poisoned::<f32>(s.rows() * h.count);
        let tile = self.forward_cut();
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
        run.on(self.capability);
        let name = format!("attention_fwd_{}{}", h.size, tile.suffix);
        let counters = run.launch(&name, grid, tile.threads, tile.shared_bytes, &args)?;
        run.output("out", &out);
        run.output("lse", &lse);
        Ok((out, lse, counters))
    }

    /// Forward, then the three kernels of the backward.
    pub fn both(&self, run: &mut Run) -> Result<()> {
        self.both_counted(run).map(|_| ())
    }

    /// The same; the counters are those of the forward.
    pub fn both_counted(&self, run: &mut Run) -> Result<Counters> {
        let (s, h, c) = (self.s, self.heads, self.channels());
        let (tile, shares, pairs) = (self.backward_cut(), cut::shares(s.time), h.rotary / 2);
        let qkv = Self::upload(run, &self.qkv, 3 * c);
        let dout = Self::upload(run, &self.dout, c);
        let document = self.documents_arg(run);
        let (out, lse, forward) = self.launch_forward(run, &qkv, document.clone())?;
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
        let name = format!("attention_bwd_{}{}", h.size, tile.suffix);
        run.launch(&name, [shares, h.count, s.batch], tile.threads, tile.shared_bytes, &args)?;

        let mut args = vec![dq.arg(), document, dqkv.arg(), wide];
        args.extend(rotation);
        args.push(int(shares));
        let grid = [s.time.div_ceil(cut::DQ_QUERIES), h.count, s.batch];
        let name = format!("attention_bwd_dq_{}{}", h.size, tile.suffix);
        run.launch(&name, grid, 128, cut::dq_shared_bytes(h.size), &args)?;
        run.output("dqkv", &dqkv);
        Ok(forward)
    }

    /// The last row of the first sequence is the query.
    pub fn decode(&self, run: &mut Run) -> Result<()> {
        let (h, c) = (self.heads, self.channels());
        let (qkv, out) = (Self::upload(run, &self.qkv, 3 * c), run.poisoned::<bf16>(c));
        let position = Arg::from(self.s.time as i32 - 1);
        let args = [qkv.arg(), ((3 * c + PAD) as i64).into(), out.arg(), position];
        let (name, smem) = (format!("attention_decode_{}", h.size), cut::decode_shared_bytes(h.size));
        run.launch(&name, [h.count, 1, 1], cut::DECODE_THREADS, smem, &args)?;
        run.output("out", &out);
        Ok(())
    }

    /// The rows of an output without what lies between them, which must be untouched.
    pub fn rows(outputs: &Outputs, name: &str, cols: usize) -> Vec<f32> {
        let rows = outputs.get(name).chunks(cols + PAD);
        assert!(rows.clone().all(|row| row[cols..].iter().all(|x| x.is_nan())), "{name}: beside its columns");
        rows.flat_map(|row| &row[..cols]).copied().collect()
    }

    /// Judges what every mode leaves.
    pub fn check(&self) {
        self.judge(&every_mode(|run| self.both(run)));
    }

    /// Judges what these modes leave, the same bits.
    pub fn check_in(&self, modes: &[Mode]) {
        let run = |mode| once(mode, |run| self.both(run)).unwrap_or_else(|e| panic!("{mode:?}: {e}")).0;
        let first = run(&modes[0]);
        for mode in &modes[1..] {
            let other = run(mode);
            for name in ["out", "lse", "dqkv"] {
                assert!(first.exact::<u8>(name) == other.exact::<u8>(name), "{name} in {mode:?}");
            }
        }
        self.judge(&first);
    }

    /// `[rows, H]` as `[B, H, T]`.
    fn by_head<T: Copy>(&self, x: &[T]) -> Vec<T> {
        let (t, h) = (self.s.time, self.heads.count);
        let index = |i: usize| (i / t / h * t + i % t) * h + i / t % h;
        (0..x.len()).map(|i| x[index(i)]).collect()
    }

    /// The largest error of one log-sum-exp, relative to the magnitudes that it is a sum of. Those are rounded up to
    /// powers of two, so that dividing by them changes no error.
    fn judge_each_lse(&self, lse: &[f32], naive: &[f32], exact: &naive::Forward<f64>) {
        let sizes = || exact.lse_size.iter().map(|x| x.log2().ceil().exp2());
        let scaled =
            |lse: &[f32]| lse.iter().zip(sizes()).map(|(x, size)| x / size as f32).collect::<Vec<_>>();
        let exact: Vec<f64> = exact.lse.iter().zip(sizes()).map(|(x, size)| x / size).collect();
        judge(&self.name("each lse"), Stored::F32, &scaled(lse), &scaled(naive), &exact, exact.len());
    }

    /// `out`, the log-sum-exp and the three gradients. A row of what is judged is one query, key or value of one
    /// head, as a head must not hide behind another; of the log-sum-exp it is a head's sequence, as one logarithm near
    /// 0 is a difference of large numbers; each by itself is held to the size of those.
    fn judge(&self, outputs: &Outputs) {
        let (c, d) = (self.channels(), self.heads.size);
        let (naive, exact) = (naive::forward::<f32>(self), naive::forward::<f64>(self));
        let out = Self::rows(outputs, "out", c);
        judge(&self.name("out"), Stored::Bf16, &out, &bf16s(&naive.out), &exact.out, d);
        let lse = self.by_head(outputs.get("lse"));
        let (naive_lse, exact_lse) = (self.by_head(&naive.lse), self.by_head(&exact.lse));
        judge(&self.name("lse"), Stored::F32, &lse, &naive_lse, &exact_lse, self.s.time);
        self.judge_each_lse(outputs.get("lse"), &naive.lse, &exact);

        let dqkv = Self::rows(outputs, "dqkv", 3 * c);
        let (naive, exact) = (naive::backward(self, &naive), naive::backward(self, &exact));
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

    /// The output of [`Case::decode`] in every mode.
    pub fn check_decode(&self) {
        let last = (self.s.time - 1) * self.channels()..self.s.time * self.channels();
        let outputs = every_mode(|run| self.decode(run));
        let naive = bf16s(&naive::forward::<f32>(self).out[last.clone()]);
        let exact = cast(&naive::forward::<f64>(self).out[last]);
        judge(&self.name("decode"), Stored::Bf16, outputs.get("out"), &naive, &exact, self.heads.size);
    }
}
