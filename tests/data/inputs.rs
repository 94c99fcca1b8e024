//! Texts as people keep them: every format, packing, folder and pipe, and what is left out of them.
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::folder::{Folder, read, refused};
use crate::support::mentions;
use rewarm::data::{InputOptions, TextFormat};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(content).unwrap();
    out.finish().unwrap()
}

fn zst(content: &[u8]) -> Vec<u8> {
    zstd::encode_all(content, 3).unwrap()
}

#[test]
fn one_document_in_every_form() {
    let (a, b) = (r#"{"id": 1, "text": "one\n\u00e9"}"#, r#"{"text": "two", "meta": {"text": "no"}}"#);
    let lines = format!("{a}\n\n{b}\r\n");
    let array = format!("[{a}, {b}]");
    let spread = format!("\u{feff}[\n  {a},\n  {b}\n]\n");
    let pretty = "{\n  \"text\": \"one\\né\"\n}\n{\n  \"text\": \"two\"\n}\n";
    let strings = r#"["one\né", "two"]"#;
    let marked = format!("\u{feff}{lines}");
    let names = ["a.jsonl", "a.JSONL", "a.ndjson", "a.jsonlines", "a.jl", "a.json", "a.Json"];
    let mut forms: Vec<(String, Vec<u8>)> = Vec::new();
    for name in names {
        for text in [&lines, &array, &spread, &pretty.to_string(), &strings.to_string(), &marked] {
            forms.push((name.into(), text.clone().into_bytes()));
        }
        forms.push((format!("{name}.gz"), gzip(lines.as_bytes())));
        forms.push((format!("{name}.zst"), zst(array.as_bytes())));
    }
    // By content alone, whatever the name.
    for name in ["a", "a.txt", "a.data", "b lob"] {
        for text in [&lines, &marked, &array, &spread] {
            forms.push((name.into(), text.clone().into_bytes()));
            forms.push((name.into(), gzip(text.as_bytes())));
        }
    }
    // Several members and frames, as pigz and joined files have.
    forms.push(("a.jsonl.gz".into(), [gzip(format!("{a}\n").as_bytes()), gzip(b.as_bytes())].concat()));
    forms.push(("a.jsonl.zst".into(), [zst(format!("{a}\n").as_bytes()), zst(b.as_bytes())].concat()));
    for (name, content) in forms {
        let folder = Folder::new(&[(&name, &content)]);
        let (texts, documents) = folder.read();
        assert_eq!(texts, ["one\né", "two"], "{name}: {}", String::from_utf8_lossy(&content));
        assert!(documents.left_out().is_empty() && documents.files() == 1, "{name}");
        // Named, it is the same.
        assert_eq!(read(&[folder.at(&name)], &InputOptions::default()).0, texts, "{name}");
    }
}

#[test]
fn text_stays_text() {
    let object = "{\n  \"name\": \"x\",\n  \"version\": 1\n}\n";
    for (name, content) in [
        ("a.txt", "[1] is the first reference.\n"),
        ("a.md", "{ braces }"),
        ("a.py", "{'text': 'python'}\n"),
        ("a.txt", "{\"other\": \"field\"}\n"),
        ("a.txt", "[\"a\", \"list\"]\n"),
        ("a.txt", object),
        ("BZhou.txt", "BZhou writes"),
        ("one", "\u{1}\u{7f}"),
    ] {
        assert_eq!(Folder::new(&[(name, content.as_bytes())]).read().0, [content], "{name}");
    }
    // A mark at the front is no text.
    assert_eq!(Folder::new(&[("a.txt", b"\xef\xbb\xbfmarked")]).read().0, ["marked"]);
    assert_eq!(Folder::new(&[("a.txt.gz", &gzip(b"\xef\xbb\xbfpacked"))]).read().0, ["packed"]);
    let long = "word ".repeat(100_000);
    assert_eq!(
        Folder::new(&[("a.txt", long.as_bytes()), ("b.zst", &zst(long.as_bytes()))]).read().0,
        [&*long, &*long]
    );
}

#[test]
fn the_format_can_be_said() {
    let content = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
    let folder = Folder::new(&[("x.jsonl", content.as_bytes())]);
    let with = |format| InputOptions { format, ..InputOptions::default() };
    assert_eq!(read(&[folder.at("x.jsonl")], &with(TextFormat::Text)).0, [content]);
    for format in [TextFormat::JsonLines, TextFormat::Json] {
        assert_eq!(read(&[folder.at("x.jsonl")], &with(format)).0, ["a", "b"]);
    }
    folder.write("y", "[\"a\",\"b\"]");
    assert_eq!(read(&[folder.at("y")], &with(TextFormat::Json)).0, ["a", "b"]);
    mentions(&refused(&[folder.at("y")], &with(TextFormat::JsonLines)), &["y line 1", "no object"]);
    for name in ["auto", "text", "jsonl", "json"] {
        assert_eq!(name.parse::<TextFormat>().unwrap().to_string(), name);
    }
    assert!("csv".parse::<TextFormat>().is_err());
}

#[test]
fn lines_that_python_writes_and_lines_that_are_bad() {
    let deep = format!("{{\"x\": {}{}, \"text\": \"deep\"}}", "[".repeat(5000), "]".repeat(5000));
    let lines = [
        r#"{"text": "nan", "score": NaN, "worst": -Infinity, "large": 1e999}"#,
        r#"{"text": "a\ud800b"}"#,
        r#"{"text": "ok", "other": "\udc00"}"#,
        &deep,
        r#"{"text": "torn"#,
        r#"{"text": 1}"#,
        r#"{"text": ""}"#,
        r#"{"text": "dup", "text": "last"}"#,
        r#"{"text": null}"#,
        "{\"text\": \"\u{feff}bom inside\"}",
        "\u{feff}{\"text\": \"mark in the middle\"}",
        r#"{"big": 123456789012345678901234567890, "text": "end"}"#,
        "{\"text\": \"tab\tin it\"}",
    ];
    let folder = Folder::new(&[("x.jsonl", lines.join("\n").as_bytes())]);
    let (texts, documents) = read(&[folder.at("x.jsonl")], &InputOptions::default());
    let expected =
        ["nan", "a\u{fffd}b", "ok", "deep", "last", "\u{feff}bom inside", "mark in the middle", "end"];
    assert_eq!(texts, expected);
    let left = documents.left_out().lines();
    assert_eq!(left.len(), 3, "{left:?}");
    mentions(&left[0], &["2 lines that are not JSON", "x.jsonl line 5", "x.jsonl line 13"]);
    mentions(
        &left[1],
        &["2 values without a text in the field \"text\"", "x.jsonl line 6", "x.jsonl line 9"],
    );
    mentions(&left[2], &["1 empty texts", "x.jsonl line 7"]);
    let mended = documents.mended().lines();
    mentions(&mended[0], &["1 documents with lone surrogates, which became U+FFFD", "x.jsonl line 2"]);
    // Bytes that are not UTF-8: only that line.
    folder.write("y.jsonl", b"{\"text\":\"a\"}\n{\"text\":\"\xff\"}\n{\"x\":\"\xff\",\"text\":\"c\"}\n");
    let (texts, documents) = read(&[folder.at("y.jsonl")], &InputOptions::default());
    assert_eq!(texts, ["a", "c"]);
    mentions(&documents.left_out().lines()[0], &["1 lines that are not JSON", "y.jsonl line 2"]);
}

#[test]
fn a_file_without_any_text_is_a_mistake() {
    for (content, words) in [
        ("{\"body\": \"a\", \"id\": 2}\n{\"body\": \"b\"}\n", &["line 1", "\"body\", \"id\"", "--field"][..]),
        ("{\"text\": 1}\n", &["line 1", "the field \"text\" is not a string"]),
        ("\n[1, 2]\n", &["line 2", "no object with fields"]),
        ("[{\"text\": \"a\"}, ]", &["line 1", "a value was expected"]),
        ("[{\"text\": \"a\"}, nil]", &["line 1", "a value was expected"]),
        ("{\"text\": \"torn\n", &["line 1", "inside of a string"]),
        ("\u{fffd}\n", &["line 1", "not JSON"]),
        ("{}\n", &["line 1", "no object with fields"]),
        ("[{\"text\": \"a\"},\n{\"text\": \"b\"}\n", &["x.jsonl line 3", "the array ends too early"]),
        ("[{\"text\": \"a\"}\n{\"text\": \"b\"}]", &["line 2", "a comma"]),
        ("[{\"text\": \"a\"},\n\n{\"text\": \"b\"]", &["line 3", "not JSON"]),
        ("[{\"text\": \"a\"}] x", &["line 1", "follows the array"]),
    ] {
        let folder = Folder::new(&[("x.jsonl", content.as_bytes())]);
        for path in [folder.at("x.jsonl"), folder.at("")] {
            mentions(&refused(&[path], &InputOptions::default()), &[&["x.jsonl"], words].concat());
        }
    }
    // A .json in a folder may be anything; named, it was meant.
    let folder =
        Folder::new(&[("package.json", b"{\"name\": \"x\"}"), ("a.txt", b"a"), ("broken.json", b"{,}")]);
    let (texts, documents) = folder.read();
    assert_eq!(texts, ["a"]);
    assert_eq!(documents.left_out().count("JSON files without texts in the field \"text\""), 2);
    mentions(&refused(&[folder.at("package.json")], &InputOptions::default()), &["\"name\"", "--field"]);
    mentions(
        &refused(&[folder.at("broken.json")], &InputOptions::default()),
        &["line 1", "not JSON", "--format"],
    );
}

#[test]
fn what_is_packed_otherwise_is_named() {
    let real = |name: &str| fs::read(Path::new("tests/foreign").join(name)).unwrap();
    let mut tar = vec![0; 1024];
    tar[..5].copy_from_slice(b"a.txt");
    tar[257..262].copy_from_slice(b"ustar");
    for (name, content, kind, advice) in [
        ("a.txt.xz", &b"\xfd7zXZ\0\0\x04"[..], "xz", "xz -dc"),
        ("a.txt", b"\xfd7zXZ\0\0\x04", "xz", "xz -dc"),
        ("a.bz2", b"BZh91AY&SYxx", "bzip2", "bzip2 -dc"),
        ("b.bz2", &real("text.bz2"), "bzip2", "bzip2 -dc"),
        ("a.lz4", &real("text.lz4"), "lz4", "lz4 -dc"),
        ("a.zip", &real("arrays.npz"), "zip", "unzip"),
        ("a.arrow", &real("file.arrow"), "Arrow", "to_json"),
        ("data-00000-of-00001.arrow", &real("stream.arrow"), "Arrow", "to_json"),
        ("a.h5", &real("data.h5"), "HDF5", "JSON lines"),
        ("a.npy", &real("u2.npy"), "numpy", "name it as data"),
        ("model.safetensors", &real("small.safetensors"), "safetensors", "weights"),
        ("list.pkl", &real("list.pkl"), "pickle", "JSON lines"),
        ("old.pt", &real("old.pt"), "pickle", "JSON lines"),
        ("a.tar", &tar, "tar", "tar -xf"),
        ("a.tar.gz", &gzip(&tar), "tar", "tar -xf"),
        ("a.txt", b"\xff\xfea\0b\0", "UTF-16", "iconv"),
        ("a.txt", b"\xfe\xff\0a\0b", "UTF-16", "iconv"),
        ("a.txt", b"a\0b\0c\0", "binary", "iconv"),
        ("a.jsonl", b"\xff\xfe{\0", "UTF-16", "iconv"),
        ("a.gz", &gzip(&gzip(b"x")), "packed twice", "unpack it once"),
    ] {
        let folder = Folder::new(&[(name, content), ("b.txt", b"text")]);
        let (texts, documents) = folder.read();
        assert_eq!(texts, ["text"], "{name}");
        assert_eq!(documents.left_out().count(&format!("{kind} files")), 1, "{name}");
        mentions(&refused(&[folder.at(name)], &InputOptions::default()), &[name, kind, advice]);
        // Nothing else there: the reason is what is said.
        fs::remove_file(folder.at("b.txt")).unwrap();
        mentions(&refused(&[folder.at("")], &InputOptions::default()), &["holds no text", kind, name]);
    }
    // By name only; and cut off, which no folder may hide.
    let folder = Folder::new(&[
        ("a.txt.gz", b"plain"),
        ("b/cut.zst", &zst(&[b'x'; 5000])[..10]),
        ("c/cut.gz", &gzip(&[b'x'; 5000])[..20]),
    ]);
    mentions(&refused(&[folder.at("a.txt.gz")], &InputOptions::default()), &["a.txt.gz", "does not begin"]);
    for cut in ["b", "c"] {
        mentions(&refused(&[folder.at(cut)], &InputOptions::default()), &["cut."]);
    }
}

#[test]
fn links_are_followed_and_each_file_is_read_once() {
    let outside = Folder::new(&[("far.txt", b"far"), ("sub/deep.txt", b"deep")]);
    let folder = Folder::new(&[("a.txt", b"a"), ("b/c.txt", b"c")]);
    symlink(outside.at("far.txt"), folder.at("d.txt")).unwrap();
    symlink(outside.at("sub"), folder.at("e")).unwrap();
    symlink(folder.at(""), folder.at("b/up")).unwrap();
    symlink(folder.at("nowhere"), folder.at("broken")).unwrap();
    symlink("self", folder.at("self")).unwrap();
    symlink(folder.at("a.txt"), folder.at("z.txt")).unwrap();
    symlink(folder.at("b"), folder.at("z")).unwrap();
    fs::hard_link(folder.at("a.txt"), folder.at("hard.txt")).unwrap();
    let (texts, documents) = folder.read();
    assert_eq!(texts, ["a", "c", "far", "deep"]);
    let left = documents.left_out();
    assert_eq!(left.count("links that lead back to a folder they are in"), 1);
    assert_eq!(left.count("links that lead nowhere"), 1);
    assert_eq!(left.count("links that lead to each other"), 1);
    assert_eq!(left.count("that were taken by another name"), 3, "{:?}", left.lines());
    assert_eq!(left.lines().len(), 4, "{:?}", left.lines());

    // Named twice is a mistake; named beside its folder is not, and it is read once.
    let here = |name: &str| folder.at(name);
    for twice in [
        [here("a.txt"), here("./a.txt")],
        [here("a.txt"), here("b/../a.txt")],
        [here("a.txt"), here("z.txt")],
        [here("hard.txt"), here("a.txt")],
        [here("b"), here("b/")],
        [here("b"), here("z")],
        [here("b"), here("b/.")],
    ] {
        mentions(&refused(&twice, &InputOptions::default()), &["is named twice", "the first time as"]);
    }
    for (paths, expected) in [
        ([here("a.txt"), here("")], &["a", "c", "far", "deep"][..]),
        ([here("e"), here("a.txt")], &["deep", "a"]),
        ([here(""), here("a.txt")], &["a", "c", "far", "deep"]),
        ([here(""), here("b")], &["a", "c", "far", "deep"]),
        ([here("e/deep.txt"), here("e")], &["deep"]),
    ] {
        let (texts, documents) = read(&paths, &InputOptions::default());
        assert_eq!(texts, expected, "{paths:?}");
        assert!(paths[0] == here("e") || documents.left_out().count("that were taken by another name") > 0);
    }
}

#[test]
fn the_cache_of_the_hub_is_all_links() {
    let line = |text: &str| format!("{{\"text\": \"{text}\"}}\n").into_bytes();
    let cache = Folder::new(&[
        ("datasets--x/blobs/0a1b", &line("one")),
        ("datasets--x/blobs/2c3d", &gzip(&line("two"))),
        ("datasets--x/blobs/4e5f", b"# A card\n"),
        ("datasets--x/refs/main", b"0123456789abcdef"),
        ("datasets--x/.no_exist/0123/x", b""),
    ]);
    for (revision, name, blob) in [
        ("aa", "data/train.jsonl", "../../../blobs/0a1b"),
        ("aa", "data/test.json.gz", "../../../blobs/2c3d"),
        ("aa", "README.md", "../../blobs/4e5f"),
        ("bb", "data/train.jsonl", "../../../blobs/0a1b"),
    ] {
        let path = cache.at(&format!("datasets--x/snapshots/{revision}/{name}"));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(blob, path).unwrap();
    }
    let (texts, documents) = cache.read();
    assert_eq!(texts, ["# A card\n", "two", "one"]);
    let left = documents.left_out();
    assert_eq!(left.count("parts of a hub's cache, whose files are taken by their names"), 2);
    assert_eq!((left.count("hidden"), left.count("that were taken by another name")), (1, 1));
    // One snapshot of it.
    assert_eq!(read(&[cache.at("datasets--x/snapshots/bb")], &InputOptions::default()).0, ["one"]);
    // The format is that of the name, not of what it links to.
    let only = InputOptions { extensions: vec!["jsonl".into()], ..InputOptions::default() };
    assert_eq!(read(&[cache.at("")], &only).0, ["one"]);
}

#[test]
fn everything_left_out_is_counted() {
    let folder = Folder::new(&[
        ("a.txt", b"a"),
        (".hidden", b"h"),
        (".git/config", b"g"),
        ("b.rs", b"b"),
        ("empty.txt", b""),
        ("latin.txt", b"caf\xe9"),
        ("d.TXT.gz", &gzip(b"d")),
    ]);
    Command::new("mkfifo").arg(folder.at("pipe.txt")).status().unwrap();
    let only = InputOptions { extensions: vec!["txt".into()], ..InputOptions::default() };
    let (texts, documents) = read(&[folder.at("")], &only);
    assert_eq!(texts, ["a", "d"]);
    let left = documents.left_out();
    for (what, count) in [
        ("hidden", 2),
        ("with another extension", 1),
        ("empty files", 1),
        ("files that are not UTF-8 text", 1),
        ("neither files nor folders", 1),
    ] {
        assert_eq!(left.count(what), count, "{what}: {:?}", left.lines());
    }
    mentions(&left.lines().join("\n"), &["2 hidden (", ".git", "latin.txt"]);
    // What is named is taken, hidden or not.
    assert_eq!(read(&[folder.at(".hidden")], &InputOptions::default()).0, ["h"]);
    assert_eq!(read(&[folder.at(".git")], &InputOptions::default()).0, ["g"]);
    mentions(
        &refused(&[folder.at("empty.txt")], &InputOptions::default()),
        &["holds no text", "1 empty files"],
    );
    mentions(&refused(&[folder.at("none")], &InputOptions::default()), &["cannot open", "none"]);
    let other = InputOptions { extensions: vec!["c".into()], ..InputOptions::default() };
    mentions(&refused(&[folder.at("")], &other), &["no files named .c", "with another extension"]);
}

#[test]
fn a_folder_that_cannot_be_entered_is_counted() {
    let folder = Folder::new(&[("a.txt", b"a"), ("shut/b.txt", b"b"), ("c.txt", b"c")]);
    let mode = |name: &str, mode| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(folder.at(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("shut", 0);
    mode("c.txt", 0);
    let readable = fs::read(folder.at("c.txt")).is_ok();
    if !readable {
        let (texts, documents) = folder.read();
        assert_eq!(texts, ["a"]);
        assert_eq!(documents.left_out().lines().len(), 2, "{:?}", documents.left_out().lines());
        mentions(&refused(&[folder.at("c.txt")], &InputOptions::default()), &["cannot read", "c.txt"]);
    }
    mode("shut", 0o755);
    // Root reads everything.
    assert_eq!(fs::read_dir(folder.at("shut")).unwrap().count(), 1);
}

#[test]
fn folders_files_and_jsonl() {
    let folder = Folder::new(&[
        ("b/z.md", b"zed"),
        ("b/a.txt", b"aye"),
        ("c.txt", b"see"),
        ("b/.git/x", b"no"),
        ("empty.txt", b""),
        ("b/image.png", &[0xff, 0xd8, 0]),
        ("lines.jsonl", b"{\"text\":\"one\",\"id\":1}\n\n{\"text\":\"\"}\n{\"id\":2,\"text\":\"t\\nwo\"}"),
    ]);
    let (texts, documents) = folder.read();
    assert_eq!(texts, ["aye", "zed", "see", "one", "t\nwo"]);
    assert_eq!((documents.given(), documents.files()), (5, 4));
    assert_eq!(read(&[folder.at("c.txt"), folder.at("b/a.txt")], &InputOptions::default()).0, ["see", "aye"]);
    mentions(&refused(&[folder.at("b/image.png")], &InputOptions::default()), &["image.png", "binary"]);
}
