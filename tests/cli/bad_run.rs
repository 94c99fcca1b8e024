//! Run directories that cannot be used, and runs that must not be continued.
use crate::support::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

#[track_caller]
fn refuse(dir: &Dir, args: &str, words: &[&str]) -> Said {
    let before = tree(dir.path());
    let said = line(dir, args);
    said.refused(words);
    assert_eq!(before, tree(dir.path()), "{args} changed something");
    said
}

#[test]
fn run_directories_that_cannot_be_written() {
    let dir = workshop();
    dir.write("file", "text");
    for path in ["DIR/file", "DIR/file/run", "DIR/file/deep/run"] {
        let said =
            refuse(&dir, &format!("train DIR/run.toml --set run_dir=\"{path}\""), &["file", "run directory"]);
        assert!(said.took.as_secs_f64() < 1.0, "a refusal takes less than a second");
    }
    refuse(&dir, "train DIR/run.toml --set run_dir=\"/proc/none/run\"", &["/proc/none"]);
    // We may be root, whom a mode does not stop: a mount does.
    fs::create_dir(dir.join("disk")).unwrap();
    let script = format!(
        "mount -t tmpfs none '{0}' && mkdir '{0}/empty' && mount -o remount,ro '{0}' && \
         '{REWARM}' train '{1}' --set run_dir='{0}/run'; echo $?; '{REWARM}' train '{1}' --set run_dir='{0}/empty'; echo $?",
        dir.at("disk"),
        dir.at("run.toml")
    );
    let namespaces = Command::new("unshare").args(["-m", "true"]).output().is_ok_and(|o| o.status.success());
    if !namespaces {
        return println!("skipped: no namespaces");
    }
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = Said::of(output, Default::default());
    if said.err.contains("mount:") {
        return println!("skipped: no mounts");
    }
    assert_eq!(said.out, "1\n1\n", "{}", said.err);
    assert_eq!(said.err.matches("error:").count(), 2, "{}", said.err);
    assert!(said.err.contains("Read-only") && !said.err.contains("panicked"), "{}", said.err);
}

/// A disk that fills up: saves fail by name, the last checkpoint that was saved stays.
#[test]
fn a_full_disk_is_an_error() {
    let dir = workshop();
    fs::create_dir(dir.join("disk")).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=1100k none '{0}' && '{REWARM}' train '{1}' --set run_dir='{0}/run' --set checkpoint.every=2; \
         echo $?; ls '{0}/run'; '{REWARM}' export '{0}/run' '{2}'; echo $?",
        dir.at("disk"),
        dir.at("run.toml"),
        dir.at("out")
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
    let said = Said::of(output, Default::default());
    if said.err.contains("unshare:") || said.err.contains("mount:") {
        return println!("skipped: no namespaces");
    }
    let lines: Vec<&str> = said.out.lines().collect();
    assert_eq!((lines[0], lines[lines.len() - 1]), ("2", "0"), "{}{}", said.out, said.err);
    assert!(lines.iter().any(|l| l.starts_with("step-")) && !said.out.contains("tmp-"), "{}", said.out);
    assert!(said.err.contains("was not saved") && said.err.contains("free some space"), "{}", said.err);
    assert_eq!(said.err.matches("error:").count(), 1, "{}", said.err);
}

#[test]
fn a_run_is_not_started_twice() {
    let dir = workshop();
    refuse(&dir, "train DIR/run.toml", &["already holds a run", "rewarm resume", "run_dir"]);
    // With another configuration it says which.
    let said = refuse(
        &dir,
        "train DIR/run.toml --set schedule.lr=2e-2",
        &["already holds a run", "saved at step 40"],
    );
    assert!(said.err.contains("schedule.lr was 0.01 and is 0.02"), "{}", said.err);
}

