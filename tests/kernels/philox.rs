//! philox.cu against the published test vectors, and Box-Muller in f64.
use crate::measure::{Stored, judge};
use crate::reference::random::philox;
use crate::rig::{Run, check_traffic, count, deterministic, every_mode};
use rewarm::Result;
use rewarm::device::{Arg, Buffer};
use rewarm::ops::cost;
use std::f64::consts::TAU;

const SEED: u64 = 0x299f_31d0_a409_3822;
const STREAM: u64 = 0x0370_7344_1319_8a2e;

fn bits(n: usize) -> Vec<u32> {
    (0..n.div_ceil(4)).flat_map(|i| philox(SEED, [i as u64, STREAM])).take(n).collect()
}

fn run(kernel: &str, n: usize, more: &[Arg], run: &mut Run) -> Result<()> {
    let out: Buffer<u32> = run.poisoned(n);
    let mut args = vec![out.arg(), (n as i64).into(), SEED.into(), STREAM.into()];
    args.extend_from_slice(more);
    run.launch(kernel, [n.div_ceil(1024), 1, 1], 256, 0, &args)?;
    let values: Vec<u32> = run.device.read(&out);
    if kernel == "philox_bits" {
        // As halves, which f32 holds.
        let halves: Vec<u32> = values.iter().flat_map(|x| [x & 0xffff, x >> 16]).collect();
        let halves = run.upload(&halves);
        run.output("halves", &halves);
    } else {
        let floats: Vec<f32> = values.into_iter().map(f32::from_bits).collect();
        let floats = run.upload(&floats);
        run.output("floats", &floats);
    }
    Ok(())
}

/// Every kernel with its last arguments.
fn kernels() -> [(&'static str, Vec<Arg>); 3] {
    [("philox_bits", vec![]), ("philox_uniform", vec![]), ("philox_normal", vec![0f32.into(), 1f32.into()])]
}

/// Salmon et al., `kat_vectors` of Random123.
#[test]
fn the_expectation_is_philox() {
    assert_eq!(philox(0, [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(philox(!0, [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    let pi = [0x85a308d3_243f6a88, 0x03707344_13198a2e];
    assert_eq!(philox(0x299f31d0_a4093822, pi), [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]);
}

#[test]
fn bits_and_uniforms_are_exact() {
    for n in [1, 2, 4, 7, 1023, 1024, 1030, 100_001] {
        let outputs = every_mode(|r| run("philox_bits", n, &[], r));
        let halves = bits(n).iter().flat_map(|x| [(x & 0xffff) as f32, (x >> 16) as f32]).collect::<Vec<_>>();
        assert_eq!(outputs.get("halves"), halves);
        let outputs = every_mode(|r| run("philox_uniform", n, &[], r));
        let uniforms: Vec<f32> = bits(n).into_iter().map(|x| uniform(x) as f32).collect();
        assert_eq!(outputs.get("floats"), uniforms);
        assert!(uniforms.iter().all(|&u| 0.0 < u && u < 1.0));
    }
}

fn uniform(bits: u32) -> f64 {
    (f64::from(bits >> 9) + 0.5) / f64::from(1 << 23)
}

#[test]
fn normals_are_box_muller() {
    let (mean, sigma) = (0.25f32, 0.02f32);
    for n in [1, 3, 6, 1029, 200_000] {
        let outputs = every_mode(|r| run("philox_normal", n, &[mean.into(), sigma.into()], r));
        let pairs = bits(n.next_multiple_of(4));
        let exact = pairs.chunks(2).flat_map(|w| {
            let (far, angle) = ((-2.0 * uniform(w[0]).ln()).sqrt(), TAU * uniform(w[1]));
            [angle.cos(), angle.sin()].map(|x| f64::from(mean) + f64::from(sigma) * far * x)
        });
        let naive = pairs.chunks(2).flat_map(|w| {
            let far = (-2.0 * (uniform(w[0]) as f32).ln()).sqrt();
            let angle = TAU as f32 * uniform(w[1]) as f32;
            [angle.cos(), angle.sin()].map(|x| mean + sigma * far * x)
        });
        let (naive, exact): (Vec<f32>, Vec<f64>) = (naive.take(n).collect(), exact.take(n).collect());
        let x = outputs.get("floats");
        judge(&format!("philox_normal {n}"), Stored::F32, x, &naive, &exact, n);
        if n == 200_000 {
            let moment = |k| {
                x.iter().map(|&x| ((f64::from(x) - f64::from(mean)) / f64::from(sigma)).powi(k)).sum::<f64>()
                    / n as f64
            };
            // Five standard deviations of each estimate.
            for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0f64)] {
                let error: f64 = moment(k) - expected;
                assert!(error.abs() < 5.0 * (variance / n as f64).sqrt(), "moment {k} is off by {error}");
            }
        }
    }
}

#[test]
fn traffic_is_the_cost() {
    let n = 1 << 20;
    for (kernel, more) in kernels() {
        check_traffic(&count(|r| run(kernel, n, &more, r)), cost::philox(n).bytes);
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    for (kernel, more) in kernels() {
        deterministic(|r| run(kernel, 5003, &more, r));
    }
}
