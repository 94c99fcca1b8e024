//! Rotary embedding, attention, its gradient, and one query against a cache.
use crate::TIMES;
use crate::reference::attention::{Dims, attend, attention, attention_bwd, rotary};
use crate::reference::cast;
use crate::reference::measure::{Judge, draws};
use crate::reference::random::Random;
use crate::rig::{Layout, Writes};
use rewarm::ops::{Backend, Heads, Shape};

const SIZES: [usize; 5] = [32, 64, 80, 128, 256];
/// σ of queries that makes the largest of some thousand scores about 50.
const EXTREME: f64 = 13.0;
/// Naive results that bound one of ours.
const ORDERS: usize = 8;

fn dims(time: usize, size: usize) -> Dims {
    let (batch, heads) = match time {
        0..64 => (3, 2),
        64..200 => (2, 2),
        _ => (1, if size == 32 { 2 } else { 1 }),
    };
    Dims { batch, time, heads, size, rotary: 0, base: 1e4 }
}

fn heads(d: Dims) -> Heads {
    Heads { count: d.heads, size: d.size, rotary: d.rotary }
}

/// N(0, 1), queries N(0, `sigma`²).
fn qkv(random: &mut Random, d: Dims, sigma: f64) -> Vec<f32> {
    let mut values: Vec<f32> = random.normals(d.batch * d.time * d.width(), 0.0, 1.0);
    values.chunks_mut(d.size).step_by(3).flatten().for_each(|q| *q *= sigma as f32);
    values
}

#[test]
fn rotary_forward() {
    let (mut judge, mut random) = (Judge::default(), Random::new(31));
    for (i, time) in TIMES.into_iter().enumerate() {
        for size in SIZES {
            for part in [0, size / 4, size] {
                let d = Dims { rotary: part, base: [1e4, 500.0][i % 2], ..dims(time, size) };
                let (rows, first) = (d.batch * time, [0, 3][i % 2]);
                let mut layout = Layout::default();
                let act = layout.act(rows, d.width());
                let longest = Shape { batch: d.batch, time: time + first };
                let mut rig = layout.build(longest, 1, (d.heads, size, part, d.base));
                let values = qkv(&mut random, d, 1.0);
                rig.set(act, &values);
                let shape = Shape { batch: d.batch, time };
                let writes = Writes { acts: &[(act, rows)], ..Writes::default() };
                rig.run(writes, |cpu| cpu.rotary(shape, heads(d), act, first));
                let found = rig.get(act, rows);
                let (mut naive, mut exact) = (values.clone(), cast(&values));
                rotary::<f32>(d, &mut naive, first, 1.0);
                rotary::<f64>(d, &mut exact, first, 1.0);
                judge.check("rotary", &format!("{d:?}"), &found, &naive, &exact, d.width());
                // Values and what does not rotate keep their bits.
                for (j, (x, y)) in found.chunks(size).zip(values.chunks(size)).enumerate() {
                    let still = if j % 3 == 2 { 0 } else { part };
                    assert_eq!(x[still..], y[still..], "{d:?}");
                }
            }
        }
    }
    judge.close();
}

/// The dimensions of every head in another order.
fn permuted(values: &[f32], order: &[usize]) -> Vec<f32> {
    values.chunks(order.len()).flat_map(|head| order.iter().map(|&i| head[i])).collect()
}

/// Some orders of the dimensions of a head, each with its inverse. The order is that of the sums of a score, and with
/// extreme scores it decides which rows come out well: `Judge::check_pooled`.
fn orders(random: &mut Random, size: usize) -> Vec<[Vec<usize>; 2]> {
    let mut orders = Vec::new();
    for _ in 0..ORDERS {
        let mut order: Vec<usize> = (0..size).collect();
        (1..size).for_each(|i| order.swap(i, random.below(i + 1)));
        let mut back = vec![0; size];
        order.iter().enumerate().for_each(|(i, &o)| back[o] = i);
        orders.push([order, back]);
    }
    orders
}

/// Naive `out`, `lse` and `dqkv`, summed in this order.
fn naive(d: Dims, qkv: &[f32], dout: &[f32], [order, back]: &[Vec<usize>; 2]) -> [Vec<f32>; 3] {
    let (qkv, dout) = (permuted(qkv, order), permuted(dout, order));
    let (out, lse) = attention(d, &qkv, 0);
    let dqkv = attention_bwd(d, &qkv, &out, &lse, &dout);
    let mut dqkv = permuted(&dqkv, back);
    rotary(d, &mut dqkv, 0, -1.0);
    [permuted(&out, back), lse, dqkv]
}

