//! Mistakes planted on purpose: the comparison that passes the product must catch each in every case.
use crate::golden::{CASES, Differences, Golden, golden};
use crate::reference::attention::{Dims, attention};
use crate::run::{cpu, cpu_outputs, outputs, workspace};
use rewarm::backend::cpu::Cpu;
use rewarm::model::{Model, ModelConfig};
use rewarm::ops::{Backend, Gelu, Heads, Op, Ops, Vector};
use rewarm::selftest::Around;

/// A wrong model in place of the right one.
struct Fault {
    name: String,
    config: ModelConfig,
    weights: Vec<f32>,
}

/// Everything that editing the configuration or the weights can break.
fn faults(g: &Golden) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut plant = |name: String, change: &dyn Fn(&mut ModelConfig, &mut [f32])| {
        let mut fault = Fault { name, config: g.model.config.clone(), weights: g.weights.clone() };
        change(&mut fault.config, &mut fault.weights);
        faults.push(fault);
    };
    plant("erf and tanh exchanged".into(), &|c, _| {
        c.gelu = if c.gelu == Gelu::Erf { Gelu::Tanh } else { Gelu::Erf };
    });
    plant("another rotary share".into(), &|c, _| {
        c.rotary_pct = if c.rotary_pct == 0.25 { 0.5 } else { c.rotary_pct / 2.0 };
    });
    for (i, layer) in g.model.table.layers.iter().enumerate() {
        plant(format!("norms of block {i} swapped"), &|_, w| {
            swap(w, layer.norm_attn.weight, layer.norm_mlp.weight);
            swap(w, layer.norm_attn.bias, layer.norm_mlp.bias);
        });
    }
    for p in g.model.table.params.iter().filter(|p| p.name.ends_with(".bias")) {
        plant(format!("{} dropped", p.name), &|_, w| w[p.place.offset..][..p.place.cols].fill(0.0));
    }
    faults
}

fn swap(w: &mut [f32], a: Vector, b: Vector) {
    (0..a.len).for_each(|i| w.swap(a.offset + i, b.offset + i));
}

#[test]
fn every_planted_fault_is_caught_in_every_case() {
    for name in CASES {
        let g = golden(name);
        println!("{name}");
        let caught = |fault: &str, found: Differences| {
            println!("  {fault:55} {found}");
            assert!(!found.agree(), "{name}: nobody saw \"{fault}\": {found}");
        };
        for fault in faults(&g) {
            let found = cpu_outputs(&Model::new(fault.config), &fault.weights, &g.batch);
            caught(&fault.name, Differences::between(&found, &g.exact, &g.batch));
        }
        for (fault, ahead) in [("mask sees one token ahead", 1), ("mask hides the token itself", -1)] {
            caught(fault, masked(&g, ahead));
        }
        // The wrapper that plants the mask's faults plants nothing at 0.
        let right = masked(&g, 0);
        assert!(right.agree(), "{name}: {right}");
    }
}

/// With a mask that is moved: attention comes from the reference, everything else from the product.
fn masked(g: &Golden, ahead: isize) -> Differences {
    let ws = workspace(&g.model, g.batch.shape);
    let each = |cpu: &mut Cpu, op: &Op| {
        cpu.issue(op); // fills the log-sum-exp, which a test cannot write
        if let Op::Attention { s, heads: Heads { count, size, .. }, qkv, out, .. } = *op {
            // What rotates is rotated already.
            let d = Dims { batch: s.batch, time: s.time, heads: count, size, rotary: 0, base: 1.0 };
            let values = cpu.read_act(qkv, s.rows()).unwrap();
            cpu.write_act(out, &attention(d, &values, ahead).0);
        }
    };
    let mut ops = Around { cpu: cpu(&g.model, &ws, &g.weights), each };
    Differences::between(&outputs(&g.model, &mut ops, &ws, &g.batch), &g.exact, &g.batch)
}
