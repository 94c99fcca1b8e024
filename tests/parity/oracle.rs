//! The reference itself against finite differences of its own loss, in every variant of the architecture.
use crate::reference::float::erf;
use crate::reference::model::{Net, Params};
use crate::reference::random::Random;
use rewarm::model::{Model, ModelConfig, preset};
use rewarm::ops::Gelu;

const TIME: usize = 5;
/// Step of the differences, which are of fourth order. Their own error is about 1e-12 (rounding of the loss, a few
/// 1e-16/h) and h⁴/30 of the fifth derivative, 5e-17 of it.
const H: f64 = 2e-4;
const TOLERANCE: f64 = 1e-9;

/// Python's `math.erf`; 3 is where the series ends and the continued fraction begins.
#[test]
fn erf_is_erf() {
    let values = [
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
        (2.0, 0.995_322_265_018_952_7),
        (2.999_999, 0.999_977_909_363_748),
        (3.0, 0.999_977_909_503_001_4),
        (4.0, 0.999_999_984_582_742_1),
    ];
    for (x, exact) in values {
        assert!((erf(x) - exact).abs() < 4e-16 && erf(-x) == -erf(x), "erf({x}) = {}", erf(x));
    }
    assert!((erf(1e-20) / 1e-20 - 2.0 / std::f64::consts::PI.sqrt()).abs() < 1e-15);
}

/// Eight channels and two blocks, in all combinations of the architecture's switches.
fn variants() -> Vec<ModelConfig> {
    let tiny = ModelConfig {
        vocab_size: 11,
        hidden_size: 8,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 12,
        max_position_embeddings: TIME,
        layer_norm_eps: 1e-2,
        ..preset("pythia-14m").unwrap()
    };
    let mut all = Vec::new();
    for bits in 0..16 {
        for rotary_pct in [0.0, 0.5, 1.0] {
            all.push(ModelConfig {
                use_parallel_residual: bits & 1 == 0,
                tie_word_embeddings: bits & 2 != 0,
                attention_bias: bits & 4 == 0,
                gelu: if bits & 8 == 0 { Gelu::Erf } else { Gelu::Tanh },
                rotary_pct,
                ..tiny.clone()
            });
        }
    }
    all
}

fn random_net(config: &ModelConfig, random: &mut Random) -> Net<f64> {
    let mut params = Params::new();
    for p in &Model::new(config.clone()).table.params {
        let mean = if p.name.ends_with("norm.weight") { 1.0 } else { 0.0 };
        params.insert(p.name.clone(), random.normals(p.shape.iter().product(), mean, 0.5));
    }
    Net { config: config.clone(), params }
}

#[test]
fn the_references_gradient_is_that_of_its_loss() {
    let mut random = Random::new(1);
    let mut worst = 0.0f64;
    for config in variants() {
        let mut net = random_net(&config, &mut random);
        let tokens = random.tokens(2 * TIME, config.vocab_size);
        let mut targets = random.tokens(2 * TIME, config.vocab_size);
        targets[3] = -1;
        let gradient = net.gradient(&net.forward(&tokens, TIME), &tokens, &targets, TIME);
        let names: Vec<String> = net.params.keys().cloned().collect();
        for name in names {
            let len = net.params[&name].len();
            for trial in 0..5 {
                // Two random directions, then single elements.
                let direction: Vec<f64> = if trial < 2 {
                    random.normals(len, 0.0, 1.0 / (len as f64).sqrt())
                } else {
                    let at = random.below(len);
                    (0..len).map(|i| f64::from(u8::from(i == at))).collect()
                };
                let start = net.params[&name].clone();
                let mut loss_at = |h: f64| {
                    let moved = start.iter().zip(&direction).map(|(x, d)| x + h * d);
                    net.params.insert(name.clone(), moved.collect());
                    net.loss(&tokens, &targets, TIME)
                };
                let mut difference = |h: f64| loss_at(h) - loss_at(-h);
                let slope = (8.0 * difference(H) - difference(2.0 * H)) / (12.0 * H);
                net.params.insert(name.clone(), start);
                let exact: f64 = gradient.params[&name].iter().zip(&direction).map(|(g, d)| g * d).sum();
                worst = worst.max((slope - exact).abs());
                assert!((slope - exact).abs() <= TOLERANCE, "{name} {config:?}: {exact}, not {slope}");
            }
        }
        assert_eq!(gradient.params.len(), net.params.len());
    }
    println!("{} variants, worst difference {worst:.1e}", variants().len());
}
