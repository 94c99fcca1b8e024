//! Saving and loading on a device, exporting, averaging and editing take a fixed amount of the host's memory, whatever the model's
//! size. Alone in a process, whose peak is read. The memory of the emulated device is the host's, too, and there before.
use rewarm::average::average;
use rewarm::backend::gpu::{Gpu, PRECISIONS};
use rewarm::bench::resident_above;
use rewarm::checkpoint::{
    Disk, Dtype, Export, Fingerprints, HfModel, MAX_SHARD_BYTES, RunState, Snapshot, config_json, export,
    find_newest, load, open_tensors, save,
};
use rewarm::device::{EmulatedDevice, EmulatedSettings};
use rewarm::edit::{Edits, Repeat, Rows, Shrink};
use rewarm::model::{
    Init, Model, ModelConfig, ParamTable, Precision, Purpose, Recompute, Workspace, initialize, preset,
};
use rewarm::ops::{Matrix, Part, Shape, State};
use rewarm::perf::{gpus, plan};
use serde_json::json;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Beside what is planned: what the allocator and the threads take by themselves.
const BESIDE: u64 = 32 << 20;

/// A sum over all bits of the state.
fn sum(gpu: &mut Gpu, total: usize) -> u64 {
    let mut sum = 0u64;
    for part in [Part::Weights, Part::First, Part::Second] {
        gpu.read_state(part, Matrix::row(0, total), &mut |values| {
            sum = values.iter().fold(sum, |sum, x| sum.rotate_left(1) ^ u64::from(x.to_bits()));
            Ok(())
        })
        .unwrap();
    }
    sum
}

/// The model of this many channels and layers, with Pythia's vocabulary.
fn measure(channels: usize, layers: usize, precision: Precision) {
    let config = ModelConfig {
        hidden_size: channels,
        num_attention_heads: channels / 128,
        intermediate_size: 4 * channels,
        num_hidden_layers: layers,
        ..preset("pythia-1.4b").unwrap()
    };
    let model = Model::new(config).with_precision(precision);
    let shape = Shape { batch: 1, time: 8 };
    let ws = Workspace::new(&model.config, shape, 8, Purpose::Train(Recompute::None));
    let target = plan::Target::of_table(gpus::find("h200").unwrap());
    let threads = rayon::current_num_threads();
    let request = plan::Request { model: &model, shape, accumulation: 1, chunk_rows: None, target, threads };
    let planned = request.checkpoint_host_bytes() as u64;
    let device = Box::new(EmulatedDevice::new(EmulatedSettings::default()).unwrap());
    let mut gpu = Gpu::new(device, &model.config, &model.table, &ws, true).unwrap();
    let (config, table) = (&model.config, &model.table);
    let temp = tempfile::tempdir().unwrap();
    let (run_dir, exported) = (temp.path(), temp.path().join("exported"));
    let state = RunState {
        step: 1,
        applied: 1,
        sample: 0,
        tokens: 0,
        seed: 1,
        run_id: "test".into(),
        parent: None,
        run_config: serde_json::Value::Null,
        fingerprints: Fingerprints::default(),
        extra: serde_json::Value::Null,
    };
    let snapshot = Snapshot { config, table, state: &state, base_config: None, extra_files: &[] };
    let tell = |what: &str, (result, above): (rewarm::Result<()>, Option<u64>)| {
        result.unwrap();
        let above = above.expect("Linux tells");
        println!(
            "[50304, {channels}] {precision}: {what}: {:.1} MB of host memory, {:.1} planned for checkpoints",
            above as f64 / 1e6,
            planned as f64 / 1e6
        );
        assert!(above <= planned + BESIDE, "{what}: {above} bytes, {planned} planned");
    };
    tell("initialising", resident_above(|| initialize(config, table, Init::Small, 1, &mut gpu)));
    let before = sum(&mut gpu, table.total);
    tell("saving", resident_above(|| save(&Disk, run_dir, &snapshot, &mut gpu, 2).map(drop)));
    tell("verifying", resident_above(|| find_newest(&Disk, run_dir).map(drop)));
    let dir = run_dir.join("step-0000000001");
    let to = |dtype| Export {
        config,
        table,
        dtype,
        base_config: None,
        companions_from: None,
        max_shard_bytes: MAX_SHARD_BYTES,
    };
    tell(
        "exporting",
        resident_above(|| {
            let weights = open_tensors(&Disk, &dir, table, Part::Weights)?;
            export(&exported, &to(Dtype::Bf16), &weights)
        }),
    );
    let models = [&dir, &exported].map(|dir| HfModel::open(dir).unwrap());
    tell(
        "averaging",
        resident_above(|| {
            export(&temp.path().join("mean"), &to(Dtype::F32), &average(&models, &[0.5; 2], table)?)
        }),
    );
    let edits = Edits {
        shrink: Some(Shrink { lambda: 0.4, perturb: 0.1, init: Init::Small, seed: 1, norms: false }),
        repeat: Some(Repeat { start: 0, end: 1, zeroed: false }),
        rows: Some(Rows { count: 50432, seed: 1 }),
        ..Edits::default()
    };
    tell(
        "editing",
        resident_above(|| {
            let (weights, larger) = (models[0].open_tensors(table)?, edits.config(config)?);
            let places = ParamTable::new(&larger);
            let edited = Export { config: &larger, table: &places, ..to(Dtype::F32) };
            export(&temp.path().join("edited"), &edited, &edits.apply(weights, config, table)?)
        }),
    );
    tell("loading bf16", resident_above(|| models[1].load_weights(table, &mut gpu)));
    assert!(precision == Precision::Bf16 || sum(&mut gpu, table.total) != before, "other weights");
    tell("loading", resident_above(|| load(&Disk, &dir, table, &mut gpu, true).map(drop)));
    assert_eq!(sum(&mut gpu, table.total), before);
}

