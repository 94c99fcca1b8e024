//! Token files of other programs: what NumPy and Megatron write, what is no tokens, and folders as people keep them.
//! The files in tests/foreign were written by those programs (tools/foreign_shards.py).
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::support::*;
use proptest::prelude::*;
use rewarm::data::{Corpus, Dtype, Format, Order, Progress, Side, Source, Sources, Split, verify};
use tempfile::tempdir;

fn foreign(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign").join(name)
}

fn named(mark: &str, path: &Path) -> rewarm::Result<Corpus> {
    Corpus::open(&[format!("{mark}{}", path.display())])
}

fn tokens(corpus: &Corpus) -> Vec<u32> {
    let read = |shard: &rewarm::data::Shard| {
        let mut out = vec![0; shard.tokens() as usize];
        shard.read(0, &mut out, u32::MAX).unwrap();
        out
    };
    corpus.shards().iter().flat_map(read).collect()
}

#[test]
fn arrays_of_numpy_are_read_as_their_headers_say() {
    const TOKENS: [u32; 6] = [1, 2, 3, 500, 65535, 7];
    for (name, dtype, expected) in [
        ("u2", Dtype::U16, &TOKENS[..]),
        ("i4", Dtype::I32, &TOKENS),
        ("u4", Dtype::U32, &TOKENS),
        ("i8", Dtype::I64, &TOKENS),
        ("u8", Dtype::I64, &TOKENS),
        ("u1", Dtype::U8, &[1, 2, 127]),
        ("i1", Dtype::I8, &[1, 2, 127]),
        ("rows", Dtype::U16, &TOKENS),
        ("one-column", Dtype::U16, &TOKENS),
        ("version2", Dtype::U16, &TOKENS),
        ("version3", Dtype::U16, &TOKENS),
    ] {
        let path = foreign(&format!("{name}.npy"));
        for mark in ["", "raw-u16:", "raw-u32:"] {
            let corpus = named(mark, &path).unwrap();
            let shard = &corpus.shards()[0];
            assert_eq!((shard.format(), shard.dtype()), (Format::Npy, dtype), "{mark}{name}");
            assert_eq!(tokens(&corpus), expected, "{mark}{name}");
            assert_eq!((corpus.documents(), corpus.tokens()), (1, expected.len() as u64));
        }
        let found = verify(&spec(&path), None, None, &mut Progress::hidden()).unwrap();
        assert_eq!(found.faults_total, 0, "{name}: {:?}", found.faults);
        assert_eq!(found.largest_token, i64::from(*expected.iter().max().unwrap()));
    }
}

#[test]
fn arrays_that_are_no_tokens_say_why() {
    for (name, words) in [
        ("columns", ["shape [2, 3]", "ascontiguousarray"]),
        ("big-endian", ["\">u2\", which is big endian", "astype(\"<u2\")"]),
        ("float", ["\"<f4\"", "expected integers"]),
        ("bool", ["\"|b1\"", "expected integers"]),
        ("scalar", ["a single number", "no array"]),
        ("empty", ["no tokens", "[0]"]),
        ("object", ["\"|O\"", "expected integers"]),
        ("records", ["records ([('a', '<u2')", "expected integers"]),
    ] {
        let path = foreign(&format!("{name}.npy"));
        for mark in ["", "raw-u16:"] {
            mentions(&refusal(named(mark, &path)), &[&format!("{name}.npy"), words[0], words[1]]);
        }
    }
    // Values that no vocabulary has are found where they are read, as in every format.
    for (name, value) in [("negative", "is -1"), ("large", "is 1099511627776")] {
        let corpus = open(&foreign(&format!("{name}.npy")));
        mentions(&refusal(corpus.shards()[0].read(0, &mut [0; 2], 50_000)), &["token 1", value, "0..50000"]);
    }
    // Cut, longer, and with a header that promises more.
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.npy");
    let good = fs::read(foreign("u2.npy")).unwrap();
    for (bytes, word) in [
        (good[..good.len() - 1].to_vec(), "truncated or damaged"),
        ([&good[..], &[0]].concat(), "truncated or damaged"),
        (good[..100].to_vec(), "truncated"),
        ([&good[..6], &[9, 0], &good[8..]].concat(), "format 9.0"),
        ([&good[..8], &[255, 255], &good[10..]].concat(), "header of 65535 bytes"),
        (
            good.iter().map(|b| if *b == b'h' { b'X' } else { *b }).collect(),
            "'descr', 'fortran_order' and 'shape'",
        ),
    ] {
        fs::write(&path, bytes).unwrap();
        mentions(&refusal(named("raw-u16:", &path)), &["a.npy", word]);
    }
    // Headerless files under this name (OLMo's) are read as before.
    fs::write(&path, [1, 0, 2, 0]).unwrap();
    assert_eq!(tokens(&named("raw-u16:", &path).unwrap()), [1, 2]);
    mentions(&refusal(named("", &path)), &["cannot tell its format", "raw-u16:"]);
}

