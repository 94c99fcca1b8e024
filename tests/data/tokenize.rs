//! Text to shards and back.
use std::fs;
use std::path::Path;

use crate::support::*;
use crate::text::{Dice, LIKE_PYTHIA, TRAINED, as_library, changed, document, documents, train};
use proptest::prelude::*;
use rewarm::data::{
    Progress, ShardWriter, TextTokenizer, TokenizedInfo, check_tokenizer, inspect, tokenize_documents,
    train_bpe, verify,
};
use tempfile::tempdir;
use tokenizers::{AddedToken, Tokenizer};

fn library(tokenizer: &TextTokenizer, text: &str) -> Vec<u32> {
    as_library(tokenizer).encode(text, false).unwrap().get_ids().to_vec()
}

fn write(
    texts: &[String],
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    prefix: &Path,
) -> rewarm::Result<TokenizedInfo> {
    tokenize_documents(texts.iter().cloned().map(Ok), tokenizer, eod, prefix, &mut Progress::hidden())
}

#[test]
fn the_trained_vocabulary() {
    let tokenizer = &*TRAINED;
    assert!(tokenizer.is_fast());
    assert_eq!(tokenizer.vocab_size(), 1024);
    assert_eq!(tokenizer.eod(None).unwrap(), 0);
    let again = train(&documents(400), 1024);
    assert_eq!(again.hash(), tokenizer.hash());
    // Order and threads do not matter.
    let mut reversed = documents(400);
    reversed.reverse();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert_eq!(one.install(|| train(&reversed, 1024)).hash(), tokenizer.hash());
    // All bytes are there: any text survives.
    let text = "völlig 𝔘nseen \u{7f}\0 Ж";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text).unwrap()).unwrap(), text);
    mentions(&refusal(train_bpe(std::iter::empty(), 256)), &["256", "at least 257"]);
    assert_eq!(train(&["ab".into()], 5000).vocab_size(), 257);
}

#[test]
fn training_equals_the_library() {
    use tokenizers::models::TrainerWrapper;
    use tokenizers::models::bpe::{BPE, BpeTrainer};
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;
    let byte_level = || Some(ByteLevel::new(false, true, true));
    let mut library = Tokenizer::new(BPE::default());
    library.with_pre_tokenizer(byte_level());
    library.with_decoder(byte_level());
    library.with_post_processor(byte_level());
    let trainer = BpeTrainer::builder().vocab_size(1024).min_frequency(2).show_progress(false);
    let trainer = trainer.special_tokens(vec![AddedToken::from("<|endoftext|>", true)]);
    let mut trainer: TrainerWrapper =
        trainer.initial_alphabet(ByteLevel::alphabet().into_iter().collect()).build().into();
    library.train(&mut trainer, documents(400).into_iter()).unwrap();
    assert!(library.to_string(true).unwrap().as_bytes() == TRAINED.json());
}

