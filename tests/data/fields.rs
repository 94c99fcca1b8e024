//! Fields of records and of tables, and what has none: counted, or the end.
#[cfg(feature = "parquet")]
use std::{fs, path::Path};

use crate::folder::{Folder, read, refused};
use crate::support::mentions;
#[cfg(feature = "parquet")]
use rewarm::data::Inputs;
use rewarm::data::{InputOptions, OnError};

#[test]
fn what_holds_no_text_among_texts_is_counted() {
    let folder =
        Folder::new(&[("x.json", b"[null, {\"text\": \"a\"},\n1.5, [\"no\"], {\"text\": 2}, \"b\"]")]);
    let (texts, documents) = folder.read();
    assert_eq!(texts, ["a", "b"]);
    assert_eq!(documents.left_out().count("values without a text in the field \"text\""), 4);
    mentions(&documents.left_out().lines()[0], &["x.json line 1", "x.json line 2"]);
}

#[test]
fn fields_of_fields_are_named_by_dots() {
    let folder = Folder::new(&[
        (
            "a.jsonl",
            br#"{"meta": {"id": 1, "text": "one"}}
{"meta": {"text": {"x": "deeper"}}, "meta.text": "two"}
{"meta": "no object"}
{"meta": {"te\u0078t": "three"}, "text": "no"}
{"meta": {"text": "no"}, "meta": {"text": 3}}
"#,
        ),
        ("b", br#"{"id": 1, "meta": {"n": 2, "text": "a name that says nothing"}}"#),
    ]);
    let options = InputOptions { field: "meta.text".into(), ..InputOptions::default() };
    let (texts, documents) = read(&[folder.at("")], &options);
    assert_eq!(texts, ["one", "two", "three", "a name that says nothing"]);
    let lines: Vec<u64> = documents.dropped().iter().map(|dropped| dropped.line).collect();
    assert_eq!(lines, [3, 5]);
    let deep = InputOptions { field: "meta.text.x".into(), ..InputOptions::default() };
    assert_eq!(read(&[folder.at("a.jsonl")], &deep).0, ["deeper"]);
}

#[test]
fn what_cannot_be_read_is_counted_by_source_or_stops() {
    let folder = Folder::new(&[
        ("a.jsonl", b"{\"text\": \"one\"}\n{torn\n{\"text\": \"three\"}\n{\"other\": 1}\n"),
        ("more/b.txt", b"four!"),
        ("more/c.txt", b"\xff"),
    ]);
    let sources = [folder.at("more"), folder.at("a.jsonl")];
    let (texts, documents) = read(&sources, &InputOptions::default());
    assert_eq!(texts, ["four!", "one", "three"]);
    let counts: Vec<_> = documents
        .sources()
        .iter()
        .map(|s| (s.path.clone(), s.files, s.documents, s.bytes, s.dropped))
        .collect();
    assert_eq!(counts, [(sources[0].clone(), 1, 1, 5, 0), (sources[1].clone(), 1, 2, 8, 2)]);
    let dropped: Vec<_> = documents.dropped().iter().map(|d| (d.line, d.reason.as_str())).collect();
    assert_eq!(dropped, [(2, "lines that are not JSON"), (4, "values without a text in the field \"text\"")]);
    let stop = InputOptions { on_error: OnError::Stop, ..InputOptions::default() };
    mentions(&refused(&[folder.at("a.jsonl")], &stop), &["a.jsonl line 2", "not JSON"]);
    mentions(&refused(&[folder.at("more")], &stop), &["c.txt", "not UTF-8"]);
    folder.write("a.jsonl", "{\"text\": \"one\"}\n{\"other\": 1}\n");
    mentions(&refused(&[folder.at("a.jsonl")], &stop), &["a.jsonl line 2", "[\"other\"]", "--field"]);
}

/// Tables of pyarrow (tools/foreign_shards.py): 700 rows in three row groups, a text in all but those of 97n + 5.
#[cfg(feature = "parquet")]
#[test]
fn columns_of_parquet_are_read_by_name() {
    let foreign = |name: &str| Path::new("tests/foreign").join(name);
    let expected = |keep: &dyn Fn(usize) -> bool| -> Vec<String> {
        let rows = (0..700usize).filter(|i| i % 97 != 5 && keep(*i));
        rows.map(|i| format!("row {i} says é {}", i * i)).collect()
    };
    for packing in ["none", "snappy", "zstd"] {
        let path = foreign(&format!("texts-{packing}.parquet"));
        let (texts, documents) = read(&[&path], &InputOptions::default());
        assert_eq!(texts, expected(&|_| true), "{packing}");
        assert_eq!((documents.dropped()[1].line, documents.sources()[0].dropped), (103, 8));
        let nested = InputOptions { field: "meta.text".into(), ..InputOptions::default() };
        assert_eq!(read(&[&path], &nested).0, expected(&|i| i % 3 != 0), "{packing}");
    }
    assert_eq!(read(&[foreign("texts-required.parquet")], &InputOptions::default()).0, ["a", "b"]);
    let field = |field: &str| InputOptions { field: field.into(), ..InputOptions::default() };
    let none = foreign("texts-none.parquet");
    mentions(&refused(&[&none], &field("other")), &["the columns \"id\", \"text\"", "--field"]);
    for wrong in ["id", "list.list.element"] {
        mentions(&refused(&[&none], &field(wrong)), &[wrong, "no strings"]);
    }
    mentions(
        &refused(&[foreign("texts-gzip.parquet")], &field("text")),
        &["texts-gzip.parquet", "snappy or zstd"],
    );
    let stop = InputOptions { on_error: OnError::Stop, ..InputOptions::default() };
    mentions(&refused(&[&none], &stop), &["texts-none.parquet row 6", "no value"]);
    // Half a file, and one that is damaged in the middle: refused or read, never a panic.
    let whole = fs::read(foreign("texts-zstd.parquet")).unwrap();
    let folder = Folder::new(&[("a.parquet", &whole[..whole.len() / 2])]);
    mentions(&refused(&[folder.at("a.parquet")], &field("text")), &["a.parquet"]);
    for at in (4..whole.len()).step_by(whole.len() / 300) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        folder.write("a.parquet", damaged);
        let found = Inputs::find(&[folder.at("a.parquet")], &field("text"));
        drop(found.and_then(|inputs| inputs.documents().collect::<rewarm::Result<Vec<_>>>()));
    }
}