#[test]
fn files_of_other_kinds_are_refused_by_name() {
    let dir = tempdir().unwrap();
    let made = |name: &str, bytes: Vec<u8>| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let llmc = |magic: i32, version: i32| {
        let mut bytes: Vec<u8> = [magic, version, 2].iter().flat_map(|w| w.to_le_bytes()).collect();
        bytes.resize(1028, 0);
        bytes
    };
    let mut llmq = b"BIN.TOK\n".to_vec();
    llmq.resize(1032, 1);
    let gguf = [&b"GGUF\x03\0\0\0"[..], &[0; 100]].concat();
    let cached = [&b"TNTIDX\0\0"[..], &[1; 40]].concat();
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (path, kind) in [
        (foreign("small.safetensors"), "safetensors"),
        (foreign("arrays.npz"), "zip"),
        (foreign("zip.pt"), "zip"),
        (foreign("old.pt"), "torch.save's old format"),
        (foreign("list.pkl"), "pickle"),
        (foreign("dict.pkl"), "pickle"),
        (foreign("text.gz"), "gzip"),
        (foreign("text.bz2"), "bzip2"),
        (foreign("text.xz"), "xz"),
        (foreign("text.zst"), "zstd"),
        (foreign("text.lz4"), "lz4"),
        (foreign("text.txt"), "text"),
        (foreign("table.parquet"), "Parquet"),
        (foreign("file.arrow"), "Arrow"),
        (foreign("stream.arrow"), "Arrow"),
        (foreign("data.h5"), "HDF5"),
        (foreign("whole.idx"), "index of a Megatron shard"),
        (made("old.idx", cached), "index of a Megatron shard"),
        (made("eval", llmc(20240522, 1)), "llm.c that holds no tokens"),
        (made("model", llmc(20240326, 3)), "llm.c that holds no tokens"),
        (made("shard", llmc(20240520, 1)), "token shard of llm.c"),
        (made("newer", llmc(20240801, 8)), "token shard of llm.c"),
        (made("llmq", llmq), "llmq"),
        (made("gguf", gguf), "GGUF"),
        (made("a.tar", tar), "tar"),
        (made("a.db", [&b"SQLite format 3\0"[..], &[1; 100]].concat()), "SQLite"),
        (made("a.pdf", [&b"%PDF-1.7\n"[..], &[200; 100]].concat()), "PDF"),
    ] {
        for mark in ["raw-u16:", "raw-u32:"] {
            mentions(
                &refusal(named(mark, &path)),
                &[kind, "expected tokens without a header", path.to_str().unwrap()],
            );
        }
        // Without the prefix it is named as well, where nothing says Megatron or llm.c.
        if !kind.contains("Megatron") && !kind.contains("token shard of llm.c") {
            mentions(&refusal(named("", &path)), &[kind, "expected a token shard"]);
        }
    }
}

