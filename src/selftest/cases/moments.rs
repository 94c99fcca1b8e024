//! AdamW with moments in bf16, rounded stochastically.
use super::Case;
use super::direct::found;
use crate::Result;
use crate::backend::cpu::AdamStep;
use crate::device::{AdamTables, Device, StepRecord, adam_tables};
use crate::model::Matrix;
use crate::ops::AdamParam;
use crate::reference::Float;
use crate::reference::measure::Stored::{Bf16, F32};
use crate::reference::optimizer::{Moments, adamw};
use crate::reference::random::{Random, philox};
use crate::selftest::judge::{Expected, bf16s};
use crate::selftest::launch::{Input, Program, given, half_values, halves, poison, values};
use crate::selftest::rig::{Found, draw, gather, of};

/// One update of a matrix with gaps and a vector that ends inside of a group of four, after `applied` others.
#[derive(Clone, Copy)]
pub struct Bf16Moments {
    /// Updates before.
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
const TOTAL: usize = 85 * 256 + 50_292;
/// `STREAM_ADAMW` of kernels/step.h.
const STREAM: u64 = 1 << 56;
/// Decisions that may differ, where the kernel's f32 and the reference's do in the last bit: one in ten thousand.
const OTHERWISE: f32 = 5e-5;

/// All tensors of a flat buffer, one after the other.
fn tensors(flat: &[f32]) -> Vec<f32> {
    PARAMS.iter().flat_map(|p| gather(flat, p.place)).collect()
}

impl Bf16Moments {
    /// w, m, v, g as flat buffers.
    fn buffers(&self) -> [Vec<f32>; 4] {
        let mut random = Random::new(self.applied);
        let mut normals = |sigma| random.normals::<f32>(TOTAL, 0.0, sigma);
        let (w, g) = (normals(1.0), normals(0.01));
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

    /// w, m and v after the update, before moments are rounded.
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

    /// The share of m and v that is the reference's f32, up where 16 random bits carry over: element `e` of the flat
    /// buffer has word `e % 4` of its group, the lower half for m and the upper for v.
    fn as_drawn(&self, m: &[f32], v: &[f32]) -> [f32; 2] {
        let record = self.record();
        let place = |p: AdamParam| {
            let Matrix { offset, rows, cols, ld } = p.place;
            (0..rows).flat_map(move |row| (0..cols).map(move |col| offset + row * ld + col))
        };
        let word = |e: usize| philox(record.seed, [e as u64 / 4, STREAM | record.step])[e % 4];
        let words: Vec<u32> = PARAMS.into_iter().flat_map(place).map(word).collect();
        let [_, exact_m, exact_v] = self.reference::<f32>();
        let share = |found: &[f32], exact: &[f32], part: fn(u32) -> u32| {
            let drawn = exact.iter().zip(&words).map(|(x, &word)| (x.to_bits() + part(word)) & 0xffff_0000);
            let same = found.iter().zip(drawn).filter(|(x, drawn)| x.to_bits() == *drawn).count();
            same as f32 / exact.len() as f32
        };
        [share(m, &exact_m, |word| word & 0xffff), share(v, &exact_v, |word| word >> 16)]
    }
}

impl Case for Bf16Moments {
    fn op(&self) -> &'static str {
        "adamw_bf16"
    }

    fn shape(&self) -> String {
        format!("{} tensors, step {}", PARAMS.len(), self.applied + 1)
    }

    fn run(&self, device: Box<dyn Device>) -> Result<Found> {
        let [w, m, v, g] = self.buffers();
        let AdamTables { segments, tiles, .. } = adam_tables(&PARAMS)?;
        let grid = [tiles.len() as u32, 1, 1];
        let mut inputs: Vec<Input> = vec![given(&tiles), given(&segments), given(&w), poison::<u16>(TOTAL)];
        inputs.extend([halves(&m), halves(&v), given(&g), given(&[self.record()])]);
        let program = Program { kernel: self.op(), grid, threads: 256, shared_bytes: 0, inputs };
        found(device, &program, |out| {
            let (w, copy) = (tensors(&values(&out[2])), tensors(&half_values(&out[3])));
            let [m, v] = [4, 5].map(|i| tensors(&half_values(&out[i])));
            let [m_drawn, v_drawn] = self.as_drawn(&m, &v);
            let agrees = f32::from(u8::from(copy == bf16s(&w)));
            vec![
                ("w", w),
                ("bf16 copy", vec![agrees]),
                ("m", m),
                ("v", v),
                ("m as drawn", vec![m_drawn]),
                ("v as drawn", vec![v_drawn]),
            ]
        })
    }

    fn expect(&self) -> Vec<Expected> {
        let ([w, m, v], exact) = (self.reference::<f32>(), self.reference::<f64>());
        let [exact_w, exact_m, exact_v] = exact;
        let n = w.len();
        let share = |name| Expected::new(name, F32, 1, vec![1.0 - OTHERWISE], vec![1.0]);
        vec![
            Expected::new("w", F32, n, w, exact_w),
            Expected::bits("bf16 copy", vec![1.0]),
            Expected::new("m", Bf16, n, m, exact_m),
            Expected::new("v", Bf16, n, v, exact_v),
            share("m as drawn"),
            share("v as drawn"),
        ]
    }
}
