//! adamw.cu against the reference's AdamW, over flat buffers with gaps, strided matrices and tensors of every size. In
//! bf16 only vectors have master weights, which lie elsewhere than in the flat buffers.
use crate::measure::{Stored, judge};
use crate::reference::Float;
use crate::reference::optimizer::{Moments, adamw};
use crate::reference::random::{Random, philox};
use crate::rig::{Element, Outputs, Run, bf16s, check_traffic, count, deterministic, every_mode, once};
use half::bf16;
use rewarm::Result;
use rewarm::device::{AdamTables, Buffer, Mode, StepRecord, adam_tables};
use rewarm::ops::AdamStep;
use rewarm::ops::{AdamParam, Matrix, cost};
use std::cell::RefCell;

/// What lies between the tensors; a bf16 too.
const GAP: f32 = 1024.0;
/// How much further on in w32 the master weights of adamw_bf16 lie.
const MASTERS: usize = 256;
const ADAMW_STREAM: u64 = 1 << 56;

#[derive(Clone)]
struct Case {
    params: Vec<AdamParam>,
    w: Vec<f32>,
    m: Vec<f32>,
    v: Vec<f32>,
    g: Vec<f32>,
    record: StepRecord,
}

/// Offset, rows, columns, leading dimension, multiplier, decay.
type Tensor = (usize, usize, usize, usize, f64, f64);

/// Two column views of one matrix, one of which ends inside a group of four; a tile that begins inside a row; one
/// element; a bias; more than two tiles; the two views of Pythia's widest matrix; a prime vocabulary.
const TENSORS: [Tensor; 10] = [
    (0, 3, 6, 32, 1.0, 0.1),
    (8, 3, 24, 32, 0.5, 0.0),
    (128, 1, 1, 1, 1.0, 0.0),
    (192, 1, 67, 67, 2.0, 0.0),
    (320, 85, 201, 201, 1.0, 0.1),
    (17_472, 40, 519, 776, 1.0, 0.1),
    (17_472 + 520, 40, 256, 776, 0.25, 0.01),
    (48_576, 2, 5120, 25_600, 1.0, 0.1),
    (48_576 + 5120, 2, 20_480, 25_600, 1.0, 0.1),
    (99_840, 1, 50_291, 50_291, 1.0, 0.1),
];

impl Case {
    fn new(tensors: &[Tensor], seed: u64) -> Self {
        let params: Vec<AdamParam> = tensors
            .iter()
            .map(|&(offset, rows, cols, ld, lr_mult, weight_decay)| AdamParam {
                place: Matrix { offset, rows, cols, ld },
                lr_mult,
                weight_decay,
                decay_follows_rate: lr_mult != 1.0,
            })
            .collect();
        let total = params.iter().map(|p| p.place.offset + p.place.rows * p.place.ld + 64).max().unwrap();
        let mut case = Self {
            w: vec![GAP; total],
            m: vec![GAP; total],
            v: vec![GAP; total],
            g: vec![GAP; total],
            record: StepRecord {
                rate: 3e-3,
                betas: [0.9, 0.95],
                eps: 1e-8,
                clip: 1.0,
                decay_scale: [0.75, 0.5],
                seed: 17,
                step: 5,
                ..StepRecord::default()
            },
            params,
        };
        let mut random = Random::new(seed);
        for i in case.params.iter().flat_map(|p| elements(p.place)).collect::<Vec<_>>() {
            case.w[i] = random.normal() as f32;
            case.m[i] = 0.01 * random.normal() as f32;
            case.v[i] = 1e-4 * (random.normal() as f32).powi(2);
            case.g[i] = 0.01 * random.normal() as f32;
        }
        case
    }

    /// bf16 from the start, but for master weights.
    fn rounded(mut self) -> Self {
        (self.m, self.v) = (bf16s(&self.m), bf16s(&self.v));
        for p in self.params.iter().filter(|p| bf16::master(p.place).is_none()) {
            elements(p.place).for_each(|e| self.w[e] = bf16::from_f32(self.w[e]).to_f32());
        }
        self
    }

