//! cross_entropy.cu against the reference's cross_entropy.
use crate::measure::{Stored, judge};
use crate::reference::random::Random;
use crate::reference::{Float, cast, ops};
use crate::rig::{
    Outputs, Run, bf16s, check_layout, check_traffic, count, deterministic, every_mode, mutations, once,
    sectors_of,
};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Arg, Buffer, Mode};
use rewarm::ops::Shape;
use rewarm::ops::cost::{self, Cost};

const SCALE: f32 = 0.03;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kernel {
    Loss,
    Fused,
    Long,
}

#[derive(Clone)]
struct Case {
    rows: usize,
    vocab: usize,
    padded: usize,
    ld: usize,
    /// `[rows, vocab]`
    logits: Vec<f32>,
    targets: Vec<i32>,
    weights: Option<Vec<f32>>,
}

impl Case {
    fn new(rows: usize, vocab: usize, sigma: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let logits: Vec<f32> = random.normals(rows * vocab, 0.0, sigma);
        let logits = bf16s(&logits.iter().map(|x| x.clamp(-50.0, 50.0)).collect::<Vec<_>>());
        let padded = vocab.next_multiple_of(8);
        let targets = random.tokens(rows, vocab);
        Self { rows, vocab, padded, ld: padded, logits, targets, weights: None }
    }

    /// The buffer of logits: NaN in masked columns and between the rows.
    fn buffer(&self) -> Vec<f32> {
        let mut buffer = vec![f32::NAN; self.rows * self.ld];
        for (to, from) in buffer.chunks_mut(self.ld).zip(self.logits.chunks(self.vocab)) {
            to[..self.vocab].copy_from_slice(from);
        }
        buffer
    }

    fn run(&self, kernel: Kernel, run: &mut Run) -> Result<()> {
        let logits = run.upload_bf16(&self.buffer());
        let (targets, losses): (_, Buffer<f32>) = (run.upload(&self.targets), run.poisoned(self.rows));
        let weights = self.weights.as_ref().map_or(Arg::address(0), |w| run.upload(w).arg());
        let ld = Arg::from(self.ld as i64);
        let mut args = vec![logits.arg(), ld, targets.arg(), weights, losses.arg()];
        let (vocab, padded) = (Arg::from(self.vocab as i32), Arg::from(self.padded as i32));
        let (name, smem) = match kernel {
            Kernel::Loss => ("cross_entropy_fwd", 256),
            Kernel::Fused => ("cross_entropy_fwd_bwd", 256 + 2 * self.padded),
            Kernel::Long => ("cross_entropy_fwd_bwd_long", 256),
        };
        match kernel {
            Kernel::Loss => args.push(vocab),
            _ => args.extend([SCALE.into(), vocab, padded]),
        }
        run.launch(name, [self.rows, 1, 1], 512, smem, &args)?;
        run.output("losses", &losses);
        run.output("logits", &logits);
        Ok(())
    }

    fn weight(&self, row: usize) -> f32 {
        self.weights.as_ref().map_or(1.0, |w| w[row])
    }

    /// Losses and gradients `[rows, vocab]`, unrounded.
    fn reference<T: Float>(&self) -> (Vec<T>, Vec<T>) {
        let weights: Vec<f32> = (0..self.rows).map(|row| self.weight(row)).collect();
        let logits = cast::<_, T>(&self.logits);
        ops::weighted_cross_entropy(&logits, self.vocab, &self.targets, &weights, f64::from(SCALE))
    }

    /// With every row masked, by its target or by its weight, all is exactly 0, whatever the logits hold.
    fn all_masked(&self) {
        let mut case = self.clone();
        case.targets.fill(-100);
        case.logits.fill(f32::NAN);
        for weighted in [false, true] {
            if weighted {
                case.targets.fill(0);
                case.weights = Some(vec![0.0; case.rows]);
            }
            for kernel in ALL {
                let outputs = every_mode(|run| case.run(kernel, run));
                assert!(outputs.get("losses").iter().all(|&x| x == 0.0), "{kernel:?}");
                assert!(kernel == Kernel::Loss || case.gradients(&outputs).iter().all(|&g| g == 0.0));
            }
        }
    }

