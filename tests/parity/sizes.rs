//! Whole models against the reference: heads that the golden files lack, several of them, sequences longer than a
//! tile, ignored targets; and generation token by token.
use crate::golden::{CASES, golden};
use crate::reference::measure::Judge;
use crate::reference::model::{Net, params_of};
use crate::reference::random::Random;
use crate::run::{Batch, cpu_outputs, decoded};
use rewarm::model::{Model, ModelConfig, preset};
use rewarm::ops::{Gelu, Shape};

/// LayerNorm around 1, biases and matrices such that scores, logits and GELU's inputs are of order 1.
fn random_weights(model: &Model, random: &mut Random) -> Vec<f32> {
    let mut weights = vec![0.0; model.table.total];
    for p in &model.table.params {
        let (mean, sigma) = match p.shape[..] {
            [_, inputs] => (0.0, 1.3 / (inputs as f64).sqrt()),
            _ if p.name.ends_with("norm.weight") => (1.0, 0.3),
            _ => (0.0, 0.3),
        };
        p.scatter(&random.normals(p.shape.iter().product(), mean, sigma), &mut weights);
    }
    weights
}

fn random_batch(shape: Shape, vocab: usize, random: &mut Random) -> Batch {
    let mut targets = random.tokens(shape.rows(), vocab);
    targets.iter_mut().step_by(7).for_each(|t| *t = -1);
    Batch { shape, tokens: random.tokens(shape.rows(), vocab), targets }
}

/// Everything the cpu backend computes for a batch, against f64 and beside naive f32; all models together, since each
/// is only one draw.
fn compare(judge: &mut Judge, model: &Model, weights: &[f32], batch: &Batch) {
    let name = "all models";
    let params = params_of(&model.table, weights);
    let (tokens, targets, time) = (&batch.tokens, &batch.targets, batch.shape.time);
    let exact = Net::<f64>::new(&model.config, &params);
    let naive = Net::<f32>::new(&model.config, &params);
    let (exact_f, naive_f) = (exact.forward(tokens, time), naive.forward(tokens, time));
    let exact_g = exact.gradient(&exact_f, tokens, targets, time);
    let naive_g = naive.gradient(&naive_f, tokens, targets, time);
    let found = cpu_outputs(model, weights, batch);
    let rows = batch.shape.rows();
    judge.check("logits", name, &found.logits, &naive_f.logits, &exact_f.logits, exact_f.logits.len());
    judge.check("losses", name, &found.losses, &naive_g.losses, &exact_g.losses, rows);
    for p in &model.table.params {
        let tensor = p.name.rsplit_once("layers.").map_or(p.name.as_str(), |(_, n)| &n[2..]);
        let exact = &exact_g.params[&p.name];
        let (x, n) = (&found.gradients[&p.name], &naive_g.params[&p.name]);
        judge.check(tensor, name, x, n, exact, exact.len());
    }
}

#[test]
fn golden_models_are_as_near_to_f64_as_naive_f32_is() {
    let mut judge = Judge::default();
    for name in CASES {
        let g = golden(name);
        compare(&mut judge, &g.model, &g.weights, &g.batch);
    }
    judge.close();
}

#[test]
fn every_head_size_is_as_near_to_f64_as_naive_f32_is() {
    let mut judge = Judge::default();
    let mut random = Random::new(5);
    // Heads, their size, layers, sequences, T: 65 and 130 end one row and two behind a tile of queries.
    for (heads, size, layers, batch, time) in
        [(3, 32, 2, 3, 65), (3, 64, 2, 2, 130), (2, 80, 2, 2, 65), (2, 128, 1, 2, 65), (2, 256, 1, 1, 65)]
    {
        for sequential in [false, true] {
            let config = ModelConfig {
                vocab_size: 101,
                hidden_size: heads * size,
                num_hidden_layers: layers,
                num_attention_heads: heads,
                intermediate_size: 99,
                max_position_embeddings: time,
                use_parallel_residual: !sequential,
                tie_word_embeddings: sequential,
                gelu: if sequential { Gelu::Tanh } else { Gelu::Erf },
                ..preset("pythia-14m").unwrap()
            };
            let model = Model::new(config);
            let weights = random_weights(&model, &mut random);
            let batch = random_batch(Shape { batch, time }, 101, &mut random);
            compare(&mut judge, &model, &weights, &batch);
        }
    }
    judge.close();
}

#[test]
fn generating_token_by_token_gives_the_logits_of_the_whole_sequence() {
    let mut judge = Judge::default();
    for name in CASES {
        let g = golden(name);
        let (vocab, time) = (g.model.config.vocab_size, g.batch.shape.time);
        let params = params_of(&g.model.table, &g.weights);
        let tokens = &g.batch.tokens[..time];
        let exact = Net::<f64>::new(&g.model.config, &params).forward(tokens, time).logits;
        let naive = Net::<f32>::new(&g.model.config, &params).forward(tokens, time).logits;
        let whole = &cpu_outputs(&g.model, &g.weights, &g.batch).logits[..time * vocab];
        let stepwise = decoded(&g.model, &g.weights, tokens);
        judge.check("logits, whole sequence", "all models", whole, &naive, &exact, exact.len());
        judge.check("logits, token by token", "all models", &stepwise, &naive, &exact, exact.len());
    }
    judge.close();
}