    /// Sum of squares (chosen so that it clips), sum of absolute values.
    fn sums(&self) -> [f64; 2] {
        [6.25, 99.0]
    }

    fn adam_step(&self, sums: [f64; 2]) -> AdamStep {
        let r = &self.record;
        let grad_scale = if r.clip > 0.0 { (r.clip / (sums[0].sqrt() + 1e-6)).min(1.0) } else { 1.0 };
        AdamStep {
            lr: r.rate,
            decay_scale: r.decay_scale,
            betas: r.betas,
            eps: r.eps,
            grad_scale,
            applied: r.applied + 1,
        }
    }

    /// One step with moments of type `M`, and the master weights that belong to them; leaves the record in `record`.
    fn run<M: Stores>(&self, sums: [f64; 2], record: &RefCell<StepRecord>, run: &mut Run) -> Result<()> {
        let AdamTables { segments, tiles, trained: grid } = adam_tables(&self.params, M::master)?;
        let (segments, tiles) = (run.upload(&segments), run.upload(&tiles));
        let (mut masters, mut weights) = (vec![GAP; self.w.len() + MASTERS], vec![GAP; self.w.len()]);
        for p in &self.params {
            let values = elements(p.place).map(|e| self.w[e]);
            match masters_of::<M>(p.place) {
                Some(place) => elements(place).zip(values).for_each(|(i, w)| masters[i] = w),
                None => elements(p.place).zip(values).for_each(|(i, w)| weights[i] = w),
            }
        }
        let (w32, w16, g) = (run.upload(&masters), run.upload_bf16(&weights), run.upload(&self.g));
        let (m, v) = (M::upload(run, &self.m), M::upload(run, &self.v));
        let (sums, step) = (run.upload(&sums), run.upload(&[self.record]));
        run.launch("adamw_step", [1, 1, 1], 32, 0, &[sums.arg(), step.arg()])?;
        let buffers =
            [tiles.arg(), segments.arg(), w32.arg(), w16.arg(), m.arg(), v.arg(), g.arg(), step.arg()];
        run.launch(M::KERNEL, [grid, 1, 1], 256, 0, &buffers)?;
        *record.borrow_mut() = run.device.read(&step)[0];
        run.output("w32", &w32);
        run.output("w16", &w16);
        run.output("m", &m);
        run.output("v", &v);
        Ok(())
    }

    /// w, m, v of one tensor after the step.
    fn reference<T: Float>(&self, p: &AdamParam, sums: [f64; 2]) -> Moments<T> {
        let of = |x: &[f32]| elements(p.place).map(|i| T::of(f64::from(x[i]))).collect::<Vec<T>>();
        let mut state = Moments { w: of(&self.w), m: of(&self.m), v: of(&self.v) };
        let decay = p.decay(self.record.decay_scale);
        adamw(&mut state, &of(&self.g), self.adam_step(sums), p.lr_mult, decay);
        state
    }

    /// Nothing but the tensors changed, and the copy of master weights is their rounding.
    fn check_surroundings<M: Stores>(&self, outputs: &Outputs) {
        let masters = self.params.iter().filter_map(|p| Some((p.place, masters_of::<M>(p.place)?)));
        let (copied, masters): (Vec<_>, Vec<_>) = masters.unzip();
        for (copy, master) in copied.into_iter().zip(&masters) {
            assert_eq!(pick(outputs.get("w16"), copy), bf16s(&pick(outputs.get("w32"), *master)));
        }
        let tensors: Vec<_> = self.params.iter().map(|p| p.place).collect();
        for (name, places) in [("w32", &masters), ("w16", &tensors), ("m", &tensors), ("v", &tensors)] {
            let mut inside = vec![false; outputs.get(name).len()];
            places.iter().flat_map(|place| elements(*place)).for_each(|i| inside[i] = true);
            let mut values = outputs.get(name).iter().zip(&inside);
            assert!(values.all(|(&x, &inside)| inside || x == GAP), "{name}: wrote between the tensors");
        }
    }
}

