//! embedding.cu: gathered rows equal bits, their gradient against the reference.
use crate::measure::{Stored, judge};
use crate::reference::cast;
use crate::reference::ops::{add, embedding, embedding_bwd};
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode, mutations};
use crate::strided::{gather, spread};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Buffer, EmbeddingPlan};
use rewarm::ops::{Shape, cost};

struct Case {
    vocab: usize,
    cols: usize,
    ld: usize,
    tokens: Vec<i32>,
    w: Vec<f32>,
    dx: Vec<f32>,
}

impl Case {
    fn new(tokens: Vec<i32>, vocab: usize, cols: usize, ld: usize) -> Self {
        let mut random = Random::new(13);
        let mut values = |n| bf16s(&random.normals(n, 0.0, 1.0));
        let (w, dx) = (values(vocab * cols), values(tokens.len() * cols));
        Self { vocab, cols, ld, tokens, w, dx }
    }

    fn forward(&self, run: &mut Run) -> Result<()> {
        let (rows, cols) = (self.tokens.len(), self.cols);
        let (w, tokens) = (run.upload_bf16(&self.w), run.upload(&self.tokens));
        let x: Buffer<bf16> = run.poisoned(rows * self.ld);
        let size = [(rows as i32).into(), (cols as i32).into()];
        let args = [vec![w.arg(), tokens.arg(), x.arg(), (self.ld as i64).into()], size.to_vec()].concat();
        run.launch("embedding_fwd", [rows.div_ceil(8), 1, 1], 256, 0, &args)?;
        run.output("x", &x);
        Ok(())
    }

    fn backward(&self, run: &mut Run) -> Result<()> {
        let (rows, cols) = (self.tokens.len(), self.cols);
        let plan = EmbeddingPlan::new(&self.tokens);
        let dx = run.upload_bf16(&spread(&self.dx, cols, self.ld));
        // Accumulates on what is there; a caller that wants less gives zeros.
        let dw = run.upload(&self.w);
        let long = EmbeddingPlan::long_max(rows);
        let args = [
            dx.arg(),
            (self.ld as i64).into(),
            run.upload(&plan.order).arg(),
            run.upload(plan.segments.as_flattened()).arg(),
            dw.arg(),
            (long as i32).into(),
            (rows as i32).into(),
            (cols as i32).into(),
        ];
        run.launch("embedding_bwd", [long + rows.div_ceil(8), cols.div_ceil(256), 1], 256, 8192, &args)?;
        run.output("dw", &dw);
        Ok(())
    }

    fn check(&self) {
        let name = format!("{} rows of {}, {} tokens", self.tokens.len(), self.cols, self.vocab);
        let x = every_mode(|run| self.forward(run));
        let expected = embedding(&self.tokens, &self.w, self.cols);
        assert_eq!(gather(x.get("x"), self.cols, self.ld), expected, "{name}");

        let dw = every_mode(|run| self.backward(run));
        let mut naive = embedding_bwd(&self.tokens, &self.dx, self.vocab, self.cols);
        let mut exact = embedding_bwd(&self.tokens, &cast::<f32, f64>(&self.dx), self.vocab, self.cols);
        add(&mut naive, &self.w);
        add(&mut exact, &cast::<f32, f64>(&self.w));
        judge(&format!("embedding_bwd {name}"), Stored::F32, dw.get("dw"), &naive, &exact, self.cols);
    }
}

/// Like text: token `t` with a probability of about 1/(t + 1).
fn zipf(n: usize, vocab: usize) -> Vec<i32> {
    let mut random = Random::new(17);
    (0..n)
        .map(|_| ((vocab as f64).powf(random.below(1 << 20) as f64 / (1 << 20) as f64) - 1.0) as i32)
        .collect()
}

#[test]
fn matches_the_reference_in_every_mode() {
    Case::new(vec![2], 3, 8, 8).check();
    Case::new(vec![4; 33], 5, 264, 272).check();
    Case::new(zipf(300, 50), 50, 512, 512).check();
    Case::new(zipf(100, 10), 10, 768, 776).check();
    Case::new(Random::new(1).tokens(67, 7), 7, 5120, 5120).check();
    // Pythia's padded vocabulary and a prime one, their last tokens among the others.
    for vocab in [50_304, 50_291] {
        let mut tokens = zipf(2049, vocab);
        tokens[2048] = vocab as i32 - 1;
        Case::new(tokens, vocab, 16, 24).check();
    }
    // One token everywhere: the longest segment there is; 32 and 33 of each: the two sides of the border.
    Case::new(vec![0; 600], 2, 64, 64).check();
    Case::new((0..130).map(|i| i32::from(i % 65 < 33)).collect(), 2, 128, 128).check();
    Case::new((0..130).map(|i| i32::from(i % 65 < 32)).collect(), 2, 128, 128).check();
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    let distinct = |t: &[i32]| EmbeddingPlan::new(t).segments.iter().filter(|s| s[2] > 0).count();
    let all_different = (0..2048).rev().collect();
    for tokens in [all_different, zipf(2048, 2000), vec![7; 2048]] {
        let case = Case::new(tokens, 2048, 512, 512);
        check_traffic(
            &count(|run| case.backward(run)),
            cost::embedding_bwd(s, 512, distinct(&case.tokens), 2).bytes,
        );
        check_traffic(&count(|run| case.forward(run)), cost::embedding(s, 512, 2).bytes);
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let case = Case::new(zipf(200, 20), 20, 264, 272);
    deterministic(|run| case.forward(run));
    deterministic(|run| case.backward(run));
}

#[test]
fn every_synchronisation_is_needed() {
    mutations("embedding_bwd", &[], |run| Case::new(vec![1; 40], 2, 128, 128).backward(run));
}
