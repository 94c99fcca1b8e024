//! Event files of TensorBoard, read back by a parser of their own, against the log.
use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Of two sources, with a set that is retained and a decay that falls.
const BOARD: &str =
    "[log]\ntensorboard = true\n\n[optim]\nweight_decay_phases = [{shape = \"linear\", to = 0.0}]\n";
const SOURCES: &str = "[[data.mixture]]\nname = \"new\"\npaths = [\"raw-u16:DIR/tokens.bin\"]\nweight = 3\n\n\
     [[data.mixture]]\nname = \"more\"\npaths = [\"raw-u16:DIR/more.bin\"]\nwhen_empty = \"repeat\"\n\n[[data.validation]]\n";

/// [`tiny`] with event files.
fn shown() -> Dir {
    let dir = tiny();
    dir.write("more.bin", tokens(3, 3_000));
    let text = TINY
        .replace("train = [\"raw-u16:DIR/tokens.bin\"]\n", "")
        .replace("[[data.validation]]\n", SOURCES)
        .replace("name = \"other\"\n", "name = \"other\"\nrole = \"retain\"\n");
    dir.config("tiny.toml", &format!("{text}{BOARD}"));
    dir
}

/// CRC-32C, a bit at a time, as TensorFlow masks it.
fn masked_crc(data: &[u8]) -> u32 {
    let crc = data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    });
    (!crc).rotate_left(17).wrapping_add(0xa282_ead8)
}

/// What is behind the first `n` bytes, and these.
fn take<'a>(bytes: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (first, rest) = bytes.split_at(n);
    *bytes = rest;
    first
}

/// The data of the records of a file, whose checksums hold.
fn records(mut file: &[u8]) -> Vec<&[u8]> {
    let mut records = Vec::new();
    while !file.is_empty() {
        let length = take(&mut file, 8);
        assert_eq!(
            take(&mut file, 4),
            masked_crc(length).to_le_bytes(),
            "the length of record {}",
            records.len()
        );
        let data = take(&mut file, u64::from_le_bytes(length.try_into().unwrap()) as usize);
        assert_eq!(take(&mut file, 4), masked_crc(data).to_le_bytes(), "record {}", records.len());
        records.push(data);
    }
    records
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut value = 0;
    for i in 0.. {
        let byte = take(message, 1)[0];
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The fields of a message by number: the bytes of each, a varint as eight.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let value = match key & 7 {
            0 => varint(&mut message).to_le_bytes().to_vec(),
            1 => take(&mut message, 8).to_vec(),
            2 => {
                let length = varint(&mut message) as usize;
                take(&mut message, length).to_vec()
            }
            5 => take(&mut message, 4).to_vec(),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, value));
    }
    fields
}

/// Values by tag and step.
type Scalars = BTreeMap<(String, u64), f32>;

/// What TensorBoard has of a run once it has read the files in the order of their names.
#[derive(Default)]
struct Shown {
    scalars: Scalars,
    /// Steps of the starts.
    starts: Vec<u64>,
    /// Times of the values, seconds since 1970.
    times: BTreeMap<(String, u64), f64>,
}

impl Shown {
    fn of(run: &Path) -> Self {
        let mut shown = Self::default();
        for path in files(run) {
            let file = fs::read(path).unwrap();
            let records = records(&file);
            let version = fields(records[0]).into_iter().find(|field| field.0 == 3).unwrap();
            assert_eq!(version.1, b"brain.Event:2");
            records[1..].iter().for_each(|record| shown.take_in(record));
        }
        shown
    }

    fn take_in(&mut self, record: &[u8]) {
        let (mut time, mut step) = (0.0, 0);
        for (field, value) in fields(record) {
            match field {
                1 => time = f64::from_le_bytes(value.try_into().unwrap()),
                2 => step = u64::from_le_bytes(value.try_into().unwrap()),
                5 => fields(&value).iter().for_each(|(_, value)| self.add(&fields(value), time, step)),
                7 => {
                    assert_eq!(fields(&value), [(1, 1u64.to_le_bytes().to_vec())], "a start");
                    // The first start is none that anything is forgotten at.
                    if !self.starts.is_empty() {
                        self.scalars.retain(|(_, of), _| *of < step);
                    }
                    self.starts.push(step);
                }
                other => panic!("field {other}"),
            }
        }
    }