/// A tensor's master weights, as a place in w32.
fn masters_of<M: Stores>(place: Matrix) -> Option<Matrix> {
    M::master(place).map(|offset| Matrix { offset, ..place })
}

fn elements(m: Matrix) -> impl Iterator<Item = usize> {
    (0..m.rows).flat_map(move |r| (0..m.cols).map(move |c| m.offset + r * m.ld + c))
}

/// What moments are stored as.
trait Stores: Element {
    const KERNEL: &'static str;
    /// Where in w32 the master weights of a tensor are, where it has any.
    fn master(place: Matrix) -> Option<usize>;
    fn upload(run: &mut Run, values: &[f32]) -> Buffer<Self>;
}
impl Stores for f32 {
    const KERNEL: &'static str = "adamw_f32";
    fn master(place: Matrix) -> Option<usize> {
        Some(place.offset)
    }
    fn upload(run: &mut Run, values: &[f32]) -> Buffer<Self> {
        run.upload(values)
    }
}
impl Stores for bf16 {
    const KERNEL: &'static str = "adamw_bf16";
    fn master(place: Matrix) -> Option<usize> {
        (place.rows == 1).then_some(place.offset + MASTERS)
    }
    fn upload(run: &mut Run, values: &[f32]) -> Buffer<Self> {
        run.upload_bf16(values)
    }
}

#[test]
fn matches_the_reference_in_every_mode() {
    for applied in [0, 1, 7, 20_000] {
        let mut case = Case::new(&TENSORS, applied);
        case.record.applied = applied;
        if applied == 7 {
            case.record.clip = 0.0;
        }
        let record = RefCell::default();
        let outputs = every_mode(|run| case.run::<f32>(case.sums(), &record, run));
        case.check_surroundings::<f32>(&outputs);
        for (i, p) in case.params.iter().enumerate() {
            let (naive, exact) =
                (case.reference::<f32>(p, case.sums()), case.reference::<f64>(p, case.sums()));
            let cols = p.place.rows * p.place.cols;
            let what = |name| format!("adamw step {} tensor {i} {name}", applied + 1);
            judge(&what("w32"), Stored::F32, &pick(outputs.get("w32"), p.place), &naive.w, &exact.w, cols);
            judge(&what("m"), Stored::F32, &pick(outputs.get("m"), p.place), &naive.m, &exact.m, cols);
            judge(&what("v"), Stored::F32, &pick(outputs.get("v"), p.place), &naive.v, &exact.v, cols);
        }
    }
}

