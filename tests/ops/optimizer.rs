//! The global norm and AdamW over the flat buffers.
use crate::reference::cast;
use crate::reference::measure::{Judge, length};
use crate::reference::optimizer::{Moments, adamw};
use crate::reference::random::Random;
use crate::rig::{Layout, Rig};
use rewarm::backend::cpu::Draw;
use rewarm::ops::{AdamParam, AdamStep, Backend, Matrix, Part, Shape, State};

const SHAPE: Shape = Shape { batch: 1, time: 1 };

#[test]
fn global_norm_is_exact_to_f64() {
    let mut random = Random::new(51);
    for len in [1, 15, 16, 17, 16_383, 16_385, 100_003] {
        let mut layout = Layout::default();
        layout.matrix(1, len, 0);
        let mut rig = layout.build(SHAPE, 1, (1, 2, 2, 1e4));
        let total = rig.cpu.gradients().unwrap().len();
        let mut g: Vec<f32> = random.normals(total, 0.0, 1.0);
        // What lies behind is not counted: a tied model's gradient of the output matrix is there.
        g[len..].fill(f32::NAN);
        rig.set_all_gradients(&g);
        let (found, exact) = (rig.cpu.global_norms(len)[0], length(&g[..len]));
        // Squares are exact in f64, so only the additions round: at most len times half an ulp, here and there.
        assert!((found / exact - 1.0).abs() <= len as f64 * f64::EPSILON, "{len}: {found} {exact}");
        g[len / 2] = f32::NAN;
        rig.set_all_gradients(&g);
        assert!(rig.cpu.global_norms(len)[0].is_nan());
    }
}

/// The rows of a tensor in one of the three flat buffers.
fn gather(flat: &[f32], p: Matrix) -> Vec<f32> {
    (0..p.rows).flat_map(|i| flat[p.offset + i * p.ld..][..p.cols].iter().copied()).collect()
}

fn scatter(flat: &mut [f32], p: Matrix, values: &[f32]) {
    for (i, row) in values.chunks(p.cols).enumerate() {
        flat[p.offset + i * p.ld..][..p.cols].copy_from_slice(row);
    }
}

/// Random weights of this σ; moments as after some steps (no average of squares is below the square of the average),
/// or as before the first.
fn start(random: &mut Random, len: usize, sigma: f64, first: bool) -> Moments<f32> {
    let w = random.normals(len, 0.0, sigma);
    let m: Vec<f32> = random.normals(len, 0.0, if first { 0.0 } else { 0.1 });
    let v = m.iter().map(|m| m * m * (1.0 + random.normal().powi(2) as f32)).collect();
    Moments { w, m, v }
}

fn load(rig: &mut Rig, places: &[Matrix], states: &[Moments<f32>]) {
    for (p, s) in places.iter().zip(states) {
        for (part, values) in [(Part::Weights, &s.w), (Part::First, &s.m), (Part::Second, &s.v)] {
            rig.cpu.write_state(part, *p, 0, values).unwrap();
        }
    }
}

/// (rate multiplier, decay) of the tensors: one is frozen, and the decay of every second follows the rate.
const GROUPS: [(f64, f64); 4] = [(1.0, 0.1), (1.0, 0.0), (0.5, 0.1), (0.0, 0.1)];

#[test]
fn adamw_updates_every_tensor_and_no_gap() {
    let (mut judge, mut random) = (Judge::default(), Random::new(52));
    // With weights of 0 the update itself is compared, not lost behind the weight's rounding.
    for (applied, sigma) in [(1, 0.02), (2, 0.0), (1000, 0.02)] {
        let mut layout = Layout::default();
        // Larger than a task, a vector, and two matrices side by side in one.
        let large = layout.matrix(170, 101, 0);
        let vector = layout.matrix(1, 77, 0);
        let merged = layout.matrix(33, 50, 0);
        let (left, right) =
            (Matrix { cols: 20, ..merged }, Matrix { offset: merged.offset + 20, cols: 30, ..merged });
        let places = [large, vector, left, right];
        let mut rig = layout.build(SHAPE, 1, (1, 2, 2, 1e4));
        let states: Vec<_> =
            places.iter().map(|p| start(&mut random, p.rows * p.cols, sigma, applied == 1)).collect();
        load(&mut rig, &places, &states);
        let total = rig.cpu.gradients().unwrap().len();
        let mut g: Vec<f32> = random.normals(total, 0.0, 1.0);
        g.iter_mut().step_by(9).for_each(|g| *g = 0.0);
        rig.set_all_gradients(&g);

        let decay_scale = [0.75, 0.5];
        let step =
            AdamStep { lr: 3e-3, decay_scale, betas: [0.9, 0.95], eps: 1e-8, grad_scale: 0.37, applied };
        let param = |(i, (&place, (lr_mult, weight_decay)))| AdamParam {
            place,
            lr_mult,
            weight_decay,
            decay_follows_rate: i % 2 == 1,
        };
        let params: Vec<AdamParam> = places.iter().zip(GROUPS).enumerate().map(param).collect();
        rig.cpu.adamw(&params, step, Draw { seed: 0, step: 0 });

        let state = rig.cpu.state().unwrap();
        let mut outside: Vec<f32> = state.w.to_vec();
        for (i, ((p, s), (lr_mult, decay))) in places.iter().zip(&states).zip(GROUPS).enumerate() {
            let g = gather(&g, *p);
            if lr_mult == 0.0 {
                let found = [&state.w, &state.m, &state.v].map(|flat| gather(flat, *p));
                assert_eq!(found, [&s.w, &s.m, &s.v].map(|x| x.clone()), "a frozen tensor changed");
                scatter(&mut outside, *p, &vec![f32::NAN; p.rows * p.cols]);
                continue;
            }
            let decay = decay * decay_scale[i % 2];
            let mut naive = s.clone();
            adamw(&mut naive, &g, step, lr_mult, decay);
            let mut exact = Moments::<f64> { w: cast(&s.w), m: cast(&s.m), v: cast(&s.v) };
            adamw(&mut exact, &cast(&g), step, lr_mult, decay);
            let name = format!("{p:?} applied {applied}");
            let mut check = |what: &str, flat: &[f32], naive: &[f32], exact: &[f64]| {
                judge.check(what, &name, &gather(flat, *p), naive, exact, naive.len());
            };
            check(if sigma == 0.0 { "adamw update" } else { "adamw w" }, &state.w, &naive.w, &exact.w);
            check("adamw m", &state.m, &naive.m, &exact.m);
            check("adamw v", &state.v, &naive.v, &exact.v);
            scatter(&mut outside, *p, &vec![f32::NAN; p.rows * p.cols]);
        }
        assert!(outside.iter().all(|x| x.is_nan()), "the poison between tensors was overwritten");
    }
    judge.close();
}
