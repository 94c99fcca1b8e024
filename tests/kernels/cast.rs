//! cast.cu: equal bits.
use crate::reference::random::Random;
use crate::rig::{Run, bf16s, check_traffic, count, deterministic, every_mode};
use half::bf16;
use rewarm::Result;
use rewarm::device::Buffer;
use rewarm::ops::cost;

fn to_bf16(run: &mut Run, x: &[f32]) -> Result<()> {
    let (from, to): (_, Buffer<bf16>) = (run.upload(x), run.poisoned(x.len()));
    let args = [from.arg(), to.arg(), (x.len() as i64).into()];
    run.launch("cast_f32_bf16", [x.len().div_ceil(4096), 1, 1], 256, 0, &args)?;
    run.output("y", &to);
    Ok(())
}

fn to_f32(run: &mut Run, x: &[f32]) -> Result<()> {
    let (from, to): (_, Buffer<f32>) = (run.upload_bf16(x), run.poisoned(x.len()));
    let args = [from.arg(), to.arg(), (x.len() as i64).into()];
    run.launch("cast_bf16_f32", [x.len().div_ceil(4096), 1, 1], 256, 0, &args)?;
    run.output("y", &to);
    Ok(())
}

/// Also ties, subnormals, zeros with signs, infinities, and numbers that round up to one.
fn values(n: usize) -> Vec<f32> {
    let special =
        [0.0, -0.0, 1.003_906_3, 1.011_718_8, 1e-40, -1e-40, f32::MAX, f32::INFINITY, f32::NEG_INFINITY];
    let mut x: Vec<f32> = Random::new(3).normals(n, 0.0, 100.0);
    x.iter_mut().zip(special).for_each(|(x, s)| *x = s);
    x
}

#[test]
fn equal_bits_in_every_mode() {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for n in [1, 3, 4, 7, 1024, 4095, 4096, 4097, 9999, 20_480, 50_291] {
        let x = values(n);
        let expected = bits(&bf16s(&x));
        assert_eq!(bits(every_mode(|run| to_bf16(run, &x)).get("y")), expected, "{n} to bf16");
        assert_eq!(bits(every_mode(|run| to_f32(run, &x)).get("y")), expected, "{n} to f32");
    }
}

#[test]
fn nan_stays() {
    let x = [f32::NAN, 1.0, f32::from_bits(0xff80_0001), 2.0];
    for y in [every_mode(|run| to_bf16(run, &x)), every_mode(|run| to_f32(run, &x))] {
        let y = y.get("y");
        assert!(y[0].is_nan() && y[2].is_nan() && y[1] == 1.0 && y[3] == 2.0, "{y:?}");
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let x = values(9999);
    deterministic(|run| to_bf16(run, &x));
    deterministic(|run| to_f32(run, &x));
}

#[test]
fn traffic_is_the_cost() {
    let x = values(2048 * 128);
    check_traffic(&count(|run| to_bf16(run, &x)), cost::cast(x.len()).bytes);
    check_traffic(&count(|run| to_f32(run, &x)), cost::cast(x.len()).bytes);
}