/// Weights and moments of an update are those of the reference, rounded up with the probability of what is cut off.
#[test]
fn bf16_rounds_stochastically() {
    let case = Case::new(&TENSORS, 3).rounded();
    let record = RefCell::default();
    let outputs = every_mode(|run| case.run::<bf16>(case.sums(), &record, run));
    case.check_surroundings::<bf16>(&outputs);
    let names = ["m", "v", "w16"];
    let (mut off, mut bias, mut n) = ([0; 3], [0.0; 3], [0.0f64; 3]);
    for (i, p) in case.params.iter().enumerate() {
        let (naive, exact) = (case.reference::<f32>(p, case.sums()), case.reference::<f64>(p, case.sums()));
        let master = masters_of::<bf16>(p.place);
        if let Some(place) = master {
            let what = format!("adamw_bf16 tensor {i} w32");
            let w = pick(outputs.get("w32"), place);
            judge(&what, Stored::F32, &w, &naive.w, &exact.w, place.rows * place.cols);
        }
        let rounded = if master.is_some() { 2 } else { 3 };
        for (k, e) in elements(p.place).enumerate() {
            let quad = philox(case.record.seed, [e as u64 / 4, ADAMW_STREAM | case.record.step]);
            // The first of a group of four takes the first word.
            let random = quad[e % 4];
            let values = [
                (naive.m[k], exact.m[k], random & 0xffff),
                (naive.v[k], exact.v[k], random >> 16),
                (naive.w[k], exact.w[k], (random ^ (random >> 16)) & 0xffff),
            ];
            for (which, (naive, exact, random)) in values.into_iter().enumerate().take(rounded) {
                let (name, x) = (names[which], outputs.get(names[which])[e]);
                let ulp = f64::from(f32::from_bits((naive.to_bits() & 0x7f80_0000) + 0x0001_0000))
                    - f64::from(f32::from_bits(naive.to_bits() & 0x7f80_0000));
                let error = (f64::from(x) - exact) / ulp;
                assert!(error.abs() < 1.001, "{name} {e}: {x} is no neighbour of {exact}");
                bias[which] += error;
                // Where the reference's f32 differs in its last bit, so may the decision.
                let expected = f32::from_bits(naive.to_bits().wrapping_add(random) & 0xffff_0000);
                off[which] += usize::from(x != expected);
                n[which] += 1.0;
            }
        }
    }
    for which in 0..3 {
        let (name, n, bias) = (names[which], n[which], bias[which] / n[which]);
        println!("adamw_bf16 {name}: bias {bias:.1e} ulp, {} of {n} by other bits", off[which]);
        // The error is uniform over one ulp around zero at worst: its variance is at most 1/4.
        assert!(bias.abs() < 4.0 * (0.25 / n).sqrt(), "{name} is biased by {bias} ulp");
        assert!(off[which] as f64 <= 1e-4 * n, "{name}: {} of {n} rounded by other bits", off[which]);
    }
}

/// What an element becomes depends on its place in the buffers, not on the tensor it is part of.
#[test]
fn segments_cut_elsewhere_leave_the_same_bits() {
    let whole = Case::new(&[(0, 2, 10_000, 10_000, 1.0, 0.1)], 2).rounded();
    let cut =
        [(12_004, 2, 3_998, 3_998, 1.0, 0.1), (0, 3, 4_000, 4_000, 1.0, 0.1), (12_000, 2, 2, 2, 1.0, 0.1)];
    let params = Case::new(&cut, 2).params;
    let parts = Case { params, ..whole.clone() };
    let record = RefCell::default();
    let run =
        |case: &Case| once(&Mode::default(), |run| case.run::<bf16>(case.sums(), &record, run)).unwrap().0;
    let (a, b) = (run(&whole), run(&parts));
    let mut next = whole.clone();
    next.record.step += 1;
    let mut reseeded = whole.clone();
    reseeded.record.seed += 1;
    let others = [run(&next), run(&reseeded)];
    for name in ["w16", "m", "v"] {
        assert_eq!(a.get(name), b.get(name), "{name}");
        assert!(
            others.iter().all(|other| a.get(name) != other.get(name)),
            "{name}: the same bits were drawn"
        );
    }
}

