//! Several writers at once, killed writers, and what `verify` says of files that are not what was written.
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::*;
use crate::text::{TRAINED, changed, documents, train};
use rewarm::Result;
use rewarm::data::{
    Progress, ShardWriter, TextTokenizer, TokenizedInfo, Verification, tokenize_documents, verify,
};
use tempfile::tempdir;

/// Texts that come one by one, when the test says so.
struct Slow {
    texts: Sender<String>,
    result: JoinHandle<Result<TokenizedInfo>>,
}

impl Slow {
    /// Begins to tokenize, and comes back when the first text was asked for: the output is claimed by then.
    fn start(prefix: &Path, tokenizer: &'static TextTokenizer) -> Self {
        let (texts, incoming) = channel::<String>();
        let (asked, was_asked) = channel();
        let prefix = prefix.to_path_buf();
        let result = thread::spawn(move || {
            let texts = Asking { asked, incoming };
            tokenize_documents(texts.map(Ok), tokenizer, Some(0), &prefix, &mut Progress::hidden())
        });
        // An error when it was refused before it asked.
        let _ = was_asked.recv();
        Self { texts, result }
    }

    fn give(&self, texts: &[String]) {
        texts.iter().for_each(|text| self.texts.send(text.clone()).unwrap());
    }

    fn end(self) -> Result<TokenizedInfo> {
        drop(self.texts);
        self.result.join().unwrap()
    }
}

struct Asking {
    asked: Sender<()>,
    incoming: Receiver<String>,
}

impl Iterator for Asking {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        let _ = self.asked.send(());
        self.incoming.recv().ok()
    }
}

fn write(prefix: &Path, tokenizer: &TextTokenizer, texts: &[String]) -> Result<TokenizedInfo> {
    tokenize_documents(texts.iter().cloned().map(Ok), tokenizer, Some(0), prefix, &mut Progress::hidden())
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

fn files_of(name: &str) -> Vec<String> {
    let mut names: Vec<String> =
        [".bin", ".hashes", ".idx", ".json"].iter().map(|s| format!("{name}{s}")).collect();
    names.push("tokenizer.json".into());
    names
}

fn check(prefix: &Path) -> Verification {
    verify(&spec(prefix), None, None, &mut Progress::hidden()).unwrap()
}

#[track_caller]
fn holds(prefix: &Path, tokenizer: &TextTokenizer, texts: &[String]) {
    let expected: Vec<u32> =
        texts.iter().flat_map(|t| [tokenizer.encode_slow(t).unwrap(), vec![0]].concat()).collect();
    let corpus = open(prefix);
    let mut found = vec![0; corpus.tokens() as usize];
    corpus.shards()[0].read(0, &mut found, u32::MAX).unwrap();
    assert!(found == expected, "{} tokens of {}", found.len(), expected.len());
    let found = check(prefix);
    assert_eq!((found.faults_total, found.without_hashes), (0, 0), "{:?}", found.faults);
}

#[test]
fn the_second_writer_of_a_prefix_is_refused_and_harms_nothing() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("data");
    let texts = documents(60);
    let first = Slow::start(&prefix, &TRAINED);
    first.give(&texts[..30]);
    fs::create_dir(dir.path().join("sub")).unwrap();
    for name in ["data", "./data", "sub/../data"] {
        let why = refusal(write(&dir.path().join(name), &TRAINED, &texts));
        mentions(&why, &["being written by pid", &std::process::id().to_string(), "another name"]);
    }
    fs::remove_dir(dir.path().join("sub")).unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    mentions(&refusal(write(&dir.path().join("link/data"), &TRAINED, &texts)), &["being written"]);
    fs::remove_file(dir.path().join("link")).unwrap();
    first.give(&texts[30..]);
    let info = first.end().unwrap();
    assert_eq!(info.documents, 60);
    holds(&prefix, &TRAINED, &texts);
    assert_eq!(names(dir.path()), files_of("data"));
    mentions(&refusal(write(&prefix, &TRAINED, &texts)), &["exists already"]);
    holds(&prefix, &TRAINED, &texts);
}

#[test]
fn a_file_that_came_meanwhile_stays_and_nothing_is_left() {
    let texts = documents(20);
    for taken in ["data.bin", "data.idx", "data.json", "tokenizer.json"] {
        let dir = tempdir().unwrap();
        let slow = Slow::start(&dir.path().join("data"), &TRAINED);
        slow.give(&texts);
        fs::write(dir.path().join(taken), "of another program").unwrap();
        mentions(&refusal(slow.end()), &[taken]);
        assert_eq!(names(dir.path()), [taken]);
        assert_eq!(fs::read(dir.path().join(taken)).unwrap(), b"of another program");
    }
}