/// 700 MB of weights and moments.
#[test]
fn checkpoints_pass_through_little_memory() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--exact", "host_memory::in_a_process", "--ignored", "--nocapture"]).env("CHILD", "1");
    let said = alone.output().unwrap();
    let text = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    let told = text.matches(" MB of host memory").count();
    assert!(said.status.success() && told == 8 * PRECISIONS.len(), "{text}");
    print!("{text}");
}

#[test]
#[ignore = "run by the one before, in a process of its own"]
fn in_a_process() {
    if std::env::var_os("CHILD").is_some() {
        PRECISIONS.into_iter().for_each(|precision| measure(512, 2, precision));
    }
}

/// The largest tensors of Pythia-1.4B, [50304, 2048], with 2 of its 24 layers.
#[test]
#[ignore = "6 GB of memory, 4 GB of disk"]
fn checkpoints_of_large_tensors_do_too() {
    measure(2048, 2, Precision::Mixed);
}

/// A file of that length with nothing but holes behind its header: the weights of this model, all 0.
fn write_holes(dir: &Path, config: &ModelConfig) -> u64 {
    fs::create_dir(dir).unwrap();
    fs::write(dir.join("config.json"), config_json(config, Dtype::F32, None).to_string()).unwrap();
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for param in ParamTable::new(config).params {
        let start = end;
        end += 4 * param.place.elements() as u64;
        let entry = json!({"dtype": "F32", "shape": param.shape, "data_offsets": [start, end]});
        header.insert(param.name, entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = fs::File::create(dir.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    let bytes = 8 + header.len() as u64 + end;
    file.set_len(bytes).unwrap();
    bytes
}

/// 10 GB of holes, of which bf16 makes half.
#[test]
#[ignore = "6 GB of disk"]
fn ten_gb_are_edited_in_little_memory() {
    let small = preset("pythia-6.9b").unwrap();
    let config = ModelConfig { num_hidden_layers: 11, ..small };
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("holes");
    let bytes = write_holes(&dir, &config);
    assert!(bytes > 10_000_000_000, "{bytes}");
    let edits = Edits {
        repeat: Some(Repeat { start: 4, end: 5, zeroed: false }),
        rows: Some(Rows { count: 50560, seed: 1 }),
        ..Edits::default()
    };
    let (done, above) = resident_above(|| {
        let (table, larger) = (ParamTable::new(&config), edits.config(&config)?);
        let model = HfModel::open(&dir)?;
        let weights = edits.apply(model.open_tensors(&table)?, &config, &table)?;
        let edited = Export {
            config: &larger,
            table: &ParamTable::new(&larger),
            dtype: Dtype::Bf16,
            base_config: None,
            companions_from: None,
            max_shard_bytes: MAX_SHARD_BYTES,
        };
        export(&temp.path().join("edited"), &edited, &weights)
    });
    done.unwrap();
    let above = above.expect("Linux tells");
    println!("{:.1} GB edited in {:.1} MB", bytes as f64 / 1e9, above as f64 / 1e6);
    assert!(above < 1 << 30, "{above} bytes");
}
