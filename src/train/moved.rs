//! How far weights are from those that a phase started from: by groups of tensors, the length of the difference in units of
//! theirs, and the angle between the two.
use crate::Result;
use crate::checkpoint::Tensors;
use crate::model::{Param, ParamTable, Precision};
use crate::ops::{Part, State, draw_in_order};
use crate::stop;
use half::bf16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use serde::Serialize;
use xxhash_rust::xxh3::Xxh3;

/// Elements whose sums are added up by themselves, whoever adds them.
const CHUNK: usize = 1 << 16;
/// Sums side by side in a chunk.
const LANES: usize = 8;

/// A figure of all weights, and of every group of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ByGroup {
    /// Of all.
    pub total: f64,
    /// Of the embedding, which is the output matrix of a tied model, too.
    pub embed: f64,
    /// Of every block.
    pub blocks: Vec<f64>,
    /// Of the norm in front of the head.
    pub final_norm: f64,
    /// Of the output matrix, where it is one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<f64>,
}

/// What [`measure`] finds.
pub struct Moved {
    /// `‖W − W₀‖ / ‖W₀‖`; not finite where W₀ is 0.
    pub update: ByGroup,
    /// The angle between W and W₀, degrees; likewise.
    pub angle: ByGroup,
    /// The hash of W₀: of its elements as they are stored, in the order of the table.
    pub before: String,
}

/// Sums over elements `w₀` before and `w` now.
#[derive(Clone, Copy, Default)]
struct Sums {
    /// `Σ w₀²`
    before: f64,
    /// `Σ (w − w₀)²`
    moved: f64,
    /// `Σ w₀·(w − w₀)`
    along: f64,
}

impl Sums {
    fn and(self, other: Self) -> Self {
        Self {
            before: self.before + other.before,
            moved: self.moved + other.moved,
            along: self.along + other.along,
        }
    }

    /// Element `i` of the slices is one of lane `i mod LANES`.
    fn of(before: &[f32], now: &[f32]) -> Self {
        let mut lanes = [Self::default(); LANES];
        for (before, now) in before.chunks(LANES).zip(now.chunks(LANES)) {
            for ((lane, before), now) in lanes.iter_mut().zip(before).zip(now) {
                let (before, now) = (f64::from(*before), f64::from(*now));
                let moved = now - before;
                *lane =
                    lane.and(Self { before: before * before, moved: moved * moved, along: before * moved });
            }
        }
        lanes.into_iter().fold(Self::default(), Self::and)
    }

    fn update(self) -> f64 {
        (self.moved / self.before).sqrt()
    }

    /// By the parts of the difference along W₀ and across it: small angles have no cosine to tell them by.
    fn angle(self) -> f64 {
        let across = (self.moved - self.along * self.along / self.before).max(0.0).sqrt();
        across.atan2((self.before + self.along) / self.before.sqrt()).to_degrees()
    }
}

/// Compares the weights of `now` with those `before`, as `now` would hold them, a piece at a time. The sums have an order of
/// their own, whatever the pieces and the number of threads. The inner error is that of reading `before`.
pub fn measure(before: &Tensors, table: &ParamTable, now: &mut dyn State) -> Result<Result<Moved>> {
    let (mut hash, mut sums) = (Xxh3::new(), Vec::with_capacity(table.params.len()));
    for param in &table.params {
        let (mut of_param, mut failed) = (Sums::default(), None);
        let read = draw_in_order(
            &|first, values: &mut [f32]| before(param, first, values),
            param.place.elements(),
            |first, before| {
                hash.update(bytemuck::cast_slice(before));
                let added = add(param, table.precision, (first, before), now, &mut of_param);
                // Whatever is handed back here ends the reading.
                added.map_err(|e| crate::Error::failed(failed.insert(e).to_string()))
            },
        );
        match (failed, read) {
            (Some(failed), _) => return Err(failed),
            (None, Err(unread)) => return Ok(Err(unread)),
            (None, Ok(())) => sums.push(of_param),
        }
    }
    let before = format!("{:032x}", hash.digest128());
    let of = |figure: fn(Sums) -> f64| by_group(table, &sums, figure);
    Ok(Ok(Moved { update: of(Sums::update), angle: of(Sums::angle), before }))
}

