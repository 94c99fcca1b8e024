//! The operands of one operation several times, used in turn: so that no call finds its own in a cache.
//!
//! They lie behind the activations of the model, tensor by tensor, each copy at a multiple of `ALIGN` elements. Values
//! kept per row (a hundredth of the bytes) and weights are not repeated.
use super::cases::{At, Case, Cases};
use crate::model::Workspace;
use crate::ops::cost::Cost;
use crate::ops::{Act, Backend, Shape, Work};

/// Elements at whose multiples copies begin: 256 bytes of bf16.
const ALIGN: usize = 128;

/// A tensor of the workspace: its first element, its elements, and those of a row.
#[derive(Clone, Copy)]
struct Tensor {
    first: usize,
    len: usize,
    cols: usize,
}

impl Tensor {
    fn act(self, offset: usize) -> Act {
        Act { offset, cols: self.cols, ld: self.cols }
    }
}

/// An operation on operands that change from call to call.
pub struct Turns<'a> {
    cases: &'a Cases,
    views: Vec<Workspace>,
    /// What a call must move and compute at least.
    pub cost: Cost,
}

impl<'a> Turns<'a> {
    /// Repeats the operands until they exceed what `cases` wants; twice at least. The update has none.
    pub fn of(cases: &'a Cases, case: &Case, ops: &mut dyn Backend) -> Self {
        let tensors = tensors(&cases.ws, &acts(case, &cases.first()));
        let first = cases.spare;
        let set: usize = tensors.iter().map(|t| t.len.next_multiple_of(ALIGN)).sum();
        // The set of the model itself is one of them.
        let copies = if set == 0 { 0 } else { cases.rotated.div_ceil(set).max(1) };
        let mut views = vec![cases.ws.clone()];
        for copy in 0..copies {
            let places = places(&tensors, first + copy * set);
            fill(ops, &tensors, &places);
            views.push(cases.ws.moved(&|act| relocated(act, &tensors, &places)));
        }
        Self { cases, views, cost: cases.cost(case.run) }
    }

    /// Number of sets of operands that take turns.
    pub fn sets(&self) -> usize {
        self.views.len()
    }

    /// What the operation is issued on, for the `i`-th time.
    pub fn at(&self, i: usize) -> At<'_> {
        self.cases.at(&self.views[i % self.views.len()])
    }
}

fn acts(case: &Case, at: &At) -> Vec<Act> {
    case.run.operation(at).map_or(Vec::new(), |op| op.acts())
}

/// The tensors that hold these activations, each once.
fn tensors(ws: &Workspace, acts: &[Act]) -> Vec<Tensor> {
    let mut found: Vec<Tensor> = Vec::new();
    for act in acts {
        let holds = |&&(first, len): &&(usize, usize)| (first..first + len).contains(&act.offset);
        if let Some(&(first, len)) = ws.act_tensors.iter().find(holds)
            && found.iter().all(|t| t.first != first)
        {
            found.push(Tensor { first, len, cols: act.ld });
        }
    }
    found
}

/// Where a copy of each begins, from `first` on.
fn places(tensors: &[Tensor], mut first: usize) -> Vec<usize> {
    let mut place = |t: &Tensor| {
        let here = first;
        first += t.len.next_multiple_of(ALIGN);
        here
    };
    tensors.iter().map(&mut place).collect()
}

fn relocated(act: Act, tensors: &[Tensor], places: &[usize]) -> Act {
    let inside = |t: &Tensor| (t.first..t.first + t.len).contains(&act.offset);
    match tensors.iter().position(inside) {
        Some(i) => Act { offset: act.offset - tensors[i].first + places[i], ..act },
        None => act,
    }
}

