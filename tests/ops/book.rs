//! The rows of the self-test whose operations the vocabulary has, on the cpu backend: the same shapes, inputs and
//! reference as on a GPU, held to what naive f32 code without a device's rounding points does.
use crate::reference::measure::Judge;
use rewarm::selftest::judge::Activations;
use rewarm::selftest::{Case, On, cases};

#[test]
fn every_row_of_the_self_test() {
    let (mut judge, mut rows) = (Judge::default(), 0);
    // Those for GPUs are as many shapes as there are others of the same operation here.
    for case in cases().iter().filter(|case| !case.kernel_alone() && !case.large()) {
        let found = case.run(On::Processor).unwrap_or_else(|e| panic!("{} {}: {e}", case.op(), case.shape()));
        rows += 1;
        check(&mut judge, &**case, &found.outputs);
    }
    println!("{rows} rows");
    assert!(rows > 100);
    judge.close();
}

/// Each row by itself, but for results that are differences of nearly equal numbers, where one draw is a lottery
/// (`attention.rs` has many): a logarithm near 0 counts beside those of its tensor, and of gradients of queries that see
/// little beside themselves the worst of all shapes are compared.
fn check(judge: &mut Judge, case: &dyn Case, outputs: &[(&'static str, Vec<f32>)]) {
    for e in case.expect(Activations::F32) {
        let (_, found) = outputs.iter().find(|(name, _)| *name == e.name).expect("every output is there");
        let (what, shape) = (format!("{} {}", case.op(), e.name), case.shape());
        assert_eq!(found.len(), e.exact.len(), "{what} {shape}");
        match (case.op(), e.name) {
            ("attention", "lse") => {
                judge.check(&what, "all shapes", found, &e.naive, &e.exact, e.exact.len());
            }
            ("attention_bwd", "dq") => {
                judge.check_pooled(&what, &shape, found, &[&e.naive], &e.exact, e.cols);
            }
            _ => judge.check(&what, &shape, found, &e.naive, &e.exact, e.cols),
        }
    }
}
