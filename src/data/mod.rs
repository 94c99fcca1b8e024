//! Token shards, the order in which they are read, and how they are made from text.
//!
//! ```text
//! specs ──► source ──► shard (megatron, llmc, npy, raw) ──► corpus ──► split ──► stream ──► order ──► mixture (shares) ──► batch
//! text, JSON ──► input (chat) ──► tokenize (text_tokenizer, fast_bpe, words) ──► writer, plane ──► .bin .idx .weights .hashes .json tokenizer.json
//! ```
mod arrangement;
mod batch;
mod chat;
mod claim;
mod corpus;
mod document;
mod documents;
mod dtype;
mod fast_bpe;
mod fingerprint;
mod folder;
mod foreign;
mod hashes;
mod identity;
mod input;
mod inspect;
mod left_out;
mod llmc;
mod made_with;
mod magic;
mod map;
mod megatron;
mod mixture;
mod npy;
mod order;
mod packing;
mod permutation;
mod piece;
mod plane;
mod plane_check;
mod progress;
mod recent;
mod shard;
mod shares;
mod sorted;
mod source;
mod split;
mod standing;
mod stream;
mod text_tokenizer;
mod token_bytes;
mod tokenize;
mod tokenized;
mod train_bpe;
mod unfinished;
mod usage;
mod verdict;
mod verify;
mod weights;
mod words;
mod writer;

pub use arrangement::Arrangement;
pub use batch::{Batch, fill_batch, fill_windows};
pub use chat::{Chat, ChatFiles};
pub use corpus::Corpus;
pub use document::{Document, Stretch};
pub use documents::Boundaries;
pub use dtype::{BadToken, Dtype};
pub use hashes::ContentHashes;
pub use input::{
    Documents, Dropped, Format as TextFormat, InputOptions, Inputs, OnError, SourceCounts, Tally,
    TokenCounts, WeightField,
};
pub use inspect::{Inspection, LengthQuantiles, ShardInspection, inspect};
pub use left_out::LeftOut;
pub use made_with::{any_noted, check_tokenizer};
pub use mixture::{Mixture, Source, Sources};
pub use order::{Location, Order, OrderKey, Piece};
pub use permutation::Permutation;
pub use piece::{Excerpt, Place};
pub use plane::{NotedWeights, PlaneKind, WeightType};
pub use plane_check::PlaneSummary;
pub use progress::Progress;
pub use shard::{Format, Shard, prefix_of};
pub use shares::{Cursor, Dealt, Shares, Turn};
pub use split::{Side, Split};
pub use standing::Standing;
pub use stream::Stream;
pub use text_tokenizer::{END_OF_TEXT, TextTokenizer};
pub use token_bytes::TokenBytes;
pub use tokenize::{Each, Encoding, tokenize_documents, tokenize_each};
pub use tokenized::TokenizedInfo;
pub use train_bpe::{VOCAB_MIN, train_bpe};
pub use usage::{SharedDocuments, Usage};
pub use verify::{Fault, Verification, verify};
pub use weights::{LossWeights, fill_weights};
pub use writer::ShardWriter;
