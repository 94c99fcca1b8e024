//! What is read from files that others made, as functions of bytes. `cargo test` gives them a small corpus and damaged
//! copies of it (`main.rs`), cargo-fuzz whatever it finds (`fuzz_targets/`). Each asserts that whatever the bytes are,
//! nothing panics, an error is one line, and what was accepted can be used; and says whether it was accepted.
use rewarm::checkpoint::safetensors::TensorFile;
use rewarm::checkpoint::torch::{TorchFile, Value, parse};
use rewarm::checkpoint::{Disk, Manifest};
use rewarm::config::{Config, RawConfig};
use rewarm::data::{
    Arrangement, Chat, ChatFiles, Corpus, Format, InputOptions, Inputs, LossWeights, Order, PlaneKind,
    Progress, Shard, Side, Split, TextTokenizer, WeightField, fill_weights, verify,
};
use rewarm::ops::draw_in_order;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_128;

/// Reads bytes and says whether they were accepted.
pub type Target = fn(&[u8]) -> bool;

/// Every target by its name, which is that of its file in `fuzz_targets/` and of its folder in `seeds/`.
pub const TARGETS: [(&str, Target); 12] = [
    ("megatron_idx", megatron_idx),
    ("llmc", llmc),
    ("npy", npy),
    ("safetensors", safetensors),
    ("torch", torch),
    ("manifest", manifest),
    ("run_config", run_config),
    ("tokenizer", tokenizer),
    ("weights", weights),
    ("sorted", sorted),
    ("conversations", conversations),
    ("chat_template", chat_template),
];

/// Length of the `.bin` as a little-endian u16, then the `.idx`. The tokens are 0.
pub fn megatron_idx(bytes: &[u8]) -> bool {
    let Some((length, idx)) = bytes.split_first_chunk() else { return false };
    let bin = write("shard.bin", &vec![0; u16::from_le_bytes(*length).into()]);
    write("shard.idx", idx);
    read_shard(&bin, Format::Megatron, bin.display().to_string())
}

/// A shard of llm.c.
pub fn llmc(bytes: &[u8]) -> bool {
    let bin = write("llmc.bin", bytes);
    read_shard(&bin, Format::LlmC, bin.display().to_string())
}

/// An array of NumPy, or tokens without a header.
pub fn npy(bytes: &[u8]) -> bool {
    let path = write("array.npy", bytes);
    read_shard(&path, Format::RawU16, format!("raw-u16:{}", path.display()))
}

/// Everything that a shard offers, by its first, some and one too many of its documents.
fn read_shard(path: &Path, format: Format, spec: String) -> bool {
    let opened = good(Shard::open(path, format));
    if let Some(shard) = &opened {
        let documents = shard.documents();
        for d in [0, 1, documents / 2, documents - 1, documents, u64::MAX] {
            let Some((start, end)) = good(shard.document(d)) else { continue };
            assert!(start <= end && end <= shard.tokens(), "document {d} is {start}..{end}");
            let mut tokens = vec![0; (end - start).min(64) as usize];
            good(shard.read(start, &mut tokens, 1 << 16));
            good(shard.document_at(start));
        }
        good(shard.read(shard.tokens() - 1, &mut [0], 1 << 16));
        shard.oddity().iter().for_each(|oddity| one_line(oddity));
    }
    if let Some(found) = good(verify(&[spec], Some(1 << 16), None, &mut Progress::hidden())) {
        found.faults.iter().for_each(|fault| one_line(&fault.message));
    }
    opened.is_some()
}

/// A file of tensors, each read to its end.
pub fn safetensors(bytes: &[u8]) -> bool {
    let path = write("model.safetensors", bytes);
    let Some(file) = good(TensorFile::open(&Disk, &path)) else { return false };
    for name in file.names() {
        let elements = file.info(&name).expect("it is one of its names").shape.iter().product();
        good(draw_in_order(&|first, values| file.fill(&name, first, values), elements, |_, _| Ok(())));
    }
    true
}