#[test]
fn a_thousand_documents_equal_the_library() {
    for tokenizer in [&*TRAINED, &*LIKE_PYTHIA] {
        assert!(tokenizer.is_fast());
        let library = as_library(tokenizer);
        let mut tokens = 0;
        for text in documents(1000) {
            let expected = library.encode(text.as_str(), false).unwrap();
            assert_eq!(tokenizer.encode(&text).unwrap(), expected.get_ids(), "{text:?}");
            tokens += expected.len();
        }
        assert!(tokens > 100_000, "{tokens}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn random_text_equals_the_library(text in "(\\PC|[ \n\t]|<\\|endoftext\\|>|  +|e\u{301}|\u{212b}|[a-z' ]{1,5}){0,40}") {
        for tokenizer in [&*TRAINED, &*LIKE_PYTHIA] {
            prop_assert_eq!(tokenizer.encode(&text).unwrap(), tokenizer.encode_slow(&text).unwrap());
        }
        prop_assert_eq!(TRAINED.decode(&TRAINED.encode(&text).unwrap()).unwrap(), text);
    }
}

#[test]
fn long_texts_equal_the_library() {
    // Long enough for several pieces, dense in places where a piece may end.
    let text = documents(2500).concat();
    assert!(text.len() > 1 << 20);
    for tokenizer in [&*TRAINED, &*LIKE_PYTHIA] {
        assert!(tokenizer.encode(&text).unwrap() == tokenizer.encode_slow(&text).unwrap());
    }
    // An added token that reaches over such places.
    let tokenizer = changed(|t| {
        t.add_tokens(vec![AddedToken::from("the on st", false)]).unwrap();
    });
    let text = "the on st ".repeat(60_000);
    assert!(tokenizer.is_fast() && tokenizer.encode(&text).unwrap() == tokenizer.encode_slow(&text).unwrap());
}

#[test]
fn other_kinds_of_tokenizer_take_the_slow_path() {
    let lower = changed(|t| {
        t.with_normalizer(Some(tokenizers::normalizers::Lowercase)).unwrap();
    });
    let prefix = changed(|t| {
        t.with_pre_tokenizer(Some(tokenizers::pre_tokenizers::byte_level::ByteLevel::default()));
    });
    let strip = changed(|t| {
        t.add_tokens(vec![AddedToken::from("<x>", false).lstrip(true)]).unwrap();
    });
    for tokenizer in [lower, prefix, strip] {
        assert!(!tokenizer.is_fast());
        let text = "Hello  <x> World";
        assert_eq!(tokenizer.encode(text).unwrap(), library(&tokenizer, text));
    }
}

#[test]
fn text_goes_to_a_shard_and_comes_back() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("out/data");
    let texts = documents(300);
    let info = write(&texts, &TRAINED, Some(0), &prefix).unwrap();
    let corpus = open(&prefix);
    assert_eq!((info.documents, info.tokens), (300, corpus.tokens()));
    assert_eq!(info.input_bytes, texts.iter().map(|t| t.len() as u64).sum::<u64>());
    assert_eq!((info.dtype.as_str(), info.eod, info.vocab_size), ("u16", Some(0), 1024));
    assert_eq!(TokenizedInfo::load(&prefix).unwrap().unwrap(), info);
    assert_eq!(corpus.bytes_per_token().unwrap().unwrap(), info.bytes_per_token());
    for (d, text) in texts.iter().enumerate() {
        let (start, end) = corpus.shards()[0].document(d as u64).unwrap();
        let mut ids = vec![0; (end - start) as usize];
        corpus.shards()[0].read(start, &mut ids, 1024).unwrap();
        assert_eq!(ids.pop(), Some(0));
        assert_eq!(&TRAINED.decode(&ids).unwrap(), text);
    }
    let beside = TextTokenizer::load(dir.path().join("out")).unwrap();
    assert_eq!(format!("{:032x}", beside.hash()), info.tokenizer_hash);
    let found = verify(&spec(&prefix), None, Some(&beside), &mut Progress::hidden()).unwrap();
    assert_eq!((found.faults_total, found.tokens), (0, info.tokens));
    let look = inspect(&corpus, Some(&beside)).unwrap();
    assert!(texts[0].starts_with(look.first_text.unwrap().split("<|endoftext|>").next().unwrap()));
    assert_eq!(look.lengths.sampled, 300);
    assert!(look.lengths.min <= look.lengths.p50 && look.lengths.p50 <= look.lengths.max);
    let mut names: Vec<_> =
        fs::read_dir(dir.path().join("out")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["data.bin", "data.hashes", "data.idx", "data.json", "tokenizer.json"]);
}

#[test]
fn output_does_not_depend_on_threads_and_chunks() {
    let dir = tempdir().unwrap();
    // More than one chunk of 8 MiB.
    let mut texts = documents(2000);
    texts.push(texts.concat().repeat(8));
    texts.extend(documents(10));
    let bytes = |name: &str, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let prefix = dir.path().join(name);
        pool.install(|| write(&texts, &TRAINED, None, &prefix)).unwrap();
        (fs::read(prefix.with_extension("bin")).unwrap(), fs::read(prefix.with_extension("idx")).unwrap())
    };
    assert!(texts.iter().map(String::len).sum::<usize>() > 9 << 20);
    assert!(bytes("one", 1) == bytes("three", 3));
}

#[test]
fn large_vocabularies_are_stored_as_i32() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("wide");
    let mut writer = ShardWriter::create(&prefix, 70_000).unwrap();
    writer.push(&[1, 69_999]).unwrap();
    writer.push(&[]).unwrap();
    mentions(&refusal(writer.push(&[u32::MAX])), &["does not fit i32"]);
    writer.finish().unwrap();
    let corpus = open(&prefix);
    let mut out = [0; 2];
    corpus.shards()[0].read(0, &mut out, 70_000).unwrap();
    assert_eq!(out, [1, 69_999]);
}