/// The first bytes of other kinds without what must follow: tokens like any others.
#[test]
fn tokens_that_begin_like_another_kind_are_tokens() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.bin");
    for start in [
        &b"PK\x03\x04"[..],
        b"\x1f\x8b\x08",
        b"PAR1",
        b"\x80\x04\x95",
        b"\x80\x02",
        b"BZh9",
        b"GGUF",
        b"\x93NUM",
        b"\xff\xff\xff\xff",
        &20240520i32.to_le_bytes(),
        &20240522i32.to_le_bytes(),
        b"MMIDIDX",
        b"the text",
    ] {
        let mut bytes = start.to_vec();
        bytes.extend((0..2000u32 - start.len() as u32).map(|i| (i * i / 7 + 200) as u8));
        fs::write(&path, &bytes).unwrap();
        assert_eq!(named("raw-u16:", &path).unwrap().tokens(), 1000, "{start:?}");
        assert_eq!(named("raw-u32:", &path).unwrap().tokens(), 500, "{start:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn random_tokens_are_never_refused(tokens in prop::collection::vec(0u16..50_277, 1..200)) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a.bin");
        fs::write(&path, tokens.iter().flat_map(|t| t.to_le_bytes()).collect::<Vec<u8>>()).unwrap();
        prop_assert_eq!(named("raw-u16:", &path).unwrap().tokens(), tokens.len() as u64);
    }

    /// Whatever the header of an array says, opening and reading answer.
    #[test]
    fn mutated_arrays_never_panic(edits in prop::collection::vec((6usize..140, any::<u8>()), 1..6), cut in 10usize..141) {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a.npy");
        let mut bytes = fs::read(foreign("rows.npy")).unwrap();
        edits.iter().for_each(|(at, value)| bytes[*at] = *value);
        bytes.truncate(cut);
        fs::write(&path, bytes).unwrap();
        if let Ok(corpus) = named("", &path) {
            let _ = corpus.shards()[0].read(0, &mut vec![0; corpus.tokens() as usize], 60_000);
        }
    }
}

fn documents(name: &str) -> Vec<(u64, u64)> {
    let corpus = open(&foreign(name));
    (0..corpus.documents()).map(|d| corpus.shards()[0].document(d).unwrap()).collect()
}

/// gpt-neox takes `sizes` for its documents (data_utils.py), whatever the list of documents says.
#[test]
fn a_short_document_list_gives_a_document_for_each_sequence() {
    assert_eq!(documents("whole"), [(0, 3), (3, 4), (4, 10)]);
    for name in ["merged", "appended"] {
        assert_eq!(documents(name), [(0, 3), (3, 4), (4, 6), (6, 10)], "{name}");
        let corpus = open(&foreign(name));
        assert_eq!(tokens(&corpus), (0..10).collect::<Vec<_>>());
        let places = (0..10).map(|t| corpus.shards()[0].document_at(t).unwrap().0);
        assert_eq!(places.collect::<Vec<_>>(), [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]);
        let odd = corpus.shards()[0].oddity().unwrap();
        mentions(
            &odd,
            &[name, "document list ends at sequence", "of 4", "each sequence is read as a document"],
        );
        let found = verify(&spec(&foreign(name)), None, None, &mut Progress::hidden()).unwrap();
        assert_eq!((found.faults_total, found.documents), (0, 4), "{:?}", found.faults);
        assert_eq!(found.oddities, [odd]);
    }
    assert!(open(&foreign("whole")).shards()[0].oddity().is_none());
}

#[test]
fn other_document_lists() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("a");
    let documents = |list: &[i64]| {
        let mut idx = Idx::new(8, 2, &[3, 1, 2, 4]);
        (idx.documents, idx.bounds) = (list.to_vec(), list.len() as u64);
        fs::write(prefix.with_extension("bin"), [1; 20]).unwrap();
        fs::write(prefix.with_extension("idx"), idx.bytes()).unwrap();
        Corpus::open(&spec(&prefix)).map(|corpus| corpus.documents())
    };
    // Ends of no sequence, empty documents, all of one document.
    for (list, expected) in [
        (&[0, 1, 2, 3, 4][..], 4),
        (&[0, 1, 1, 4, 4], 4),
        (&[0, 4], 1),
        (&[0], 4),
        (&[0, 0, 0], 4),
        (&[0, 1], 4),
        (&[0, 2, 3, 3], 4),
    ] {
        assert_eq!(documents(list).unwrap(), expected, "{list:?}");
    }
    // Not a beginning of a list: damage, as ever.
    for list in [&[1][..], &[0, 5], &[0, 3, 2], &[0, -1], &[0, 1, 2, 9], &[1, 4]] {
        mentions(&refusal(documents(list)), &["document index number", "expected"]);
    }
}

#[test]
fn gaps_and_overlaps_are_said_when_opened() {
    for (name, words) in [
        (
            "gap",
            ["sequence 1 begins at byte 10", "ends at byte 6", "4 bytes of the .bin belong to no sequence"],
        ),
        ("overlap", ["sequence 1 begins at byte 4", "ends at byte 6", "overlaps the one before by 2 bytes"]),
    ] {
        mentions(&open(&foreign(name)).shards()[0].oddity().unwrap(), &words);
        let found = verify(&spec(&foreign(name)), None, None, &mut Progress::hidden()).unwrap();
        assert!(found.faults_total > 0);
    }
}

