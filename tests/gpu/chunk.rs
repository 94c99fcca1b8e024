//! Rows of logits at once that nobody chose: as many as fit, settled at the start of a run and kept by a resume.
use rewarm::backend::{chunk_rows, memory_plan, most_chunk_rows};
use rewarm::config::Config;
use rewarm::device::{Device, DeviceName, EmulatedDevice, EmulatedSettings};
use rewarm::model::{Model, Purpose, Recompute, Workspace, preset};
use rewarm::ops::Shape;
use rewarm::train::{Allow, Session, lock_run};
use std::path::Path;

const PURPOSE: Purpose = Purpose::Train(Recompute::None);

#[test]
fn the_most_rows_that_fit_and_the_fewest_where_none_do() {
    let model = Model::new(preset("pythia-14m").unwrap());
    let shape = Shape { batch: 8, time: 2048 };
    for (device, rows) in [
        (DeviceName::Emulated, [16_384, 8192, 4096, 2048, 1024, 512, 256].as_slice()),
        (DeviceName::Cpu, &[1024, 512, 256]),
    ] {
        let settle = |free| chunk_rows(device, &model.config, &model.table, (shape, PURPOSE), 2, free);
        assert_eq!((most_chunk_rows(device), settle(u64::MAX)), (rows[0], rows[0]));
        for rows in rows {
            let ws = Workspace::new(&model.config, shape, *rows, PURPOSE);
            let enough = memory_plan(device, &model.config, &model.table, &ws, 2).total() as u64;
            let one_less = settle(enough - 1);
            assert_eq!(settle(enough), *rows, "{device}");
            assert_eq!(one_less, (rows / 2).max(256), "{device}");
        }
        assert_eq!(settle(0), 256);
    }
}

/// A run of two layers whose 512 rows of a micro-batch are more than two chunks of the fewest rows.
fn config(dir: &Path, head: &str) -> Config {
    let tokens: Vec<u8> = (0..40_000u32).flat_map(|i| ((i * i / 7 % 512) as u16).to_le_bytes()).collect();
    std::fs::write(dir.join("tokens.bin"), tokens).unwrap();
    let text = format!(
        "run_dir = \"{0}/run\"\ndevice = \"emulated\"\n[model]\nvocab_size = 512\nhidden_size = 64\n\
         num_hidden_layers = 1\nnum_attention_heads = 2\nmax_position_embeddings = 64\n\
         [data]\ntrain = [\"raw-u16:{0}/tokens.bin\"]\n[batch]\nsequences = 8\n[schedule]\nlr = 1e-3\nwarmup = 0\n\
         [train]\nsteps = 2\n[eval]\nevery = 0\n[checkpoint]\nevery = 1\n{head}",
        dir.display()
    );
    Config::from_toml_str(&text, &[]).unwrap()
}

/// What a run of `rows` at once allocates.
fn bytes(config: &Config, rows: usize) -> u64 {
    let model = Model::new(config.model_config().unwrap().unwrap());
    let ws = Workspace::new(&model.config, Shape { batch: 8, time: 64 }, rows, PURPOSE);
    memory_plan(config.device, &model.config, &model.table, &ws, 2).total() as u64
}

fn start(config: Config, memory: u64) -> rewarm::Result<Session> {
    let settings = EmulatedSettings { memory_bytes: Some(memory), ..EmulatedSettings::default() };
    Session::start_with(config, |_| Ok(Some(Box::new(EmulatedDevice::new(settings)?) as Box<dyn Device>)))
}

#[test]
fn a_run_settles_them_once() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "");
    let (enough, plenty) = (bytes(&config, 256), bytes(&config, 512));
    assert!(enough < plenty);
    let session = start(config, enough).unwrap();
    assert_eq!(session.memory.total() as u64, enough);
    let run = dir.path().join("run");
    let written = || std::fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(written().contains("chunk_rows = 256"), "{}", written());
    session.run().unwrap();
    // On a machine with more memory, and even where the line is gone, it is the run's.
    std::fs::write(run.join("config.toml"), written().replace("chunk_rows = 256", "")).unwrap();
    std::fs::remove_dir_all(run.join("step-0000000002")).unwrap();
    let resumed = Session::resume(lock_run(&run).unwrap(), &[], Allow::default()).unwrap();
    assert_eq!(resumed.memory.total() as u64, enough);
}

#[test]
fn what_a_person_chose_is_refused_rather_than_changed() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), "[head]\nchunk_rows = 512");
    let enough = bytes(&config, 256);
    let e = start(config, enough).err().expect("refused").to_string();
    assert!(e.contains("head.chunk_rows = 256 would fit"), "{e}");
    assert!(!dir.path().join("run/config.toml").exists());
}
