//! A small model at any step, and a seeded generator.
use rewarm::checkpoint::{self, Fingerprints, RunState, Saved, Snapshot, Storage};
use rewarm::files::simulate::Memory;
use rewarm::model::{ModelConfig, ParamTable, TokenIds};
use rewarm::ops::{Gelu, HostState, Part};
use serde_json::json;
use std::path::{Path, PathBuf};

/// SplitMix64 (Steele et al. 2014).
pub struct Rng(pub u64);

impl Rng {
    /// Seeded by `SEED=`, else by the clock; prints it, so that a failure can be run again.
    pub fn from_env(test: &str) -> Self {
        let clock = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64);
        let seed = std::env::var("SEED").map_or(clock, |s| s.parse().expect("SEED is a number"));
        println!("{test}: SEED={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Never zero, so that a zeroed tail always differs.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32 + 0.25
    }
}

pub fn config() -> ModelConfig {
    ModelConfig {
        vocab_size: 11,
        hidden_size: 8,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 16,
        max_position_embeddings: 16,
        rotary_pct: 0.5,
        rotary_emb_base: 10000.0,
        layer_norm_eps: 1e-5,
        gelu: Gelu::Erf,
        use_parallel_residual: true,
        attention_bias: true,
        tie_word_embeddings: false,
        initializer_range: 0.02,
        bos_token_id: Some(0),
        eos_token_id: TokenIds::One(0),
    }
}

/// A run at some step.
pub struct Run {
    pub config: ModelConfig,
    pub table: ParamTable,
    pub values: HostState,
    pub state: RunState,
    pub extra: Vec<(String, Vec<u8>)>,
}

impl Run {
    pub fn at(step: u64) -> Self {
        let config = config();
        let table = ParamTable::new(&config);
        let mut rng = Rng(step);
        let mut values = || (0..table.total).map(|_| rng.float()).collect::<Vec<f32>>();
        let values = HostState { w: values(), m: values(), v: values(), ema: values() };
        let state = RunState {
            step,
            applied: step,
            sample: 8 * step,
            tokens: 128 * step,
            seed: u64::MAX - 1,
            run_id: "test-run".into(),
            parent: None,
            run_config: json!({ "zeta": 1, "alpha": { "lr": 3e-4, "betas": [0.9, 0.95] } }),
            fingerprints: Fingerprints { model: "aa".into(), tokenizer: "bb".into(), corpus: "cc".into() },
            extra: json!({ "window": [1.5, 2.5] }),
        };
        let extra = vec![("tokenizer.json".to_string(), b"{\"a\": 1}".to_vec())];
        Self { config, table, values, state, extra }
    }

    /// Saves it; two steps are kept.
    pub fn save(&self, storage: &dyn Storage, run_dir: &Path) -> rewarm::Result<Saved> {
        self.save_keeping(storage, run_dir, 2)
    }

    /// Saves it; so many steps are kept.
    pub fn save_keeping(&self, storage: &dyn Storage, run_dir: &Path, keep: usize) -> rewarm::Result<Saved> {
        let snapshot = Snapshot {
            config: &self.config,
            table: &self.table,
            state: &self.state,
            base_config: None,
            extra_files: &self.extra,
        };
        checkpoint::save(storage, run_dir, &snapshot, &mut self.values.clone(), keep)
    }

    /// Whether `dir` loads, verified, to exactly this state.
    pub fn equals(&self, storage: &dyn Storage, dir: &Path) -> Result<bool, String> {
        let n = self.table.total;
        let zeros = || vec![0.0; n];
        let mut into = HostState { w: zeros(), m: zeros(), v: zeros(), ema: zeros() };
        checkpoint::verify(storage, dir).map_err(|why| format!("{}: {why}", dir.display()))?;
        let manifest =
            checkpoint::load(storage, dir, &self.table, &mut into, true).map_err(|e| e.to_string())?;
        checkpoint::open_tensors(storage, dir, &self.table, Part::Average)
            .and_then(|ema| checkpoint::load_tensors(&ema, &self.table, &mut into, Part::Average))
            .map_err(|e| e.to_string())?;
        let (found, mine) = (&into, &self.values);
        let same = |a: &[f32], b: &[f32]| {
            self.table.params.iter().all(|p| bytes(&p.gather(a)) == bytes(&p.gather(b)))
        };
        let moments = same(&found.m, &mine.m) && same(&found.v, &mine.v);
        let weights = same(&found.w, &mine.w) && same(&found.ema, &mine.ema);
        Ok(manifest.state == self.state && weights && moments)
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

pub fn run_dir() -> PathBuf {
    "/run".into()
}

/// A disk in memory with these steps saved.
pub fn memory_with(steps: &[u64]) -> Memory {
    let memory = Memory::new(&run_dir());
    for &step in steps {
        save(&memory, step).unwrap();
    }
    memory
}

pub fn save(storage: &dyn Storage, step: u64) -> rewarm::Result<checkpoint::Saved> {
    Run::at(step).save(storage, &run_dir())
}

/// Names in the run directory.
pub fn names(storage: &dyn Storage) -> Vec<String> {
    storage.list(&run_dir()).unwrap().into_iter().map(|e| e.name).collect()
}

/// A copy of a disk.
pub fn copy(memory: &Memory) -> Memory {
    let copy = Memory::new(&run_dir());
    for (path, node) in memory.tree() {
        match node {
            Some(bytes) => copy.put(&path, bytes.to_vec()),
            None => copy.put_dir(&path),
        }
    }
    copy
}
