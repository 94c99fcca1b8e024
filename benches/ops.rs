//! Every operation of the cpu backend at the shapes of Pythia-70M (T 512, B 4), against its cost: criterion's
//! `elem/s` are FLOP/s for the products and bytes/s for the rest.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewarm::backend::cpu::{AdamStep, Cpu};
use rewarm::model::{Init, Model, Purpose, Recompute, Workspace, initialize, preset};
use rewarm::ops::cost::{self, Cost};
use rewarm::ops::{Ops, Shape};
use rewarm::optim::assign;
use std::hint::black_box;

/// A group per unit, so that the throughput printed means one thing.
fn measure(c: &mut Criterion, name: &str, cost: Cost, by_flops: bool, mut run: impl FnMut()) {
    let mut group = c.benchmark_group(if by_flops { "flops" } else { "bytes" });
    group.sample_size(10);
    group.throughput(if by_flops {
        Throughput::Elements(cost.flops as u64)
    } else {
        Throughput::Bytes(cost.bytes as u64)
    });
    group.bench_function(name, |b| b.iter(&mut run));
    group.finish();
}

fn ops(c: &mut Criterion) {
    let config = preset("pythia-70m").expect("a known preset");
    let s = Shape { batch: 4, time: 512 };
    let model = Model::new(config);
    let (config, heads) = (&model.config, model.heads);
    let ws = Workspace::new(config, s, 1024, Purpose::Train(Recompute::None));
    let mut ops = Cpu::new(config, &model.table, &ws);
    let fill = &mut |w: &mut [f32], _: &mut [f32], _: &mut [f32]| {
        initialize(config, &model.table, Init::Small, 1, w);
        Ok(())
    };
    ops.load_state(fill).expect("initialisation cannot fail");
    let tokens: Vec<i32> = (0..s.rows()).map(|i| (i * 7919 % config.vocab_size) as i32).collect();
    ops.set_batch(&tokens, &tokens, 1e-3);
    let (ch, inner, vocab) = (config.hidden_size, config.intermediate_size, config.vocab_size);
    let (p, a) = (model.table.layers[0], ws.layers[0]);
    let g = ws.grads.expect("a workspace for training");
    let norms = [p.norm_attn, p.norm_mlp];
    let chunk = Shape { batch: 2, time: 512 };
    let d_gelu = g.cat.columns(ch, inner);
    // One step first: every buffer then holds what it would hold in training.
    model.forward(&mut ops, &ws, s, rewarm::model::Pass::Sequences);
    model.loss_and_gradient(&mut ops, &ws, s, false);

    let ops = &mut ops;
    measure(c, "embedding", cost::embedding(s, ch, 4), false, || ops.embedding(s, model.table.embed, a.x));
    measure(c, "embedding_bwd", cost::embedding_bwd(s, ch, s.rows(), 4), false, || {
        ops.embedding_bwd(s, g.x, model.table.embed, true)
    });
    measure(c, "layernorm_pair", cost::layernorm(s, ch, 2, 4), false, || {
        ops.layernorm_pair(s, a.x, norms, [a.norm_attn, a.norm_mlp], a.stats)
    });
    measure(c, "layernorm_pair_bwd", cost::layernorm_bwd(s, ch, 2, 4), false, || {
        ops.layernorm_pair_bwd(s, a.x, a.stats, norms, [g.norm_attn, g.norm_mlp], g.x, true)
    });
    measure(c, "rotary", cost::rotary(s, heads, 4), false, || ops.rotary(s, heads, g.qkv, 0));
    measure(c, "gelu_bwd", cost::gelu_bwd(s, inner, 4), false, || {
        ops.gelu_bwd(s, config.gelu, a.saved, d_gelu)
    });
    measure(c, "gelu_again", cost::gelu(s, inner, true, 4), false, || {
        ops.gelu_again(s, config.gelu, a.saved, a.gelu)
    });
    measure(c, "copy", cost::copy(s, ch, 4), false, || ops.copy(s, a.attn, g.norm_attn));
    measure(c, "linear qkv", cost::linear(s, ch, 3 * ch, 4), true, || {
        ops.linear(s, a.norm_attn, p.qkv, [p.qkv_bias, None], None, a.qkv)
    });
    measure(c, "linear_gelu", cost::linear(s, ch, inner, 4), true, || {
        ops.linear_gelu(s, a.norm_mlp, p.up, p.up_bias, config.gelu, a.saved, a.gelu, false)
    });
    measure(c, "linear out", cost::linear(s, ch + inner, ch, 4), true, || {
        ops.linear(s, a.cat, p.out, [p.dense_bias, Some(p.down_bias)], Some(a.x), a.next)
    });
    measure(c, "linear_bwd_input out", cost::linear(s, ch, ch + inner, 4), true, || {
        ops.linear_bwd_input(s, g.x, p.out, g.cat)
    });
    measure(c, "linear_bwd_weight out", cost::linear_bwd_weight(s, ch + inner, ch, 4, true), true, || {
        ops.linear_bwd_weight(s, g.x, a.cat, p.out, [p.dense_bias, Some(p.down_bias)], true)
    });
    measure(c, "attention", cost::attention(s, heads, 4), true, || {
        ops.attention(s, heads, a.qkv, a.attn, a.lse)
    });
    measure(c, "attention_bwd", cost::attention_bwd(s, heads, 4), true, || {
        ops.attention_bwd(s, heads, a.qkv, a.attn, a.lse, g.cat.columns(0, ch), g.qkv)
    });
    measure(c, "linear head", cost::linear(chunk, ch, vocab, 4), true, || {
        ops.linear(chunk, ws.last, model.table.head, [None, None], None, ws.logits)
    });
    measure(c, "cross_entropy", cost::cross_entropy(chunk, vocab, 4), false, || {
        ops.cross_entropy(chunk, ws.logits, 0, ws.loss, true)
    });
    let total = model.table.total;
    measure(c, "global_norm", cost::global_norm(total), false, || {
        black_box(ops.global_norms(total));
    });
    let params = assign(&model.table, &[], 0.1);
    let step = AdamStep { lr: 1e-6, betas: [0.9, 0.95], eps: 1e-8, grad_scale: 1.0, applied: 1 };
    measure(c, "adamw", cost::adamw(total, 4, 0), false, || ops.adamw(&params, step));
}

criterion_group!(benches, ops);
criterion_main!(benches);
