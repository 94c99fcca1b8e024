//! Saving, finding and loading a checkpoint of Pythia-14M with its moments (169 MB), in bytes/s.
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rewarm::checkpoint::{
    Buffers, Disk, Fingerprints, RunState, Snapshot, find_newest, load, save, step_name,
};
use rewarm::model::{Init, ParamTable, initialize, preset};

fn checkpoint(c: &mut Criterion) {
    let config = preset("pythia-14m").expect("a known preset");
    let table = ParamTable::new(&config);
    let mut w = vec![0.0; table.total];
    initialize(&config, &table, Init::Small, 1, &mut w);
    let (mut m, mut v) = (w.clone(), w.clone());
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
            let snapshot = Snapshot {
                config: &config,
                table: &table,
                w: &w,
                m: &m,
                v: &v,
                ema: None,
                state: &state,
                base_config,
                extra_files,
            };
            save(&Disk, dir.path(), &snapshot, 2).expect("room on the disk")
        });
    });
    group.bench_function("find the newest, hashes compared", |b| {
        b.iter(|| find_newest(&Disk, dir.path()).expect("a checkpoint was saved"));
    });
    let newest = dir.path().join(step_name(state.step));
    group.bench_function("load", |b| {
        b.iter(|| {
            let into = Buffers { w: &mut w, moments: Some((&mut m, &mut v)) };
            load(&Disk, &newest, false, &table, into).expect("it was just saved")
        });
    });
    group.finish();
}

criterion_group!(benches, checkpoint);
criterion_main!(benches);
