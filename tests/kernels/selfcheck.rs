//! The primitives of the self-test in every mode, without each of their synchronisation calls, and by their traffic.
use crate::rig::{Run, check_traffic, count, deterministic, every_mode, mutations, once};
use rewarm::Result;
use rewarm::device::{Counters, Mode};
use rewarm::selftest::launch::{Input, Program, values};
use rewarm::selftest::primitives::{self, Primitive};

fn launch(program: &Program) -> impl Fn(&mut Run) -> Result<()> {
    move |run| run.program(program)
}

/// Those of this name.
fn named(op: &str) -> Vec<Primitive> {
    let found: Vec<_> = primitives::all().into_iter().filter(|p| p.op == op).collect();
    assert!(!found.is_empty(), "no primitive is called {op}");
    found
}

/// Judges what every mode leaves, the same bits; what was counted.
fn check(op: &str) -> Vec<Counters> {
    let judge = |p: &Primitive| {
        let outputs = every_mode(launch(&p.program));
        (p.check)(&outputs.bytes()).unwrap_or_else(|why| panic!("{op}, {}: {why}", p.what));
        count(launch(&p.program))
    };
    named(op).iter().map(judge).collect()
}

/// How many synchronisation calls it has, each of which is needed.
fn needed(op: &str) -> usize {
    named(op).iter().map(|p| mutations(op, &[], launch(&p.program))).sum()
}

/// Who comes first shows in the tickets, but none is lost.
#[test]
fn atomic_additions_lose_nothing() {
    for p in named("atomic") {
        for mode in Mode::all() {
            let (outputs, _) = once(&mode, launch(&p.program)).unwrap();
            (p.check)(&outputs.bytes()).unwrap_or_else(|why| panic!("{mode:?}: {why}"));
        }
    }
}

/// The reason why kernels have none.
#[test]
#[should_panic(expected = "buffer 1 differs")]
fn atomic_additions_are_found_to_depend_on_the_order() {
    named("atomic").iter().for_each(|p| deterministic(launch(&p.program)));
}

#[test]
fn mma_fragments_are_those_of_the_ptx_isa() {
    assert_eq!(check("mma")[0].mma_flops, 2 * 16 * 8 * 16);
}

#[test]
fn ldmatrix_fragments_are_those_of_the_ptx_isa() {
    assert_eq!(check("ldmatrix")[0].bank_conflicts, 0);
    needed("ldmatrix");
}

#[test]
fn indices_shuffles_and_votes() {
    check("indices");
    check("shuffles");
}

#[test]
fn structs_by_value_and_grids_of_three_dimensions() {
    check("grid");
}

/// Of these the second is one of NaN alone.
#[test]
fn numbers_and_nan() {
    assert_eq!(check("numbers").len(), 2);
}

/// Nearer than a GPU must be: the host's functions are good to the last bit.
#[test]
fn approximate_functions_are_exact_here() {
    let p = &named("numbers")[0];
    let Input::Given(x) = &p.program.inputs[0] else { panic!("arguments come first") };
    let (x, out) = (values::<f32>(x), every_mode(launch(&p.program)));
    let functions: [fn(f64) -> f64; 4] =
        [f64::exp2, |x| x.abs().log2(), |x| 1.0 / x, |x| 1.0 / x.abs().sqrt()];
    let exact = functions.iter().flat_map(|f| x.iter().map(move |&x| f(f64::from(x)) as f32));
    let found = out.exact::<f32>("buffer 4");
    assert_eq!(found.len(), 4 * x.len());
    for (got, exact) in found.iter().zip(exact) {
        assert!(got.to_bits().abs_diff(exact.to_bits()) <= 1, "{got} {exact}");
    }
}

#[test]
fn asynchronous_copies() {
    check("cp_async");
    needed("cp_async");
}

#[test]
fn shared_vectors() {
    check("shared");
}

#[test]
fn named_barriers() {
    check("named_barriers");
    assert_eq!(needed("named_barriers"), 4);
}

#[test]
fn reductions() {
    check("reductions");
    assert_eq!(needed("reductions"), 4);
}

/// The reference's own known answers are those of `philox.rs`.
#[test]
fn philox_is_philox() {
    assert_eq!(check("philox").len(), 2);
}

#[test]
fn a_small_gemm_uses_them_together() {
    let counters = &check("product")[0];
    assert_eq!(counters.mma_flops, 2 * 64 * 96 * 256);
    // Each block reads its rows of both matrices.
    check_traffic(counters, (2 * 3 * 2 * (32 + 32) * 256 + 4 * 64 * 96) as f64);
    assert_eq!(mutations("product", &[], launch(&primitives::product(32, 32, 128).program)), 5);
}

/// None is forgotten above.
#[test]
fn every_primitive_is_tested() {
    let compute =
        ["indices", "shuffles", "grid", "numbers", "mma", "ldmatrix", "reductions", "philox", "product"];
    let order = ["cp_async", "shared", "named_barriers", "atomic"];
    let all: Vec<_> = primitives::all().iter().map(|p| p.op).collect();
    assert!(all.iter().all(|op| compute.contains(op) || order.contains(op)), "{all:?}");
}