#[test]
fn nothing_is_overwritten_and_nothing_half_stays() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("data");
    let texts = documents(3);
    let failing = texts.iter().cloned().map(Ok).chain([Err(rewarm::Error::refused("the input broke"))]);
    let result = tokenize_documents(failing, &TRAINED, None, &prefix, &mut Progress::hidden());
    mentions(&refusal(result), &["the input broke"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    mentions(&refusal(write(&[], &TRAINED, None, &prefix)), &["holds no text"]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

    // What a kill leaves behind does not stop the next try.
    fs::write(dir.path().join("data.bin.tmp"), "half").unwrap();
    write(&texts, &TRAINED, None, &prefix).unwrap();
    let before = fs::read(prefix.with_extension("bin")).unwrap();
    mentions(&refusal(write(&texts, &TRAINED, Some(0), &prefix)), &["data.bin exists already"]);
    assert_eq!(fs::read(prefix.with_extension("bin")).unwrap(), before);
    let other = train(&documents(50), 300);
    mentions(&refusal(write(&texts, &other, None, &dir.path().join("more"))), &["another tokenizer"]);
    fs::write(dir.path().join("mine.json"), "{}").unwrap();
    mentions(
        &refusal(write(&texts, &TRAINED, None, &dir.path().join("mine"))),
        &["mine.json exists already"],
    );
}

#[test]
fn the_wrong_tokenizer_is_found() {
    let dir = tempdir().unwrap();
    let prefix = dir.path().join("data");
    let info = write(&documents(20), &TRAINED, Some(0), &prefix).unwrap();
    // Same size, other merges.
    let other = train(&documents(200)[100..], 1024);
    assert_eq!(other.vocab_size(), TRAINED.vocab_size());
    let refused = refusal(check_tokenizer([&open(&prefix)], Some(&other), "do this"));
    let own = info.tokenizer_identity.as_ref().unwrap();
    mentions(
        &refused,
        &[
            "data.bin was made with another tokenizer",
            own,
            &other.identity(),
            "vocabulary or merges",
            "do this",
        ],
    );
    check_tokenizer([&open(&prefix)], Some(&TRAINED), "").unwrap();
    let found = verify(&spec(&prefix), None, Some(&other), &mut Progress::hidden()).unwrap();
    assert_eq!(found.faults_total, 1);
    mentions(&refusal(found.into_result()), &["1 faults in 1 shards"]);
    TRAINED.check_fits(1024).unwrap();
    mentions(&refusal(TRAINED.check_fits(1023)), &["ids up to 1023", "0..1023"]);
    mentions(&refusal(TRAINED.eod(Some("</s>"))), &["</s>", "--eod-token"]);
}

#[test]
fn broken_tokenizers_are_refused() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    mentions(&refusal(TextTokenizer::load(&path)), &["cannot read", "tokenizer.json"]);
    let merges_lead_nowhere = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":null,"post_processor":null,"decoder":null,"model":{"type":"BPE","dropout":null,"unk_token":null,
        "continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,"byte_fallback":false,
        "vocab":{"a":0,"b":1},"merges":[["a","b"]]}}"#;
    let not_utf_8 = b"{\"version\": \"\xff\"}".as_slice();
    let texts = ["", "{}", "[1]", "{\"model\":{\"type\":\"BPE\"}}", merges_lead_nowhere].map(str::as_bytes);
    for text in texts.into_iter().chain([not_utf_8]) {
        fs::write(&path, text).unwrap();
        mentions(&refusal(TextTokenizer::load(dir.path())), &["not a valid tokenizer.json"]);
    }
}

#[test]
fn documents_of_every_size_survive() {
    let mut dice = Dice::new(1);
    let texts: Vec<String> = [1, 2, 3, 10_000].map(|n| document(&mut dice, n)).into();
    for text in texts {
        let ids = TRAINED.encode(&text).unwrap();
        assert_eq!(TRAINED.decode(&ids).unwrap(), text);
    }
    assert_eq!(TRAINED.encode("").unwrap(), [0u32; 0]);
    // Longer than any cached word, and spaces without end.
    for text in ["x".repeat(100_000), " ".repeat(10_000) + "x"] {
        assert_eq!(TRAINED.decode(&TRAINED.encode(&text).unwrap()).unwrap(), text);
    }
}