/// Adds the elements of a tensor from row-major index `first` on, which were `before`.
fn add(
    param: &Param,
    precision: Precision,
    (first, before): (usize, &[f32]),
    now: &mut dyn State,
    sums: &mut Sums,
) -> Result<()> {
    stop::check()?;
    let (mut here, mut rounded) = (Vec::with_capacity(before.len()), Vec::new());
    for block in param.place.blocks(first, before.len()) {
        now.read_state(Part::Weights, block, &mut |values| {
            here.extend_from_slice(values);
            Ok(())
        })?;
    }
    let mut before = before;
    if precision == Precision::Bf16 && !param.has_master() {
        // What it started with is what was loaded.
        let mut narrow = vec![bf16::ZERO; before.len()];
        narrow.convert_from_f32_slice(before);
        rounded.resize(before.len(), 0.0);
        narrow.convert_to_f32_slice(&mut rounded);
        before = &rounded;
    }
    let chunks = before.par_chunks(CHUNK).zip(here.par_chunks(CHUNK));
    let chunks: Vec<Sums> = chunks.map(|(before, now)| Sums::of(before, now)).collect();
    *sums = chunks.into_iter().fold(*sums, Sums::and);
    Ok(())
}

/// A figure of every group, from the sums of the tensors.
fn by_group(table: &ParamTable, sums: &[Sums], figure: fn(Sums) -> f64) -> ByGroup {
    let of = |prefix: &str| {
        let of_group = table.params.iter().zip(sums).filter(|(param, _)| param.name.starts_with(prefix));
        of_group.map(|(_, sums)| *sums).reduce(Sums::and).map(figure)
    };
    let there = |prefix: &str| of(prefix).expect("every model has one");
    ByGroup {
        total: there(""),
        embed: there("gpt_neox.embed_in."),
        blocks: (0..table.layers.len()).map(|i| there(&format!("gpt_neox.layers.{i}."))).collect(),
        final_norm: there("gpt_neox.final_layer_norm."),
        head: of("embed_out."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::model::{ModelConfig, preset};
    use crate::ops::HostState;
    use crate::reference::random::Random;

    fn config(tied: bool) -> ModelConfig {
        let small = preset("pythia-14m").unwrap();
        ModelConfig { vocab_size: 700, tie_word_embeddings: tied, ..small }
    }

    fn measured(table: &ParamTable, before: &[f32], now: &[f32]) -> Moved {
        let before = |param: &Param, first: usize, values: &mut [f32]| {
            values.copy_from_slice(&param.gather(before)[first..][..values.len()]);
            Ok(())
        };
        measure(&before, table, &mut HostState::of_weights(now.to_vec())).unwrap().unwrap()
    }

    /// The sum, with what each addition loses added at the end (Kahan 1965): of millions of terms that is seen.
    fn sum(terms: impl Iterator<Item = f64>) -> f64 {
        let add = |(sum, lost): (f64, f64), term: f64| {
            let term = term - lost;
            let next = sum + term;
            (next, (next - sum) - term)
        };
        terms.fold((0.0, 0.0), add).0
    }

    /// Against the formulas over whole groups: the arc cosine where the angle is large enough for one.
    #[test]
    fn figures_are_those_of_the_formulas() {
        for tied in [false, true] {
            let table = ParamTable::new(&config(tied));
            let mut random = Random::new(5);
            let before: Vec<f32> = random.normals(table.total, 0.0, 0.02);
            let steps: Vec<f32> = random.normals(table.total, 0.0, 0.01);
            let now: Vec<f32> = before.iter().zip(&steps).map(|(w, step)| w + step).collect();
            let found = measured(&table, &before, &now);
            let check = |prefix: &str, update: f64, angle: f64| {
                let params = table.params.iter().filter(|param| param.name.starts_with(prefix));
                let pairs =
                    params.flat_map(|param| param.gather(&before).into_iter().zip(param.gather(&now)));
                let pairs: Vec<(f64, f64)> = pairs.map(|(a, b)| (a.into(), b.into())).collect();
                let sum = |f: fn(&(f64, f64)) -> f64| sum(pairs.iter().map(f));
                let (aa, bb, ab) = (sum(|(a, _)| a * a), sum(|(_, b)| b * b), sum(|(a, b)| a * b));
                let expected = [
                    (sum(|(a, b)| (b - a) * (b - a)) / aa).sqrt(),
                    (ab / (aa * bb).sqrt()).acos().to_degrees(),
                ];
                for (found, expected) in [update, angle].iter().zip(expected) {
                    assert!((found / expected - 1.0).abs() < 1e-12, "{prefix}: {found} {expected}");
                }
            };
            let (update, angle) = (&found.update, &found.angle);
            check("", update.total, angle.total);
            check("gpt_neox.embed_in", update.embed, angle.embed);
            check("gpt_neox.final", update.final_norm, angle.final_norm);
            for (i, (update, angle)) in update.blocks.iter().zip(&angle.blocks).enumerate() {
                check(&format!("gpt_neox.layers.{i}."), *update, *angle);
            }
            assert_eq!((update.blocks.len(), update.head.is_none()), (6, tied));
            if let (Some(update), Some(angle)) = (update.head, angle.head) {
                check("embed_out", update, angle);
            }
        }
    }

    /// Nothing at all, a rotation by a tiny angle, a reversal, and what has no length to be compared with.
    #[test]
    fn angles_are_exact_where_cosines_are_not() {
        let angle = |before: [f32; 2], now: [f32; 2]| {
            let sums = Sums::of(&before, &now);
            (sums.update(), sums.angle())
        };
        assert_eq!(angle([3.0, 4.0], [3.0, 4.0]), (0.0, 0.0));
        let (update, tiny) = angle([1.0, 0.0], [1.0, 1e-6]);
        let expected = f64::from(1e-6f32);
        assert!(
            (update / expected - 1.0).abs() < 1e-15 && (tiny / expected.to_degrees() - 1.0).abs() < 1e-11
        );
        assert_eq!(angle([3.0, 4.0], [-3.0, -4.0]), (2.0, 180.0));
        assert_eq!(angle([1.0, 0.0], [0.0, 1.0]).1, 90.0);
        assert!(angle([0.0, 0.0], [1.0, 0.0]).0.is_infinite() && angle([0.0, 0.0], [0.0, 0.0]).0.is_nan());
    }

    #[test]
    fn sums_have_equal_bits_for_any_number_of_threads_and_in_any_pieces() {
        let table = ParamTable::new(&config(false));
        let mut random = Random::new(6);
        let [before, now]: [Vec<f32>; 2] = [0; 2].map(|_| random.normals(table.total, 0.0, 1.0));
        let whole = measured(&table, &before, &now);
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let again = pool.install(|| measured(&table, &before, &now));
            assert_eq!((&again.update, &again.angle), (&whole.update, &whole.angle));
            assert_eq!(again.before, whole.before);
        }
        assert_ne!(measured(&table, &now, &now).before, whole.before);
    }

    #[test]
    fn what_cannot_be_read_before_is_told_from_what_fails_now() {
        let table = ParamTable::new(&config(false));
        let bad = |_: &Param, _: usize, _: &mut [f32]| Err(Error::refused("it is gone"));
        let mut now = HostState::of_weights(vec![0.0; table.total]);
        let unread = measure(&bad, &table, &mut now).unwrap().err().unwrap();
        assert_eq!(unread.to_string(), "it is gone");
    }
}
