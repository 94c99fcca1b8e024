//! Documents in a sequence, on both backends: gradients as good as those of whole sequences, and nothing of one document
//! in another.
use crate::reference::random::Random;
use crate::rig::{Sizes, cpu, gpu, load, weights, workspace};
use crate::step::Step;
use rewarm::backend::cpu::{MicroKernel, MixedCpu};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Pass, Workspace};
use rewarm::ops::{Backend, Documents, Inputs, Shape, Work};
use rewarm::selftest::{judge_gradients, rounded, rounded_weights};

/// For each token of sequences of these documents the row in which its own starts.
fn starts(lengths: &[usize], batch: usize) -> Vec<i32> {
    let mut starts = Vec::new();
    for &length in lengths {
        starts.extend(vec![starts.len() as i32; length]);
    }
    starts.repeat(batch)
}

/// One micro-batch, and its logits.
fn step(
    model: &Model,
    ops: &mut dyn Backend,
    ws: &Workspace,
    shape: Shape,
    inputs: Inputs,
) -> (Step, Vec<f32>) {
    ops.set_inputs(inputs);
    ops.perform(Work::MicroBatch { shape, accumulate: false }, &mut |ops| {
        model.forward(ops, ws, shape, Pass::Sequences);
        model.loss_and_gradient(ops, ws, shape, false);
    });
    let losses = ops.read_stat(ws.loss, shape.rows()).unwrap();
    let last = ops.read_act(ws.last, shape.rows()).unwrap();
    model.finish_gradient(ops);
    (Step { losses, gradients: ops.gradients().unwrap().into_owned() }, last)
}

/// Random tokens and targets, one in seven ignored.
fn batch(shape: Shape, model: &Model) -> [Vec<i32>; 2] {
    let mut random = Random::new(5);
    let tokens = random.tokens(shape.rows(), model.config.vocab_size);
    let mut targets = random.tokens(shape.rows(), model.config.vocab_size);
    targets.iter_mut().step_by(7).for_each(|t| *t = -1);
    [tokens, targets]
}

/// The processor in f32 is judged against f64 elsewhere; here it judges.
fn check(sizes: Sizes, lengths: &[usize], reset: bool, emulated: bool) {
    let model = sizes.model();
    let shape = Shape { batch: 2, time: lengths.iter().sum() };
    let (ws, w, starts) = (workspace(&model, shape), weights(&model, 3), starts(lengths, 2));
    let [tokens, targets] = batch(shape, &model);
    let documents = Documents { starts: &starts, isolate: true, reset };
    let inputs = Inputs { documents, ..Inputs::new(&tokens, &targets, 1.0 / shape.rows() as f32) };
    let of = |ops: &mut dyn Backend| step(&model, ops, &ws, shape, inputs).0;
    let exact = of(&mut cpu(&model, &ws, &w));
    let naive = of(&mut rounded(cpu(&model, &ws, &rounded_weights(&model, &w))));
    let judge = |found: Step, what: &str| {
        let judged = judge_gradients(&model, &found.gradients, &naive.gradients, &exact.gradients);
        let worst = judged.iter().max_by(|a, b| a.share().total_cmp(&b.share())).unwrap();
        assert!(judged.iter().all(|j| j.holds()), "{sizes:?} {lengths:?} {what}: {worst:?}");
    };
    for micro in MicroKernel::ALL.into_iter().filter(|micro| micro.is_here()) {
        let mut processor = MixedCpu::new(&model.config, &model.table, &ws);
        processor.multiply_by(micro);
        load(&mut processor, &w).unwrap();
        judge(of(&mut processor), &micro.to_string());
    }
    if emulated {
        judge(of(&mut gpu(&model, &ws, &w, EmulatedSettings::default(), true)), "emulated");
    }
}

#[test]
fn gradients_of_documents_are_as_good_as_those_of_sequences() {
    for (channels, heads) in [(64, 2), (64, 1), (160, 2)] {
        let sizes = Sizes::new(channels, heads);
        check(sizes, &[1, 20, 11], true, true);
        check(sizes, &[33, 1, 6], false, true);
        check(sizes, &[1, 31, 33, 1, 130, 5, 6, 1], false, false);
        check(sizes, &[140, 64, 63, 1], true, false);
    }
}