/// In an index that is not read whole, what is wrong throughout is seen at once.
#[test]
fn a_large_index_is_looked_at_in_places() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("a");
    let n = 100_000;
    let mut idx = Idx::new(8, 2, &vec![3; n]);
    fs::write(prefix.with_extension("bin"), vec![0; 6 * n]).unwrap();
    let write = |idx: &Idx| fs::write(prefix.with_extension("idx"), idx.bytes()).unwrap();
    write(&idx);
    assert!(open(&prefix).shards()[0].oddity().is_none());
    idx.sizes.iter_mut().take(n - 1).for_each(|size| *size = 2);
    write(&idx);
    mentions(
        &open(&prefix).shards()[0].oddity().unwrap(),
        &["sequence 1 begins at byte 6", "ends at byte 4"],
    );
    idx.sizes.iter_mut().for_each(|size| *size = 3);
    // The last stretch is looked at to its end.
    idx.pointers[n - 2] += 2;
    write(&idx);
    mentions(&open(&prefix).shards()[0].oddity().unwrap(), &[&format!("sequence {}", n - 2)]);
}

/// One gap where nothing looks when a shard is opened: known once it was verified, until it is found whole.
#[test]
fn what_verify_found_is_said_at_every_later_opening() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("a");
    let n = 100_000;
    let mut idx = Idx::new(8, 2, &vec![3; n]);
    fs::write(prefix.with_extension("bin"), vec![0; 6 * n]).unwrap();
    let write = |idx: &Idx| fs::write(prefix.with_extension("idx"), idx.bytes()).unwrap();
    let say = |command: &str, code: i32| {
        let mut rewarm = std::process::Command::new(env!("CARGO_BIN_EXE_rewarm"));
        let rewarm =
            rewarm.args(["data", command]).arg(&prefix).env("XDG_CACHE_HOME", dir.path().join("cache"));
        let said = rewarm.output().unwrap();
        assert_eq!(said.status.code(), Some(code), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stderr).unwrap()
    };
    idx.sizes[n / 4] = 2;
    write(&idx);
    assert!(!say("inspect", 0).contains("warning"));
    say("verify", 1);
    let words = ["warning", "data verify` found 1 faults", &format!("number {} is", n / 4 + 1)];
    mentions(&say("inspect", 0), &words);
    idx.sizes[n / 4] = 3;
    write(&idx);
    say("verify", 0);
    assert!(!say("inspect", 0).contains("warning"));
}

/// Copies a Megatron shard.
fn put(name: &str, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    for suffix in ["bin", "idx"] {
        fs::copy(foreign(name).with_extension(suffix), to.with_extension(suffix)).unwrap();
    }
}

fn paths(corpus: &Corpus, folder: &Path) -> Vec<String> {
    let name = |shard: &rewarm::data::Shard| shard.path().strip_prefix(folder).unwrap().display().to_string();
    corpus.shards().iter().map(name).collect()
}

#[test]
fn shards_below_a_folder_are_found_through_links() {
    let (dir, other) = (tempdir().unwrap(), tempdir().unwrap());
    let at = |name: &str| dir.path().join(name);
    put("whole", &at("b"));
    put("whole", &at("a/deep/er/one"));
    put("whole", &at("c/two"));
    put("merged", &other.path().join("x/three"));
    // As the hub's cache has it: names are links to blobs without an extension.
    put("whole", &other.path().join("blobs"));
    fs::rename(other.path().join("blobs.bin"), other.path().join("0123")).unwrap();
    fs::rename(other.path().join("blobs.idx"), other.path().join("4567")).unwrap();
    fs::create_dir(at("snapshot")).unwrap();
    symlink(other.path().join("0123"), at("snapshot/four.bin")).unwrap();
    symlink(other.path().join("4567"), at("snapshot/four.idx")).unwrap();
    symlink(other.path().join("x"), at("linked")).unwrap();
    // What is left out: loops, links to nowhere, hidden folders, weights, index maps.
    symlink(dir.path(), at("c/loop")).unwrap();
    symlink(at("nothing"), at("c/broken")).unwrap();
    put("whole", &at(".cache/hidden"));
    fs::create_dir(at("model")).unwrap();
    fs::copy(foreign("zip.pt"), at("model/pytorch_model.bin")).unwrap();
    fs::copy(foreign("i4.npy"), at("c/two_train_indexmap_9ns_4sl_1s_doc_idx.npy")).unwrap();
    fs::copy(foreign("i4.npy"), at("c/tokens.npy")).unwrap();
    fs::write(at("c/readme.txt"), "no shard").unwrap();
    let corpus = open(dir.path());
    let expected = ["a/deep/er/one.bin", "b.bin", "c/two.bin", "linked/three.bin", "snapshot/four.bin"];
    assert_eq!(paths(&corpus, dir.path()), expected);
    assert_eq!(corpus.tokens(), 50);
    // A .bin that lost its .idx is not passed over, wherever it lies.
    fs::remove_file(at("a/deep/er/one.idx")).unwrap();
    mentions(&refusal(Corpus::open(&spec(dir.path()))), &["one.bin", "restore the .idx"]);
}

