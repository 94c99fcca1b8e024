//! Token by token against cached keys and values, as `generate` does it.
use crate::rig::{Sizes, cpu, gpu, weights};
use rewarm::device::EmulatedSettings;
use rewarm::model::{Model, Pass, Purpose, Workspace};
use rewarm::ops::{Backend, Shape, Work};

const PROMPT: usize = 5;

/// Logits behind the prompt and behind each later token.
fn logits(model: &Model, ops: &mut dyn Backend, ws: &Workspace, tokens: &[i32]) -> Vec<Vec<f32>> {
    let (prompt, rest) = tokens.split_at(PROMPT);
    ops.set_batch(prompt, &[], 0.0);
    let shape = Shape { batch: 1, time: PROMPT };
    ops.perform(Work::Once, &mut |ops| model.forward(ops, ws, shape, Pass::Sequences));
    ops.perform(Work::Once, &mut |ops| model.logits(ops, ws, PROMPT - 1));
    let mut found = vec![ops.read_act(ws.logits, 1).unwrap()];
    for (position, &token) in (PROMPT..).zip(rest) {
        ops.set_batch(&[token], &[], 0.0);
        let one = Shape { batch: 1, time: 1 };
        ops.perform(Work::Once, &mut |ops| model.forward(ops, ws, one, Pass::Token(position)));
        ops.perform(Work::Once, &mut |ops| model.logits(ops, ws, 0));
        found.push(ops.read_act(ws.logits, 1).unwrap());
    }
    found
}

#[test]
fn logits_of_cached_tokens_agree_with_the_cpu() {
    for (channels, heads, parallel) in [(64, 2, true), (128, 2, false), (160, 2, true)] {
        let model = Sizes { parallel, ..Sizes::new(channels, heads) }.model();
        let tokens: Vec<i32> = (0..23).map(|i| i * 37 % 256).collect();
        let shape = Shape { batch: 1, time: tokens.len() };
        let ws = Workspace::new(&model.config, shape, 1, Purpose::Generate);
        let w = weights(&model, 3);
        let exact = logits(&model, &mut cpu(&model, &ws, &w), &ws, &tokens);
        let found =
            logits(&model, &mut gpu(&model, &ws, &w, EmulatedSettings::default(), true), &ws, &tokens);
        assert_eq!(found.len(), 1 + tokens.len() - PROMPT);
        for (i, (exact, found)) in exact.iter().zip(&found).enumerate() {
            let length = |x: &mut dyn Iterator<Item = f32>| x.map(|x| x * x).sum::<f32>().sqrt();
            let apart = length(&mut exact.iter().zip(found).map(|(a, b)| a - b));
            let error = apart / length(&mut exact.iter().copied());
            assert!(error <= 2e-2, "{channels} channels, token {i}: {error:e}");
        }
    }
}
