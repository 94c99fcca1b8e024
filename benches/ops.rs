//! Every operation of the cpu backend at the shapes of Pythia-70M (T 512, B 4), against its cost: criterion's
//! `elem/s` are FLOP/s for the products and bytes/s for the rest. The operations are those of `rewarm bench kernels`.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewarm::bench::cases::{CASES, Cases};
use rewarm::bench::turns::Turns;
use rewarm::device::DeviceName;
use rewarm::model::{Model, ModelConfig, preset};
use rewarm::ops::Shape;

fn ops(c: &mut Criterion) {
    let sizes = preset("pythia-70m").expect("a known preset");
    let block = Model::new(ModelConfig { num_hidden_layers: 1, ..sizes });
    // Two sets of operands: what was used last time is not what is used next.
    let cases = Cases::new(DeviceName::Cpu, block, Shape { batch: 4, time: 512 }, 1024, 0);
    let mut ops = cases.open().expect("a processor is always there");
    for case in CASES {
        let turns = Turns::of(&cases, case, &mut *ops);
        let cost = turns.cost;
        // A group per unit, so that the throughput printed means one thing.
        let by_flops = case.name.starts_with("linear") || case.name.starts_with("attention");
        let mut group = c.benchmark_group(if by_flops { "flops" } else { "bytes" });
        group.sample_size(10);
        group.throughput(match by_flops {
            true => Throughput::Elements(cost.flops as u64),
            false => Throughput::Bytes(cost.bytes as u64),
        });
        let mut turn = 0;
        group.bench_function(case.name, |b| {
            if let Some(refresh) = case.refresh {
                (0..2).for_each(|i| refresh(&turns.at(i), &mut *ops));
            }
            b.iter(|| {
                turn += 1;
                case.run.issue(&turns.at(turn), &mut *ops);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, ops);
criterion_main!(benches);
