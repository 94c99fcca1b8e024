//! `data where` and `data mix`: what a run reads, named and counted, beside its own log.
use crate::support::*;
use rewarm::data::{Corpus, TextTokenizer};
use serde_json::Value;

fn json(said: &Said) -> Value {
    serde_json::from_str(said.ok()).unwrap()
}

/// The tokens that a row's parts name, read from the shards.
fn tokens(row: &Value) -> Vec<u32> {
    let mut all = Vec::new();
    for part in row["documents"].as_array().unwrap() {
        let corpus = Corpus::open(&[part["shard"].as_str().unwrap()]).unwrap();
        let [first, end] = [0, 1].map(|i| part["shard_tokens"][i].as_u64().unwrap());
        let mut tokens = vec![0; (end - first) as usize];
        corpus.shards()[0].read(first, &mut tokens, u32::MAX).unwrap();
        let (start, _) = corpus.shards()[0].document(part["document"].as_u64().unwrap()).unwrap();
        assert_eq!(part["tokens"][0].as_u64().unwrap() + start, first);
        all.extend(tokens);
    }
    all
}

#[test]
fn a_step_is_named_and_its_documents_lead_back() {
    let Fixture { dir, .. } = fixture();
    let rows = json(&line(dir, "data where DIR/run --step 17 --json --text"));
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 8);
    let tokenizer = TextTokenizer::load(dir.join("data/tokenizer.json")).unwrap();
    for (i, row) in rows.iter().enumerate() {
        assert_eq!((&row["step"], &row["row"], &row["source"]), (&17.into(), &i.into(), &"train".into()));
        assert_eq!(row["sample"], 16 * 8 + i);
        assert_eq!(tokens(row).len(), 65);
        for part in row["documents"].as_array().unwrap() {
            let read = tokens(&serde_json::json!({ "documents": [part] }));
            assert_eq!(part["text"], tokenizer.decode(&read).unwrap());
            // The inverse names this row, and where in the document it reads.
            let (shard, document) = (part["shard"].as_str().unwrap(), &part["document"]);
            let said = line(dir, &format!("data where DIR/run --document {shard}:{document} --json"));
            let readers = json(&said);
            let mut this = readers.as_array().unwrap().iter().filter(|r| r["step"] == 17 && r["row"] == i);
            let this =
                this.next().unwrap_or_else(|| panic!("{document} does not lead to row {i}: {readers}"));
            assert_eq!(this["documents"][0]["tokens"], part["tokens"]);
            assert!(this["documents"].as_array().unwrap().iter().all(|part| part["document"] == *document));
        }
    }
    // For people, the same.
    let said = line(dir, "data where DIR/run --step 17 --row 3 --text");
    let first = &rows[3]["documents"][0];
    for words in [
        format!("step 17, row 3: sample 131 of train, epoch {}", rows[3]["epoch"]),
        format!(
            "{}:{}, tokens {}..{}",
            first["shard"].as_str().unwrap(),
            first["document"],
            first["tokens"][0],
            first["tokens"][1]
        ),
        format!("{:?}", first["text"].as_str().unwrap()),
    ] {
        assert!(said.ok().contains(&words), "{words} is missing in {}", said.out);
    }
    // A configuration whose run has not begun reads the same, and so does one of the run's steps.
    for from in ["run.toml", "run/step-0000000040"] {
        assert_eq!(
            json(&line(dir, &format!("data where DIR/{from} --step 17 --json --text"))).as_array(),
            Some(rows)
        );
    }
    let said = line(dir, "data where DIR/run.toml --step 17 --row 3");
    assert!(said.ok().ends_with("steps behind 0 are not saved yet\n"), "{}", said.out);
}

#[test]
fn every_document_is_read_as_often_as_its_epochs_say_or_held_out() {
    let Fixture { dir, .. } = fixture();
    let (mut held_out, mut read) = (0, 0);
    for document in 0..20 {
        let said = line(dir, &format!("data where DIR/run --document a:{document}"));
        if said.code == 1 {
            said.refused(&["held out", "no step reads it"]);
            held_out += 1;
            continue;
        }
        read += said.ok().lines().filter(|line| line.starts_with("step ")).count();
    }
    // 40 steps of 8 rows, each of one document or of two.
    assert!(held_out > 0 && (320..=640).contains(&read), "{held_out} {read}");
}

