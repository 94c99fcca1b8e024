//! Shards: every format, every fault, and how fast many of them open.
use std::fs::{self, File};
use std::time::Instant;

use crate::support::*;
use proptest::prelude::*;
use rewarm::data::{Corpus, Format, Progress, Shard, verify};
use tempfile::tempdir;

const DOCUMENTS: [&[u16]; 4] = [&[1, 2, 3], &[4], &[5, 6], &[7, 8, 9, 10]];

fn documents() -> Vec<Vec<u16>> {
    DOCUMENTS.iter().map(|d| d.to_vec()).collect()
}

fn read_all(corpus: &Corpus, shard: usize) -> Vec<u32> {
    let shard = &corpus.shards()[shard];
    let mut out = vec![0; shard.tokens() as usize];
    shard.read(0, &mut out, u32::MAX).unwrap();
    out
}

#[test]
fn a_megatron_shard_by_prefix_bin_idx_and_folder() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "pile_text_document", &documents());
    let mut fingerprints = vec![];
    for path in
        [prefix.clone(), prefix.with_extension("bin"), prefix.with_extension("idx"), dir.path().into()]
    {
        let corpus = open(&path);
        assert_eq!((corpus.tokens(), corpus.documents()), (10, 4));
        assert_eq!(read_all(&corpus, 0), (1..=10).collect::<Vec<_>>());
        let shard = &corpus.shards()[0];
        assert_eq!(shard.format(), Format::Megatron);
        let ranges: Vec<_> = (0..4).map(|d| shard.document(d).unwrap()).collect();
        assert_eq!(ranges, [(0, 3), (3, 4), (4, 6), (6, 10)]);
        assert_eq!(
            (0..10).map(|t| shard.document_at(t).unwrap().0).collect::<Vec<_>>(),
            [0, 0, 0, 1, 2, 2, 3, 3, 3, 3]
        );
        fingerprints.push(corpus.fingerprint());
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 1);
}

#[test]
fn every_integer_dtype_is_read() {
    let dir = tempdir().unwrap();
    let values = [3i64, 0, 127];
    for (code, item) in [(1u8, 1usize), (2, 1), (3, 2), (4, 4), (5, 8), (8, 2)] {
        let bin: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()[..item].to_vec()).collect();
        let prefix = dir.path().join(format!("code{code}"));
        fs::write(prefix.with_extension("bin"), bin).unwrap();
        fs::write(prefix.with_extension("idx"), Idx::new(code, item, &[1, 2]).bytes()).unwrap();
        assert_eq!(read_all(&open(&prefix), 0), [3, 0, 127]);
    }
}

#[test]
fn documents_of_several_sequences_empty_ones_and_modes() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &documents());
    let mut idx = Idx::new(8, 2, &[3, 1, 2, 4]);
    idx.documents = vec![0, 2, 2, 4];
    idx.bounds = 4;
    let mut bytes = idx.bytes();
    bytes.extend([0; 4]); // Megatron multimodal: one mode per sequence
    fs::write(prefix.with_extension("idx"), bytes).unwrap();
    let corpus = open(&prefix);
    let ranges: Vec<_> = (0..3).map(|d| corpus.shards()[0].document(d).unwrap()).collect();
    assert_eq!(ranges, [(0, 4), (4, 4), (4, 10)]);
    assert_eq!(corpus.shards()[0].document_at(4).unwrap(), (2, 4));
}

fn llmc(magic: i32, version: i32, count: i32, tokens: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = [magic, version, count].iter().flat_map(|w| w.to_le_bytes()).collect();
    out.resize(1024, 0);
    out.extend(tokens);
    out
}