/// What `train` says of a run without a checkpoint, and does: nothing is a dead end, and no log is mixed with another.
#[test]
fn a_run_without_a_checkpoint_begins_again() {
    let dir = workshop();
    let run = dir.join("run");
    for step in steps(&run) {
        fs::remove_dir_all(run.join(step)).unwrap();
    }
    let logged = fs::read(run.join("metrics.jsonl")).unwrap();
    // `resume` does not begin at step 0 in silence.
    refuse(&dir, "resume DIR/run", &["log but no checkpoint", "rewarm train"]);
    refuse(&dir, "generate DIR/run", &["expected"]);
    // Steps were taken under another configuration: somebody else's, perhaps.
    let words =
        ["the log of 40 steps, without a checkpoint", "schedule.lr was 0.01 and is 0.02", "rm -r", "run_dir"];
    refuse(&dir, "train DIR/run.toml --set schedule.lr=2e-2", &words);
    // What cannot change a result may differ.
    let said = line(&dir, "train DIR/run.toml --set eval.every=20 --set threads=1");
    said.ok();
    assert!(said.err.contains("ended at step 40 without a checkpoint and starts again"), "{}", said.err);
    assert_eq!(fs::read(run.join("metrics.attempt-1.jsonl")).unwrap(), logged);
    let numbers = log(&run)
        .iter()
        .filter(|l| l.get("lr").is_some())
        .map(|l| l["step"].as_u64().unwrap())
        .collect::<Vec<_>>();
    assert!(numbers.into_iter().eq(1..=40));
    refuse(&dir, "train DIR/run.toml", &["already holds a run"]);
    // Where no step was finished, any configuration may take its place.
    for step in steps(&run) {
        fs::remove_dir_all(run.join(step)).unwrap();
    }
    let first: String = fs::read_to_string(run.join("metrics.jsonl"))
        .unwrap()
        .lines()
        .take(2)
        .map(|l| format!("{l}\n"))
        .collect();
    fs::write(run.join("metrics.jsonl"), first).unwrap();
    let said = line(&dir, "train DIR/run.toml --set schedule.lr=2e-2");
    said.ok();
    assert!(
        said.err.contains("before its first step and starts again; ")
            && said.err.contains("schedule.lr was 0.01"),
        "{}",
        said.err
    );
    assert!(!run.join("metrics.attempt-2.jsonl").exists());
    assert_eq!(log(&run).iter().filter(|l| l["step"] == 0).count(), 3, "the first evaluation, once");
}

/// A model's directory and whatever else is not a run is no place for one; what jobs leave beside a run is.
#[test]
fn a_foreign_directory_is_not_a_run_directory() {
    let dir = workshop();
    for (path, words) in [
        ("hf", &["config.json", "start.from"][..]),
        ("run/step-0000000040", &["config.json", "manifest.json"]),
        ("data", &["a.bin"]),
        ("text", &["notes.md"]),
        (".", &["stories.jsonl", "more"]),
    ] {
        let said = refuse(&dir, &format!("train DIR/run.toml --set run_dir=\"DIR/{path}\""), words);
        assert!(said.err.contains("and no run; choose a new or an empty directory"), "{}", said.err);
        assert!(!dir.join(path).join("lock").exists(), "{path}");
    }
    for (name, content) in
        [("photo.jpg", "x"), ("config.toml", "title = \"a page\"\n"), ("sub/x", "x"), ("run.pid", "1")]
    {
        let at = format!("foreign-{}", name.split('/').next().unwrap());
        dir.write(&format!("{at}/{name}"), content);
        refuse(&dir, &format!("train DIR/run.toml --set run_dir=\"DIR/{at}\""), &["holds", "and no run"]);
    }
    for name in ["slurm-12.out", "job.o1234", "job.e1234", "job.sh", "run.toml", ".gitkeep", "train.log"] {
        let at = format!("beside-{name}");
        dir.write(&format!("{at}/{name}"), "");
        line(&dir, &format!("train DIR/run.toml --set run_dir=\"DIR/{at}\" --set train.steps=6")).ok();
    }
}

