//! Tokens and texts: shards of every format, their order and mixtures, tokenizers, and what writes and verifies them.
//! `cargo test --release --test data`.
mod bytes;
mod chat;
mod cli;
mod documents;
mod fields;
mod folder;
mod foreign;
mod inputs;
mod mixture;
mod order;
mod packing;
mod planes;
mod shards;
mod support;
mod text;
mod tokenize;
mod tokenizers;
mod weights;
mod windows;
mod writers;