/// Makes a backend with these weights.
type Open<'a> = &'a mut dyn FnMut(&Model, &Workspace, &[f32]) -> Box<dyn Backend>;

/// Other tokens in a document leave the logits, losses and gradients of the next one equal in bits; joined, they do not.
fn check_isolation(open: Open, what: &str) {
    let model = Sizes::new(64, 2).model();
    for (lengths, reset) in [([23, 25], false), ([31, 33], true), ([1, 36], true)] {
        let shape = Shape { batch: 1, time: lengths.iter().sum() };
        let (ws, w, starts) = (workspace(&model, shape), weights(&model, 3), starts(&lengths, 1));
        let first = lengths[0];
        let [mut tokens, mut targets] = batch(shape, &model);
        // The loss is the second document's, and what is common to both is no token.
        tokens.iter_mut().for_each(|t| *t = *t % 128 + 128);
        targets[..first].fill(-1);
        let mut run = |other: i32, isolate: bool| {
            tokens[..first].fill(other);
            let documents = Documents { starts: &starts, isolate, reset };
            let inputs = Inputs { documents, ..Inputs::new(&tokens, &targets, 0.01) };
            let mut ops = open(&model, &ws, &w);
            let (step, last) = step(&model, &mut *ops, &ws, shape, inputs);
            let of_second = &last[first * ws.last.cols..];
            let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            [bits(of_second), bits(&step.losses), bits(&step.gradients)]
        };
        let [one, other] = [run(3, true), run(77, true)];
        for (i, name) in ["the last norm", "losses", "gradients"].into_iter().enumerate() {
            assert!(one[i] == other[i], "{what}, {lengths:?}: {name} differ");
        }
        assert!(run(3, false)[0] != run(77, false)[0], "{what}, {lengths:?}: joined");
    }
}

#[test]
fn nothing_of_one_document_is_in_another() {
    check_isolation(&mut |model, ws, w| Box::new(cpu(model, ws, w)), "f32");
    for micro in MicroKernel::ALL.into_iter().filter(|micro| micro.is_here()) {
        let mixed = &mut |model: &Model, ws: &Workspace, w: &[f32]| {
            let mut processor = MixedCpu::new(&model.config, &model.table, ws);
            processor.multiply_by(micro);
            load(&mut processor, w).unwrap();
            Box::new(processor) as Box<dyn Backend>
        };
        check_isolation(mixed, &micro.to_string());
    }
    let emulated = &mut |model: &Model, ws: &Workspace, w: &[f32]| {
        Box::new(gpu(model, ws, w, EmulatedSettings::default(), true)) as Box<dyn Backend>
    };
    check_isolation(emulated, "emulated");
}

/// What is captured with documents is not replayed without them, nor the other way round.
#[test]
fn documents_may_be_looked_at_in_one_batch_and_not_in_the_next() {
    let model = Sizes::new(64, 2).model();
    let shape = Shape { batch: 2, time: 40 };
    let (ws, w, starts) = (workspace(&model, shape), weights(&model, 3), starts(&[7, 33], 2));
    let [tokens, targets] = batch(shape, &model);
    let inputs = |isolate: bool, reset: bool| {
        let documents = Documents { starts: &starts, isolate, reset };
        let documents = if isolate || reset { documents } else { Documents::NONE };
        Inputs { documents, ..Inputs::new(&tokens, &targets, 0.01) }
    };
    let fresh = || gpu(&model, &ws, &w, EmulatedSettings::default(), true);
    let mut used = fresh();
    let mut seen = Vec::new();
    for (isolate, reset) in
        [(false, false), (true, false), (true, true), (false, true), (false, false), (true, false)]
    {
        // Both slots of batches.
        for _ in 0..2 {
            let found = step(&model, &mut used, &ws, shape, inputs(isolate, reset)).0;
            let expected = step(&model, &mut fresh(), &ws, shape, inputs(isolate, reset)).0;
            assert!(found.gradients == expected.gradients, "isolate {isolate}, reset {reset}");
            seen.push(found.losses);
        }
    }
    assert!(seen[0] == seen[8] && seen[2] == seen[10]);
    assert!(seen[0] != seen[2] && seen[2] != seen[4] && seen[4] != seen[6]);
}