#[test]
fn two_prefixes_of_a_folder_share_a_tokenizer_or_the_later_is_refused() {
    static OTHER: LazyLock<TextTokenizer> = LazyLock::new(|| train(&documents(7), 600));
    let texts = documents(30);
    let dir = tempdir().unwrap();
    let (a, b) = (Slow::start(&dir.path().join("a"), &TRAINED), Slow::start(&dir.path().join("b"), &TRAINED));
    a.give(&texts);
    b.give(&texts[5..]);
    b.end().unwrap();
    a.end().unwrap();
    holds(&dir.path().join("a"), &TRAINED, &texts);
    holds(&dir.path().join("b"), &TRAINED, &texts[5..]);

    let dir = tempdir().unwrap();
    let (a, b) = (Slow::start(&dir.path().join("a"), &TRAINED), Slow::start(&dir.path().join("b"), &OTHER));
    a.give(&texts);
    b.give(&texts);
    b.end().unwrap();
    mentions(&refusal(a.end()), &["tokenizer.json", "another"]);
    assert_eq!(names(dir.path()), files_of("b"));
    assert!(fs::read(dir.path().join("tokenizer.json")).unwrap() == OTHER.json());
    holds(&dir.path().join("b"), &OTHER, &texts);
}

/// Many writers begin and end at once: one of a prefix wins, and what it wrote is whole.
#[test]
fn a_crowd_of_writers() {
    let dir = tempdir().unwrap();
    let texts = documents(200);
    let done: Vec<Result<TokenizedInfo>> = thread::scope(|scope| {
        let writers: Vec<_> = (0..12)
            .map(|i| {
                let (dir, texts) = (dir.path(), &texts);
                scope.spawn(move || write(&dir.join(["a", "b", "c"][i % 3]), &TRAINED, &texts[i..]))
            })
            .collect();
        writers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(done.iter().filter(|r| r.is_ok()).count(), 3);
    for (i, result) in done.iter().enumerate() {
        match result {
            Ok(_) => holds(&dir.path().join(["a", "b", "c"][i % 3]), &TRAINED, &texts[i..]),
            Err(e) => assert_eq!(e.exit_code(), 1, "{e}"),
        }
    }
    assert_eq!(names(dir.path()).len(), 3 * 4 + 1);
}

#[test]
fn a_killed_writer_leaves_nothing_that_matters() {
    let dir = tempdir().unwrap();
    let (prefix, pipe) = (dir.path().join("data"), dir.path().join("pipe"));
    let tokenizer = dir.path().join("mine.json");
    fs::write(&tokenizer, TRAINED.json()).unwrap();
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = Command::new(env!("CARGO_BIN_EXE_rewarm"))
        .args(["data", "tokenize"])
        .arg(&pipe)
        .arg("-o")
        .arg(&prefix)
        .arg("--tokenizer")
        .arg(&tokenizer)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It waits for the pipe with the output claimed.
    let started = Instant::now();
    let draft = || names(dir.path()).into_iter().find(|n| n.starts_with("data.bin.tmp-"));
    while draft().is_none() {
        assert!(started.elapsed() < Duration::from_secs(60), "{:?}", names(dir.path()));
        thread::sleep(Duration::from_millis(10));
    }
    let texts = documents(40);
    mentions(&refusal(write(&prefix, &TRAINED, &texts)), &["written by pid", &child.id().to_string()]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(draft().is_some() && dir.path().join("data.lock").exists());
    fs::remove_file(&pipe).unwrap();
    // Another prefix does not touch them, the same one takes them away.
    write(&dir.path().join("other"), &TRAINED, &texts).unwrap();
    assert!(draft().is_some());
    fs::write(dir.path().join("data.bin.tmp-notes"), "a file of the user's").unwrap();
    write(&prefix, &TRAINED, &texts).unwrap();
    holds(&prefix, &TRAINED, &texts);
    assert!(dir.path().join("data.bin.tmp-notes").exists());
    assert_eq!(names(dir.path()).len(), 2 * 4 + 3, "{:?}", names(dir.path()));
}

#[test]
fn prefixes_that_are_no_names_are_refused() {
    let dir = tempdir().unwrap();
    for name in ["tokenizer", "tokenizer.json", "out/", "out/..", "/"] {
        let why = refusal(ShardWriter::create(&dir.path().join(name), 100));
        assert!(why.contains("prefix"), "{why}");
        assert!(names(dir.path()).is_empty());
    }
    fs::write(dir.path().join("half.bin"), "x").unwrap();
    mentions(&refusal(ShardWriter::create(&dir.path().join("half"), 100)), &["without its .idx", "killed"]);
}

/// Three blocks of 32 KiB and a part of one.
fn shard(folder: &Path) -> std::path::PathBuf {
    let prefix = folder.join("data");
    let text = documents(400);
    let info = write(&prefix, &TRAINED, &text).unwrap();
    assert!((50_000..65_536).contains(&info.tokens), "{}", info.tokens);
    prefix
}

#[test]
fn bytes_that_are_not_what_was_written_are_named() {
    let dir = tempdir().unwrap();
    let prefix = shard(dir.path());
    let bin = prefix.with_extension("bin");
    let good = fs::read(&bin).unwrap();
    assert_eq!(check(&prefix).faults_total, 0);
    let damage = |at: std::ops::Range<usize>, with: u8| {
        let mut bytes = good.clone();
        bytes[at].fill(with);
        fs::write(&bin, bytes).unwrap();
        let found = check(&prefix);
        found.faults.iter().map(|f| f.message.clone()).collect::<Vec<_>>()
    };
    // One byte: a valid token, which nothing else could find.
    let at = 40_000;
    let found = damage(at..at + 1, good[at] ^ 1);
    assert_eq!(found.len(), 1, "{found:?}");
    let corpus = open(&prefix);
    let document = |token| corpus.shards()[0].document_at(token).unwrap().0;
    let documents = format!("documents {} to {}", document(16_384), document(32_767));
    mentions(
        &found[0],
        &["data.bin: bytes 32768..65536", "tokens 16384..32768", &documents, "tokenize again"],
    );
    // Zeros over two blocks, as the writers of old left them, are one fault; the short last block is another.
    let found = damage(10_000..40_000, 0);
    assert_eq!(found.len(), 1, "{found:?}");
    mentions(&found[0], &["bytes 0..65536"]);
    let found = damage(good.len() - 1..good.len(), good[good.len() - 1] ^ 1);
    mentions(&found[0], &[&format!("bytes 98304..{}", good.len())]);
    fs::write(&bin, &good).unwrap();
    assert_eq!(check(&prefix).faults_total, 0);
}

#[test]
fn the_files_beside_are_compared_too() {
    let dir = tempdir().unwrap();
    let prefix = shard(dir.path());
    let (idx, hashes) = (prefix.with_extension("idx"), prefix.with_extension("hashes"));
    let one = |words: &[&str]| {
        let found = check(&prefix);
        assert_eq!(found.faults_total, 1, "{:?}", found.faults);
        mentions(&found.faults[0].message, words);
    };
    // Two documents with another border: a valid index.
    let good = fs::read(&idx).unwrap();
    let mut other = good.clone();
    let n = 400;
    let mut add = |at: usize, by: i32| {
        let value = i32::from_le_bytes(other[at..at + 4].try_into().unwrap()) + by;
        other[at..at + 4].copy_from_slice(&value.to_le_bytes());
    };
    add(34, 1);
    add(38, -1);
    add(34 + 4 * n + 8, 2);
    fs::write(&idx, &other).unwrap();
    one(&["data.idx is not the index that was written"]);
    fs::write(&idx, good).unwrap();

    let good = fs::read(&hashes).unwrap();
    assert_eq!(good.len(), 24 + 8 * 4);
    let mut bad = good.clone();
    bad[24] ^= 1;
    for (content, words) in [
        (bad, "is not the file that was written with the note"),
        (good[..good.len() - 8].to_vec(), "has 48 bytes, expected 56"),
        ([&[0; 24], &good[24..]].concat(), "does not hold the hashes of this shard"),
        (Vec::new(), "has 0 bytes"),
    ] {
        fs::write(&hashes, content).unwrap();
        one(&["data.hashes", words]);
    }
    fs::remove_file(&hashes).unwrap();
    one(&["data.hashes", "No such file"]);
    // A note of before has none: that is said, and is no fault.
    let note = prefix.with_extension("json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&note).unwrap()).unwrap();
    let object = value.as_object_mut().unwrap();
    object.remove("content").unwrap();
    object.remove("without_tokens").unwrap();
    fs::write(&note, value.to_string()).unwrap();
    let found = check(&prefix);
    assert_eq!((found.faults_total, found.without_hashes), (0, 1));
}

#[test]
fn documents_that_give_no_token_are_counted() {
    let tokenizer = changed(|t| {
        t.with_normalizer(Some(tokenizers::normalizers::Strip::new(true, true))).unwrap();
    });
    let texts: Vec<String> = ["one two", "   ", "three", "\n\n", "", "four"].map(String::from).into();
    let dir = tempdir().unwrap();
    let info = write(&dir.path().join("data"), &tokenizer, &texts).unwrap();
    assert_eq!((info.documents, info.without_tokens, info.input_bytes), (3, 3, 16));
}
