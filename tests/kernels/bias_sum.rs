//! bias_sum.cu: one addition in f32, one rounding: equal bits.
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode};
use half::bf16;
use rewarm::Result;
use rewarm::device::Buffer;
use rewarm::ops::cost;

/// `count` pairs of vectors of `cols` in a flat buffer, and the vectors of each.
struct Case {
    w: Vec<f32>,
    pairs: Vec<[i64; 2]>,
    cols: usize,
}

impl Case {
    fn new(count: usize, cols: usize) -> Self {
        let stride = cols.next_multiple_of(64) + 64;
        let w = Random::new(11).normals(2 * count * stride, 0.0, 1.0);
        // The second vectors lie behind all first ones, in reverse.
        let pairs =
            (0..count).map(|i| [i * stride, (2 * count - 1 - i) * stride].map(|o| o as i64)).collect();
        Self { w, pairs, cols }
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let (w, table) = (run.upload(&self.w), run.upload(self.pairs.as_flattened()));
        let out: Buffer<bf16> = run.poisoned(self.pairs.len() * self.cols);
        let args = [w.arg(), table.arg(), out.arg(), (self.cols as i32).into()];
        run.launch("bias_sum", [self.cols.div_ceil(1024), self.pairs.len(), 1], 256, 0, &args)?;
        run.output("out", &out);
        Ok(())
    }

    fn exact(&self) -> Vec<f32> {
        let sum = |[a, b]: &[i64; 2], i: usize| self.w[*a as usize + i] + self.w[*b as usize + i];
        bf16s(&self.pairs.iter().flat_map(|p| (0..self.cols).map(|i| sum(p, i))).collect::<Vec<_>>())
    }
}

#[test]
fn equal_bits_in_every_mode() {
    for (count, cols) in [(1, 8), (2, 64), (3, 1024), (2, 1032), (36, 5120)] {
        let case = Case::new(count, cols);
        assert_eq!(every_mode(|run| case.run(run)).get("out"), case.exact(), "{count} of {cols}");
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let case = Case::new(2, 1032);
    deterministic(|run| case.run(run));
}

#[test]
fn traffic_is_the_cost() {
    let case = Case::new(24, 1024);
    check_traffic(&count(|run| case.run(run)), cost::bias_sum(24, 1024).bytes);
}