/// A file of `torch.save` with each of its tensors, or the pickle of one.
pub fn torch(bytes: &[u8]) -> bool {
    if !bytes.starts_with(b"PK") {
        return good(parse(bytes)).is_some_and(|pickle| walk(pickle.root(), &mut |_| ()) > 0);
    }
    let path = write("model.pt", bytes);
    let Some(file) = good(TorchFile::open(&Disk, &path)) else { return false };
    let read = &mut |value: Value| {
        // A view may have more elements than its file has bytes.
        let Some(tensor) = value.tensor().filter(|tensor| tensor.elements() <= 1 << 16) else { return };
        let mut values = vec![0.0; tensor.elements()];
        good(file.fill(tensor, 0, &mut values));
    };
    walk(file.root(), read) > 0
}

/// Visits a value and those in it, to a depth at which circles are left; gives their number.
fn walk(root: Value, visit: &mut dyn FnMut(Value)) -> usize {
    let (mut next, mut seen) = (vec![(root, 0)], 0);
    while let Some((value, depth)) = next.pop().filter(|_| seen < 10_000) {
        visit(value);
        seen += 1;
        if depth < 10 {
            next.extend(
                value.items().chain(value.entries().map(|(_, value)| value)).map(|value| (value, depth + 1)),
            );
        }
    }
    seen
}

/// A manifest as it is, and with the hash that makes the bytes before it believable.
pub fn manifest(bytes: &[u8]) -> bool {
    const KEY: &[u8] = b",\n  \"~xxh3_128\": \"";
    let end = bytes.windows(KEY.len()).rposition(|window| window == KEY).unwrap_or(bytes.len());
    let mut sealed = [&bytes[..end], KEY].concat();
    let hash = format!("{:032x}\"\n}}\n", xxh3_128(&sealed));
    sealed.extend(hash.into_bytes());
    good(Manifest::from_text(bytes));
    let Some(manifest) = good(Manifest::from_text(&sealed)) else { return false };
    let again = Manifest::from_text(manifest.to_text().as_bytes()).expect("what was read is written as such");
    assert_eq!(again.to_text(), manifest.to_text());
    good(manifest.check_model(&again.model));
    manifest.bytes() > 0
}

/// A configuration: what it means, its rates, and that its resolved form means the same.
pub fn run_config(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let Some(raw) = good(RawConfig::from_toml_str(text, "run.toml", &[])) else { return false };
    if let Some(preview) = good(raw.preview(None)) {
        let last = preview.schedule.total.saturating_sub(1);
        for step in [0, 1, last / 2, last, u64::MAX] {
            let rate = preview.schedule.lr(step);
            assert!(rate.is_finite() && rate >= 0.0, "the rate of step {step} is {rate}");
        }
    }
    let Some(config) = good(raw.validate()) else { return false };
    let resolved = config.resolved_toml();
    let again = Config::from_toml_str(&resolved, &[]).unwrap_or_else(|e| panic!("{e} of\n{resolved}"));
    assert_eq!(again.resolved_toml(), resolved);
    true
}

/// The plane of weights of a shard of 64 tokens: what each sample reads of it.
pub fn weights(bytes: &[u8]) -> bool {
    let bin = write("planed.bin", &[0; 128]);
    write("planed.weights", bytes);
    let corpus = Corpus::open(&[format!("raw-u16:{}", bin.display())]).expect("it is whole");
    if let Some(found) =
        good(verify(&[format!("raw-u16:{}", bin.display())], None, None, &mut Progress::hidden()))
    {
        found.faults.iter().for_each(|fault| one_line(&fault.message));
        found.weights.iter().for_each(|plane| one_line(&plane.line()));
    }
    let Some(Some(weights)) = good(LossWeights::open(&corpus)) else { return false };
    let order = Order::new(Arc::new(corpus), Side::All, Split::NONE, 9, 1).expect("it is long enough");
    for sample in 0..order.windows() {
        let mut of_targets = [f32::NAN; 9];
        good(fill_weights(Some(&weights), &order.excerpts(sample).expect("it is there"), &mut of_targets));
        assert!(of_targets.iter().all(|weight| weight.is_finite()));
    }
    true
}

