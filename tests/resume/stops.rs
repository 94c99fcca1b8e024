//! Runs that are asked to stop: by every signal that batch systems send, by the clock and by a file, wherever they are.
use crate::support::*;
use crate::{SIGKILL, TINY, assert_equal_runs, moved, rest, rewind, signal, start, tiny};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SIGNALS: [&str; 6] = ["TERM", "INT", "HUP", "USR1", "USR2", "XCPU"];

/// The tiny run, long, of two sources, and half of the time in evaluations of all of the other text.
fn long() -> Dir {
    let dir = tiny();
    dir.write("more.bin", tokens(3, 9_000));
    let text = TINY
        .replace("train = [\"raw-u16:DIR/tokens.bin\"]\n", "")
        .replace("steps = 20", "steps = 1500")
        .replace("every = 10\nsequences = 4", "every = 20\nsequences = 0")
        .replace("[checkpoint]\nevery = 5", "[checkpoint]\nevery = 1000000");
    let source = |name: &str, weight: u32| {
        format!(
            "[[data.mixture]]\nname = {name:?}\npaths = [\"raw-u16:DIR/{name}.bin\"]\nweight = {weight}\nwhen_empty = \"repeat\"\n"
        )
    };
    dir.config("long.toml", &(text + &source("tokens", 3) + &source("more", 1)));
    dir
}

/// Waits for a line of a process, and gives what it says besides.
pub fn until(child: &mut Child, found: impl Fn(&str) -> bool) -> BufReader<std::process::ChildStderr> {
    let mut pipe = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !found(&line) {
        line.clear();
        assert!(pipe.read_line(&mut line).unwrap() > 0, "it ended before that was said");
    }
    pipe
}

/// The command that goes on after a stop: what has no checkpoint is begun again.
fn next(run: &Path, config: &'static str) -> [&'static str; 2] {
    if run.exists() && !steps(run).is_empty() { ["resume", "DIR/run"] } else { ["train", config] }
}

/// Steps, evaluations, loading and saving: wherever the signal comes, the rest is the same, digit by digit.
#[test]
fn a_signal_saves_and_leaves() {
    let mut dice = Dice::from_environment();
    let whole = long();
    let said = line(&whole, "train DIR/long.toml");
    said.ok();
    // About twelve stops, whatever else the machine does.
    let most = said.took.as_millis() as usize / 6 + 1;
    let dir = long();
    let run = dir.join("run");
    let (mut stops, mut owed) = (0, 0);
    loop {
        let mut child = start(&dir, &next(&run, "DIR/long.toml"));
        // Before that a signal ends it as it ends any other process.
        let mut pipe = until(&mut child, |l| l.starts_with("ready after"));
        std::thread::sleep(Duration::from_millis(dice.below(most) as u64));
        signal(&child, SIGNALS[stops % 6]);
        let mut err = String::new();
        pipe.read_to_string(&mut err).unwrap();
        let code = child.wait().unwrap().code();
        if code == Some(0) {
            break; // it was about to finish
        }
        stops += 1;
        assert_eq!(code, Some(3), "{err}");
        assert!(!err.contains("error") && err.contains("stopped by SIG"), "{err}");
        let Some(last) = steps(&run).pop() else {
            assert!(err.contains("before the first step was finished"), "{err}");
            continue;
        };
        let step: u64 = last[5..].parse().unwrap();
        let said =
            format!("after step {step}, which is saved; continue with `rewarm resume {}`", run.display());
        assert!(err.contains(&said), "{said}: {err}");
        let manifest = fs::read_to_string(run.join(last).join("manifest.json")).unwrap();
        owed += usize::from(manifest.contains("owes_evaluation"));
    }
    println!("{stops} stops, {owed} of them in an evaluation");
    assert!(stops >= 3, "{stops} stops");
    assert_equal_runs(&run, &whole.join("run"), "after signals");
    assert!(line(&dir, "resume DIR/run").ok().contains("finished: all 1500 steps"));
}

