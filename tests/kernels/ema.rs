//! ema.cu against the reference, and equal bits with the cpu backend.
use crate::measure::{Stored, judge};
use crate::reference::cast;
use crate::reference::optimizer::ema;
use crate::reference::random::Random;
use crate::rig::{Run, check_traffic, count, deterministic, every_mode};
use rewarm::Result;
use rewarm::backend::cpu::average;
use rewarm::device::StepRecord;
use rewarm::ops::cost;

/// What lies behind the average; the kernel must leave it.
const BEHIND: f32 = 1024.0;

/// Weights and average; every seventh pair is equal.
fn values(n: usize) -> [Vec<f32>; 2] {
    let mut random = Random::new(n as u64);
    let w: Vec<f32> = random.normals(n, 0.0, 1.0);
    let mut e: Vec<f32> = random.normals(n, 0.0, 1.0);
    e.iter_mut().zip(&w).step_by(7).for_each(|(e, w)| *e = *w);
    [w, e]
}

/// The average behind one update.
fn run([w, e]: &[Vec<f32>; 2], decay: f64, skip: bool, run: &mut Run) -> Result<()> {
    let n = w.len();
    let (w, e) = (run.upload(w), run.upload(&[e, &[BEHIND; 9][..]].concat()));
    let record = run.upload(&[StepRecord { skip: i32::from(skip), ..StepRecord::default() }]);
    let share = (1.0 - decay) as f32;
    let args = [w.arg(), e.arg(), share.into(), (n as i64).into(), record.arg()];
    run.launch("ema", [n.div_ceil(4096), 1, 1], 256, 0, &args)?;
    run.output("w", &w);
    run.output("e", &e);
    Ok(())
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn matches_the_reference_and_the_cpu_in_every_mode() {
    for n in [1, 3, 4, 5, 1021, 4095, 4096, 4097, 5120, 9999, 50_291] {
        for decay in [0.9, 0.9999] {
            let [w, e] = values(n);
            let outputs = every_mode(|r| run(&[w.clone(), e.clone()], decay, false, r));
            let (found, behind) = outputs.get("e").split_at(n);
            assert!(outputs.get("w") == w && behind == [BEHIND; 9], "{n}: wrote elsewhere");
            let (mut naive, mut exact): (_, Vec<f64>) = (e.clone(), cast(&e));
            ema(&mut naive, &w, decay);
            ema(&mut exact, &cast(&w), decay);
            judge(&format!("ema {n} {decay}"), Stored::F32, found, &naive, &exact, n);
            let mut cpu = e.clone();
            average(&mut cpu, &w, decay);
            assert!(bits(found) == bits(&cpu), "{n} {decay}: other bits than the cpu's");
            assert!(found.iter().zip(&w).step_by(7).all(|(e, w)| e == w), "{n} {decay}: equal ones moved");
        }
    }
}

#[test]
fn a_skipped_step_leaves_it() {
    for n in [3, 4097] {
        let values = values(n);
        let outputs = every_mode(|r| run(&values, 0.9, true, r));
        assert!(bits(&outputs.get("e")[..n]) == bits(&values[1]), "{n}");
    }
}

/// Subnormals, infinities and zeros with signs are the cpu's too; a weight that is no number shows.
#[test]
fn special_values() {
    let special = [0.0, -0.0, 1e-40, -1e-40, f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, f32::NAN];
    let pairs = || special.iter().flat_map(|&w| special.iter().map(move |&e| (w, e)));
    let (w, e): (Vec<f32>, Vec<f32>) = pairs().unzip();
    let outputs = every_mode(|r| run(&[w.clone(), e.clone()], 0.5, false, r));
    let mut expected = e.clone();
    average(&mut expected, &w, 0.5);
    for (i, (found, expected)) in outputs.get("e").iter().zip(&expected).enumerate() {
        let same = found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan());
        assert!(same, "w {} e {}: {found}, and {expected} on the cpu", w[i], e[i]);
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let values = values(9999);
    deterministic(|r| run(&values, 0.9, false, r));
}

#[test]
fn traffic_is_the_cost() {
    let values = values(1 << 18);
    check_traffic(&count(|r| run(&values, 0.9, false, r)), cost::ema(1 << 18).bytes);
}
