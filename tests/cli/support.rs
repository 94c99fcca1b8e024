//! The real binary in fresh directories: how it is called, what it said, and what it changed on disk.
#![allow(dead_code, reason = "each test binary uses a part")]
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The binary under test.
pub const REWARM: &str = env!("CARGO_BIN_EXE_rewarm");

/// A fresh directory that goes when the test ends.
pub struct Dir(TempDir);

impl Dir {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In memory where the system offers that (`/dev/shm`): a kill is the same there, and hundreds of saves do not
    /// wait for a disk that others use too. What a disk may lose is for the simulated ones (tests/checkpoint).
    pub fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap()))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `name` in this directory, as text.
    pub fn at(&self, name: &str) -> String {
        self.join(name).display().to_string()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes `name`, a configuration in which `DIR` stands for this directory.
    pub fn config(&self, name: &str, text: &str) -> String {
        self.write(name, text.replace("DIR", &self.path().display().to_string()));
        self.at(name)
    }
}

/// What a finished command said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
    pub took: Duration,
}

/// Runs the binary. In arguments, and only there, `DIR` stands for `dir`.
pub fn rewarm<S: AsRef<OsStr>>(dir: &Dir, args: impl IntoIterator<Item = S>) -> Said {
    let here = dir.path().display().to_string();
    let args: Vec<String> =
        args.into_iter().map(|a| a.as_ref().to_str().unwrap().replace("DIR", &here)).collect();
    let started = Instant::now();
    let mut command = assert_cmd::Command::new(REWARM);
    let output =
        command.current_dir(dir.path()).args(args).timeout(Duration::from_secs(60)).output().unwrap();
    Said::of(output, started.elapsed())
}

/// As [`rewarm`], of one line whose arguments hold no spaces.
pub fn line(dir: &Dir, line: &str) -> Said {
    rewarm(dir, line.split_whitespace())
}

impl Said {
    pub fn of(output: Output, took: Duration) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        // -1: a signal.
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr), took }
    }

    /// Fails the test unless the command succeeded; gives stdout.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "exit code; stderr:\n{}", self.err);
        assert!(!self.err.contains("error:") && !self.err.contains("panicked"), "{}", self.err);
        &self.out
    }

    /// Fails the test unless the command was refused with one error that has all the words.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert_eq!(self.code, 1, "exit code; stdout:\n{}stderr:\n{}", self.out, self.err);
        self.one_error(words);
    }

    #[track_caller]
    pub fn one_error(&self, words: &[&str]) {
        let errors = self.err.lines().filter(|l| l.starts_with("error:")).count();
        assert_eq!(errors, 1, "lines that begin with \"error:\" in:\n{}", self.err);
        assert!(!self.err.contains("panicked"), "{}", self.err);
        let error = &self.err[self.err.find("error:").unwrap()..];
        for word in words {
            assert!(error.contains(word), "{word:?} is missing in:\n{error}");
        }
    }
}