/// Copies hold what the model's own tensors hold: zeros would be another computation.
fn fill(ops: &mut dyn Backend, tensors: &[Tensor], places: &[usize]) {
    ops.perform(Work::Once, &mut |ops| {
        for (t, &place) in tensors.iter().zip(places) {
            let rows = Shape { batch: 1, time: t.len / t.cols };
            ops.copy(rows, t.act(t.first), t.act(place));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::cases::CASES;
    use super::*;
    use crate::device::DeviceName;
    use crate::model::{Model, ModelConfig, preset};

    const SHAPE: Shape = Shape { batch: 2, time: 32 };

    fn cases(rotated: usize) -> Cases {
        let sizes = ModelConfig {
            vocab_size: 96,
            hidden_size: 64,
            intermediate_size: 256,
            num_attention_heads: 2,
            num_hidden_layers: 1,
            ..preset("pythia-14m").unwrap()
        };
        Cases::new(DeviceName::Cpu, Model::new(sizes), SHAPE, 32, rotated)
    }

    /// Operands of different turns have no element in common, lie in the arena, and hold the same values.
    #[test]
    fn every_turn_has_operands_of_its_own() {
        let cases = cases(1 << 20);
        let mut ops = cases.open().unwrap();
        for case in
            CASES.iter().filter(|case| !case.name.ends_with(" dense") && !case.name.ends_with(" down"))
        {
            let turns = Turns::of(&cases, case, &mut *ops);
            let original = acts(case, &cases.first());
            let first = tensors(&cases.ws, &original);
            assert!(
                turns.sets() == 1
                    || (turns.sets() - 1) * first.iter().map(|t| 4 * t.len).sum::<usize>() >= 1 << 20
            );
            assert_eq!(first.is_empty(), case.name == "update");
            let mut taken = vec![false; cases.ws.acts_len];
            for i in 0..turns.sets() {
                let acts = acts(case, &turns.at(i));
                for (t, start) in first.iter().zip(starts(&first, &original, &acts)) {
                    let elements = &mut taken[start..start + t.len];
                    assert!(
                        elements.iter().all(|taken| !taken),
                        "{} uses an element in two turns",
                        case.name
                    );
                    elements.fill(true);
                }
            }
        }
    }

    /// Where each tensor begins in a turn whose activations are `moved`.
    fn starts(tensors: &[Tensor], original: &[Act], moved: &[Act]) -> Vec<usize> {
        let start = |t: &Tensor| {
            let inside = |act: &Act| (t.first..t.first + t.len).contains(&act.offset);
            let i = original.iter().position(inside).unwrap();
            moved[i].offset - (original[i].offset - t.first)
        };
        tensors.iter().map(start).collect()
    }

    #[test]
    fn copies_hold_what_the_model_holds() {
        let cases = cases(1 << 18);
        let mut ops = cases.open().unwrap();
        let case = CASES.iter().find(|case| case.name == "attention").unwrap();
        let turns = Turns::of(&cases, case, &mut *ops);
        let [qkv, out] = acts(case, &cases.first())[..] else { panic!("{}", case.name) };
        let expected = [qkv, out].map(|act| ops.read_act(act, SHAPE.rows()).unwrap());
        assert!(expected.iter().flatten().filter(|x| **x != 0.0).count() > SHAPE.rows() * 64);
        let last = turns.sets() - 1;
        let moved = acts(case, &turns.at(last));
        assert_ne!(moved[0].offset, qkv.offset);
        assert_eq!([moved[0], moved[1]].map(|act| ops.read_act(act, SHAPE.rows()).unwrap()), expected);
    }

    /// A virtual machine that shows the cache of its whole host, 480 MiB, measures Pythia-70M in less than 3 GiB.
    #[test]
    fn memory_does_not_grow_with_every_activation() {
        let sizes = ModelConfig { num_hidden_layers: 1, ..preset("pythia-70m").unwrap() };
        let memory = |rotated| {
            let shape = Shape { batch: 4, time: 512 };
            Cases::new(DeviceName::Cpu, Model::new(sizes.clone()), shape, 1024, rotated).memory_bytes()
        };
        assert!(memory(960 << 20) - memory(0) <= 961 << 20, "{} {}", memory(960 << 20), memory(0));
        assert!(memory(960 << 20) < 3 << 30, "{}", memory(960 << 20));
    }
}
