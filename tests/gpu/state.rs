//! Tensors that go between host and device piece by piece are those of the flat buffers.
use crate::reference::random::Random;
use crate::rig::{Sizes, gpu, weights, workspace};
use half::bf16;
use rewarm::backend::gpu::Gpu;
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Precision};
use rewarm::ops::{AdamSettings, Backend, HostState, Matrix, Part, Shape, State, Update};
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
fn read(gpu: &mut Gpu, part: Part, place: Matrix) -> Vec<f32> {
    let mut values = Vec::new();
    gpu.read_state(part, place, &mut |piece| {
        values.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    values
}

/// Loss and what a step leaves.
fn step(model: &Model, gpu: &mut Gpu) -> (u64, HostState) {
    let ws = workspace(model, SHAPE);
    let mut random = Random::new(9);
    let [tokens, targets] = [(); 2].map(|()| random.tokens(SHAPE.rows(), model.config.vocab_size));
    let input = Micro { tokens: &tokens, targets: &targets, time: SHAPE.time, batch: 1 };
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    gpu.set_applied(3);
    let params = assign(&model.table, &[], 0.1);
    let done = train_step(model, gpu, &ws, input, &params, Update::new(adam, 1e-2, 3)).unwrap();
    (done.loss.to_bits(), gpu.state().unwrap())
}

/// Also that what is made of weights (bf16 copies, sums of biases) follows each piece: the next step has equal bits.
#[test]
fn tensors_in_pieces_are_the_flat_buffers() {
    for (precision, parallel) in [(Precision::Mixed, true), (Precision::Bf16, true), (Precision::Bf16, false)]
    {
        let model = Sizes { parallel, ..Sizes::new(64, 2) }.model().with_precision(precision);
        let open = |seed| {
            let settings = EmulatedSettings::default();
            gpu(&model, &workspace(&model, SHAPE), &weights(&model, seed), settings, true)
        };
        let (mut whole, mut pieces) = (open(3), open(4));
        let mut random = Random::new(5);
        for part in PARTS {
            let mut values = vec![0.0; model.table.total];
            for p in &model.table.params {
                let drawn: Vec<f32> = random.normals(p.place.elements(), 0.0, 0.1);
                p.scatter(&drawn.iter().map(|x| x.abs()).collect::<Vec<_>>(), &mut values);
                for (i, piece) in p.gather(&values).chunks(777).enumerate() {
                    pieces.write_state(part, p.place, 777 * i, piece).unwrap();
                }
            }
            whole.write_part(part, &values).unwrap();
            for p in &model.table.params {
                let wide = precision == Precision::Mixed || (part == Part::Weights && p.has_master());
                let rounded = |x: f32| if wide { x } else { bf16::from_f32(x).to_f32() };
                let expected: Vec<f32> = p.gather(&values).into_iter().map(rounded).collect();
                assert!(read(&mut pieces, part, p.place) == expected, "{} {part:?} {precision:?}", p.name);
            }
        }
        let (a, b) = (whole.state().unwrap(), pieces.state().unwrap());
        for part in PARTS {
            assert!(flat(&a, part) == flat(&b, part), "{part:?} {precision:?}");
        }
        assert!(step(&model, &mut whole) == step(&model, &mut pieces), "{precision:?} {parallel}");
        pieces.check_red_zones().unwrap();
    }
}
