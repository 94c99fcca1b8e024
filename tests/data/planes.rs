//! Planes of weights that `data tokenize` writes: by a field of each record, and what is said of them.
use std::fs;
use std::path::{Path, PathBuf};

use crate::folder::{Folder, read, refused};
use crate::support::{mentions, refusal};
use crate::text::TRAINED;
use half::f16;
use rewarm::data::{
    Corpus, Encoding, InputOptions, Inputs, LossWeights, OnError, PlaneKind, Progress, TextTokenizer,
    TokenizedInfo, WeightField, WeightType, inspect, tokenize_each, verify,
};

const F16: PlaneKind = PlaneKind { weights: WeightType::F16, unlikelihood: false };
const U8: PlaneKind = PlaneKind { weights: WeightType::U8, unlikelihood: false };

pub fn by_field(field: &str, kind: PlaneKind) -> InputOptions {
    InputOptions { weight: Some(WeightField { field: field.into(), kind }), ..InputOptions::default() }
}

fn written(
    folder: &Folder,
    name: &str,
    options: &InputOptions,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
) -> rewarm::Result<TokenizedInfo> {
    let mut documents = Inputs::find(&[folder.at(name)], options)?.documents();
    let plane = Some(options.weight.as_ref().map_or(F16, |weight| weight.kind));
    let encoding = Encoding { tokenizer, eod, plane };
    tokenize_each(documents.weighed(), encoding, &folder.at("out/x"), &mut |_, _| {})
}

/// Tokenizes `name` with a plane; the prefix.
pub fn tokenized(
    folder: &Folder,
    name: &str,
    options: &InputOptions,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
) -> PathBuf {
    written(folder, name, options, tokenizer, eod).unwrap();
    folder.at("out/x")
}

/// The weights of a plane, read byte by byte.
pub fn read_plane(prefix: &Path) -> Vec<f32> {
    let bytes = fs::read(prefix.with_extension("weights")).unwrap();
    let (header, weights) = bytes.split_at(24);
    assert_eq!((&header[..8], &header[10..16]), (&b"RWWEIGHT"[..], &[0; 6][..]));
    let weights: Vec<f32> = match header[8] {
        1 => weights.iter().map(|byte| f32::from(*byte)).collect(),
        _ => weights.as_chunks().0.iter().map(|pair| f16::from_le_bytes(*pair).to_f32()).collect(),
    };
    assert_eq!(header[16..], (weights.len() as u64).to_le_bytes());
    weights
}

#[test]
fn each_token_weighs_what_its_document_does() {
    let lines = concat!(
        "{\"text\": \"one two\", \"meta\": {\"w\": 0.25}}\n",
        "{\"text\": \"three\", \"meta\": {\"w\": 3}}\n",
        "{\"meta\": {\"w\": 0}, \"text\": \"four five six\"}\n",
        "{\"text\": \"\", \"meta\": {\"w\": 7}}\n",
    );
    let folder = Folder::new(&[("x.jsonl", lines.as_bytes())]);
    for (eod, more) in [(Some(0), 1), (None, 0)] {
        let prefix = tokenized(&folder, "x.jsonl", &by_field("meta.w", F16), &TRAINED, eod);
        let of = |text: &str, weight: f32| vec![weight; TRAINED.encode(text).unwrap().len() + more];
        let expected = [of("one two", 0.25), of("three", 3.0), of("four five six", 0.0)].concat();
        assert_eq!(read_plane(&prefix), expected);
        let note = TokenizedInfo::load(&prefix).unwrap().unwrap();
        let noted = note.weights.unwrap();
        assert_eq!(
            (noted.kind, noted.zeros, note.tokens),
            (F16, of("four five six", 0.0).len() as u64, expected.len() as u64)
        );
        // It is what a run reads, and what is shown.
        let corpus = Corpus::open(&[prefix.display().to_string()]).unwrap();
        assert!(LossWeights::open(&corpus).unwrap().is_some());
        assert_eq!(inspect(&corpus, None).unwrap().shards[0].weights, Some(WeightType::F16));
        let found =
            verify(&[prefix.display()].map(|p| p.to_string()), None, None, &mut Progress::hidden()).unwrap();
        assert_eq!((found.faults_total, found.weights.len()), (0, 1));
        let mean = expected.iter().sum::<f32>() / expected.len() as f32;
        assert!((found.weights[0].mean - f64::from(mean)).abs() < 1e-6);
        assert_eq!(found.weights[0].zeros, noted.zeros);
        fs::remove_dir_all(folder.at("out")).unwrap();
    }
}