/// The evaluation after the last step is owed, too, and paid once.
#[test]
fn a_stop_in_the_last_evaluation_is_made_good() {
    let whole = tiny();
    let text = TINY.replace("every = 10\nsequences = 4", "every = 0\nsequences = 0");
    whole.write("other.bin", tokens(2, 2_000_000));
    whole.config("last.toml", &text);
    line(&whole, "train DIR/last.toml").ok();
    let dir = moved(&whole);
    dir.write("other.bin", tokens(2, 2_000_000));
    rewind(&dir, 15);
    let mut child = start(&dir, &["resume", "DIR/run"]);
    let mut pipe = until(&mut child, |l| l.starts_with("step 20/20"));
    signal(&child, "USR1");
    let mut err = String::new();
    pipe.read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{err}");
    assert!(err.contains("after step 20, which is saved"), "{err}");
    assert!(
        !log(&dir.join("run")).iter().any(|l| l["step"] == 20 && l.get("eval").is_some()),
        "no evaluation yet"
    );
    assert!(line(&dir, "resume DIR/run").ok().contains("done: 20 steps"));
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "the last evaluation");
    assert!(line(&dir, "resume DIR/run").ok().contains("finished"));
}

/// A step, an evaluation and the making of shards that take seconds are left in the middle.
#[test]
fn a_signal_does_not_wait_for_a_step_or_an_evaluation() {
    let dir = tiny();
    let slow = "--set batch.sequences=400000 --set batch.micro=200 --set train.steps=3";
    dir.write("other.bin", tokens(2, 40_000_000));
    for (what, sets) in [
        ("a step", format!("{slow} --set data.validation=[]")),
        ("an evaluation", "--set eval.sequences=0".to_owned()),
    ] {
        let args: Vec<&str> = ["train", "DIR/tiny.toml"].into_iter().chain(sets.split(' ')).collect();
        let mut child = start(&dir, &args);
        let mut pipe = until(&mut child, |l| l.starts_with("ready after"));
        std::thread::sleep(Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "{what} does not take long enough");
        let asked = Instant::now();
        signal(&child, "TERM");
        let mut err = String::new();
        pipe.read_to_string(&mut err).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(3), "{err}");
        let took = asked.elapsed();
        println!("{what}: {took:?}");
        assert!(took < Duration::from_secs(1), "{what} was waited for: {took:?}");
        assert!(err.contains("stopped by SIGTERM before the first step was finished"), "{err}");
    }
}

/// A process that writes to a pipe which nobody reads hangs inside of a save: the first signal waits for it.
#[test]
fn a_second_signal_ends_at_once() {
    let cases = [
        ("TERM", "TERM", Some(143)),
        ("USR1", "INT", Some(130)),
        ("XCPU", "HUP", Some(129)),
        ("XCPU", "XCPU", None),
    ];
    // They wait most of the time.
    std::thread::scope(|s| {
        for (first, second, code) in cases {
            s.spawn(move || ends_at_once(first, second, code));
        }
    });
}

fn ends_at_once(first: &str, second: &str, code: Option<i32>) {
    let dir = tiny();
    let mut child = start(
        &dir,
        &["train", "DIR/tiny.toml", "--set", "checkpoint.every=1", "--set", "train.steps=100000"],
    );
    let log = dir.join("run/metrics.jsonl");
    let (mut length, mut still) = (0, 0);
    // 64 KiB of "saved" lines.
    for _ in 0..600 {
        std::thread::sleep(Duration::from_millis(100));
        let now = fs::metadata(&log).map_or(0, |m| m.len());
        still = if now == length && now > 20_000 { still + 1 } else { 0 };
        if still == 10 {
            break;
        }
        length = now;
    }
    signal(&child, first);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "{first} does not wait for what hangs");
    let asked = Instant::now();
    signal(&child, second);
    while child.try_wait().unwrap().is_none() && asked.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let ended = child.try_wait().unwrap().map(|status| status.code().unwrap());
    assert_eq!(ended, code, "{first}, then {second}");
    signal_if_alive(&mut child);
    // What was saved is whole.
    line(&dir, "export DIR/run DIR/out").ok();
}

fn signal_if_alive(child: &mut Child) {
    if child.try_wait().unwrap().is_none() {
        signal(child, SIGKILL);
        child.wait().unwrap();
    }
}

