//! What [`History`] names is what the model is fed, whatever becomes of the run on the way.
use super::super::claim::lock_run;
use super::super::history::History;
use super::super::open::Allow;
use super::*;
use crate::config::Config;
use crate::data::{ShardWriter, Sources, Turn};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

mod chain;

const TIME: usize = 8;
const VOCAB: u32 = 4096;

/// Three sources of one or two shards, of which the second is read many times and the third is packed; steps grow from 2 to 4 rows.
const RUN: &str = r#"
run_dir = "DIR/run"
threads = 1
model = { vocab_size = 4096, hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, rotary_pct = 0.5,
          max_position_embeddings = 8 }
schedule = { lr = 1e-3 }
train = { steps = 420 }
eval = { every = 0, sequences = 1 }
checkpoint = { every = 1000, keep = 100 }
[data]
validation_fraction = 0.2
[[data.mixture]]
name = "new"
paths = ["DIR/new-a", "DIR/new-b"]
when_empty = "repeat"
weight = 3
[[data.mixture]]
name = "small"
paths = ["DIR/small"]
when_empty = "repeat"
[[data.mixture]]
name = "old"
paths = ["DIR/old"]
order = "packed"
when_empty = "repeat"
fraction = 0.4
[[data.mixture.fraction_phases]]
shape = "linear"
length = "60%"
to = 0.1
[[data.mixture.fraction_phases]]
shape = "constant"
[batch]
sequences = 4
micro = 2
stages = [{ sequences = 2, until = 1600 }]
"#;

/// One source without documents, three times, in steps of three rows.
const ONE: &str = r#"
run_dir = "DIR/one"
threads = 1
model = { vocab_size = 4096, hidden_size = 8, num_hidden_layers = 1, num_attention_heads = 2, rotary_pct = 0.5,
          max_position_embeddings = 8 }
schedule = { lr = 1e-3 }
data = { train = ["DIR/small", "DIR/old"] }
batch = { sequences = 3 }
train = { steps = 200 }
eval = { every = 0, sequences = 1 }
checkpoint = { every = 1000 }
"#;

/// Documents of 0 to 40 tokens that are told apart by their tokens.
fn shard(dir: &Path, name: &str, documents: u32, first: u32) {
    let mut shard = ShardWriter::create(&dir.join(name), VOCAB).unwrap();
    for d in 0..documents {
        let length = 1 + (d * 7919 + 13) % 40;
        shard.push(&(0..length).map(|i| (first + 41 * d + i) % VOCAB).collect::<Vec<u32>>()).unwrap();
    }
    shard.finish().unwrap();
}

fn data() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, documents, first) in
        [("new-a", 60, 0), ("new-b", 45, 900), ("small", 14, 1900), ("old", 50, 2400)]
    {
        shard(dir.path(), name, documents, first);
    }
    dir
}

fn config(dir: &TempDir, text: &str) -> Config {
    Config::from_toml_str(&text.replace("DIR", &dir.path().display().to_string()), &[]).unwrap()
}

/// The `TIME` + 1 tokens of every step and row.
type Fed = BTreeMap<(u64, u64), Vec<u32>>;

/// Takes the steps up to `end`, saves there, and notes the very batches that are handed to the model.
fn train(session: &mut Session, end: u64, fed: &mut Fed) {
    let (mut batch, mut display) = (Batch::default(), Display::new(0, end));
    while session.state.step < end {
        let step = session.state.step + 1;
        let issued = session.issue(0, &mut batch).unwrap();
        for (row, (tokens, targets)) in batch.tokens.chunks(TIME).zip(batch.targets.chunks(TIME)).enumerate()
        {
            let window = tokens.iter().chain(targets.last()).map(|token| *token as u32).collect();
            fed.insert((step, row as u64), window);
        }
        session.finish(issued, &mut display).unwrap();
    }
    session.save(&display).unwrap();
}

fn resume(config: &Config, sets: &[&str], rewind: Option<u64>) -> Session {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    let allow = Allow { replan: !sets.is_empty(), rewind, ..Allow::default() };
    Session::resume(lock_run(&config.run_dir).unwrap(), &sets, allow).unwrap()
}