#[test]
fn llm_c_and_raw_shards() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("fineweb_train_000001.bin");
    fs::write(&path, llmc(20240520, 1, 2, &[1, 0, 2, 0])).unwrap();
    assert_eq!(read_all(&open(&path), 0), [1, 2]);
    fs::write(&path, llmc(20240801, 7, 1, &[1, 2, 0, 0])).unwrap();
    assert_eq!(read_all(&open(dir.path()), 0), [513]);

    fs::write(&path, [1, 2, 3, 4]).unwrap();
    mentions(&refusal(Corpus::open(&spec(&path))), &["cannot tell its format", "raw-u16:", "20240520"]);
    let named = |mark: &str| Corpus::open(&[format!("{mark}:{}", path.display())]);
    assert_eq!(read_all(&named("raw-u16").unwrap(), 0), [513, 1027]);
    assert_eq!(read_all(&named("raw-u32").unwrap(), 0), [0x04030201]);
    let folder = Corpus::open(&[format!("raw-u16:{}", dir.path().display())]).unwrap();
    assert_eq!((folder.documents(), folder.tokens()), (1, 2));
    fs::write(&path, [1, 2, 3]).unwrap();
    mentions(&refusal(named("raw-u16")), &["3 bytes", "whole number"]);
    fs::write(&path, []).unwrap();
    mentions(&refusal(named("raw-u16")), &["empty"]);
}

#[test]
fn llm_c_faults() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.bin");
    for (bytes, words) in [
        (llmc(20240520, 2, 2, &[0; 4]), ["version 2", "expected 1"]),
        (llmc(20240801, 1, 1, &[0; 4]), ["version 1", "expected 7"]),
        (llmc(20240520, 1, 3, &[0; 4]), ["promises 3 tokens", "1028 bytes"]),
        (llmc(20240520, 1, 1, &[0; 4]), ["promises 1 tokens", "truncated"]),
        (llmc(20240520, 1, i32::MAX, &[0; 4]), ["promises 2147483647", "truncated"]),
        (llmc(20240520, 1, -2, &[0; 4]), ["promises -2", "truncated"]),
        (llmc(20240520, 1, 0, &[]), ["no tokens", "leave it out"]),
        (llmc(20240520, 1, 0, &[])[..100].to_vec(), ["100 bytes", "1024"]),
        (llmc(20240522, 1, 1, &[0; 2]), ["llm.c that holds no tokens", "expected a token shard"]),
    ] {
        fs::write(&path, bytes).unwrap();
        mentions(&refusal(Corpus::open(&spec(&path))), &words);
    }
}

#[test]
fn naming_faults() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    mentions(&refusal(Corpus::open(&spec(&at("nothing")))), &["there is no", "nothing.idx"]);
    mentions(&refusal(Corpus::open(&spec(dir.path()))), &["holds no token shards"]);
    mentions(&refusal(Corpus::open::<String>(&[])), &["no data were named"]);
    let prefix = megatron(dir.path(), "a", &documents());
    let twice = [spec(&prefix), spec(dir.path())].concat();
    mentions(&refusal(Corpus::open(&twice)), &["named twice"]);
    fs::remove_file(at("a.bin")).unwrap();
    mentions(&refusal(Corpus::open(&spec(&prefix))), &["no", "a.bin", "copy it"]);
    fs::write(at("a-00000-of-00020.bin"), [0]).unwrap();
    mentions(&refusal(Corpus::open(&spec(&prefix))), &["unshard_memmap.py"]);
    fs::create_dir(at("a.bin")).unwrap();
    mentions(&refusal(Corpus::open(&spec(&prefix))), &["not a regular file"]);
}