#[test]
fn the_record_of_a_step() {
    let case = Case::new(&TENSORS[..4], 1);
    let finished = |sums, clip| {
        let (mut case, record) = (case.clone(), RefCell::default());
        case.record.clip = clip;
        case.record.applied = 41;
        let outputs = every_mode(|run| case.run::<f32>(sums, &record, run));
        let changed = outputs.get("w32")[..case.w.len()] != case.w
            || outputs.get("m") != case.m
            || outputs.get("v") != case.v;
        (record.into_inner(), changed)
    };
    let (r, changed) = finished([6.25, 99.0], 1.0);
    assert!(changed);
    let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-14;
    assert_eq!((r.norm, r.abs_sum, r.applied, r.skip), (2.5, 99.0, 42, 0));
    assert_eq!(r.clip_factor, 1.0 / (2.5 + 1e-6));
    assert!(close(r.corrections[0], 1.0 / (1.0 - 0.9f64.powi(42))));
    assert!(close(r.corrections[1], 1.0 / (1.0 - 0.95f64.powi(42)).sqrt()));
    assert_eq!(finished([6.25, 99.0], 0.0).0.clip_factor, 1.0);
    assert_eq!(finished([6.25, 99.0], 5.0).0.clip_factor, 1.0);
    assert_eq!(finished([0.0, 0.0], 1.0).0.clip_factor, 1.0);
    for bad in [f64::NAN, f64::INFINITY] {
        let (r, changed) = finished([bad, bad], 1.0);
        assert!(!changed, "a norm of {bad} changed something");
        assert_eq!((r.applied, r.skip), (41, 1));
        let (low, record) = (case.clone().rounded(), RefCell::default());
        let outputs = every_mode(|run| low.run::<bf16>([bad, bad], &record, run));
        for p in &low.params {
            let name = if masters_of::<bf16>(p.place).is_some() { "w32" } else { "w16" };
            let w = pick(outputs.get(name), masters_of::<bf16>(p.place).unwrap_or(p.place));
            assert!(w == pick(&low.w, p.place), "a norm of {bad} changed {name}");
        }
        assert!(outputs.get("m") == low.m && outputs.get("v") == low.v, "a norm of {bad} changed moments");
    }
}

/// What ε and the decay are for: nothing is divided by 0, weights shrink and moments stay.
#[test]
fn gradients_and_moments_of_zero() {
    let mut case = Case::new(&TENSORS[..4], 1);
    for i in case.params.iter().flat_map(|p| elements(p.place)).collect::<Vec<_>>() {
        (case.m[i], case.v[i], case.g[i]) = (0.0, 0.0, 0.0);
    }
    let record = RefCell::default();
    let outputs = every_mode(|run| case.run::<f32>([0.0; 2], &record, run));
    case.check_surroundings::<f32>(&outputs);
    for p in &case.params {
        let decay = (1.0 - case.record.rate * p.lr_mult * p.decay(case.record.decay_scale)) as f32;
        for i in elements(p.place) {
            let after = ["w32", "m", "v"].map(|name| outputs.get(name)[i]);
            assert_eq!(after, [case.w[i] * decay, 0.0, 0.0]);
        }
    }
}

/// Around the smallest normal number: the arithmetic of one step in f64 says which of the two it is.
#[test]
fn subnormal_moments_become_zero() {
    let mut case = Case::new(&TENSORS[..5], 1);
    let mut random = Random::new(9);
    let least = f64::from(f32::MIN_POSITIVE);
    let places: Vec<usize> = case.params.iter().flat_map(|p| elements(p.place)).collect();
    for (n, &i) in places.iter().enumerate() {
        let near = |random: &mut Random| (least * (1.0 + random.below(1000) as f64 / 4000.0)) as f32;
        (case.m[i], case.v[i]) = (near(&mut random), near(&mut random));
        case.m[i] *= [1.0, -1.0][n % 2];
        case.g[i] = [0.0, 1e-37, 1e-19][n % 3];
    }
    case.record.clip = 0.0;
    let check = |what: &str, found: &[f32], before: &[f32], after: &dyn Fn(f64, f64) -> f64| {
        let mut zeros = 0;
        for &i in &places {
            let exact = after(before[i].into(), case.g[i].into());
            zeros += usize::from(found[i] == 0.0);
            assert!(!found[i].is_subnormal(), "{what} {i}: {:e}", found[i]);
            let far = (exact.abs() / least - 1.0).abs() > 0.01;
            assert!(
                !far || (found[i] == 0.0) == (exact.abs() < least),
                "{what} {i}: {:e}, {exact:e}",
                found[i]
            );
        }
        assert!(zeros > places.len() / 10 && zeros < places.len() * 9 / 10, "{what}: {zeros}");
    };
    let first = |m: f64, g: f64| 0.9 * m + 0.1 * g;
    let second = |v: f64, g: f64| 0.95 * v + 0.05 * g * g;
    let record = RefCell::default();
    let outputs = every_mode(|run| case.run::<f32>(case.sums(), &record, run));
    check("m", outputs.get("m"), &case.m, &first);
    check("v", outputs.get("v"), &case.v, &second);
    let low = case.clone().rounded();
    let outputs = every_mode(|run| low.run::<bf16>(case.sums(), &record, run));
    check("bf16 m", outputs.get("m"), &low.m, &first);
    check("bf16 v", outputs.get("v"), &low.v, &second);
}