/// As nohup does for its child.
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let dir = long();
    let script = format!("trap '' HUP; exec '{REWARM}' train '{}'", dir.at("long.toml"));
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = until(&mut child, |l| l.starts_with("ready after"));
    for name in ["HUP", "HUP"] {
        signal(&child, name);
        std::thread::sleep(Duration::from_millis(80));
        assert!(child.try_wait().unwrap().is_none(), "{name}");
    }
    signal(&child, "USR2");
    let mut err = String::new();
    pipe.read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3), "{err}");
    assert!(err.contains("stopped by SIGUSR2 after step"), "{err}");
}

/// `--stop-after` counts from the start of the process, and the rest of the run is the same.
#[test]
fn the_clock_stops_a_run() {
    let dir = tiny();
    let text = TINY
        .replace("steps = 20", "steps = 100000000")
        .replace("[checkpoint]\nevery = 5", "[checkpoint]\nevery = 1000000");
    dir.config("endless.toml", &text);
    for (i, command) in ["train DIR/endless.toml", "resume DIR/run"].into_iter().enumerate() {
        let said = line(&dir, &format!("{command} --stop-after 1.5s"));
        assert_eq!(said.code, 3, "{}", said.err);
        assert!(said.err.contains("stopped by --stop-after 1.5s after step"), "{}", said.err);
        assert!((1.5..3.5).contains(&said.took.as_secs_f64()), "{:?}", said.took);
        assert_eq!(steps(&dir.join("run")).len(), i + 1);
    }
    for time in ["600", "0s", "3:50", "1h1h", "soon"] {
        line(&dir, &format!("resume DIR/run --stop-after {time}")).refused(&[time, "3h50m"]);
    }
    let lines = log(&dir.join("run"));
    let numbers: Vec<u64> =
        lines.iter().filter(|l| l.get("lr").is_some()).map(|l| l["step"].as_u64().unwrap()).collect();
    assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "steps are logged once each, in order");
    // Lines carry the time at which they were written.
    let times: Vec<f64> = lines.iter().map(|l| l["time"].as_f64().unwrap()).collect();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!(times.is_sorted() && now - times[0] < 120.0 && times[times.len() - 1] <= now + 0.001);
}

#[test]
fn a_file_stops_a_run_once() {
    let whole = long();
    line(&whole, "train DIR/long.toml").ok();
    let dir = long();
    let file = dir.join("run/STOP");
    let mut child = start(&dir, &["train", "DIR/long.toml"]);
    let mut pipe = until(&mut child, |l| l.starts_with("ready after"));
    fs::write(&file, "").unwrap();
    let mut err = String::new();
    pipe.read_to_string(&mut err).unwrap();
    if child.wait().unwrap().code() == Some(3) {
        assert!(err.contains("stopped by the file") && err.contains("STOP after step"), "{err}");
    } // else it was faster than the file was found
    assert!(!file.exists(), "the next resume would stop at once");
    // One that nobody heard keeps a run from being continued.
    fs::write(&file, "").unwrap();
    let before = tree(&dir.join("run"));
    for args in ["resume DIR/run", "train DIR/long.toml"] {
        line(&dir, args).refused(&["STOP asks this run to stop", &format!("rm {}", file.display())]);
    }
    assert_eq!(before, tree(&dir.join("run")));
    fs::remove_file(&file).unwrap();
    line(&dir, "resume DIR/run").ok();
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "after STOP");
}

/// Saves by the clock, of a run that is killed, change nothing.
#[test]
fn saves_by_the_clock_change_nothing() {
    let whole = long();
    line(&whole, "train DIR/long.toml --set train.steps=6000").ok();
    let dir = long();
    let set = "checkpoint.every='1s'";
    let mut child = start(&dir, &["train", "DIR/long.toml", "--set", "train.steps=6000", "--set", set]);
    let pipe = until(&mut child, |l| l.starts_with("saved"));
    signal(&child, SIGKILL);
    child.wait().unwrap();
    drop(pipe);
    let first: u64 = steps(&dir.join("run"))[0][5..].parse().unwrap();
    assert!((1..6000).contains(&first), "saved at step {first}: not by the clock");
    line(&dir, "resume DIR/run").ok();
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "saves by the clock");
    assert!(fs::read_to_string(dir.join("run/config.toml")).unwrap().contains("every = \"1s\""));
}