/// Opens, and where that succeeds reads and verifies, a shard with this index: the fault must be named.
fn faults_of(idx: &[u8]) -> String {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &documents());
    fs::write(prefix.with_extension("idx"), idx).unwrap();
    let opened = Corpus::open(&spec(&prefix));
    let found = verify(&spec(&prefix), Some(100), None, &mut Progress::hidden()).unwrap();
    assert!(found.faults_total > 0, "no fault found");
    if let Err(e) = opened {
        assert!(found.faults[0].message.contains(&e.to_string()));
    }
    found.faults.iter().map(|f| f.message.clone()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_lie_in_the_index_is_named() {
    let good = Idx::new(8, 2, &[3, 1, 2, 4]);
    let lie = |change: &dyn Fn(&mut Idx)| {
        let mut idx = good.clone();
        change(&mut idx);
        faults_of(&idx.bytes())
    };
    mentions(&lie(&|i| i.magic[0] = b'X'), &["not a Megatron index"]);
    mentions(&lie(&|i| i.magic = *b"TNTIDX\0\0\0"), &["cached"]);
    for version in [0, 2, u64::MAX] {
        mentions(&lie(&|i| i.version = version), &[&format!("version {version}"), "expected 1"]);
    }
    for code in [0, 6, 7, 9, 255] {
        mentions(&lie(&|i| i.code = code), &[&format!("dtype code {code}")]);
    }
    mentions(&lie(&|i| i.code = 6), &["floating point"]);
    for count in [0, 1, 3, 5, 6, u64::MAX, u64::MAX / 12, u64::MAX / 12 + 1] {
        mentions(&lie(&|i| i.sequences = count), &[&format!("promises {count} sequences")]);
    }
    for count in [0, 1, 4, 6, u64::MAX, u64::MAX / 8, u64::MAX / 8 + 1] {
        mentions(&lie(&|i| i.bounds = count), &[&format!("{count} document bounds")]);
    }
    // 2 sequences more and 3 bounds fewer take the same bytes.
    lie(&|i| (i.sequences, i.bounds) = (6, 2));
    for size in [0, 1, -1, i32::MAX, i32::MIN, 3, 5] {
        mentions(&lie(&|i| i.sizes[3] = size), &["last sequence", &size.to_string(), "20"]);
        if size != 1 {
            lie(&|i| i.sizes[1] = size);
        }
    }
    mentions(&lie(&|i| i.sizes[1] = -5), &["sequence length number 1 is -5"]);
    for pointer in [0, 1, -1, i64::MAX, i64::MIN, 5, 7] {
        mentions(
            &lie(&|i| i.pointers[1] = pointer),
            &["sequence pointer number 1", &pointer.to_string(), "expected 6"],
        );
        lie(&|i| i.pointers[3] = pointer);
        if pointer != 0 {
            lie(&|i| i.pointers[0] = pointer);
        }
    }
    for bound in [0, 1, -1, 5, i64::MAX, i64::MIN] {
        mentions(&lie(&|i| i.documents[4] = bound), &["document index number 4", &bound.to_string()]);
        if bound != 0 {
            mentions(&lie(&|i| i.documents[0] = bound), &["document index number 0", &bound.to_string()]);
        }
    }
    for bound in [-1, 5, i64::MAX, i64::MIN, 4] {
        mentions(&lie(&|i| i.documents[2] = bound), &["document index number"]);
    }
    mentions(
        &lie(&|i| {
            i.sizes.clear();
            i.pointers.clear();
            i.documents = vec![0];
            i.sequences = 0;
            i.bounds = 1
        }),
        &["empty"],
    );
    let bytes = good.bytes();
    for cut in [0, 1, 33, 34, 40, bytes.len() - 1] {
        faults_of(&bytes[..cut]);
    }
}

#[test]
fn several_faults_are_all_listed() {
    let mut idx = Idx::new(8, 2, &[3, 1, 2, 4]);
    idx.sizes[1] = -5;
    idx.documents[2] = 9;
    let text = faults_of(&idx.bytes());
    mentions(&text, &["sequence length number 1 is -5", "document index number 2 is 9"]);
}

#[test]
fn a_bin_of_the_wrong_size() {
    for (change, words) in
        [(-2, "truncated"), (-1, "truncated"), (2, "damaged"), (1, "damaged"), (-20, "empty")]
    {
        let dir = tempdir().unwrap();
        let prefix = megatron(dir.path(), "a", &documents());
        let bin = File::options().write(true).open(prefix.with_extension("bin")).unwrap();
        bin.set_len((20 + change) as u64).unwrap();
        mentions(&refusal(Corpus::open(&spec(&prefix))), &[words]);
    }
}

#[test]
fn tokens_outside_the_vocabulary_are_named() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &documents());
    let corpus = open(&prefix);
    let mut out = [0; 4];
    mentions(
        &refusal(corpus.shards()[0].read(5, &mut out, 8)),
        &["token 7", "document 3, 1 in", "is 8", "0..8"],
    );
    assert!(corpus.shards()[0].read(5, &mut out, 10).is_ok());
    mentions(&refusal(corpus.shards()[0].read(7, &mut out, 99)), &["7..+4", "it has 10"]);
    mentions(&refusal(corpus.shards()[0].read(u64::MAX, &mut out, 99)), &["it has 10"]);

    let mut bin = fs::read(prefix.with_extension("bin")).unwrap();
    bin[8..10].copy_from_slice(&(-3i16).to_le_bytes());
    fs::write(prefix.with_extension("bin"), bin).unwrap();
    fs::write(prefix.with_extension("idx"), Idx::new(3, 2, &[3, 1, 2, 4]).bytes()).unwrap();
    mentions(&refusal(open(&prefix).shards()[0].read(2, &mut out, 99)), &["token 4", "is -3"]);
    let found = verify(&spec(&prefix), Some(9), None, &mut Progress::hidden()).unwrap();
    assert_eq!((found.faults_total, found.largest_token), (3, 10));
    mentions(&found.faults[2].message, &["a.bin", "token 9", "document 3", "is 10"]);
}