#[test]
fn what_cannot_be_named_is_refused() {
    let Fixture { dir, .. } = fixture();
    let before = tree(dir.path());
    for (args, words) in [
        ("run --step 0", &["step 0", "1 to 40"][..]),
        ("run --step 41", &["step 41", "1 to 40"]),
        ("run --step 4 --row 8", &["row 8", "rows 0 to 7"]),
        ("run --document b:0", &["no shard of the training data is called b", "a.bin"]),
        ("run --document a:20", &["a:20..21", "20 documents"]),
        ("run --document a", &["names no document", "SHARD:42"]),
        ("nothing --step 1", &["nothing"]),
        ("text --step 1", &["text"]),
    ] {
        let said = line(dir, &format!("data where DIR/{args}"));
        assert!(said.code != 0 && said.code != 101, "{args}: {}", said.out);
        for word in words {
            assert!(said.err.contains(word), "{args}: {word:?} is missing in {}", said.err);
        }
    }
    line(dir, "data mix DIR/run --step 41").refused(&["step 41", "40 steps"]);
    line(dir, "data mix DIR/run --set train.steps=50").refused(&[
        "train.steps=50",
        "has begun",
        "--override",
    ]);
    assert_eq!(before, tree(dir.path()));
    // Other data than the run's.
    let dir = workshop();
    std::fs::copy(dir.join("data/b.bin"), dir.join("data/a.bin")).unwrap();
    std::fs::copy(dir.join("data/b.idx"), dir.join("data/a.idx")).unwrap();
    line(&dir, "data where DIR/run --step 1").refused(&["fingerprint of the corpus", "replaced"]);
}

#[test]
fn counts_without_training_are_those_of_the_log() {
    let dir = workshop();
    let sources = r#"
[[data.mixture]]
name = "new"
paths = ["DIR/data/a"]
weight = 2
[[data.mixture]]
name = "old"
paths = ["DIR/data/b"]
fraction = 0.5
[[data.mixture.fraction_phases]]
shape = "cosine"
to = 0.15
[batch]
"#;
    let text = CONFIG.replacen("train = [\"DIR/data/a\"]\n", "", 1).replacen("[batch]\n", sources, 1);
    dir.config("mixed.toml", &text.replacen("DIR/run", "DIR/mixed", 1));
    let planned =
        json(&line(&dir, "data mix DIR/mixed.toml --step 0 --step 10 --step 20 --step 30 --step 40 --json"));
    assert!(!dir.join("mixed").exists());
    line(&dir, "train DIR/mixed.toml").ok();
    let logged: Vec<Value> =
        log(&dir.join("mixed")).into_iter().filter(|l| !l["sources"].is_null()).collect();
    assert_eq!((logged.len(), planned.as_array().unwrap().len()), (5, 5));
    for (logged, planned) in logged.iter().zip(planned.as_array().unwrap()) {
        assert_eq!(logged["step"], planned["step"]);
        let mut samples = 0;
        for name in ["new", "old"] {
            let (logged, planned) = (&logged["sources"][name], &planned["sources"][name]);
            assert_eq!([&logged["tokens"], &logged["epochs"]], [&planned["tokens"], &planned["epochs"]]);
            assert_eq!(planned["tokens"], planned["samples"].as_u64().unwrap() * 64);
            samples += planned["samples"].as_u64().unwrap();
        }
        assert_eq!(samples, 8 * planned["step"].as_u64().unwrap());
    }
    let after = json(&line(&dir, "data mix DIR/mixed --step 20 --json"));
    assert_eq!(after[0], planned[2]);
    let said = line(&dir, "data mix DIR/mixed.toml --set train.steps=8");
    for words in ["after step 2\n", "after step 8\n", "  new: ", " samples, ", " epochs, ", " %\n"] {
        assert!(said.ok().contains(words), "{words:?} is missing in {}", said.out);
    }
    let one = json(&line(&dir, "data mix DIR/run.toml --step 3 --json"));
    assert_eq!(one[0]["sources"]["train"]["tokens"], 3 * 8 * 64);
}
