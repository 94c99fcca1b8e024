//! AdamW with weights and moments in bf16, rounded stochastically.
use super::Case;
use super::direct::found;
use crate::Result;
use crate::device::{AdamTables, StepRecord, adam_tables};
use crate::ops::{AdamParam, AdamStep, Matrix};
use crate::reference::Float;
use crate::reference::measure::Stored::{Bf16, F32};
use crate::reference::optimizer::{Moments, adamw};
use crate::reference::random::{Random, philox};
use crate::selftest::judge::{Activations, Expected, bf16s};
use crate::selftest::launch::{Input, Program, given, half_values, halves, values};
use crate::selftest::rig::{On, RowRun, draw, gather, of};

/// One update of a matrix with gaps, which has no master weights, and a vector that has them and ends inside of a group of
/// four, after `applied` others.
#[derive(Clone, Copy)]
pub struct AdamWBf16 {
    /// Number of updates before this one, from which the bias is corrected.
    pub applied: u64,
}

const PARAMS: [AdamParam; 2] = [
    AdamParam {
        place: Matrix { offset: 0, rows: 85, cols: 201, ld: 256 },
        lr_mult: 0.5,
        weight_decay: 0.1,
        decay_follows_rate: true,
    },
    AdamParam {
        place: Matrix { offset: 85 * 256, rows: 1, cols: 50_291, ld: 50_291 },
        lr_mult: 1.0,
        weight_decay: 0.0,
        decay_follows_rate: false,
    },
];
/// Elements of the matrix, which come first in [`tensors`].
const MATRIX: usize = 85 * 201;
const TOTAL: usize = 85 * 256 + 50_292;
/// `STREAM_ADAMW` of kernels/step.h.
const STREAM: u64 = 1 << 56;
/// Decisions that may differ, where the kernel's f32 and the reference's do in the last bit: one in ten thousand.
const OTHERWISE: f32 = 5e-5;

/// How much of the matrix's weights and of all moments went up where the random bits say so.
const DRAWN: [&str; 3] = ["w as drawn", "m as drawn", "v as drawn"];

/// All tensors of a flat buffer, one after the other.
fn tensors(flat: &[f32]) -> Vec<f32> {
    PARAMS.iter().flat_map(|p| gather(flat, p.place)).collect()
}

impl AdamWBf16 {
    /// w, m, v, g as flat buffers.
    fn buffers(&self) -> [Vec<f32>; 4] {
        let mut random = Random::new(self.applied);
        let mut normals = |sigma| random.normals::<f32>(TOTAL, 0.0, sigma);
        let (w, g) = (bf16s(&normals(1.0)), normals(0.01));
        let (m, v) = (draw(&mut random, TOTAL, 0.0, 0.01), draw(&mut random, TOTAL, 0.0, 0.01));
        [w, m, bf16s(&v.iter().map(|v| v * v).collect::<Vec<_>>()), g]
    }

    fn step(&self) -> AdamStep {
        let applied = self.applied + 1;
        let decay_scale = [0.75, 0.5];
        AdamStep { lr: 3e-3, decay_scale, betas: [0.9, 0.95], eps: 1e-8, grad_scale: 0.4, applied }
    }

    /// As `adamw_step` leaves it.
    fn record(&self) -> StepRecord {
        let AdamStep { lr, decay_scale, betas, eps, grad_scale, applied } = self.step();
        let [first, second] = betas.map(|beta| 1.0 - beta.powi(applied as i32));
        StepRecord {
            rate: lr,
            decay_scale,
            betas,
            eps,
            seed: 17,
            step: self.applied,
            clip_factor: grad_scale,
            corrections: [1.0 / first, 1.0 / second.sqrt()],
            applied,
            ..StepRecord::default()
        }
    }

    /// w, m and v after the update, before they are rounded.
    fn reference<T: Float>(&self) -> [Vec<T>; 3] {
        let [w, m, v, g] = self.buffers();
        let mut all = [(); 3].map(|()| Vec::new());
        for p in PARAMS {
            let part = |flat: &[f32]| of::<T>(&gather(flat, p.place));
            let mut state = Moments { w: part(&w), m: part(&m), v: part(&v) };
            adamw(&mut state, &part(&g), self.step(), p.lr_mult, p.decay(self.step().decay_scale));
            all.iter_mut().zip([state.w, state.m, state.v]).for_each(|(all, part)| all.extend(part));
        }
        all
    }