#[test]
fn one_changed_token_changes_the_fingerprint_and_the_content_hash() {
    let dir = tempdir().unwrap();
    let prefix = megatron(dir.path(), "a", &documents());
    let identity = || {
        let found = verify(&spec(&prefix), None, None, &mut Progress::hidden()).unwrap();
        (open(&prefix).fingerprint(), found.content_hash.unwrap())
    };
    let before = identity();
    assert_eq!(before, identity());
    let mut changed = documents();
    changed[2][1] ^= 1;
    megatron(dir.path(), "a", &changed);
    let after = identity();
    assert_ne!(before.0, after.0);
    assert_ne!(before.1, after.1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    /// Whatever bytes the index has: opening, reading and verifying answer, and never panic.
    #[test]
    fn mutated_indices_never_panic(
        edits in prop::collection::vec((0usize..150, any::<u8>()), 1..6),
        fields in prop::collection::vec((0usize..16, prop::sample::select(vec![0, 1, 2, 3, 7, -1, i64::MAX, i64::MIN])), 0..3),
        cut in prop::option::weighted(0.2, 0usize..150),
    ) {
        let dir = tempdir().unwrap();
        let prefix = megatron(dir.path(), "a", &documents());
        let mut bytes = Idx::new(8, 2, &[3, 1, 2, 4]).bytes();
        for (at, value) in edits {
            // Mostly behind the magic, which would hide everything else.
            let at = 9 + at % (bytes.len() - 9);
            bytes[at] = value;
        }
        for (field, value) in fields {
            let at = [18, 26].into_iter().chain((0..20).map(|i| 50 + 8 * i)).nth(field).unwrap();
            if at + 8 <= bytes.len() {
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
            }
        }
        bytes.truncate(cut.unwrap_or(usize::MAX));
        fs::write(prefix.with_extension("idx"), bytes).unwrap();
        if let Ok(shard) = Shard::open(&prefix.with_extension("bin"), Format::Megatron) {
            for i in 0..shard.documents().min(20) + 2 {
                let _ = shard.document(i);
                let _ = shard.document_at(i);
            }
            let _ = shard.read(0, &mut [0; 10], 5);
        }
        let _ = verify(&spec(&prefix), Some(5), None, &mut Progress::hidden()).unwrap();
    }
}

#[test]
fn ten_thousand_shards_of_a_terabyte_open_within_a_second() {
    const SHARDS: usize = 10_000;
    const TOKENS: usize = 50_000_000; // u16: 100 MB a shard
    let dir = tempdir().unwrap();
    let idx = Idx::new(8, 2, &vec![TOKENS / 100; 100]).bytes();
    for i in 0..SHARDS {
        let prefix = dir.path().join(format!("shard_{i:05}"));
        File::create(prefix.with_extension("bin")).unwrap().set_len(2 * TOKENS as u64).unwrap();
        fs::write(prefix.with_extension("idx"), &idx).unwrap();
    }
    let start = Instant::now();
    let corpus = open(dir.path());
    let seconds = start.elapsed().as_secs_f64();
    println!("opened {SHARDS} shards, {} tokens, in {seconds:.3} s", corpus.tokens());
    assert_eq!(corpus.tokens(), (SHARDS * TOKENS) as u64);
    assert_eq!(corpus.documents(), SHARDS as u64 * 100);
    let order = rewarm::data::Order::new(
        std::sync::Arc::new(corpus),
        rewarm::data::Side::All,
        rewarm::data::Split::NONE,
        2048,
        1,
    )
    .unwrap();
    order.read(123_456_789, &mut [0; 2049], 1).unwrap();
    // The bar is one second; a loaded test machine gets three.
    assert!(seconds < 3.0, "took {seconds} s");
}
