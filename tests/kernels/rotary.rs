//! rotary.cu against the reference's rotation, for every head size of a Pythia and stranger ones.
use crate::measure::{Stored, judge};
use crate::reference::attention::{Dims, rotary};
use crate::reference::cast;
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_layout, check_traffic, count, deterministic, every_mode, sectors_of};
use crate::strided::{gather, spread};
use rewarm::Result;
use rewarm::ops::{Heads, Shape, cost};

struct Case {
    dims: Dims,
    ld: usize,
    first: usize,
    qkv: Vec<f32>,
}

impl Case {
    fn new(batch: usize, time: usize, heads: usize, size: usize, dims: usize) -> Self {
        let dims = Dims { batch, time, heads, size, rotary: dims, base: 10_000.0 };
        let qkv = bf16s(&Random::new(31).normals(batch * time * dims.width(), 0.0, 1.0));
        Self { dims, ld: dims.width(), first: 0, qkv }
    }

    /// Elements of an access: what the engine chooses a kernel by.
    fn vector(&self) -> usize {
        [8, 4, 2, 1].into_iter().find(|n| (self.dims.rotary / 2).is_multiple_of(*n)).unwrap()
    }

    /// cos and sin `[positions, rotary/2]`, in f32 from the angle that the reference defines too.
    fn tables(&self) -> [Vec<f32>; 2] {
        let d = self.dims;
        let frequency = |j: usize| 1.0 / ((d.base.powf(f64::from((2 * j) as f32 / d.rotary as f32))) as f32);
        let angle = |p: usize, j: usize| f64::from(p as f32 * frequency(j));
        let positions = self.first + d.time;
        let table = |f: fn(f64) -> f64| {
            (0..positions).flat_map(|p| (0..d.rotary / 2).map(move |j| f(angle(p, j)) as f32)).collect()
        };
        [table(f64::cos), table(f64::sin)]
    }

    fn launch(&self, run: &mut Run, directions: &[&str]) -> Result<()> {
        let d = self.dims;
        let rows = d.batch * d.time;
        let qkv = run.upload_bf16(&spread(&self.qkv, d.width(), self.ld));
        let positions: Vec<i32> = (0..rows).map(|r| (self.first + r % d.time) as i32).collect();
        let positions = run.upload(&positions);
        let [cos, sin] = self.tables().map(|t| run.upload(&t).arg());
        let sizes = [rows, d.heads, d.size, d.rotary].map(|n| (n as i32).into());
        let args =
            [vec![qkv.arg(), (self.ld as i64).into(), positions.arg(), cos, sin], sizes.to_vec()].concat();
        for direction in directions {
            let name = format!("rotary_{direction}_{}", self.vector());
            run.launch(&name, [rows.div_ceil(16), 1, 1], 256, 0, &args)?;
        }
        run.output("qkv", &qkv);
        Ok(())
    }