/// Shards are left out whole, but for what the same command goes on from, and the exit is that of the signal.
#[test]
fn a_signal_leaves_no_half_made_shard() {
    let dir = Dir::new();
    let text = |i: u64| serde_json::json!({ "text": english(i, 2000) }).to_string() + "\n";
    let some: String = (0..200).map(text).collect();
    dir.write("many.jsonl", some.repeat(200));
    dir.write("few.jsonl", &some);
    line(&dir, "data tokenize DIR/few.jsonl -o DIR/few/x --vocab-size 300").ok();
    for (name, code) in [("TERM", 143), ("USR1", 138)] {
        let before = tree(dir.path());
        let tokenizer = dir.at("few/tokenizer.json");
        let child = start(
            &dir,
            &["data", "tokenize", "DIR/many.jsonl", "-o", "DIR/new/x", "--tokenizer", &tokenizer],
        );
        while !fs::read_dir(dir.join("new")).is_ok_and(|mut d| d.next().is_some()) {
            std::thread::sleep(Duration::from_millis(2));
        }
        signal(&child, name);
        let asked = Instant::now();
        let (found, err) = rest(child);
        assert_eq!(found, Some(code), "{err}");
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        assert!(
            err.contains(&format!("stopped by SIG{name}; the same command goes on from here"))
                && !err.contains("error"),
            "{err}"
        );
        let left: Vec<_> = tree(dir.path()).into_keys().filter(|k| !before.contains_key(k)).collect();
        let may_stay = ["new", "new/x.bin.part"].map(Path::new);
        assert!(left.iter().all(|path| may_stay.contains(&path.as_path())), "{left:?}");
    }
}

/// Inside of one call of the `tokenizers` library, which knows of no stops: one large document that it cuts by itself, and
/// the training of a vocabulary.
#[test]
fn a_signal_ends_what_a_library_does() {
    let dir = Dir::new();
    dir.write("few.txt", english(1, 20_000));
    line(&dir, "data tokenize DIR/few.txt -o DIR/few/x --vocab-size 300").ok();
    let path = dir.join("few/tokenizer.json");
    let mut slow: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    slow["normalizer"] = serde_json::json!({"type": "Lowercase"});
    dir.write("slow.json", slow.to_string());
    dir.write("large.txt", english(2, 1_000_000).repeat(60));
    // A hundred thousand words that are all different.
    let mut dice = Dice::new(3);
    let letter = |i: usize| if i % 25 == 24 { ' ' } else { char::from(b'a' + dice.below(26) as u8) };
    dir.write("words.txt", (0..2_500_000).map(letter).collect::<String>());
    for (text, with) in
        [("large.txt", ["--tokenizer", "DIR/slow.json"]), ("words.txt", ["--vocab-size", "60000"])]
    {
        let before = tree(dir.path());
        let text = format!("DIR/{text}");
        let child = start(&dir, &[&["data", "tokenize", &text, "-o", "DIR/new/x"][..], &with].concat());
        while with[0] == "--tokenizer" && !fs::read_dir(dir.join("new")).is_ok_and(|mut d| d.next().is_some())
        {
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(700));
        signal(&child, "TERM");
        let asked = Instant::now();
        let (found, err) = rest(child);
        let took = asked.elapsed();
        assert_eq!(found, Some(143), "{text}: {err}");
        assert!(took < Duration::from_secs(1), "{text}: {took:?}");
        let left: Vec<_> = tree(dir.path()).into_keys().filter(|k| !before.contains_key(k)).collect();
        let may_stay = ["new", "new/x.bin.part"].map(Path::new);
        assert!(left.iter().all(|path| may_stay.contains(&path.as_path())), "{left:?}");
    }
}