/// What is named, read from the shards.
fn named(history: &History, step: u64, row: u64) -> Vec<u32> {
    let (sources, turns) = history.rows(step).unwrap();
    let turn = turns[row as usize];
    let order = &sources.list()[turn.source].order;
    let mut tokens = Vec::new();
    for excerpt in order.excerpts(turn.sample).unwrap() {
        let shard = &order.corpus().shards()[excerpt.place.shard];
        if excerpt.padding {
            tokens.extend(vec![tokens[tokens.len() - 1]; excerpt.tokens as usize]);
            continue;
        }
        let (start, end) = shard.document(excerpt.place.document).unwrap();
        assert_eq!(start + excerpt.place.offset, excerpt.place.token);
        assert!(excerpt.place.token + excerpt.tokens <= end, "an excerpt is of one document");
        let mut part = vec![0; excerpt.tokens as usize];
        shard.read(excerpt.place.token, &mut part, VOCAB).unwrap();
        tokens.extend(part);
    }
    tokens
}

/// A thousand random rows, and a row of every step.
fn check(history: &History, fed: &Fed) {
    let rows: Vec<_> = fed.keys().copied().collect();
    let draw = |i: u64| rows[(i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize % rows.len()];
    let each_step = rows.iter().copied().filter(|(_, row)| *row == 0);
    for (step, row) in (1..=1000).map(draw).chain(each_step) {
        assert_eq!(named(history, step, row), fed[&(step, row)], "step {step}, row {row}");
    }
}

#[test]
fn a_mixture_through_resumes_changes_and_a_rewind() {
    let dir = data();
    let config = config(&dir, RUN);
    let path = dir.path().join("run.toml");
    std::fs::write(&path, config.resolved_toml()).unwrap();
    let planned = History::open(&path, &[]).unwrap();
    let mut fed = Fed::new();
    let mut session = Session::start(config.clone()).unwrap();
    train(&mut session, 90, &mut fed);
    drop(session);
    let mut session = resume(&config, &[], None);
    train(&mut session, 150, &mut fed);
    // Without training, and before the first step, exactly what was given.
    assert_eq!(planned.given(150).unwrap().1, *session.mixture.dealt());
    check(&planned, &fed);
    drop(session);

    // Other shares, and some of it left out: a rewind follows, so this part is done twice.
    let skip = r#"data.skip=["samples 90..105 of small", "documents new-b.bin:3..6", "document old:20"]"#;
    let mix = |weight: f64| {
        let list = config.data.mixture.clone();
        let list: Vec<String> = list
            .into_iter()
            .map(|source| {
                let share =
                    if source.name == "new" { format!("weight = {weight}") } else { "weight = 1.5".into() };
                let order = source.order.to_string();
                format!(
                    "{{name = {:?}, paths = {:?}, order = {order:?}, {share}}}",
                    source.name, source.paths
                )
            })
            .collect();
        format!("data.mixture=[{}]", list.join(", "))
    };
    let mut session = resume(&config, &[&mix(0.7), skip], None);
    train(&mut session, 230, &mut fed);
    drop(session);
    let mut session = resume(&config, &[], None);
    train(&mut session, 260, &mut fed);
    check(&History::open(&config.run_dir, &[]).unwrap(), &fed);
    drop(session);
    fed.retain(|(step, _), _| *step <= 230);
    let mut session = resume(&config, &[&mix(2.0)], Some(230));
    assert!(session.state.step == 230 && config.run_dir.join("rewound-1-step-0000000260").exists());
    train(&mut session, 300, &mut fed);
    drop(session);
    // All of it again, in a longer run.
    let mut session = resume(&config, &["data.skip=[]", "train.steps=430"], None);
    train(&mut session, 430, &mut fed);

    let history = History::open(&config.run_dir, &[]).unwrap();
    assert_eq!((fed.len() as u64, history.steps()), (session.state.sample, (430, 430)));
    assert!(session.mixture.dealt().position(1) > 10 * session.mixture.sources().list()[1].order.windows());
    check(&history, &fed);
    assert_eq!(history.given(430).unwrap().1, *session.mixture.dealt());
    readers_are_the_rows(&history);

    // What was left out, was: sample numbers in the steps under the first rule.
    let order = &history.rows(1).unwrap().0.list()[0].order;
    let of_document = order.positions_of(1, 3).unwrap().unwrap_or(0..0);
    let mut skipped: Vec<u64> = Vec::new();
    for epoch in 0..30 {
        skipped.extend(order.samples_of(epoch, of_document.clone()).into_iter().flatten());
    }
    for step in 151..=300 {
        for turn in history.rows(step).unwrap().1 {
            assert!(turn.source != 1 || !(90..105).contains(&turn.sample), "step {step}");
            assert!(turn.source != 0 || !skipped.contains(&turn.sample), "step {step}");
        }
    }
    assert!(session.mixture.dealt().passed.iter().all(|passed| *passed > 0), "{:?}", session.mixture.dealt());
}

/// The inverse, for every document of every shard.
fn readers_are_the_rows(history: &History) {
    let (_, steps) = history.steps();
    let rows: Vec<_> = (1..=steps).map(|step| history.rows(step).unwrap().1).collect();
    let mut read = 0;
    for (i, source) in history.rows(1).unwrap().0.list().iter().enumerate() {
        for (s, shard) in source.order.corpus().shards().iter().enumerate() {
            for document in (0..shard.documents()).step_by(7) {
                let Some(tokens) = source.order.positions_of(s, document).unwrap() else { continue };
                let mut found = Vec::new();
                let seen = |_: &Sources, step, row, turn: Turn| {
                    found.push((step, row, turn.sample));
                    Ok(())
                };
                history.readers(|_| Ok(Some((i, vec![tokens.clone()]))), seen).unwrap();
                let holds = |sample| {
                    let excerpts = source.order.excerpts(sample).unwrap();
                    excerpts.iter().any(|e| !e.padding && e.place.shard == s && e.place.document == document)
                };
                let mut expected = Vec::new();
                for (step, turns) in (1..).zip(&rows) {
                    for (row, turn) in (0..).zip(turns) {
                        if turn.source == i && holds(turn.sample) {
                            expected.push((step, row, turn.sample));
                        }
                    }
                }
                assert_eq!(found, expected, "{}:{document}", shard.path().display());
                read += expected.len();
            }
        }
    }
    assert!(read > 200, "{read}");
}

#[test]
fn one_source_its_epochs_and_a_branch_of_it() {
    let dir = data();
    let config = config(&dir, ONE);
    let mut fed = Fed::new();
    let mut session = Session::start(config.clone()).unwrap();
    train(&mut session, 60, &mut fed);
    drop(session);
    let mut session = resume(&config, &["data.skip=[\"samples 180..200\", \"sample 260\"]"], None);
    train(&mut session, 120, &mut fed);
    drop(session);
    let mut session = resume(&config, &[], None);
    train(&mut session, 200, &mut fed);
    check(&History::open(&config.run_dir, &[]).unwrap(), &fed);
    let dealt = session.mixture.dealt().clone();
    assert_eq!((dealt.taken[0], dealt.passed[0]), (600, 21));
    assert!(dealt.position(0) > 3 * session.mixture.sources().list()[0].order.windows());
    drop(session);

    let branch = ONE
        .replace("DIR/one", "DIR/two")
        .replace("model = {", "start = { from = \"DIR/one\", data = \"continue\" }\n#");
    let branch =
        branch.replace("          max_position_embeddings = 8 }\n", "").replace("steps = 200", "steps = 40");
    let config = self::config(&dir, &branch);
    let (mut session, mut fed) = (Session::start(config.clone()).unwrap(), Fed::new());
    assert_eq!(session.mixture.dealt(), &dealt);
    train(&mut session, 40, &mut fed);
    check(&History::open(&config.run_dir, &[]).unwrap(), &fed);
}
