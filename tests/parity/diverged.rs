//! A run that goes astray, operation by operation: where numbers below the normal ones come from, with which many
//! processors are a hundred times slower.
use crate::reference::random::Random;
use crate::run::workspace;
use rewarm::backend::cpu::Cpu;
use rewarm::model::{Init, Model, ModelConfig, initialize, preset};
use rewarm::ops::{AdamSettings, Backend, Op, Ops, Shape, State, Update};
use rewarm::optim::assign;
use rewarm::selftest::Around;
use rewarm::train::{Micro, train_step};
use std::cell::RefCell;
use std::collections::BTreeMap;

const SHAPE: Shape = Shape { batch: 4, time: 64 };
const STEPS: u64 = 60;

/// Of an operation: subnormal numbers that it wrote, and all.
type Counts = BTreeMap<&'static str, [usize; 2]>;

fn count(counts: &mut Counts, name: &'static str, values: &[f32]) {
    let entry = counts.entry(name).or_default();
    entry[0] += values.iter().filter(|x| x.is_subnormal()).count();
    entry[1] += values.len();
}

/// Counts of a run at this rate; also its first and last loss.
fn run(lr: f64) -> (Counts, [f64; 2]) {
    let model = Model::new(ModelConfig {
        vocab_size: 512,
        hidden_size: 64,
        intermediate_size: 256,
        num_hidden_layers: 3,
        num_attention_heads: 2,
        ..preset("pythia-14m").unwrap()
    });
    let ws = workspace(&model, SHAPE);
    let counts = RefCell::new(Counts::new());
    let each = |cpu: &mut Cpu, op: &Op| {
        cpu.issue(op);
        for (s, act) in op.shape().into_iter().flat_map(|s| op.writes().map(move |act| (s, act))) {
            count(&mut counts.borrow_mut(), op.name(), &cpu.read_act(act, s.rows()).unwrap());
        }
    };
    let mut ops = Around { cpu: Cpu::new(&model.config, &model.table, &ws), each };
    initialize(&model.config, &model.table, Init::Small, 1, &mut ops).unwrap();
    let params = assign(&model.table, &[], 0.1);
    let adam = AdamSettings { betas: [0.9, 0.95], eps: 1e-8, clip: 1.0 };
    let mut random = Random::new(1);
    let mut losses = Vec::new();
    for step in 0..STEPS {
        // Small tokens come up often and large ones hardly ever.
        let mut tokens = || -> Vec<i32> {
            let draws = [(); 2].map(|()| random.tokens(SHAPE.rows(), 512));
            draws[0].iter().zip(&draws[1]).map(|(a, b)| a * b / 512).collect()
        };
        let (inputs, targets) = (tokens(), tokens());
        let input = Micro::new(&inputs, &targets, SHAPE.time, SHAPE.batch);
        losses.push(
            train_step(&model, &mut ops, &ws, input, &params, Update::new(adam, lr, step)).unwrap().loss,
        );
        count(&mut counts.borrow_mut(), "gradients", &ops.gradients().unwrap());
        let state = ops.state().unwrap();
        [&state.m, &state.v]
            .into_iter()
            .for_each(|moments| count(&mut counts.borrow_mut(), "moments", moments));
    }
    (counts.into_inner(), [losses[0], losses[losses.len() - 1]])
}

/// The share of them that products (those inside of attention's backward, too) may write: in sums of many terms that
/// cancel nothing decides how small they get.
const OF_PRODUCTS: f64 = 2e-3;

#[test]
fn a_run_that_goes_astray_computes_with_normal_numbers() {
    for lr in [3e-3, 1.0, 30.0] {
        let (counts, losses) = run(lr);
        println!("rate {lr}: loss {:.3} to {:.3}", losses[0], losses[1]);
        assert!(lr < 1.0 || losses[1] > 2.0 * losses[0], "the run did not go astray: {losses:?}");
        for (name, [subnormal, all]) in counts {
            println!("  {name:20} {subnormal:>9} of {all}");
            let products =
                ["linear", "linear_bwd_input", "attention", "attention_bwd", "gradients"].contains(&name);
            let share = subnormal as f64 / all as f64;
            assert!(
                share <= if products { OF_PRODUCTS } else { 0.0 },
                "rate {lr}, {name}: {subnormal} of {all}"
            );
        }
    }
}
