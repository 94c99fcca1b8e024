//! The naive bf16 model: the cpu backend, with every weight of a product and every result that a GPU keeps in bf16
//! rounded once, where its operation ends; and how far from the exact one a GPU's gradients may be because of it.
use super::around::Around;
use super::judge::{Judgement, bf16s};
use crate::backend::cpu::Cpu;
use crate::model::{Model, Param};
use crate::ops::{Act, Backend, Gelu, Op, Ops, Shape};
use crate::reference::measure::{distance, length};
use crate::reference::ops::gelu;

/// Relative error of any tensor's gradient: bf16 has 8 bits, and errors of two layers add up.
const GRADIENT_BOUND: f64 = 2e-2;

/// Every tensor's gradient of a step: its relative error may be 2e-2, and twice that of the naive model.
pub fn judge_gradients(model: &Model, found: &[f32], naive: &[f32], exact: &[f32]) -> Vec<Judgement> {
    let judge = |p: &Param| {
        let [found, naive, exact] = [found, naive, exact].map(|all| p.gather(all));
        let error = |of: &[f32]| distance(of, &exact) / length(&exact);
        let bound = GRADIENT_BOUND.min(2.0 * error(&naive));
        Judgement { what: p.name.clone(), error: error(&found), bound }
    };
    model.table.params.iter().map(judge).collect()
}

/// The weights as the products see them: norms stay f32.
pub fn rounded_weights(model: &Model, weights: &[f32]) -> Vec<f32> {
    let mut w = weights.to_vec();
    for p in
        model.table.params.iter().filter(|p| !p.name.contains("layernorm") && !p.name.contains("layer_norm"))
    {
        p.scatter(&bf16s(&p.gather(&w)), &mut w);
    }
    w
}

/// The backend that rounds.
pub fn rounded(cpu: Cpu) -> impl Backend {
    Around { cpu, each: issue }
}

fn issue(cpu: &mut Cpu, op: &Op) {
    match *op {
        // The pre-activation is rounded, and its slope is that of the rounded one.
        Op::LinearGelu { s, x, w, bias, gelu, saved, y, again } => {
            issue(cpu, &Op::Linear { s, x, w, bias: [Some(bias), None], residual: None, y: saved });
            let pre = values(cpu, s, saved);
            issue(cpu, &Op::GeluAgain { s, gelu, saved, y });
            if again {
                cpu.write_act(saved, &pre);
            }
        }
        // The slope, which a GPU does not keep, is not.
        Op::GeluAgain { s, gelu, saved, y } => {
            let (y_values, slopes): (Vec<f32>, Vec<f32>) =
                values(cpu, s, saved).iter().map(|&x| value_and_slope(gelu, x)).unzip();
            cpu.write_act(y, &bf16s(&y_values));
            cpu.write_act(saved, &slopes);
        }
        _ => {
            cpu.issue(op);
            for (s, act) in op.shape().into_iter().flat_map(|s| op.writes().map(move |act| (s, act))) {
                let exact = values(cpu, s, act);
                cpu.write_act(act, &bf16s(&exact));
            }
        }
    }
}

fn values(cpu: &mut Cpu, s: Shape, act: Act) -> Vec<f32> {
    cpu.read_act(act, s.rows()).expect("memory of this process")
}

/// GELU and its derivative, by the reference.
fn value_and_slope(kind: Gelu, x: f32) -> (f32, f32) {
    let (y, slope) = gelu(f64::from(x), kind);
    (y as f32, slope as f32)
}