    fn add(&mut self, value: &[(u64, Vec<u8>)], time: f64, step: u64) {
        let [(1, tag), (2, number)] = value else { panic!("{value:?}") };
        let key = (String::from_utf8(tag.clone()).unwrap(), step);
        let number = f32::from_le_bytes(number[..].try_into().unwrap());
        assert!(self.scalars.insert(key.clone(), number).is_none(), "{key:?} is there twice");
        self.times.insert(key, time);
    }
}

/// The event files, in the order of their names.
fn files(run: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(run.join("tensorboard")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in &files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let parts: Vec<&str> = name.strip_prefix("events.out.tfevents.").unwrap().split('.').collect();
        assert!(parts[0].parse::<u64>().unwrap() > 1_700_000_000, "{name}");
        assert!(parts[parts.len() - 1].parse::<u32>().is_ok(), "{name}");
    }
    files
}

/// The scalars of the log, and the times of its lines.
fn logged(run: &Path) -> (Scalars, BTreeMap<(String, u64), f64>) {
    let (mut scalars, mut times) = (Scalars::new(), BTreeMap::new());
    for line in log(run) {
        let (step, time) = (line["step"].as_u64().unwrap(), line["time"].as_f64().unwrap());
        let mut add = |tag: String, value: &serde_json::Value| {
            times.insert((tag.clone(), step), time);
            scalars.insert((tag, step), value.as_f64().unwrap() as f32);
        };
        if let Some(set) = line["eval"].as_str() {
            for name in ["loss", "perplexity", "forgetting"] {
                add(format!("eval/{set}/{name}"), &line[name]);
            }
        } else if line.get("lr").is_some() {
            for name in ["loss", "grad_norm", "lr", "weight_decay", "tokens_per_s"] {
                add(format!("train/{name}"), &line[name]);
            }
            for (source, loss) in line["loss_by_source"].as_object().unwrap() {
                add(format!("train/loss_by_source/{source}"), loss);
            }
        }
    }
    (scalars, times)
}

/// TensorBoard shows what the log has, no more and no less; gives the steps that files start at.
#[track_caller]
fn assert_shown(run: &Path, what: &str) -> Vec<u64> {
    let (shown, (scalars, times)) = (Shown::of(run), logged(run));
    assert_eq!(shown.scalars, scalars, "{what}");
    for (key, time) in times {
        assert_eq!(shown.times[&key], time, "{what}: {key:?}");
    }
    shown.starts
}

/// The run, and without event files the same.
#[test]
fn scalars_are_those_of_the_log() {
    let dir = shown();
    line(&dir, "train DIR/tiny.toml").ok();
    assert_eq!(assert_shown(&dir.join("run"), "whole"), [0]);
    let scalars = Shown::of(&dir.join("run")).scalars;
    let tags: BTreeSet<&str> = scalars.keys().map(|(tag, _)| &tag[..]).collect();
    let expected = [
        "eval/other/forgetting",
        "eval/other/loss",
        "eval/other/perplexity",
        "train/grad_norm",
        "train/loss",
        "train/loss_by_source/more",
        "train/loss_by_source/new",
        "train/lr",
        "train/tokens_per_s",
        "train/weight_decay",
    ];
    assert_eq!(tags, expected.into());
    assert_eq!(scalars.keys().filter(|(tag, _)| tag == "train/loss").count(), 20);
    line(&dir, "train DIR/tiny.toml --set log.tensorboard=false --set run_dir=\"DIR/without\"").ok();
    assert!(!dir.join("without/tensorboard").exists());
    assert_equal_runs(&dir.join("run"), &dir.join("without"), "with event files");
}

