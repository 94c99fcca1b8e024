//! Tensors that go to and from the flat buffers piece by piece are those of the flat buffers, on a device and on the
//! processor.
use crate::reference::random::Random;
use crate::rig::{Sizes, gpu, load, weights, workspace};
use half::bf16;
use rewarm::backend::cpu::MixedCpu;
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Precision};
use rewarm::ops::{AdamSettings, Backend, HostState, Matrix, Part, Shape, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, train_step};

const SHAPE: Shape = Shape { batch: 1, time: 24 };
const PARTS: [Part; 3] = [Part::Weights, Part::First, Part::Second];

fn flat(state: &HostState, part: Part) -> &[f32] {
    match part {
        Part::Weights => &state.w,
        Part::First => &state.m,
        Part::Second => &state.v,
        Part::Average => &state.ema,
    }
}

/// One tensor, however many pieces it comes in.
fn read(ops: &mut dyn Backend, part: Part, place: Matrix) -> Vec<f32> {
    let mut values = Vec::new();
    ops.read_state(part, place, &mut |piece| {
        values.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    values
}

/// Loss and what a step leaves.
fn step(model: &Model, ops: &mut dyn Backend) -> (u64, HostState) {
    let ws = workspace(model, SHAPE);
    let mut random = Random::new(9);
    let [tokens, targets] = [(); 2].map(|()| random.tokens(SHAPE.rows(), model.config.vocab_size));
    let input = Micro::new(&tokens, &targets, SHAPE.time, 1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    ops.set_applied(3);
    let params = assign(&model.table, &[], 0.1);
    let done = train_step(model, ops, &ws, input, &params, Update::new(adam, 1e-2, 3)).unwrap();
    (done.loss.to_bits(), ops.state().unwrap())
}

/// Also that what is made of weights (bf16 copies, sums of biases) follows each piece: the next step has equal bits.
fn check(model: &Model, [whole, pieces, filled]: [&mut dyn Backend; 3]) {
    let precision = model.table.precision;
    let mut random = Random::new(5);
    for part in PARTS {
        let mut values = vec![0.0; model.table.total];
        for p in &model.table.params {
            let drawn: Vec<f32> = random.normals(p.place.elements(), 0.0, 0.1);
            let drawn: Vec<f32> = drawn.iter().map(|x| x.abs()).collect();
            p.scatter(&drawn, &mut values);
            for (i, piece) in drawn.chunks(777).enumerate() {
                pieces.write_state(part, p.place, 777 * i, piece).unwrap();
            }
            let source = |first: usize, values: &mut [f32]| {
                values.copy_from_slice(&drawn[first..][..values.len()]);
                Ok(())
            };
            filled.fill_state(part, p.place, &source).unwrap();
        }
        whole.write_part(part, &values).unwrap();
        for p in &model.table.params {
            let wide = precision.has_f32_state() || (part == Part::Weights && p.has_master());
            let rounded = |x: f32| if wide { x } else { bf16::from_f32(x).to_f32() };
            let expected: Vec<f32> = p.gather(&values).into_iter().map(rounded).collect();
            assert!(read(pieces, part, p.place) == expected, "{} {part:?} {precision:?}", p.name);
        }
    }
    let [a, b, c] = [&mut *whole, &mut *pieces, &mut *filled].map(|ops| ops.state().unwrap());
    for part in PARTS {
        assert!(flat(&a, part) == flat(&b, part), "{part:?} {precision:?}");
        assert!(flat(&a, part) == flat(&c, part), "{part:?} {precision:?}");
    }
    let expected = step(model, whole);
    assert!(expected == step(model, pieces), "{precision:?}");
    assert!(expected == step(model, filled), "{precision:?}");
}

#[test]
fn tensors_in_pieces_are_the_flat_buffers() {
    for (precision, parallel) in [(Precision::Mixed, true), (Precision::Bf16, true), (Precision::Bf16, false)]
    {
        let model = Sizes { parallel, ..Sizes::new(64, 2) }.model().with_precision(precision);
        let ws = workspace(&model, SHAPE);
        let [mut whole, mut pieces, mut filled] =
            [3, 4, 5].map(|seed| gpu(&model, &ws, &weights(&model, seed), EmulatedSettings::default(), true));
        check(&model, [&mut whole, &mut pieces, &mut filled]);
        pieces.check_red_zones().unwrap();
        let [mut whole, mut pieces, mut filled] = [3, 4, 5].map(|seed| {
            let mut processor = MixedCpu::new(&model.config, &model.table, &ws);
            load(&mut processor, &weights(&model, seed)).unwrap();
            processor
        });
        check(&model, [&mut whole, &mut pieces, &mut filled]);
    }
}