#[test]
fn attention_and_its_gradient() {
    let (mut judge, mut random) = (Judge::default(), Random::new(32));
    for time in TIMES {
        for size in SIZES {
            // The extreme ones are judged with those of other shapes, so each of these needs one draw only.
            // The gradient is that before the rotation.
            let d = Dims { rotary: size / 4, ..dims(time, size) };
            let usual = draws(d.batch * time * d.heads);
            for sigma in std::iter::repeat_n(1.0, usual).chain([EXTREME]) {
                let (rows, c) = (d.batch * time, d.heads * size);
                let shape = Shape { batch: d.batch, time };
                let mut layout = Layout::default();
                let [act, dact] = std::array::from_fn(|_| layout.act(rows, d.width()));
                // Beside GELU's output.
                let [out, dout] = std::array::from_fn(|_| layout.view(rows, c, 0, 11));
                let lse = layout.stat(rows, d.heads);
                let mut rig = layout.build(shape, 1, (d.heads, size, d.rotary, d.base));
                let values = qkv(&mut random, d, sigma);
                let douts: Vec<f32> = random.normals(rows * c, 0.0, 1.0);
                rig.set(act, &values);
                rig.set(dout, &douts);
                let writes = Writes { acts: &[(out, rows)], stats: &[(lse, rows)], ..Writes::default() };
                rig.run(writes, |cpu| cpu.attention(shape, heads(d), act, out, lse));
                let writes = Writes { acts: &[(dact, rows)], ..Writes::default() };
                rig.run(writes, |cpu| cpu.attention_bwd(shape, heads(d), act, out, lse, dout, dact));

                let exact_in: Vec<f64> = cast(&values);
                let orders = orders(&mut random, size);
                let count = if sigma == 1.0 { 1 } else { ORDERS };
                let naive: Vec<_> = orders[..count].iter().map(|o| naive(d, &values, &douts, o)).collect();
                let (exact_out, exact_lse) = attention(d, &exact_in, 0);
                let mut exact_d = attention_bwd(d, &exact_in, &exact_out, &exact_lse, &cast(&douts));
                rotary(d, &mut exact_d, 0, -1.0);
                let kind = ", extreme scores";
                let name = format!("{d:?}");
                let mut check = |what: &str, x: &[f32], which: usize, exact: &[f64], cols: usize| {
                    let naive: Vec<&[f32]> = naive.iter().map(|n| &n[which][..]).collect();
                    match naive[..] {
                        [naive] => judge.check(what, &name, x, naive, exact, cols),
                        _ => judge.check_pooled(&format!("{what}{kind}"), &name, x, &naive, exact, cols),
                    }
                };
                check("attention", &rig.get(out, rows), 0, &exact_out, c);
                let found = rig.cpu.read_stat(lse, rows).unwrap();
                check("log-sum-exp", &found, 1, &exact_lse, rows * d.heads);
                check("attention_bwd", &rig.get(dact, rows), 2, &exact_d, d.width());
            }
        }
    }
    judge.close();
}

#[test]
fn attention_of_one_query_against_a_cache() {
    let (mut judge, mut random) = (Judge::default(), Random::new(33));
    for size in SIZES {
        for sigma in [1.0, EXTREME] {
            let d = Dims { batch: 1, heads: 8, ..dims(513, size) };
            let c = d.heads * size;
            let mut layout = Layout::default();
            let (act, out) = (layout.act(d.time, d.width()), layout.view(1, c, 0, 11));
            let mut rig = layout.build(Shape { batch: 1, time: d.time }, 1, (d.heads, size, 0, d.base));
            let values = qkv(&mut random, d, sigma);
            for position in TIMES.map(|t| t - 1) {
                // Later rows are not there yet.
                let seen = &values[..(position + 1) * d.width()];
                rig.set(act, seen);
                rig.set(out, &vec![f32::NAN; c]);
                let writes = Writes { acts: &[(out, 1)], ..Writes::default() };
                rig.run(writes, |cpu| cpu.attention_decode(heads(d), act, position, out));
                let past = Dims { time: position + 1, ..d };
                let one = |[order, back]: &[Vec<usize>; 2]| {
                    permuted(&attend::<f32>(past, &permuted(seen, order), 0, position, 0).0, back)
                };
                let naive: Vec<_> = orders(&mut random, size).iter().map(one).collect();
                let naive: Vec<&[f32]> = naive.iter().map(|n| &n[..]).collect();
                let exact = attend::<f64>(past, &cast(seen), 0, position, 0).0;
                let kind = if sigma == 1.0 { "" } else { ", extreme scores" };
                let name = format!("{past:?}");
                judge.check_pooled(&format!("decode{kind}"), &name, &rig.get(out, 1), &naive, &exact, c);
            }
        }
    }
    judge.close();
}
