//! A rate: the bar is 100 ns, and a step asks for one.
//!
//! `cargo bench --bench schedule`. Every schedule of the catalogue that a whole run can have, and a table of 100,000 points,
//! over steps in a fixed scattered order.
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use rewarm::schedule::catalogue::{self, PRESETS, SHAPES};
use rewarm::schedule::{Curve, Phase, Schedule};

/// Scatters steps over the run without a pattern that a branch predictor learns.
const STRIDE: u64 = 0x9e37_79b9;

fn measure(c: &mut Criterion, name: &str, schedule: &Schedule) {
    let mut step = 0u64;
    c.bench_function(&format!("lr/{name}"), |b| {
        b.iter(|| {
            step = step.wrapping_add(STRIDE) % schedule.total;
            black_box(schedule.lr(black_box(step)))
        })
    });
}

fn rates(c: &mut Criterion) {
    for entry in SHAPES.iter().chain(PRESETS) {
        let schedule = catalogue::example(entry).expect("every entry has an example");
        measure(c, entry.name, &schedule);
    }
    let total = 1_000_000;
    let line = |i: u64| Phase::new(10 * i, 10.0, Curve::Linear, 1.0, 0.5);
    let phases = (0..total / 10).map(line).collect();
    measure(c, "100k_points", &Schedule::new(phases, 0, total, Default::default()));
}

criterion_group!(benches, rates);
criterion_main!(benches);
