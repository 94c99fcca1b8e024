//! global_norm.cu against plain sums in f64.
use crate::measure::{Stored, judge};
use crate::reference::random::Random;
use crate::rig::{Element, Run, check_traffic, count, deterministic, every_mode, mutations};
use rewarm::Result;
use rewarm::device::Buffer;
use rewarm::ops::cost;

const CHUNK: usize = 32_768;

impl Element for f64 {
    fn to_f32(self) -> f32 {
        self as f32
    }
}

/// Sum of squares, sum of absolute values.
fn run(g: &[f32], run: &mut Run) -> Result<()> {
    let blocks = g.len().div_ceil(CHUNK);
    let g = run.upload(g);
    let (partial, sums): (Buffer<f64>, Buffer<f64>) = (run.poisoned(2 * blocks), run.poisoned(2));
    let args = [g.arg(), (g.len() as i64).into(), partial.arg()];
    run.launch("global_norm_partial", [blocks, 1, 1], 256, 512, &args)?;
    finish(partial, sums, run)
}

fn finish(partial: Buffer<f64>, sums: Buffer<f64>, run: &mut Run) -> Result<()> {
    let blocks = (partial.len() / 2) as i32;
    run.launch("global_norm_final", [1, 1, 1], 1024, 512, &[partial.arg(), blocks.into(), sums.arg()])?;
    run.output("sums", &sums);
    Ok(())
}

fn check(g: &[f32]) {
    let outputs = every_mode(|r| run(g, r));
    let naive = [g.iter().map(|x| x * x).sum(), g.iter().map(|x| x.abs()).sum()];
    let wide = || g.iter().map(|&x| f64::from(x));
    let exact = [wide().map(|x| x * x).sum(), wide().map(f64::abs).sum()];
    judge(&format!("global_norm {}", g.len()), Stored::F32, outputs.get("sums"), &naive, &exact, 1);
}

#[test]
fn matches_plain_sums_in_every_mode() {
    for n in [1, 3, 4, 1021, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 6, 1_000_003] {
        check(&Random::new(n as u64).normals(n, 0.1, 1.0));
    }
    check(&[0.0; 100]);
    check(&[0.3; 2 * CHUNK + 1]);
    let scales = Random::new(5).normals::<f32>(100_000, 0.0, 5.0);
    check(
        &scales
            .iter()
            .enumerate()
            .map(|(i, x)| x.exp2() * if i % 3 == 0 { -1e3 } else { 1e-6 })
            .collect::<Vec<_>>(),
    );
}

#[test]
fn any_number_of_partial_sums() {
    for blocks in [1, 31, 1023, 1025, 40_000] {
        let partial: Vec<f64> = Random::new(blocks as u64).normals(2 * blocks, 3.0, 1.0);
        let outputs = every_mode(|run| {
            let (partial, sums) = (run.upload(&partial), run.poisoned(2));
            finish(partial, sums, run)
        });
        let exact = [0, 1].map(|k| partial.iter().skip(k).step_by(2).sum::<f64>());
        let naive = exact.map(|x| x as f32);
        judge(&format!("global_norm_final {blocks}"), Stored::F32, outputs.get("sums"), &naive, &exact, 1);
    }
}

#[test]
fn what_is_not_finite_shows() {
    for (bad, at) in [(f32::NAN, 0), (f32::INFINITY, 40_000), (f32::NEG_INFINITY, 69_999), (2e19, 7)] {
        let mut g = vec![1.0; 70_000];
        g[at] = bad;
        let outputs = every_mode(|r| run(&g, r));
        assert!(!outputs.get("sums")[0].is_finite(), "{bad}");
    }
}

#[test]
fn traffic_is_the_cost() {
    let g = vec![1.0; 2_000_000];
    check_traffic(&count(|r| run(&g, r)), cost::global_norm(g.len()).bytes);
}

#[test]
fn equal_bits_whatever_runs_first() {
    let g: Vec<f32> = Random::new(2).normals(3 * CHUNK + 6, 0.1, 1.0);
    deterministic(|r| run(&g, r));
}

#[test]
fn every_synchronisation_is_needed() {
    let g: Vec<f32> = Random::new(1).normals(CHUNK + 5, 0.0, 1.0);
    mutations("global_norm", &[], |r| run(&g, r));
}
