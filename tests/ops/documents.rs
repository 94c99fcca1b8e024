//! Attention inside of documents, and rotation by positions that count from their starts: each document is as a sequence
//! of its own is for the reference.
use crate::reference::Float;
use crate::reference::attention::{Dims, attention, attention_bwd, rotary};
use crate::reference::cast;
use crate::reference::measure::Judge;
use crate::reference::random::Random;
use crate::rig::{Layout, Writes};
use rewarm::ops::{Backend, Documents, Heads, Inputs, Shape};
use std::ops::Range;

/// Lengths of the documents of a sequence: alone, of one token, at every edge of a tile of 64 queries, short ones together
/// behind a long one, and at both ends of the row.
const LENGTHS: [&[usize]; 9] = [
    &[1],
    &[1, 1],
    &[130],
    &[1, 129],
    &[129, 1],
    &[63, 1, 64, 2],
    &[64, 65, 1],
    &[1, 62, 1, 1, 127, 1, 1, 3],
    &[10, 20, 30, 5, 70, 1],
];

/// Rows of every document.
fn rows_of(lengths: &[usize]) -> Vec<Range<usize>> {
    let mut end = 0;
    let rows = |length: &usize| {
        end += length;
        end - length..end
    };
    lengths.iter().map(rows).collect()
}

/// `out`, log-sum-exp and `dqkv` of two sequences that are the same documents.
fn by_document<T: Float>(d: Dims, lengths: &[usize], [qkv, dout]: [&[T]; 2], reset: bool) -> [Vec<T>; 3] {
    let mut all: [Vec<T>; 3] = Default::default();
    for sequence in 0..d.batch {
        for rows in rows_of(lengths) {
            let one = Dims { batch: 1, time: rows.len(), ..d };
            let at = |row: usize, width: usize| (sequence * d.time + row) * width;
            let c = d.heads * d.size;
            let qkv = &qkv[at(rows.start, d.width())..at(rows.end, d.width())];
            let (out, lse) = attention(one, qkv, 0);
            let dout = &dout[at(rows.start, c)..at(rows.end, c)];
            let mut dqkv = attention_bwd(one, qkv, &out, &lse, dout);
            rotary(one, &mut dqkv, if reset { 0 } else { rows.start }, -1.0);
            for (all, part) in all.iter_mut().zip([out, lse, dqkv]) {
                all.extend(part);
            }
        }
    }
    all
}

#[test]
fn every_document_is_a_sequence_of_its_own() {
    let (mut judge, mut random) = (Judge::default(), Random::new(41));
    for lengths in LENGTHS {
        for (size, reset) in [(32, false), (80, true), (128, false), (64, true)] {
            let time = lengths.iter().sum();
            let d = Dims { batch: 2, time, heads: 2, size, rotary: size / 4, base: 1e4 };
            let (rows, c, shape) = (2 * time, 2 * size, Shape { batch: 2, time });
            let heads = Heads { count: 2, size, rotary: d.rotary };
            let mut layout = Layout::default();
            let [act, dact] = std::array::from_fn(|_| layout.act(rows, d.width()));
            let [out, dout] = std::array::from_fn(|_| layout.view(rows, c, 0, 11));
            let lse = layout.stat(rows, d.heads);
            let mut rig = layout.build(shape, 1, (d.heads, size, d.rotary, d.base));
            let values: Vec<f32> = random.normals(rows * d.width(), 0.0, 1.0);
            let douts: Vec<f32> = random.normals(rows * c, 0.0, 1.0);
            rig.set(act, &values);
            rig.set(dout, &douts);
            let starts = rows_of(lengths).into_iter().flat_map(|rows| vec![rows.start as i32; rows.len()]);
            let starts: Vec<i32> = starts.collect::<Vec<_>>().repeat(2);
            let documents = Documents { starts: &starts, isolate: true, reset };
            rig.cpu.set_inputs(Inputs { documents, ..Inputs::new(&vec![0; rows], &[], 0.0) });
            let writes = Writes { acts: &[(out, rows)], stats: &[(lse, rows)], ..Writes::default() };
            rig.run(writes, |cpu| cpu.attention(shape, heads, act, out, lse));
            let writes = Writes { acts: &[(dact, rows)], ..Writes::default() };
            rig.run(writes, |cpu| cpu.attention_bwd(shape, heads, act, out, lse, dout, dact));

            let naive = by_document::<f32>(d, lengths, [&values, &douts], reset);
            let exact = by_document::<f64>(d, lengths, [&cast(&values), &cast(&douts)], reset);
            // Whole sequences, as of one row or logarithm the error is a lottery.
            let found = [rig.get(out, rows), rig.cpu.read_stat(lse, rows).unwrap(), rig.get(dact, rows)];
            for (i, what) in ["out", "log-sum-exp", "dqkv"].into_iter().enumerate() {
                judge.check(what, "all shapes", &found[i], &naive[i], &exact[i], exact[i].len());
            }

            // The rotation forward, of the same rows.
            rig.set(act, &values);
            let writes = Writes { acts: &[(act, rows)], ..Writes::default() };
            rig.run(writes, |cpu| cpu.rotary(shape, heads, act, 0));
            let rotated = |values: &[f32]| {
                let mut all = values.to_vec();
                let mut at = 0;
                for rows in [rows_of(lengths), rows_of(lengths)].concat() {
                    let one = Dims { batch: 1, time: rows.len(), ..d };
                    let end = at + rows.len() * d.width();
                    rotary(one, &mut all[at..end], if reset { 0 } else { rows.start }, 1.0);
                    at = end;
                }
                all
            };
            let naive = rotated(&values);
            let worst = rig.get(act, rows).iter().zip(&naive).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-5, "{lengths:?} {size}: {worst}");
        }
    }
    judge.close();
}