    /// The gradients of a run, after a look at everything around them.
    fn gradients(&self, outputs: &Outputs) -> Vec<f32> {
        let rows = outputs.get("logits").chunks(self.ld);
        let cut = rows.flat_map(|row| {
            let (columns, rest) = row.split_at(self.vocab);
            let (padding, gap) = rest.split_at(self.padded - self.vocab);
            assert!(padding.iter().all(|&g| g == 0.0), "a masked column has a gradient");
            assert!(gap.iter().all(|g| g.is_nan()), "wrote between the rows");
            columns
        });
        cut.copied().collect()
    }

    fn check(&self, kernels: &[Kernel]) {
        self.judge(kernels, |kernel| every_mode(|run| self.run(kernel, run)));
    }

    fn judge(&self, kernels: &[Kernel], outputs: impl Fn(Kernel) -> Outputs) {
        let (naive, exact) = (self.reference::<f32>(), self.reference::<f64>());
        let naive_gradients = bf16s(&naive.1);
        let mut bits: Option<(Vec<f32>, Vec<f32>)> = None;
        for &kernel in kernels {
            let outputs = outputs(kernel);
            let shape = format!("{kernel:?} {}x{}", self.rows, self.vocab);
            let losses = outputs.get("losses");
            judge(&format!("{shape} losses"), Stored::F32, losses, &naive.0, &exact.0, self.rows);
            if kernel == Kernel::Loss {
                let untouched = outputs.get("logits").iter().zip(self.buffer());
                assert!(
                    untouched
                        .into_iter()
                        .all(|(a, b)| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan())
                );
                continue;
            }
            let gradients = self.gradients(&outputs);
            let what = format!("{shape} gradients");
            judge(&what, Stored::Bf16, &gradients, &naive_gradients, &exact.1, self.vocab);
            let bits = bits.get_or_insert_with(|| (losses.to_vec(), gradients.clone()));
            assert_eq!((&bits.0[..], &bits.1), (losses, &gradients), "the kernels disagree");
        }
    }
}

const ALL: [Kernel; 3] = [Kernel::Fused, Kernel::Long, Kernel::Loss];

#[test]
fn matches_the_reference_in_every_mode() {
    let narrow = [(1, 1), (1, 8), (64, 7), (33, 509), (3, 4096), (3, 4099)];
    for (rows, vocab) in narrow.into_iter().chain([(2, 16_391), (1, 50_304), (2, 50_291)]) {
        for sigma in [1.0, 25.0] {
            Case::new(rows, vocab, sigma, 7).check(&ALL);
        }
    }
    // A block of 512 threads for every row: one mode, for the time it takes.
    let case = Case::new(2049, 67, 3.0, 1);
    case.judge(&ALL, |kernel| once(&Mode::default(), |run| case.run(kernel, run)).unwrap().0);
    // Pythia-12B: does not fit in shared memory.
    Case::new(1, 50_688, 3.0, 1).check(&[Kernel::Long, Kernel::Loss]);
}

#[test]
fn padding_gaps_weights_and_masks() {
    let mut case = Case::new(9, 301, 2.0, 3);
    case.padded = 384;
    case.ld = 392;
    case.weights = Some(vec![1.0, 0.5, 0.0, 2.0, 1.0, -1.0, 0.0, 1.0, 0.25]);
    case.targets[4] = -1;
    case.targets[7] = 300;
    case.check(&ALL);
    // Not to be predicted: what is impossible, and what is certain.
    case.weights = Some(vec![-1.0, -0.5, 0.0, -2.0, 1.0, -1.0, 0.0, -1.0, 0.25]);
    case.logits[case.targets[1] as usize + 301] = f32::NEG_INFINITY;
    case.check(&ALL);
    case.all_masked();
}

