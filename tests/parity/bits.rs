//! The number of threads, the split into micro-batches, and what is recomputed change no bit of a training run.
use crate::reference::random::Random;
use rewarm::backend;
use rewarm::device::DeviceName;
use rewarm::model::{
    Init, Model, ModelConfig, Precision, Purpose, Recompute, Workspace, initial_weights, preset,
};
use rewarm::ops::{AdamSettings, Part, Shape, Update};
use rewarm::optim::assign;
use rewarm::train::{Micro, train_step};

const STEPS: usize = 5;
const SEQUENCES: usize = 8;
/// One more than a tile of queries and of LayerNorm's chunks, and no multiple of anything else.
const TIME: usize = 67;

/// Vocabulary and feed-forward end inside of a second tile of columns.
fn config(tied: bool) -> ModelConfig {
    ModelConfig {
        vocab_size: 523,
        hidden_size: 72,
        num_hidden_layers: 2,
        num_attention_heads: 3,
        intermediate_size: 520,
        max_position_embeddings: TIME,
        use_parallel_residual: !tied,
        tie_word_embeddings: tied,
        ..preset("pythia-14m").unwrap()
    }
}

/// Bits of the losses and norms, weights and moments after [`STEPS`] steps.
fn train(model: &Model, chunk_rows: usize, micro: usize, recompute: Recompute) -> Vec<u64> {
    let shape = Shape { batch: micro, time: TIME };
    let ws = Workspace::new(&model.config, shape, chunk_rows, Purpose::Train(recompute));
    let weights = initial_weights(&model.config, &model.table, Init::Small, 7);
    let mut ops = backend::open(DeviceName::Cpu, &model.config, &model.table, &ws).unwrap();
    ops.write_part(Part::Weights, &weights).unwrap();
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let mut random = Random::new(3);
    let mut bits = Vec::new();
    for step in 0..STEPS {
        let tokens = random.tokens(SEQUENCES * TIME, model.config.vocab_size);
        let mut targets = random.tokens(SEQUENCES * TIME, model.config.vocab_size);
        targets.iter_mut().step_by(13).for_each(|t| *t = -1);
        let input = Micro::new(&tokens, &targets, TIME, micro);
        let update = Update::new(adam, 1e-3, step as u64);
        let found = train_step(model, &mut *ops, &ws, input, &params, update).unwrap();
        assert!(found.applied);
        bits.extend([found.loss.to_bits(), found.norm.to_bits()]);
    }
    let state = ops.state().unwrap();
    let floats = [&state.w, &state.m, &state.v].into_iter().flat_map(|x| x.iter());
    bits.extend(floats.map(|x| x.to_bits() as u64));
    bits
}

fn check(tied: bool, precision: Precision) {
    let model = Model::new(config(tied)).with_precision(precision);
    // A chunk of logits inside of a sequence, and one of several sequences (of three: 8 are not a multiple).
    for chunk_rows in [29, 3 * TIME + 5] {
        let mut first: Option<Vec<u64>> = None;
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            for micro in [1, 2, 4, 8] {
                let bits = pool.install(|| train(&model, chunk_rows, micro, Recompute::None));
                let first = first.get_or_insert_with(|| bits.clone());
                let differing = first.iter().zip(&bits).position(|(a, b)| a != b);
                assert_eq!(
                    differing, None,
                    "chunk_rows {chunk_rows}, {threads} threads, micro-batch {micro}: \
                     of loss and norm of {STEPS} steps, weights and moments, the first that differs"
                );
            }
        }
    }
}

#[test]
fn threads_and_micro_batches_change_no_bit_of_an_untied_parallel_model() {
    check(false, Precision::F32);
}

#[test]
fn threads_and_micro_batches_change_no_bit_of_a_tied_sequential_model() {
    check(true, Precision::F32);
}

#[test]
fn threads_and_micro_batches_change_no_bit_in_mixed_precision() {
    check(false, Precision::Mixed);
    check(true, Precision::Mixed);
}

#[test]
fn threads_and_micro_batches_change_no_bit_in_bf16() {
    check(false, Precision::Bf16);
    check(true, Precision::Bf16);
}

#[test]
fn recomputing_changes_no_bit() {
    let all = [Precision::F32, Precision::Mixed, Precision::Bf16];
    for (tied, precision) in [false, true].into_iter().flat_map(|t| all.map(|p| (t, p))) {
        let model =
            Model::new(ModelConfig { num_hidden_layers: 3, ..config(tied) }).with_precision(precision);
        let [kept, cheap, block] = Recompute::ALL.map(|recompute| train(&model, 29, 4, recompute));
        assert!(kept == cheap, "tied {tied}, {precision}, cheap");
        assert!(kept == block, "tied {tied}, {precision}, block");
    }
}