/// The numbers of 16 documents of 4 tokens, by which they are sorted: every window of each order of them.
pub fn sorted(bytes: &[u8]) -> bool {
    let bin = write("ranked.bin", &[0; 128]);
    let idx = include_bytes!("ranked.idx");
    write("ranked.idx", idx);
    write("ranked.score.f32", bytes);
    let corpus = Arc::new(Corpus::open(&[bin.display().to_string()]).expect("it is whole"));
    let arranged = |descending| {
        let arrangement = Arrangement::Sorted { key: "score".into(), descending };
        let order = good(Order::arranged(corpus.clone(), Side::All, Split::NONE, (8, 8), 1, arrangement))?;
        for sample in 0..order.windows() {
            let tokens: u64 =
                order.excerpts(sample).expect("it is there").iter().map(|part| part.tokens).sum();
            assert!(tokens >= 8, "a window of {tokens} tokens");
        }
        Some(())
    };
    arranged(false).is_some() && arranged(true).is_some()
}

/// JSON lines of conversations with weights, through a template that marks and one that does not.
pub fn conversations(bytes: &[u8]) -> bool {
    const LINE: &str = "{% for m in messages %}{{ m.role }}: {% generation %}{{ m.content | tojson }}{% endgeneration %};{% endfor %}";
    let path = write("chats.jsonl", bytes);
    let accepted = [Vec::new(), vec!["assistant".to_owned(), "user".into()]].map(|roles| {
        let chat =
            Chat::new("data.messages", ChatFiles::from_text(LINE, &[]), &roles).expect("it is a template");
        let weight = Some(WeightField { field: "weight".into(), kind: PlaneKind::default() });
        let options = InputOptions { chat: Some(Arc::new(chat)), weight, ..InputOptions::default() };
        let Some(inputs) = good(Inputs::find(&[&path], &options)) else { return false };
        let mut documents = inputs.documents();
        let mut given = true;
        for document in documents.weighed() {
            let Some(document) = good(document) else {
                given = false;
                break;
            };
            let ends: Vec<usize> = document.runs.iter().map(|run| run.end).collect();
            assert!(
                ends.is_sorted() && ends.last() == Some(&document.text.len()),
                "{ends:?} of {:?}",
                document.text
            );
            assert!(ends.iter().all(|end| document.text.is_char_boundary(*end)));
            assert!(document.runs.iter().all(|run| run.weight.is_finite()));
        }
        documents.left_out().lines().iter().for_each(|line| one_line(line));
        given && documents.left_out().is_empty()
    });
    accepted[0] && accepted[1]
}

/// A chat template, and with it two conversations.
pub fn chat_template(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let files = ChatFiles::from_text(text, &[("bos_token", "<s>"), ("eos_token", "</s>")]);
    let mut accepted = true;
    for roles in [Vec::new(), vec!["assistant".to_owned()]] {
        let Some(chat) = good(Chat::new("messages", files.clone(), &roles)) else { return false };
        for messages in [
            r#"[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]"#,
            r#"[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]"#,
        ] {
            accepted &= good(chat.document(messages.as_bytes())).and_then(good).is_some();
        }
    }
    accepted
}

/// A `tokenizer.json`: a text through it and back.
pub fn tokenizer(bytes: &[u8]) -> bool {
    let Some(tokenizer) = good(TextTokenizer::from_json(bytes.to_vec())) else { return false };
    let Some(ids) = good(tokenizer.encode("Hello, world! 12345\n\n\té <|endoftext|>")) else { return false };
    assert!(ids.iter().all(|id| *id < tokenizer.vocab_size()));
    good(tokenizer.decode(&ids));
    good(tokenizer.eod(None));
    true
}

/// What was accepted. An error is one line.
fn good<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(|error| one_line(&error.to_string())).ok()
}

fn one_line(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "not one line: {message:?}");
}

/// `bytes` as a file in a folder of this thread, in memory where the system offers that.
fn write(name: &str, bytes: &[u8]) -> PathBuf {
    thread_local! {
        static FOLDER: TempDir =
            tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a temporary folder");
    }
    let path = FOLDER.with(|folder| folder.path().join(name));
    fs::write(&path, bytes).expect("space for a small file");
    path
}