/// A target that has all of the probability and is not to be predicted: the rest counts as 1e-5.
#[test]
fn a_certain_target_that_is_not_to_be_predicted_stays_finite() {
    let mut case = Case::new(1, 300, 1.0, 3);
    case.logits[case.targets[0] as usize] = 80.0;
    case.weights = Some(vec![-1.0]);
    for kernel in ALL {
        let outputs = every_mode(|run| case.run(kernel, run));
        assert!((outputs.get("losses")[0] - 1e5f32.ln()).abs() < 1e-4);
        assert!(kernel == Kernel::Loss || case.gradients(&outputs).iter().all(|g| g.is_finite()));
    }
}

/// At the vocabularies of Pythia, padded and not: a row of one value, and rows that do not count.
#[test]
fn constant_and_masked_rows_of_a_large_vocabulary() {
    for vocab in [50_304, 50_291] {
        let mut case = Case::new(3, vocab, 1.0, 3);
        case.logits[..vocab].fill(3.0);
        case.targets[1] = -1;
        case.weights = Some(vec![1.0, 1.0, 0.0]);
        case.check(&ALL);
        case.all_masked();
    }
}

#[test]
fn constant_rows_and_minus_infinity() {
    let mut case = Case::new(4, 1000, 1.0, 3);
    case.logits[..1000].fill(3.0);
    case.logits[1000..2000].fill(0.0);
    case.logits[2000..3000].fill(-50.0);
    // Most of a row impossible, whole threads of it included.
    case.logits[3000..3990].fill(f32::NEG_INFINITY);
    case.targets[3] = 995;
    case.check(&ALL);
}

#[test]
fn what_is_wrong_becomes_nan() {
    let mut case = Case::new(3, 100, 1.0, 3);
    case.targets[0] = 100;
    case.logits[150] = f32::NAN;
    for (kernel, weights) in ALL.into_iter().flat_map(|k| [(k, None), (k, Some(vec![-1.0; 3]))]) {
        case.weights = weights;
        let outputs = every_mode(|run| case.run(kernel, run));
        let nan: Vec<_> = outputs.get("losses").iter().map(|x| x.is_nan()).collect();
        assert_eq!(nan, [true, true, false]);
        if kernel != Kernel::Loss {
            let rows: Vec<_> =
                case.gradients(&outputs).chunks(100).map(|r| r.iter().all(|g| g.is_nan())).collect();
            assert_eq!(rows, [true, true, false]);
        }
    }
}

#[test]
fn traffic_is_the_cost() {
    type Bytes = fn(Shape, usize, usize) -> Cost;
    let costs: [Bytes; 3] = [cost::cross_entropy, cost::cross_entropy_long, cost::cross_entropy_fwd];
    for (rows, vocab) in [(2048, 8192), (8, 50_304)] {
        let case = Case::new(rows, vocab, 1.0, 1);
        for (kernel, cost) in ALL.into_iter().zip(costs) {
            let s = Shape { batch: 1, time: rows };
            check_traffic(&count(|run| case.run(kernel, run)), cost(s, vocab, size_of::<bf16>()).bytes);
        }
    }
}

/// With few logits in a row, what its 16 warps read beside them counts, the target each for itself (from the cache
/// after the first): the bytes of `cost` are met from 5,000 logits on. Below, these and no more.
#[test]
fn partial_sectors_are_those_of_the_layout() {
    let rows = 2048;
    for vocab in [512, 509] {
        let case = Case::new(rows, vocab, 1.0, 1);
        let row = sectors_of([(0, 2 * case.padded)]);
        for (kernel, passes) in [(Kernel::Loss, 1), (Kernel::Fused, 2), (Kernel::Long, 3)] {
            let bytes = rows * (passes * 2 * case.padded + 16 * 4 + 4);
            let counters = count(|run| case.run(kernel, run));
            check_layout(&counters, bytes as f64, (rows * (passes * row + 16 + 1)) as f64);
        }
    }
}

#[test]
fn equal_bits_whatever_runs_first() {
    let mut case = Case::new(5, 4099, 3.0, 1);
    case.targets[1] = -1;
    for kernel in ALL {
        deterministic(|run| case.run(kernel, run));
    }
}

#[test]
fn every_synchronisation_is_needed() {
    for kernel in ALL {
        mutations(&format!("cross_entropy {kernel:?}"), &[], |run| {
            Case::new(2, 5000, 1.0, 1).run(kernel, run)
        });
    }
}