/// Seconds from a signal to the end of the process, without those in which a save was under way.
fn seconds_to_leave(child: &mut Child, run: &Path, name: &str) -> (Option<i32>, f64, f64) {
    let saves = |run: &Path| {
        fs::read_dir(run)
            .is_ok_and(|d| d.flatten().any(|e| e.file_name().to_string_lossy().starts_with("tmp-")))
    };
    signal(child, name);
    let asked = Instant::now();
    let (mut saving, mut last) = (Duration::ZERO, asked);
    loop {
        let status = child.try_wait().unwrap();
        let now = Instant::now();
        if saves(run) {
            saving += now - last;
        }
        last = now;
        if let Some(status) = status {
            return (
                status.code(),
                asked.elapsed().as_secs_f64() - saving.as_secs_f64(),
                saving.as_secs_f64(),
            );
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Pythia-70M with steps of seconds and evaluations of half a minute:
/// `SIGNALS=50 cargo test --release --test resume -- --ignored latency --nocapture`.
#[test]
#[ignore = "a measurement"]
fn latency() {
    let count: usize = std::env::var("SIGNALS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let mut dice = Dice::from_environment();
    let dir = Dir::in_memory();
    dir.write("tokens.bin", tokens(1, 400_000));
    dir.write("other.bin", tokens(2, 400 * 256));
    dir.config(
        "large.toml",
        r#"run_dir = "DIR/run"
[model]
preset = "pythia-70m"
[data]
train = ["raw-u16:DIR/tokens.bin"]
seq_len = 256
[[data.validation]]
name = "other"
paths = ["raw-u16:DIR/other.bin"]
[batch]
sequences = 16
micro = 8
[schedule]
lr = 1e-3
[train]
steps = 1000
[eval]
every = 1000
sequences = 1
[checkpoint]
every = 1000
keep = 2
"#,
    );
    let run = dir.join("run");
    let mut life = |args: &[&str], most: usize| {
        let mut child = start(&dir, args);
        let pipe = child.stderr.take().unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(pipe).lines().map_while(Result::ok).collect::<Vec<_>>()
        });
        std::thread::sleep(Duration::from_millis(100 + dice.below(most) as u64));
        let (code, seconds, saving) = seconds_to_leave(&mut child, &run, SIGNALS[dice.below(6)]);
        let said = reader.join().unwrap();
        assert_eq!(code, Some(3), "{said:#?}");
        (seconds, saving)
    };
    let report = |what: &str, mut times: Vec<(f64, f64)>| {
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        let at = |p: usize| times[(times.len() * p).div_ceil(100) - 1].0;
        let saving = times.iter().map(|t| t.1).fold(0.0, f64::max);
        println!(
            "{what}: {} signals, p50 {:.3} s, p99 {:.3} s, max {:.3} s to leave beside saving, which took up to {saving:.2} s",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
        at(99)
    };
    let has_steps = || run.exists() && !steps(&run).is_empty();
    let steps_p99 = report(
        "in loading and steps",
        (0..count)
            .map(|_| {
                life(if has_steps() { &["resume", "DIR/run"] } else { &["train", "DIR/large.toml"] }, 9000)
            })
            .collect(),
    );
    let evaluate = ["resume", "DIR/run", "--set", "eval.every=1", "--set", "eval.sequences=0"];
    // The first of these reach the end of a step, and owe an evaluation from there on.
    let evaluations_p99 = report("in evaluations", (0..count).map(|_| life(&evaluate, 12_000)).collect());
    let last = log(&run).iter().filter(|l| l.get("lr").is_some()).count();
    println!("{last} steps were taken; step {}", steps(&run).pop().unwrap());
    assert!(steps_p99 <= 1.0 && evaluations_p99 <= 1.0);
    // The same without a signal, up to the last step.
    let sets = format!("checkpoint.every={last}");
    dir.config(
        "alone.toml",
        &fs::read_to_string(dir.join("large.toml")).unwrap().replace("/run\"", "/alone\""),
    );
    let mut child = start(&dir, &["train", "DIR/alone.toml", "--set", &sets]);
    let pipe = until(&mut child, |l| l.starts_with("saved"));
    signal(&child, SIGKILL);
    child.wait().unwrap();
    drop(pipe);
    let of_steps =
        |run: &Path| curve(run).into_iter().filter(|l| l.contains("\"lr\"")).take(last).collect::<Vec<_>>();
    assert_eq!(of_steps(&run), of_steps(&dir.join("alone")));
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let [a, b] = ["run", "alone"]
            .map(|run| fs::read(dir.join(run).join(format!("step-{last:010}")).join(file)).unwrap());
        assert!(a == b, "{file} differs");
    }
}