    fn check(&self) {
        let d = self.dims;
        for (direction, sign) in [("fwd", 1.0), ("bwd", -1.0)] {
            let outputs = every_mode(|run| self.launch(run, &[direction]));
            let (mut naive, mut exact) = (self.qkv.clone(), cast::<f32, f64>(&self.qkv));
            rotary(d, &mut naive, self.first, sign);
            rotary(d, &mut exact, self.first, sign);
            let got = gather(outputs.get("qkv"), d.width(), self.ld);
            let what =
                format!("rotary_{direction} {}x{}x{} of {}", d.batch * d.time, d.heads, d.rotary, d.size);
            judge(&what, Stored::Bf16, &got, &bf16s(&naive), &exact, d.size);
            // What does not rotate keeps its bits.
            for (i, (got, was)) in got.iter().zip(&self.qkv).enumerate() {
                let still = i / d.size % 3 == 2 || i % d.size >= d.rotary;
                assert!(!still || got == was, "{what}: element {i}");
            }
        }
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    // Head sizes and rotary dimensions of the Pythias (14m, 160m, 1b, 2.8b, 12b), then full and odd ones.
    for (heads, size, dims) in [(4, 32, 8), (12, 64, 16), (8, 256, 64), (32, 80, 20), (5, 128, 32)] {
        Case::new(2, 5, heads, size, dims).check();
    }
    for (heads, size, dims) in [(3, 96, 24), (1, 256, 256), (2, 96, 96), (3, 40, 10), (2, 8, 2), (7, 64, 64)]
    {
        Case::new(1, 3, heads, size, dims).check();
    }
    Case::new(1, 1, 16, 64, 16).check();
    Case::new(1, 1, 40, 128, 32).check();
    let mut case = Case::new(2, 9, 12, 64, 16);
    (case.ld, case.first) = (case.ld + 64, 2040);
    case.check();
    Case::new(1, 2049, 1, 64, 16).check();
    // Constant rows, and what scores can be.
    let mut case = Case::new(1, 4, 2, 64, 16);
    case.qkv[..384].fill(3.0);
    case.qkv[384..768].fill(0.0);
    case.qkv[768..].iter_mut().for_each(|x| *x = (25.0 * *x).clamp(-50.0, 50.0));
    case.qkv = bf16s(&case.qkv);
    case.check();
}

#[test]
fn equal_bits_whatever_runs_first() {
    // An instance each: 8, 4, 2 and 1 elements an access.
    for (heads, size, dims) in [(12, 64, 16), (3, 96, 24), (3, 80, 20), (3, 40, 10)] {
        let case = Case::new(2, 25, heads, size, dims);
        deterministic(|run| case.launch(run, &["fwd"]));
        deterministic(|run| case.launch(run, &["bwd"]));
    }
}

#[test]
fn there_and_back() {
    let case = Case::new(1, 17, 12, 64, 16);
    let back = every_mode(|run| case.launch(run, &["fwd", "bwd"]));
    let worst = back.get("qkv").iter().zip(&case.qkv).map(|(a, b)| (a - b).abs() / b.abs().max(1.0));
    assert!(worst.fold(0.0, f32::max) < 0.02);
}

#[test]
fn traffic_is_the_cost() {
    let s = Shape { batch: 1, time: 2048 };
    for (heads, size, dims) in [(12, 64, 16), (16, 64, 16), (4, 128, 32), (40, 128, 32), (8, 256, 64)] {
        let case = Case::new(1, 2048, heads, size, dims);
        let heads = Heads { count: heads, size, rotary: dims };
        for direction in ["fwd", "bwd"] {
            check_traffic(&count(|run| case.launch(run, &[direction])), cost::rotary(s, heads, 2).bytes);
        }
    }
}

/// A quarter of a head of 32, 80 or 96 is 16, 40 or 48 bytes: no whole number of sectors. What is written then
/// touches exactly the sectors in which rotating elements lie; what is read these, and of each row its position,
/// cosines and sines.
#[test]
fn partial_sectors_are_those_of_the_layout() {
    let s = Shape { batch: 1, time: 2048 };
    for (heads, size, dims) in [(4, 32, 8), (32, 80, 20), (12, 96, 24)] {
        let case = Case::new(1, s.time, heads, size, dims);
        let counters = count(|run| case.launch(run, &["fwd"]));
        let parts =
            (0..s.time * heads).flat_map(|head| [0, 1].map(|k| (2 * size * (3 * head + k), 2 * dims)));
        let rotating = sectors_of(parts);
        assert_eq!(counters.sectors_written, rotating as u64, "heads of {size}");
        let table = (0..s.time).map(|row| sectors_of([(2 * dims * row, 2 * dims)])).sum::<usize>();
        let bytes = cost::rotary(s, Heads { count: heads, size, rotary: dims }, 2).bytes;
        check_layout(&counters, bytes, (2 * rotating + 2 * table + s.time) as f64);
    }
}