    /// The share of w, m and v that is the reference's f32, up where 16 random bits carry over: element `e` of the flat
    /// buffer has word `e % 4` of its group, the lower half for m, the upper for v and both halves' exclusive or for w.
    fn as_drawn(&self, found: [&[f32]; 3]) -> [f32; 3] {
        let record = self.record();
        let place = |p: AdamParam| {
            let Matrix { offset, rows, cols, ld } = p.place;
            (0..rows).flat_map(move |row| (0..cols).map(move |col| offset + row * ld + col))
        };
        let word = |e: usize| philox(record.seed, [e as u64 / 4, STREAM | record.step])[e % 4];
        let words: Vec<u32> = PARAMS.into_iter().flat_map(place).map(word).collect();
        let exact = self.reference::<f32>();
        let share = |i: usize, part: fn(u32) -> u32| {
            let of_each = found[i].iter().zip(&exact[i]).zip(&words);
            let same = of_each.filter(|((found, exact), word)| {
                found.to_bits() == (exact.to_bits() + part(**word)) & 0xffff_0000
            });
            same.count() as f32 / found[i].len() as f32
        };
        [
            share(0, |word| (word ^ (word >> 16)) & 0xffff),
            share(1, |word| word & 0xffff),
            share(2, |word| word >> 16),
        ]
    }
}

impl Case for AdamWBf16 {
    fn op(&self) -> &'static str {
        "adamw_bf16"
    }

    fn shape(&self) -> String {
        format!("{} tensors, step {}", PARAMS.len(), self.applied + 1)
    }

    fn kernel_alone(&self) -> bool {
        true
    }

    fn run(&self, on: On) -> Result<RowRun> {
        let [w, m, v, g] = self.buffers();
        let vector = PARAMS[1].place;
        let masters = &w[vector.offset..];
        let AdamTables { segments, tiles, .. } = adam_tables(&PARAMS, |p| (p == vector).then_some(0))?;
        let grid = [tiles.len() as u32, 1, 1];
        let mut inputs: Vec<Input> = vec![given(&tiles), given(&segments), given(masters), halves(&w)];
        inputs.extend([halves(&m), halves(&v), given(&g), given(&[self.record()])]);
        let program = Program { kernel: self.op(), grid, threads: 256, shared_bytes: 0, inputs };
        found(on.device()?, &program, |out| {
            let masters: Vec<f32> = values(&out[2])[..vector.cols].to_vec();
            let [w, m, v] = [3, 4, 5].map(|i| tensors(&half_values(&out[i])));
            let drawn = self.as_drawn([&w[..MATRIX], &m, &v]);
            let (matrix, copy) = w.split_at(MATRIX);
            let agrees = f32::from(u8::from(copy == bf16s(&masters)));
            let mut outputs = vec![
                ("w", matrix.to_vec()),
                ("master weights", masters),
                ("bf16 copy", vec![agrees]),
                ("m", m),
                ("v", v),
            ];
            outputs.extend(DRAWN.into_iter().zip(drawn.map(|share| vec![share])));
            outputs
        })
    }

    fn expect(&self, _: Activations) -> Vec<Expected> {
        let ([mut w, m, v], [mut exact_w, exact_m, exact_v]) =
            (self.reference::<f32>(), self.reference::<f64>());
        let (masters, exact_masters) = (w.split_off(MATRIX), exact_w.split_off(MATRIX));
        let (n, len) = (m.len(), masters.len());
        let mut expected = vec![
            Expected::new("w", Bf16, MATRIX, w, exact_w),
            Expected::new("master weights", F32, len, masters, exact_masters),
            Expected::bits("bf16 copy", vec![1.0]),
            Expected::new("m", Bf16, n, m, exact_m),
            Expected::new("v", Bf16, n, v, exact_v),
        ];
        let share = |name| Expected::new(name, F32, 1, vec![1.0 - OTHERWISE], vec![1.0]);
        expected.extend(DRAWN.map(share));
        expected
    }
}