#[test]
fn a_folder_of_arrays() {
    let dir = tempdir().unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    fs::copy(foreign("i4.npy"), dir.path().join("sub/b.npy")).unwrap();
    fs::copy(foreign("u2.npy"), dir.path().join("a.npy")).unwrap();
    fs::copy(foreign("i8.npy"), dir.path().join("GPT-train-document_index.npy")).unwrap();
    for mark in ["", "raw-u16:"] {
        let corpus = named(mark, dir.path()).unwrap();
        assert_eq!(paths(&corpus, dir.path()), ["a.npy", "sub/b.npy"]);
        assert_eq!(corpus.tokens(), 12);
    }
    fs::copy(foreign("float.npy"), dir.path().join("c.npy")).unwrap();
    mentions(&refusal(named("", dir.path())), &["c.npy", "expected integers"]);
}

#[test]
fn one_shard_by_two_names_is_named_twice() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    put("whole", &dir.path().join("data/a"));
    symlink(at("data"), at("link")).unwrap();
    symlink(at("data/a.bin"), at("other.bin")).unwrap();
    symlink(at("data/a.idx"), at("other.idx")).unwrap();
    fs::hard_link(at("data/a.bin"), at("hard.bin")).unwrap();
    fs::hard_link(at("data/a.idx"), at("hard.idx")).unwrap();
    let first = at("data/a");
    for second in [
        at("data/a"),
        at("data/a.bin"),
        at("data/./a.idx"),
        at("data/../data/a"),
        at("link/a"),
        at("link"),
        at("other"),
        at("other.bin"),
        at("hard"),
        format!("raw-u16:{}", at("data/a.bin")),
    ] {
        mentions(&refusal(Corpus::open(&[&first, &second])), &["is named twice", "name each shard once"]);
        let source = |name: &str, path: &String| {
            let corpus = std::sync::Arc::new(Corpus::open(&[path]).unwrap());
            Source { name: name.into(), order: Order::new(corpus, Side::All, Split::NONE, 2, 1).unwrap() }
        };
        let why = refusal(Sources::new(vec![source("one", &first), source("two", &second)]));
        mentions(&why, &["is named by the sources", "one", "two"]);
    }
    // The same content in two files is two shards, as before.
    put("whole", &dir.path().join("copy"));
    assert_eq!(Corpus::open(&[first, at("copy")]).unwrap().tokens(), 20);
}

/// What could be read before keeps its fingerprint, printed by rewarm of before any of this: runs go on.
#[test]
fn fingerprints_are_what_they_were() {
    let hex = |corpus: rewarm::Result<Corpus>| format!("{:032x}", corpus.unwrap().fingerprint());
    let dir = tempdir().unwrap();
    put("whole", &dir.path().join("whole"));
    let mut llmc: Vec<u8> = [20240520i32, 1, 5].iter().flat_map(|w| w.to_le_bytes()).collect();
    llmc.resize(1024, 0);
    llmc.extend((0..5u16).flat_map(|t| t.to_le_bytes()));
    fs::write(dir.path().join("z.bin"), llmc).unwrap();
    let whole = dir.path().join("whole.bin");
    assert_eq!(hex(named("", &whole)), "d03dd1074cb6dadaf2747d416cd444db");
    assert_eq!(hex(named("raw-u16:", &whole)), "663cf4da14ca3effd77ff181e817e64f");
    assert_eq!(hex(named("", dir.path())), "3b0be87bb8daf85897530261bb699c67");
}
