//! Saving, finding and loading a checkpoint of Pythia-14M with its moments (169 MB), in bytes/s.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewarm::checkpoint::{Disk, Fingerprints, RunState, Snapshot, find_newest, load, save, step_name};
use rewarm::model::{Init, ParamTable, initial_weights, preset};
use rewarm::ops::HostState;

fn checkpoint(c: &mut Criterion) {
    let config = preset("pythia-14m").expect("a known preset");
    let table = ParamTable::new(&config);
    let w = initial_weights(&config, &table, Init::Small, 1);
    let mut values = HostState { m: w.clone(), v: w.clone(), w, ema: Vec::new() };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut state = RunState {
        step: 0,
        applied: 0,
        sample: 0,
        tokens: 0,
        seed: 1,
        run_id: "bench".into(),
        parent: None,
        run_config: serde_json::Value::Null,
        fingerprints: Fingerprints::default(),
        extra: serde_json::Value::Null,
    };
    let mut group = c.benchmark_group("checkpoint");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(12 * config.parameters()));
    group.bench_function("save, with rotation", |b| {
        b.iter(|| {
            state.step += 1;
            let (base_config, extra_files) = (None, &[][..]);
            let snapshot =
                Snapshot { config: &config, table: &table, state: &state, base_config, extra_files };
            save(&Disk, dir.path(), &snapshot, &mut values, 2).expect("room on the disk")
        });
    });
    group.bench_function("find the newest, hashes compared", |b| {
        b.iter(|| find_newest(&Disk, dir.path()).expect("a checkpoint was saved"));
    });
    let newest = dir.path().join(step_name(state.step));
    group.bench_function("load", |b| {
        b.iter(|| load(&Disk, &newest, &table, &mut values, true).expect("it was just saved"));
    });
    group.finish();
}

criterion_group!(benches, checkpoint);
criterion_main!(benches);