/// What is wrong with the data of a run is found before its directory is there; met later, it is no refusal.
#[test]
fn a_refusal_leaves_no_directory() {
    let dir = workshop();
    // Tokens of another program's shard, which no note speaks for: the first batch holds them.
    let token = |t: u16| t.to_le_bytes();
    dir.write("foreign.bin", (0..20_000u16).flat_map(|i| token(i % 5000)).collect::<Vec<u8>>());
    let train = "train DIR/run.toml --set run_dir=\"DIR/deep/new\" --set data.validation_fraction=0 --set";
    for set in [
        "data.train=[\"raw-u16:DIR/foreign.bin\"]",
        "data.validation=[{name=\"x\",paths=[\"raw-u16:DIR/foreign.bin\"]}]",
    ] {
        refuse(&dir, &format!("{train} {set}"), &["foreign.bin", "384"]);
        assert!(!dir.join("deep").exists(), "{set}");
    }
    // In a directory that was there, nothing is left either.
    fs::create_dir(dir.join("empty")).unwrap();
    let set = "data.train=[\"raw-u16:DIR/foreign.bin\"]";
    refuse(&dir, &format!("{train} {set} --set run_dir=\"DIR/empty\""), &["foreign.bin"]);
    assert!(!dir.join("empty/lock").exists());
    // The corrected command works.
    line(&dir, "train DIR/run.toml --set run_dir=\"DIR/empty\" --set train.steps=6").ok();
}

#[test]
fn there_is_nothing_to_resume() {
    let dir = workshop();
    fs::create_dir(dir.join("empty")).unwrap();
    refuse(&dir, "resume DIR/empty", &["no checkpoint", "path"]);
    refuse(&dir, "resume DIR/nothing", &["nothing", "is not a directory"]);
    refuse(&dir, "resume DIR/hf", &["no checkpoint"]);
    refuse(&dir, "resume DIR/more.txt", &["is not a directory"]);
    for name in ["empty", "hf"] {
        assert!(!dir.join(name).join("lock").exists(), "a mistyped path was written to");
    }
}

/// A run of 40 steps that stopped at 20.
fn half(dir: &Dir) {
    for step in [30, 40] {
        fs::remove_dir_all(dir.join(&format!("run/step-{step:010}"))).unwrap();
    }
}

#[test]
fn a_resume_changes_nothing_that_matters() {
    let dir = workshop();
    half(&dir);
    for (set, words) in [
        ("schedule.lr=2e-2", ["schedule.lr", "0.01", "0.02"]),
        ("optim.betas=[0.9,0.99]", ["optim.betas", "0.95", "0.99"]),
        ("optim.eps=1e-6", ["optim.eps", "1e-8", "1e-6"]),
        ("optim.weight_decay=0.2", ["optim.weight_decay", "0.1", "0.2"]),
        ("optim.clip=2", ["optim.clip", "1", "2"]),
        ("data.seq_len=32", ["data.seq_len", "64", "32"]),
        ("data.validation_fraction=0.2", ["data.validation_fraction", "0.1", "0.2"]),
        ("batch.sequences=16", ["batch.sequences", "8", "16"]),
        ("model.num_attention_heads=4", ["model.num_attention_heads", "2", "4"]),
        ("model.rotary_pct=0.5", ["model.rotary_pct", "0.25", "0.5"]),
        ("model.use_parallel_residual=false", ["model.use_parallel_residual", "true", "false"]),
        ("model.gelu=\"tanh\"", ["model.gelu", "erf", "tanh"]),
        ("seed=8", ["seed", "7", "8"]),
        ("train.steps=50", ["train.steps", "40", "50"]),
        ("head.chunk_rows=64", ["head.chunk_rows", "1024", "64"]),
    ] {
        let said = refuse(&dir, &format!("resume DIR/run --set {set}"), &words);
        assert!(said.err.contains("start.from"), "{}", said.err);
    }
    refuse(&dir, "resume DIR/run --set schedule.rl=1", &["schedule.rl", "did you mean"]);
    // The same by editing the saved configuration: never ignored.
    let path = dir.join("run/config.toml");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("lr = 0.01\n", "lr = 0.02\n")).unwrap();
    refuse(&dir, "resume DIR/run", &["schedule.lr", "0.01", "0.02", "config.toml"]);
    fs::write(&path, "not toml").unwrap();
    refuse(&dir, "resume DIR/run", &["config.toml"]);
    // What is free may be edited; and the file is not needed, since every checkpoint has its own.
    fs::write(&path, good.replace("every = 10", "every = 5")).unwrap();
    let said = line(&dir, "resume DIR/run");
    said.ok();
    assert!(
        said.err.contains("checkpoint.every: 5 was 10") && said.err.contains("eval.every: 5 was 10"),
        "{}",
        said.err
    );
    assert_eq!(steps(&dir.join("run")), [30, 35, 40].map(|s| format!("step-{s:010}")));
    fs::remove_file(&path).unwrap();
    assert!(line(&dir, "resume DIR/run").ok().contains("finished"));
}

