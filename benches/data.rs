//! Data: tokenizing (bytes/s on one thread), opening many shards, reading samples.
//!
//! `cargo bench --bench data`. The text is this crate's own sources; `REWARM_BENCH_TEXT=FOLDER` takes another.
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rewarm::data::{
    Batch, Corpus, Dealt, InputOptions, Inputs, LeftOut, Mixture, Order, ShardWriter, Shares, Side, Source,
    Sources, Split, TextTokenizer, fill_batch, train_bpe,
};

/// Enough for steady figures, little enough for the library's own encoder.
const TEXT_BYTES: usize = 16 << 20;

fn texts() -> Vec<String> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src");
    let folder = std::env::var_os("REWARM_BENCH_TEXT").map_or(own, PathBuf::from);
    let inputs = Inputs::find(&[folder], &InputOptions::default()).expect("the folder has text");
    let mut left = TEXT_BYTES as i64;
    let texts = inputs.documents().map(|text| text.expect("files are readable"));
    texts
        .take_while(|text| {
            left -= text.len() as i64;
            left > 0
        })
        .collect()
}

fn tokenize(c: &mut Criterion) {
    let texts = texts();
    let bytes: usize = texts.iter().map(String::len).sum();
    let trained = train_bpe(texts.iter().cloned().map(Ok), 4096).expect("training succeeds");
    let mut group = c.benchmark_group("tokenize");
    group.sample_size(10).throughput(Throughput::Bytes(bytes as u64));
    // A fresh tokenizer each time: its word cache starts empty, as in a run of `data tokenize`.
    let fresh = || TextTokenizer::from_json(trained.json().to_vec()).expect("it was just written");
    group.bench_function("fast", |b| {
        b.iter_batched(
            fresh,
            |t| texts.iter().map(|x| t.encode(x).expect("any text").len()).sum::<usize>(),
            BatchSize::LargeInput,
        )
    });
    group.bench_function("library", |b| {
        b.iter_batched(
            fresh,
            |t| texts.iter().map(|x| t.encode_slow(x).expect("any text").len()).sum::<usize>(),
            BatchSize::LargeInput,
        )
    });
    group.bench_function("train_4096", |b| {
        b.iter(|| train_bpe(texts.iter().cloned().map(Ok), 4096).expect("training succeeds").vocab_size())
    });
    group.finish();
}

fn shards(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    for i in 0..100 {
        let mut writer =
            ShardWriter::create(&dir.path().join(format!("s{i:03}")), 50_000).expect("a new shard");
        for d in 0..2_000u32 {
            let document: Vec<u32> = (0..200 + d % 97).map(|t| (t * 31 + d) % 50_000).collect();
            writer.push(&document).expect("space on the disk");
        }
        writer.finish().expect("space on the disk");
    }
    let spec = [dir.path().to_str().expect("temporary paths are UTF-8").to_string()];
    c.bench_function("open/100_shards", |b| b.iter(|| Corpus::open(black_box(&spec)).expect("valid shards")));
    let corpus = Arc::new(Corpus::open(&spec).expect("valid shards"));
    let split = Split { fraction: 0.01, seed: 1 };
    c.bench_function("split/200k_documents", |b| {
        b.iter(|| Order::new(corpus.clone(), Side::Train, split, 2048, 1).expect("enough documents"))
    });
    let mut out = vec![0; 2049];
    let mut group = c.benchmark_group("read/2049_tokens");
    group.throughput(Throughput::Elements(2048));
    for (name, side) in [("all", Side::All), ("train", Side::Train), ("validation", Side::Validation)] {
        let order = Order::new(corpus.clone(), side, split, 2048, 1).expect("enough documents");
        let mut sample = 0;
        group.bench_function(name, |b| {
            b.iter(|| {
                sample += 1;
                order.read(sample, &mut out, 50_000).expect("valid tokens")
            })
        });
    }
    group.finish();
    let order = Order::new(corpus.clone(), Side::All, split, 2048, 1).expect("enough documents");
    let mut batch = Batch::default();
    c.bench_function("fill_batch/32x2048", |b| {
        b.iter(|| fill_batch(&order, 0, 32, 50_000, &mut batch).expect("valid tokens"))
    });
}

/// Where shares never change a position is found at once; where they do, samples are dealt out again.
fn mixture(c: &mut Criterion) {
    let origin = Dealt::nothing(7);
    let weights = vec![67.0, 15.0, 4.5, 4.5, 4.5, 2.5, 2.0];
    let fixed = Shares::new(origin.clone(), &[(0, weights.clone())]).expect("positive weights");
    let ramp: Vec<(u64, Vec<f64>)> = (0..1000)
        .map(|step| (step * 1000, weights.iter().map(|w| w + step as f64 * 0.01).collect()))
        .collect();
    let ramp = Shares::new(origin, &ramp).expect("positive weights");
    c.bench_function("shares/seek_1M_fixed", |b| b.iter(|| fixed.seek(black_box(1_000_000))));
    c.bench_function("shares/seek_1M_ramp", |b| b.iter(|| ramp.seek(black_box(1_000_000))));
}

/// Samples of four sources on one core, from the page cache: windows as long as samples, longer ones, and packed documents.
fn loader(c: &mut Criterion) {
    const TIME: usize = 2048;
    let dir = tempfile::tempdir().expect("a temporary folder");
    let sources = |window: usize, arrangement: &str| {
        let source = |i: u32| {
            let prefix = dir.path().join(format!("s{i}"));
            if !prefix.with_extension("bin").exists() {
                let mut writer = ShardWriter::create(&prefix, 50_000).expect("a new shard");
                for d in 0..10_000u32 {
                    let length = 50 + d * 7919 % 1_401; // 750 on average
                    let document: Vec<u32> = (0..length).map(|t| (t * 31 + d + i) % 50_000).collect();
                    writer.push(&document).expect("space on the disk");
                }
                writer.finish().expect("space on the disk");
            }
            let spec = [prefix.to_str().expect("temporary paths are UTF-8").to_string()];
            let corpus = Arc::new(Corpus::open(&spec).expect("a valid shard"));
            let arrangement = arrangement.parse().expect("an order");
            let order = Order::arranged(corpus, Side::All, Split::NONE, (TIME, window), 1, arrangement);
            Source { name: format!("s{i}"), order: order.expect("enough tokens") }
        };
        Sources::new((0..4).map(source).collect()).expect("four files")
    };
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    let mut group = c.benchmark_group("loader/4_sources_32x2048");
    group.throughput(Throughput::Elements(32 * TIME as u64));
    for (name, window, order) in [
        ("window_2048", TIME, "shuffled"),
        ("window_8192", 8192, "shuffled"),
        ("window_5000", 5000, "shuffled"),
        ("packed", TIME, "packed"),
    ] {
        let shares =
            Shares::new(Dealt::nothing(4), &[(0, vec![0.6, 0.25, 0.1, 0.05])]).expect("positive weights");
        let cursor = shares.seek(0);
        let mut mixture = Mixture::new(sources(window, order), shares, vec![LeftOut::default(); 4], cursor);
        let mut batch = Batch::default();
        group.bench_function(name, |b| {
            b.iter(|| one.install(|| mixture.fill(32, 50_000, &mut batch).expect("valid tokens")))
        });
    }
    group.finish();
}

criterion_group!(benches, tokenize, shards, mixture, loader);
criterion_main!(benches);
