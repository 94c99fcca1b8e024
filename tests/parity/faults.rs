//! Mistakes planted on purpose: the comparison that passes the product must catch each in every case.
use crate::golden::{CASES, Differences, Golden, golden};
use crate::reference::attention::{Dims, attention};
use crate::run::{cpu, cpu_outputs, outputs, workspace};
use rewarm::Result;
use rewarm::backend::cpu::Cpu;
use rewarm::model::{Gelu, Matrix, Model, ModelConfig, Norm, Vector};
use rewarm::ops::{Act, AdamParam, Heads, LoadState, Ops, Outcome, Shape, Stat, State, Update, Work};
use std::borrow::Cow;

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

fn masked(g: &Golden, ahead: isize) -> Differences {
    let ws = workspace(&g.model, g.batch.shape);
    let mut ops = Masked { cpu: cpu(&g.model, &ws, &g.weights), ahead };
    Differences::between(&outputs(&g.model, &mut ops, &ws, &g.batch), &g.exact, &g.batch)
}

/// A backend whose mask is moved: attention comes from the reference, everything else from [`Cpu`].
struct Masked {
    cpu: Cpu,
    ahead: isize,
}

macro_rules! delegate {
    ($(fn $name:ident($($arg:ident: $ty:ty),*) $(-> $out:ty)?;)*) => {
        $(#[allow(clippy::too_many_arguments, reason = "the trait's own")]
        fn $name(&mut self, $($arg: $ty),*) $(-> $out)? {
            self.cpu.$name($($arg),*)
        })*
    };
}

impl Ops for Masked {
    fn attention(&mut self, s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat) {
        // Fills `lse`, which a test cannot write.
        self.cpu.attention(s, heads, qkv, out, lse);
        let Heads { count, size, .. } = heads;
        // What rotates is rotated already.
        let d = Dims { batch: s.batch, time: s.time, heads: count, size, rotary: 0, base: 1.0 };
        let values = self.cpu.read_act(qkv, s.rows()).unwrap();
        self.cpu.write_act(out, &attention(d, &values, self.ahead).0);
    }

    fn perform(&mut self, _: Work, body: &mut dyn FnMut(&mut dyn Ops)) {
        body(self);
    }

    fn steps_in_flight(&self) -> usize {
        self.cpu.steps_in_flight()
    }

    delegate! {
        fn set_batch(tokens: &[i32], targets: &[i32], scale: f32);
        fn embedding(s: Shape, w: Matrix, x: Act);
        fn zero(s: Shape, x: Act);
        fn embedding_bwd(s: Shape, dx: Act, w: Matrix, acc: bool);
        fn layernorm(s: Shape, x: Act, norm: Norm, y: Act, stats: Stat);
        fn layernorm_pair(s: Shape, x: Act, norms: [Norm; 2], y: [Act; 2], stats: Stat);
        fn layernorm_bwd(s: Shape, x: Act, stats: Stat, norm: Norm, dy: Act, dx: Act, acc: bool);
        fn layernorm_pair_bwd(
            s: Shape, x: Act, stats: Stat, norms: [Norm; 2], dy: [Act; 2], dx: Act, acc: bool
        );
        fn linear(s: Shape, x: Act, w: Matrix, bias: [Option<Vector>; 2], residual: Option<Act>, y: Act);
        fn linear_gelu(s: Shape, x: Act, w: Matrix, bias: Vector, gelu: Gelu, saved: Act, y: Act, again: bool);
        fn gelu_again(s: Shape, gelu: Gelu, saved: Act, y: Act);
        fn copy(s: Shape, from: Act, to: Act);
        fn gelu_bwd(s: Shape, gelu: Gelu, saved: Act, dy: Act);
        fn linear_bwd_input(s: Shape, dy: Act, w: Matrix, dx: Act);
        fn linear_bwd_weight(s: Shape, dy: Act, x: Act, w: Matrix, bias: [Option<Vector>; 2], acc: bool);
        fn rotary(s: Shape, heads: Heads, qkv: Act, first: usize);
        fn attention_bwd(s: Shape, heads: Heads, qkv: Act, out: Act, lse: Stat, dout: Act, dqkv: Act);
        fn attention_decode(heads: Heads, qkv: Act, position: usize, out: Act);
        fn cross_entropy(s: Shape, logits: Act, first_row: usize, loss: Stat, gradient: bool);
        fn add_gradient(from: Matrix, to: Matrix);
        fn keep_losses(loss: Stat, rows: usize);
        fn update(params: &[AdamParam], update: Update);
        fn outcome() -> Result<Outcome>;
        fn set_applied(applied: u64);
        fn read_stat(stat: Stat, rows: usize) -> Result<Vec<f32>>;
        fn read_act(act: Act, rows: usize) -> Result<Vec<f32>>;
        fn state() -> Result<State<'_>>;
        fn load_state(load: LoadState<'_>) -> Result<()>;
        fn gradients() -> Result<Cow<'_, [f32]>>;
    }
}