#[test]
fn a_resume_finds_the_same_data_and_tokenizer() {
    let dir = workshop();
    half(&dir);
    let paths = ["a.bin", "a.idx", "a.json", "tokenizer.json"].map(|n| dir.join("data").join(n));
    let good: Vec<Vec<u8>> = paths.iter().map(|p| fs::read(p).unwrap()).collect();
    // Every token is another, below the vocabulary's size.
    let edited: Vec<u8> = good[0].chunks(2).flat_map(|t| [t[0] ^ 1, t[1]]).collect();
    fs::write(&paths[0], edited).unwrap();
    refuse(&dir, "resume DIR/run", &["fingerprint of the corpus", "start a new phase"]);
    fs::write(&paths[0], &good[0]).unwrap();
    refuse(&dir, "resume DIR/run --set data.train=[\"DIR/data/b\"]", &["fingerprint of the corpus"]);
    // Another tokenizer.
    dir.write("verse.txt", "abc abd abe ".repeat(300));
    line(&dir, "data tokenize DIR/verse.txt -o DIR/other/v --vocab-size 300").ok();
    refuse(&dir, "resume DIR/run --set data.tokenizer=\"DIR/other/tokenizer.json\"", &["tokenizer"]);
    fs::remove_file(&paths[2]).unwrap(); // nobody knows with what the data were made
    refuse(
        &dir,
        "resume DIR/run --set data.validation=[] --set data.tokenizer=\"DIR/other/tokenizer.json\"",
        &["the run was trained with the tokenizer", "other/tokenizer.json is another one"],
    );
    fs::write(&paths[2], &good[2]).unwrap();
    // Moved data are the same data.
    fs::rename(dir.join("data"), dir.join("moved")).unwrap();
    refuse(&dir, "resume DIR/run", &["data"]);
    let sets =
        "[{name=\"tales\",paths=[\"DIR/moved/b\"]},{name=\"both\",paths=[\"DIR/moved/b\",\"DIR/moved/c\"]}]";
    line(&dir, &format!("resume DIR/run --set data.train=[\"DIR/moved/a\"] --set data.validation={sets}"))
        .ok();
    assert_eq!(curve(&dir.join("run")), curve(&fixture().dir.join("run")));
    // The new paths are noted.
    line(&dir, "resume DIR/run").ok();
}