#[test]
fn equal_bits_whatever_runs_first() {
    let case = Case::new(&TENSORS[..6], 4).rounded();
    let record = RefCell::default();
    deterministic(|run| case.run::<f32>(case.sums(), &record, run));
    deterministic(|run| case.run::<bf16>(case.sums(), &record, run));
}

/// Frozen tensors lose their gradients and nothing else; the update leaves them out.
#[test]
fn frozen_tensors() {
    let frozen = |i: usize| i % 2 == 1;
    let mut case = Case::new(&TENSORS, 6);
    (0..TENSORS.len()).filter(|&i| frozen(i)).for_each(|i| case.params[i].lr_mult = 0.0);
    let program = |run: &mut Run| -> Result<()> {
        let AdamTables { segments, tiles, trained } = adam_tables(&case.params, |_| None)?;
        let grid = tiles.len() - trained;
        let (segments, tiles, g) = (run.upload(&segments), run.upload(&tiles), run.upload(&case.g));
        run.launch("clear_gradients", [grid, 1, 1], 256, 0, &[tiles.at(trained), segments.arg(), g.arg()])?;
        run.output("g", &g);
        Ok(())
    };
    let cleared = every_mode(program);
    let (mut g, record) = (case.g.clone(), RefCell::default());
    let outputs = every_mode(|run| case.run::<f32>(case.sums(), &record, run));
    let w16 = vec![GAP; case.w.len()];
    for (i, p) in case.params.iter().enumerate() {
        let before = [&case.w, &w16, &case.m, &case.v].map(|x| pick(x, p.place));
        let after = ["w32", "w16", "m", "v"].map(|name| pick(outputs.get(name), p.place));
        let changed = before.iter().zip(&after).map(|(b, a)| a != b);
        assert!(changed.clone().all(|c| c != frozen(i)), "tensor {i}: {:?}", changed.collect::<Vec<_>>());
        elements(p.place).filter(|_| frozen(i)).for_each(|e| g[e] = 0.0);
    }
    assert!(cleared.get("g") == g, "other gradients");
}

fn pick(flat: &[f32], place: Matrix) -> Vec<f32> {
    elements(place).map(|e| flat[e]).collect()
}

#[test]
fn rows_off_the_grid_are_refused() {
    let refused = |t: Tensor| adam_tables(&Case::new(&[t], 1).params, |_| None).is_err();
    assert!(refused((2, 1, 8, 8, 1.0, 0.0)));
    assert!(refused((0, 2, 4, 7, 1.0, 0.0)));
    assert!(!refused((0, 2, 7, 7, 1.0, 0.0)));
}

#[test]
fn traffic_is_the_cost() {
    let n = 1 << 19;
    // One large tensor, the column views of an output matrix, and a vector, which has master weights.
    for (tensors, masters) in [
        (vec![(0, 2, n / 2, n / 2, 1.0, 0.1)], 0),
        (vec![(0, 256, 512, 2560, 1.0, 0.1), (512, 256, 2048, 2560, 1.0, 0.1)], 0),
        (vec![(0, 1, n, n, 1.0, 0.1)], n),
    ] {
        let case = Case::new(&tensors, 1).rounded();
        let n = case.params.iter().map(|p| p.place.rows * p.place.cols).sum();
        let record = RefCell::default();
        check_traffic(&count(|run| case.run::<f32>(case.sums(), &record, run)), cost::adamw(n, 2).bytes);
        let bytes = cost::adamw_bf16(n, masters).bytes;
        check_traffic(&count(|run| case.run::<bf16>(case.sums(), &record, run)), bytes);
    }
}
