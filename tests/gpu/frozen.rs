//! Products for the gradients of frozen tensors alone are not computed, and everything that is trained keeps its bits.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, weights, workspace};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Workspace};
use rewarm::ops::{AdamParam, AdamSettings, Backend, Shape, Update};
use rewarm::optim::assign;
use rewarm::perf::ledger::{Kind, Ledger};
use rewarm::train::{Micro, StepResult, train_step};

const SHAPE: Shape = Shape { batch: 1, time: 24 };
const MICRO_BATCHES: usize = 2;
const CHUNKS: usize = 2;

/// What is frozen, by name, and the products that a micro-batch is spared.
struct Case {
    sizes: Sizes,
    frozen: fn(&str) -> bool,
    spared: usize,
}

fn cases() -> [Case; 7] {
    let parallel = Sizes::new(64, 2);
    let sequential = Sizes { parallel: false, ..parallel };
    let mlp_out = |name: &str| name.contains("dense_4h_to_h");
    let mlp_in_and_qkv = |name: &str| name.contains("dense_h_to_4h") || name.contains("query_key_value");
    let below_block_1 = |name: &str| name.contains("embed_in") || name.contains("layers.0.");
    [
        // Three weights of a block, and what goes through them: four where the outputs are apart.
        Case { sizes: parallel, frozen: below_block_1, spared: 2 * 3 },
        Case { sizes: sequential, frozen: below_block_1, spared: 2 * 4 },
        // One product makes the gradients of both outputs, and one of them is trained.
        Case { sizes: parallel, frozen: mlp_out, spared: 0 },
        Case { sizes: sequential, frozen: mlp_out, spared: 2 },
        // Sums for biases that the backward of GELU makes on its way are for nobody.
        Case { sizes: parallel, frozen: mlp_in_and_qkv, spared: 2 * 2 },
        // Only the output matrix is trained.
        Case { sizes: parallel, frozen: |name| !name.contains("embed_out"), spared: 2 * 2 * 3 + CHUNKS },
        // It is the embedding, and all else is trained.
        Case {
            sizes: Sizes { tied: true, ..parallel },
            frozen: |name| name.contains("embed_in"),
            spared: CHUNKS,
        },
    ]
}

fn params(model: &Model, frozen: fn(&str) -> bool) -> Vec<AdamParam> {
    let mut params = assign(&model.table, &[], 0.1);
    for (param, p) in model.table.params.iter().zip(&mut params) {
        p.lr_mult = f64::from(u8::from(!frozen(&param.name)));
    }
    params
}

/// Three steps; results, weights and moments.
fn train(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    params: &[AdamParam],
) -> (Vec<StepResult>, [Vec<f32>; 3]) {
    let mut random = Random::new(7);
    let step = |step| {
        let [tokens, targets] =
            [(); 2].map(|()| random.tokens(MICRO_BATCHES * SHAPE.time, model.config.vocab_size));
        let input = Micro::new(&tokens, &targets, SHAPE.time, 1);
        let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
        train_step(model, ops, ws, input, params, Update::new(adam, 1e-2, step)).unwrap()
    };
    let results = (0..3).map(step).collect();
    let state = ops.state().unwrap();
    (results, [&state.w, &state.m, &state.v].map(|flat| flat.to_vec()))
}

fn products(model: &Model, ws: &Workspace) -> usize {
    let step = Ledger::of_step(model, ws, MICRO_BATCHES);
    step.entries.iter().filter(|e| matches!(e.kind, Kind::Product { .. })).count()
}

#[test]
fn products_for_frozen_tensors_are_left_out() {
    for (i, Case { sizes, frozen, spared }) in cases().into_iter().enumerate() {
        let whole = sizes.model();
        let (ws, w, params) = (workspace(&whole, SHAPE), weights(&whole, 3), params(&whole, frozen));
        assert_eq!(ws.chunks(SHAPE).len(), CHUNKS);
        let mut part = whole.clone();
        part.freeze(&params);
        let counts = [&whole, &part].map(|model| products(model, &ws));
        assert_eq!(counts[0] - counts[1], MICRO_BATCHES * spared, "case {i}: of {counts:?}");

        let [all, some] = [&whole, &part].map(|m| train(m, &mut cpu(m, &ws, &w), &ws, &params));
        assert!(all == some, "case {i}: cpu");
        assert!(all.1[0] != w, "case {i}: nothing was trained");
        for graphs in [false, true] {
            let on_gpu =
                |m: &Model| train(m, &mut gpu(m, &ws, &w, EmulatedSettings::default(), graphs), &ws, &params);
            let (all, some) = (on_gpu(&whole), on_gpu(&part));
            assert!(all == some, "case {i}: gpu, captured: {graphs}");
        }
    }
}