/// Flips one bit in the middle of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_checkpoint_is_named_and_passed_over() {
    for file in
        ["model.safetensors", "optimizer.safetensors", "manifest.json", "config.json", "tokenizer.json"]
    {
        let dir = workshop();
        fs::remove_dir_all(dir.join("run/step-0000000040")).unwrap();
        flip(&dir.join("run/step-0000000030").join(file));
        let said = line(&dir, "resume DIR/run");
        said.ok();
        let warning = said.err.lines().find(|l| l.starts_with("warning:")).unwrap_or_default();
        assert!(warning.contains("step-0000000030") && warning.contains(file), "{}", said.err);
        assert_eq!(curve(&dir.join("run")), curve(&fixture().dir.join("run")), "{file}");
        let last = |run: &Path| tree(&run.join("step-0000000040"))[Path::new("model.safetensors")];
        assert_eq!(last(&dir.join("run")), last(&fixture().dir.join("run")));
    }
    // Named directly, there is no other to fall back to.
    let dir = workshop();
    flip(&dir.join("run/step-0000000030/model.safetensors"));
    refuse(
        &dir,
        "generate DIR/run/step-0000000030",
        &["step-0000000030", "model.safetensors", "choose another"],
    );
    // None is left.
    for step in steps(&dir.join("run")) {
        fs::write(dir.join("run").join(step).join("model.safetensors"), "").unwrap();
    }
    refuse(&dir, "resume DIR/run", &["no valid checkpoint", "step-0000000040", "step-0000000030", "restore"]);
    refuse(&dir, "generate DIR/run", &["no valid checkpoint"]);
    refuse(&dir, "train DIR/run.toml", &["already holds a run"]);
}

#[test]
fn a_checkpoint_of_a_newer_program_is_not_guessed_at() {
    let dir = workshop();
    for step in steps(&dir.join("run")) {
        let path = dir.join("run").join(step).join("manifest.json");
        let text = fs::read_to_string(&path).unwrap().replace("\"format\": 2", "\"format\": 3");
        let body = &text[..text.rfind("\"~xxh3_128\": \"").unwrap() + "\"~xxh3_128\": \"".len()];
        let hash = xxhash_rust::xxh3::xxh3_128(body.as_bytes());
        fs::write(&path, format!("{body}{hash:032x}\"\n}}\n")).unwrap();
    }
    refuse(&dir, "resume DIR/run", &["format 3", "use the rewarm that wrote it"]);
}

/// A process that ends with the test, also where that panics.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn one_process_per_run() {
    let dir = workshop();
    let mut command = Command::new(REWARM);
    let long = format!("run_dir='{}'", dir.at("long"));
    command.args(["train", &dir.at("run.toml"), "--set", &long, "--set", "train.steps=100000000"]);
    let mut first = Killed(command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(first.0.stderr.take().unwrap()).lines();
    lines.find(|l| l.as_ref().unwrap().starts_with("saved")).unwrap().unwrap();
    let reader = std::thread::spawn(move || lines.count()); // or the pipe fills
    let pid = format!("pid {}", first.0.id());
    for args in [format!("train DIR/run.toml --set {long}"), "resume DIR/long".into()] {
        line(&dir, &args).refused(&["in use by", &pid, "wait for it or stop it"]);
    }
    // Also where nothing was saved yet, and before anything else is said of it.
    let unsaved = format!("run_dir='{}'", dir.at("unsaved"));
    let sets = ["--set", &unsaved, "--set", "train.steps=100000000", "--set", "checkpoint.every=100000000"];
    let mut command = Command::new(REWARM);
    command.args(["train", &dir.at("run.toml")]).args(sets);
    let mut second = Killed(command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let mut said = BufReader::new(second.0.stderr.take().unwrap()).lines();
    said.find(|l| l.as_ref().unwrap().starts_with("ready")).unwrap().unwrap();
    let silent = std::thread::spawn(move || said.count());
    let pid_of_second = format!("pid {}", second.0.id());
    for args in ["resume DIR/unsaved".into(), format!("train DIR/run.toml --set {unsaved}")] {
        line(&dir, &args).refused(&["in use by", &pid_of_second, " on ", "since"]);
    }
    drop(second);
    silent.join().unwrap();
    // Readers need no lock.
    line(&dir, "generate DIR/long --max-tokens 2").ok();
    drop(first);
    reader.join().unwrap();
    // The lock went with its holder.
    line(&dir, "resume DIR/long --set train.steps=200").refused(&["train.steps"]);
}
