//! Writing token shards, and reading them as training does.
//!
//! `cargo run --release --example shards` leaves `runs/counting.bin` and `.idx`, which the example `train` reads.
use rewarm::data::{Batch, Corpus, Order, ShardWriter, Side, Split, fill_batch};
use std::path::Path;
use std::sync::Arc;

/// Tokens 0..128; document d counts in steps of 1 to 5 from d on.
const VOCAB: u32 = 128;
const PREFIX: &str = "runs/counting";

fn main() -> rewarm::Result<()> {
    // A shard is two files in Megatron's format: tokens, and where documents begin. Both appear at `finish`, or neither.
    if !Path::new(PREFIX).with_extension("idx").exists() {
        let mut writer = ShardWriter::create(Path::new(PREFIX), VOCAB)?;
        for d in 0..2_000 {
            let document: Vec<u32> = (0..64).map(|i| (d + i * (1 + d % 5)) % VOCAB).collect();
            writer.push(&document)?;
        }
        writer.finish()?;
    }

    // A corpus is any number of shards, of any format, in order. Its fingerprint is what a resumed run must find again.
    let corpus = Arc::new(Corpus::open(&[PREFIX])?);
    println!("{} documents, {} tokens", corpus.documents(), corpus.tokens());
    for shard in corpus.shards() {
        let mut first = [0; 8];
        shard.read(0, &mut first, VOCAB)?; // refuses a token that is not below VOCAB
        println!("{} ({}, {}): {first:?} …", shard.path().display(), shard.format(), shard.dtype());
    }

    // A document is held out or trained on by a hash of its number: adding shards moves none to the other side.
    let split = Split { fraction: 0.02, seed: 1 };
    let heldout = Order::new(corpus.clone(), Side::Validation, split, 32, 1)?;
    let train = Order::new(corpus, Side::Train, split, 32, 1)?;
    println!("{} windows to train on, {} held out", train.windows(), heldout.windows());

    // What sample n is follows from (seed, corpus, n) alone. So a run that goes on at sample 1,000,000 seeks nothing, and
    // any split of samples into batches reads the same sequences.
    let place = train.locate(1_000_000)?;
    println!("sample 1,000,000 is in epoch {}, document {}", place.epoch, place.document);
    let mut batch = Batch::default();
    fill_batch(&train, 1_000_000, 4, VOCAB, &mut batch)?; // tokens and targets [B = 4, T = 32]
    println!("its first tokens are {:?}, its first targets {:?}", &batch.tokens[..4], &batch.targets[..4]);
    Ok(())
}