/// Every file below `dir` with its content's hash, and every directory; `lock` files are left out.
pub fn tree(dir: &Path) -> BTreeMap<PathBuf, Option<u128>> {
    let entries = walkdir::WalkDir::new(dir).min_depth(1).into_iter().map(|e| e.unwrap());
    let entries = entries.filter(|e| e.file_name() != "lock");
    entries
        .map(|e| {
            let hash =
                e.file_type().is_file().then(|| xxhash_rust::xxh3::xxh3_128(&fs::read(e.path()).unwrap()));
            (e.path().strip_prefix(dir).unwrap().to_path_buf(), hash)
        })
        .collect()
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            fs::create_dir_all(&target).unwrap();
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The lines of a run's log.
pub fn log(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'), "the log ends in a torn line");
    text.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

/// The log as text without what depends on time: equal for equal runs.
pub fn curve(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(without_rates).collect()
}

/// A line of the log, digits as they are, without `tokens_per_s`, `data_s`, `gflop_per_s` and `time`.
fn without_rates(line: &str) -> String {
    let mut line = line.to_string();
    for key in ["\"tokens_per_s\":", "\"data_s\":", "\"gflop_per_s\":", "\"time\":"] {
        if let Some(start) = line.find(key) {
            let end = start + line[start..].find([',', '}']).unwrap() + 1;
            line.replace_range(start..end, "");
        }
    }
    line
}

/// A small generator (Marsaglia's xorshift).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    /// The seed of a random test: `SEED=`, or the clock; printed so that a failure can be repeated.
    pub fn from_environment() -> Self {
        let clock = || std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() as u64;
        let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(clock);
        println!("SEED={seed}");
        Self::new(seed)
    }
}

/// Tokens below 64 as raw u16, each one of four that may follow the one before.
pub fn tokens(seed: u64, count: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut last = 0;
    let next = |_| {
        last = (last * 3 + dice.below(4)) % 64;
        (last as u16).to_le_bytes()
    };
    (0..count).flat_map(next).collect()
}

/// About `bytes` of sentences that are far from random: little entropy per word, so that losses fall.
pub fn english(seed: u64, bytes: usize) -> String {
    const NOUNS: [&str; 12] = [
        "river", "mountain", "teacher", "garden", "window", "engine", "letter", "village", "doctor",
        "winter", "market", "captain",
    ];
    const VERBS: [&str; 8] =
        ["watches", "follows", "remembers", "carries", "crosses", "finds", "leaves", "describes"];
    const HOW: [&str; 6] = ["slowly", "again", "in the evening", "without a word", "before noon", "at last"];
    let mut dice = Dice::new(seed);
    let mut text = String::new();
    while text.len() < bytes {
        let a = dice.below(NOUNS.len());
        // The verb depends on the noun, the second noun on both.
        let v = (a + dice.below(2)) % VERBS.len();
        let b = (a * 5 + v * 3 + dice.below(3)) % NOUNS.len();
        text += &format!("The {} {} the {} {}. ", NOUNS[a], VERBS[v], NOUNS[b], HOW[dice.below(HOW.len())]);
    }
    text
}

/// A small run on the [`Fixture`]'s data: 22,000 parameters.
pub const CONFIG: &str = r#"
run_dir = "DIR/run"
seed = 7
threads = 2

[model]
vocab_size = 384
hidden_size = 32
num_hidden_layers = 1
num_attention_heads = 2
max_position_embeddings = 128

[data]
train = ["DIR/data/a"]
seq_len = 64
validation_fraction = 0.1

[[data.validation]]
name = "tales"
paths = ["DIR/data/b"]

[[data.validation]]
name = "both"
paths = ["DIR/data/b", "DIR/data/c"]

[batch]
sequences = 8
micro = 4

[schedule]
name = "wsd"
lr = 1e-2
warmup = 5

[train]
steps = 40

[eval]
every = 10
sequences = 16

[checkpoint]
every = 10
keep = 3
milestones = []
"#;

/// What many tests need and none may change: data of three kinds, a finished run of [`CONFIG`], its export.
pub struct Fixture {
    pub dir: Dir,
    /// What `train` said.
    pub trained: Said,
}

/// Builds the fixture once per test binary.
pub fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let dir = Dir::new();
        for i in 0..20 {
            dir.write(&format!("text/{}/{i:02}.txt", i % 3), english(i, 10_000));
        }
        dir.write("text/notes.md", "# not taken\n");
        let story =
            |i: u64| serde_json::json!({ "story": english(100 + i, 1000), "id": i }).to_string() + "\n";
        dir.write("stories.jsonl", (0..60).map(story).collect::<String>());
        dir.write("more.txt", english(500, 20_000));
        line(&dir, "data tokenize DIR/text --extension txt -o DIR/data/a --vocab-size 384").ok();
        line(
            &dir,
            "data tokenize DIR/stories.jsonl --field story -o DIR/data/b --tokenizer DIR/data/tokenizer.json",
        )
        .ok();
        line(&dir, "data tokenize DIR/more.txt -o DIR/data/c --tokenizer DIR/data/tokenizer.json").ok();
        dir.config("run.toml", CONFIG);
        let trained = line(&dir, "train DIR/run.toml");
        trained.ok();
        line(&dir, "export DIR/run DIR/hf").ok();
        Fixture { dir, trained }
    })
}

/// A copy of the fixture that a test may change.
pub fn workshop() -> Dir {
    let dir = Dir::new();
    copy(fixture().dir.path(), dir.path());
    // The configurations in it name the fixture's paths.
    dir.config("run.toml", CONFIG);
    let saved = fixture().dir.path().display().to_string();
    let path = dir.join("run/config.toml");
    let text = fs::read_to_string(&path).unwrap().replace(&saved, &dir.path().display().to_string());
    fs::write(&path, text).unwrap();
    dir
}

/// Step directories of a run, oldest first.
pub fn steps(run: &Path) -> Vec<String> {
    let names = fs::read_dir(run).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|n| n.starts_with("step-")).collect();
    names.sort();
    names
}

/// Every tensor of a file by name, without `prefix`.
pub fn tensors(file: &Path, prefix: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(file).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values =
        |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let named = |name: &str| name.strip_prefix(prefix).unwrap().to_string();
    file.tensors().into_iter().map(|(name, view)| (named(&name), values(view.data()))).collect()
}
