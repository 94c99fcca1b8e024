//! What a run leaves that has gone astray, and tokens that do not come up: no operation stores a subnormal number, with
//! which many processors are a hundred times slower.
use crate::reference::random::Random;
use crate::rig::{Layout, Rig};
use rewarm::backend::cpu::Draw;
use rewarm::ops::{Act, AdamParam, AdamStep, Backend, Gelu, Heads, Part, Shape, State};

const SHAPE: Shape = Shape { batch: 1, time: 130 };

/// How many of them there are.
fn subnormal(values: &[f32]) -> usize {
    values.iter().filter(|x| x.is_subnormal()).count()
}

#[test]
fn gradients_of_logits_far_apart() {
    let (vocab, rows) = (1009, SHAPE.rows());
    for sigma in [5.0, 20.0, 60.0, 1e3, 1e6] {
        let mut random = Random::new(1);
        let mut layout = Layout::default();
        let (logits, loss) = (layout.act(rows, vocab), layout.stat(rows, 1));
        let mut rig = layout.build(SHAPE, 1, (1, 2, 2, 1e4));
        rig.set(logits, &random.normals::<f32>(rows * vocab, 0.0, sigma));
        let targets = random.tokens(rows, vocab);
        rig.cpu.set_batch(&vec![0; rows], &targets, 1.0 / 65_536.0);
        rig.ops().cross_entropy(SHAPE, logits, 0, loss, true);
        let found = rig.get(logits, rows);
        assert_eq!(subnormal(&found), 0, "{sigma}");
        assert!(found.iter().all(|x| x.is_finite()) && found.iter().any(|x| *x != 0.0));
    }
}

#[test]
fn attention_with_scores_far_apart() {
    let (heads, rows) = (Heads { count: 2, size: 32, rotary: 0 }, SHAPE.rows());
    for sigma in [1.0, 5.0, 20.0, 1e3] {
        let mut random = Random::new(2);
        let mut layout = Layout::default();
        let [qkv, dqkv] = std::array::from_fn(|_| layout.act(rows, 192));
        let [out, dout] = std::array::from_fn(|_| layout.act(rows, 64));
        let lse = layout.stat(rows, 2);
        let mut rig = layout.build(SHAPE, 64, (2, 32, 0, 1e4));
        rig.set(qkv, &random.normals::<f32>(rows * 192, 0.0, sigma));
        rig.set(dout, &random.normals::<f32>(rows * 64, 0.0, 1e-6));
        rig.ops().attention(SHAPE, heads, qkv, out, lse);
        rig.ops().attention_bwd(SHAPE, heads, qkv, out, lse, dout, dqkv);
        assert_eq!(subnormal(&rig.get(out, rows)) + subnormal(&rig.get(dqkv, rows)), 0, "{sigma}");
    }
}

#[test]
fn gelu_of_large_numbers() {
    let rows = SHAPE.rows();
    for (kind, sigma) in
        [Gelu::Erf, Gelu::Tanh].into_iter().flat_map(|k| [(k, 1.0), (k, 8.0), (k, 1e3), (k, 1e9)])
    {
        let mut random = Random::new(3);
        let mut layout = Layout::default();
        let [saved, y, dy] = std::array::from_fn(|_| layout.act(rows, 257));
        let mut rig = layout.build(SHAPE, 1, (1, 2, 2, 1e4));
        rig.set(saved, &random.normals::<f32>(rows * 257, 0.0, sigma));
        rig.set(dy, &random.normals::<f32>(rows * 257, 0.0, 1e-6));
        rig.ops().gelu_again(SHAPE, kind, saved, y);
        rig.ops().gelu_bwd(SHAPE, kind, saved, dy);
        let stored = [saved, y, dy].map(|act: Act| subnormal(&rig.get(act, rows)));
        assert_eq!(stored, [0; 3], "{kind:?} {sigma}");
    }
}

/// From moments as in a run; after 1,300 steps at β₂ = 0.95 they reach the subnormal numbers, and stayed there.
#[test]
fn moments_of_tokens_that_do_not_come_up() {
    let mut layout = Layout::default();
    let place = layout.matrix(3, 257, 0);
    let mut rig: Rig = layout.build(SHAPE, 1, (1, 2, 2, 1e4));
    let (mut random, all) = (Random::new(4), rig.cpu.gradients().unwrap().len());
    let values: Vec<f32> = random.normals(place.rows * place.cols, 0.0, 1e-3);
    let of = |f: fn(f32) -> f32| values.iter().map(|a| f(*a)).collect::<Vec<f32>>();
    let [first, second] = [of(|a| 0.1 * a), of(|a| a * a)];
    for (part, values) in [(Part::Weights, &values), (Part::First, &first), (Part::Second, &second)] {
        rig.cpu.write_part(part, &vec![0.0; all]).unwrap();
        rig.cpu.write_state(part, place, 0, values).unwrap();
    }
    rig.set_all_gradients(&vec![0.0; all]);
    let params = [AdamParam { place, lr_mult: 1.0, weight_decay: 0.1, decay_follows_rate: false }];
    for applied in 1..2400 {
        let step = AdamStep {
            lr: 1e-3,
            decay_scale: [1.0; 2],
            betas: [0.9, 0.95],
            eps: 1e-8,
            grad_scale: 1.0,
            applied,
        };
        rig.cpu.adamw(&params, step, Draw { seed: 0, step: 0 });
        let state = rig.cpu.state().unwrap();
        assert_eq!([subnormal(&state.m), subnormal(&state.v)], [0; 2], "step {applied}");
        let left = state.v.iter().filter(|x| **x != 0.0).count();
        // ln(1e-6 / 1.2e-38) / -ln 0.95 is 1,430.
        assert!(applied != 1_000 || left == values.len(), "step {applied}: {left} left");
        assert!(applied != 2_399 || left == 0, "step {applied}: {left} left");
    }
}