/// What a kill leaves undone is done again, and shown once; what a torn record leaves is passed over by a reader.
#[test]
fn steps_that_are_done_again_are_shown_once() {
    let mut dice = Dice::from_environment();
    let (mut kills, mut again) = (0, 0);
    while kills < 5 {
        let dir = shown();
        let later = Duration::from_micros(dice.below(20_000) as u64);
        if killed(&dir, "train.precision=f32", later).is_none() {
            continue;
        }
        kills += 1;
        let run = dir.join("run");
        let newest: u64 = steps(&run).pop().unwrap()[5..].parse().unwrap();
        let done = |run: &Path| Shown::of(run).scalars.keys().map(|key| key.1).max().unwrap();
        again += done(&run).saturating_sub(newest);
        line(&dir, "resume DIR/run").ok();
        assert_eq!(assert_shown(&run, "resumed"), [0, newest]);
        let last = steps(&run);
        let before: u64 = last[last.len() - 2][5..].parse().unwrap();
        line(&dir, &format!("resume DIR/run --rewind {before}")).ok();
        assert_eq!(assert_shown(&run, "rewound"), [0, newest, before]);
    }
    println!("{kills} kills, {again} steps done again");
    assert!(again > 0, "nothing was done again");
}

/// The key comes and goes with resumes; where no file is there, all of the log is shown, that of a finished run, too.
#[test]
fn a_run_without_event_files_gets_all_of_its_log() {
    let dir = shown();
    line(&dir, "train DIR/tiny.toml --set log.tensorboard=false").ok();
    let run = dir.join("run");
    let said = line(&dir, "resume DIR/run --set log.tensorboard=true");
    assert!(said.ok().contains("finished: all 20 steps"), "{}", said.out);
    assert_eq!(assert_shown(&run, "of a finished run"), [0]);
    let before = tree(&run);
    line(&dir, "resume DIR/run").ok();
    assert_eq!(before, tree(&run), "a finished run stays as it is");
    // In the middle.
    fs::remove_dir_all(run.join("tensorboard")).unwrap();
    rewind(&dir, 10);
    line(&dir, "resume DIR/run").ok();
    assert_eq!(assert_shown(&run, "from the middle"), [0]);
    // And without the key nothing is added.
    rewind(&dir, 10);
    line(&dir, "resume DIR/run --set log.tensorboard=false").ok();
    assert_eq!(files(&run).len(), 1);
}

/// The evaluation after a step is owed where a run goes on: what was shown of the step itself stays.
#[test]
fn an_evaluation_that_is_owed_leaves_its_step() {
    let dir = shown();
    dir.write("other.bin", tokens(2, 2_000_000));
    let all = ["--set", "eval.every=0", "--set", "eval.sequences=0"];
    let mut child = start(&dir, &[&["train", "DIR/tiny.toml"], &all[..]].concat());
    let pipe = stops::until(&mut child, |line| line.starts_with("step 20/20"));
    signal(&child, "USR1");
    drop(pipe);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(line(&dir, "resume DIR/run").ok().contains("done: 20 steps"));
    assert_eq!(assert_shown(&dir.join("run"), "owed"), [0, 20]);
}

/// Its attempt before had no checkpoint: all that it has shown is forgotten.
#[test]
fn a_run_that_is_begun_again_is_shown_anew() {
    let dir = shown();
    line(&dir, "train DIR/tiny.toml").ok();
    let run = dir.join("run");
    steps(&run).iter().for_each(|step| fs::remove_dir_all(run.join(step)).unwrap());
    line(&dir, "train DIR/tiny.toml").ok();
    assert_eq!(assert_shown(&run, "begun again"), [0, 0]);
}

#[test]
fn a_folder_that_cannot_be_made_is_one_error() {
    let dir = shown();
    line(&dir, "train DIR/tiny.toml --set log.tensorboard=false --set train.steps=10").ok();
    dir.write("run/tensorboard", "a file");
    let said = line(&dir, "resume DIR/run --set log.tensorboard=true");
    assert!(said.code == 1 || said.code == 2, "{}", said.err);
    said.one_error(&["tensorboard"]);
    line(&dir, "train DIR/tiny.toml --set log.tensorboard=perhaps")
        .refused(&["log.tensorboard", "true or false"]);
}