#[test]
fn weights_that_are_none_are_counted_and_those_that_do_not_fit_refused() {
    let line = |weight: &str| format!("{{\"text\": \"a\", \"w\": {weight}}}\n");
    let bad = ["null", "\"1\"", "NaN", "-Infinity", "[1]", "true"];
    let text = line("1") + &bad.map(line).concat() + "{\"text\": \"a\"}\n" + &line("2e0");
    let folder = Folder::new(&[("x.jsonl", text.as_bytes())]);
    let (texts, documents) = read(&[folder.at("x.jsonl")], &by_field("w", U8));
    assert_eq!(texts.len(), 2);
    assert_eq!(documents.left_out().count("values without a weight in the field \"w\""), 7);
    let lines: Vec<u64> = documents.dropped().iter().map(|dropped| dropped.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8]);
    let stop = InputOptions { on_error: OnError::Stop, ..by_field("w", F16) };
    mentions(
        &refused(&[folder.at("x.jsonl")], &stop),
        &["x.jsonl line 2", "a number", "\"w\"", "--weights-field"],
    );
    for (weight, kind, word) in [
        ("-1", F16, "--unlikelihood"),
        ("1e9", F16, "65504"),
        ("1e999", F16, "65504"),
        ("1e-30", F16, "scale"),
        ("0.5", U8, "--weights-type f16"),
        ("256", U8, "from 0 to 255"),
    ] {
        folder.write("x.jsonl", line("1") + &line(weight));
        let message = refusal(written(&folder, "x.jsonl", &by_field("w", kind), &TRAINED, None));
        mentions(&message, &["x.jsonl line 2", word]);
        assert_eq!(fs::read_dir(folder.at("out")).unwrap().count(), 0, "{weight}");
    }
    let meant = PlaneKind { unlikelihood: true, ..F16 };
    folder.write("x.jsonl", line("-1.5"));
    let prefix = tokenized(&folder, "x.jsonl", &by_field("w", meant), &TRAINED, Some(0));
    assert_eq!(read_plane(&prefix), [-1.5, -1.5]);
    let found = verify(&[prefix.display().to_string()], None, None, &mut Progress::hidden()).unwrap();
    assert_eq!((found.faults_total, found.weights[0].negative), (0, 2));
}

#[test]
fn a_plane_that_is_not_the_one_that_was_written_is_found() {
    let folder = Folder::new(&[("x.jsonl", "{\"text\": \"a b c d\", \"w\": 1}\n".repeat(50).as_bytes())]);
    let prefix = tokenized(&folder, "x.jsonl", &by_field("w", F16), &TRAINED, None);
    let (spec, plane) = ([prefix.display().to_string()], folder.at("out/x.weights"));
    let faults = || {
        let found = verify(&spec, None, None, &mut Progress::hidden()).unwrap();
        (
            found.faults_total,
            found.faults.iter().map(|fault| fault.message.clone()).collect::<Vec<_>>().join(" "),
        )
    };
    let whole = fs::read(&plane).unwrap();
    assert_eq!(faults().0, 0);
    let mut changed = whole.clone();
    changed[24] ^= 1;
    let mut bad = whole.clone();
    bad[24..28].copy_from_slice(&[f16::from_f32(-1.0).to_le_bytes(), f16::NAN.to_le_bytes()].concat());
    for (bytes, count, words) in [
        (changed.clone(), 1, vec!["not the plane of weights that was written"]),
        (bad, 3, vec!["token 0 is -1", "token 1 is NaN", "not the plane"]),
        (whole[..whole.len() - 1].to_vec(), 1, vec!["has weights for"]),
    ] {
        fs::write(&plane, bytes).unwrap();
        let (total, messages) = faults();
        assert_eq!(total, count, "{messages}");
        mentions(&messages, &words);
    }
    // Promised by the note, and not there: for a run, too.
    fs::remove_file(&plane).unwrap();
    mentions(&faults().1, &["x.weights is not there", "x.json says"]);
    mentions(&refusal(LossWeights::open(&Corpus::open(&spec).unwrap())), &["x.weights is not there"]);
    // A plane that is there already belongs to something else.
    fs::create_dir(folder.at("new")).unwrap();
    fs::write(folder.at("new/x.weights"), &whole).unwrap();
    let encoding = Encoding { tokenizer: &TRAINED, eod: None, plane: None };
    let texts = std::iter::once(Ok(String::from("a").into()));
    let message = refusal(tokenize_each(texts, encoding, &folder.at("new/x"), &mut |_, _| {}));
    mentions(&message, &["new/x.weights exists already", "another output prefix"]);
    // Found among texts, a plane is none of them.
    fs::rename(folder.at("new/x.weights"), folder.at("x.weights")).unwrap();
    let (_, documents) = read(
        &[folder.at("x.jsonl"), folder.at("x.jsonl").parent().unwrap().to_path_buf()],
        &InputOptions::default(),
    );
    assert_eq!(documents.left_out().count("token shards"), 4);
}

/// A table of pyarrow (tools/foreign_shards.py) whose numbers are in columns of every type.
#[cfg(feature = "parquet")]
#[test]
fn columns_of_numbers_weigh_the_rows_of_parquet() {
    for field in ["i", "l", "f", "d", "s.w"] {
        let folder = Folder::new(&[]);
        fs::copy("tests/foreign/weights.parquet", folder.at("x.parquet")).unwrap();
        let prefix = tokenized(&folder, "x.parquet", &by_field(field, F16), &TRAINED, None);
        let rows = (0..700u32).filter(|i| i % 97 != 5 && (i % 89 != 7 || field == "i"));
        let expected =
            rows.flat_map(|i| vec![(i % 5) as f32; TRAINED.encode(&format!("row {i}")).unwrap().len()]);
        assert_eq!(read_plane(&prefix), expected.collect::<Vec<_>>(), "{field}");
    }
    let path = Path::new("tests/foreign/weights.parquet");
    mentions(&refused(&[path], &by_field("text", F16)), &["no numbers", "--weights-field"]);
    mentions(&refused(&[path], &by_field("nothing", F16)), &["it has the columns", "\"i\""]);
}
