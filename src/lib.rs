//! Continual pre-training of GPT-NeoX (Pythia) language models: take a trained model, re-warm the learning rate, train on
//! new data, forget little. The `rewarm` command is a thin layer over this library; README.md has a tour of it.
//!
//! # The flow of data
//!
//! ```text
//!  text ──► data::tokenize ──► token shards ──► order ──► batch ──► forward ──► loss ──► backward ──► clip ──► AdamW ──► checkpoint
//!                              data             data      data      model                model        optim    ops       checkpoint
//!                                                                  metrics.jsonl ◄── train            ▲
//!                                                                                                  schedule
//! ```
//!
//! A *run* is a directory: the resolved configuration, a log, checkpoints, a lock. All that it does is a function of
//! (configuration, seed, step), so a run that was killed goes on with equal bits.
//!
//! ```
//! use rewarm::{config::Config, data::ShardWriter, train::Session};
//!
//! let dir = tempfile::tempdir().unwrap();
//! let here = dir.path().display();
//!
//! // Two hundred documents that count to 15, again and again: ids below 16.
//! let mut shard = ShardWriter::create(&dir.path().join("counting"), 16)?;
//! for d in 0..200 {
//!     shard.push(&(d..d + 64).map(|i| i % 16).collect::<Vec<u32>>())?;
//! }
//! shard.finish()?;
//!
//! // As in a file for `rewarm train`; what is not said has the defaults of docs/configuration.md.
//! let config = Config::from_toml_str(
//!     &format!(
//!         r#"
//!         run_dir = "{here}/run"
//!         model = {{ vocab_size = 16, hidden_size = 16, num_hidden_layers = 1, num_attention_heads = 2, rotary_pct = 0.5,
//!                    max_position_embeddings = 32 }}
//!         data = {{ train = ["{here}/counting"] }}
//!         schedule = {{ lr = 0.03 }}
//!         train = {{ steps = 60 }}
//!         "#
//!     ),
//!     &[],
//! )?;
//! let summary = Session::start(config)?.run()?;
//! assert!(summary.loss.unwrap() < 0.7, "a guess among 16 has a loss of {:.2}", 16f64.ln());
//! assert!(summary.checkpoint.join("model.safetensors").exists()); // transformers opens the folder
//! # Ok::<(), rewarm::Error>(())
//! ```
//!
//! # Where to look first
//!
//! 1. [`train`]: [`train::Session`] is a run that is ready, its `run` the loop; [`train::train_step`] is one step.
//! 2. [`model`]: GPT-NeoX over the vocabulary of operations in [`ops`], which a [`backend`] computes on a [`device`].
//! 3. [`schedule`]: a rate is a pure function of the step; [`schedule::catalogue`] has every one that has a name.
//! 4. [`data`]: shards, their order and mixtures; a sample is a pure function of its number.
//! 5. [`checkpoint`]: how a step is saved so that no crash can leave half of one, and Hugging Face in and out.
//! 6. [`config`]: what may be said in a file, and what it means.
//!
//! [`mod@reference`] is naive f64 arithmetic that judges the others and shares no code with them. [`mod@bench`], [`perf`] and
//! [`selftest`] serve the commands of [`cli`], as modules do that nobody else needs. The programs in `examples/` show
//! training, schedules, checkpoints and shards by themselves.
//!
//! # Units and shapes
//!
//! Losses are nats per token, rates are per optimizer step and computed in f64, lengths are bytes, tokens, samples or steps
//! as their names say, times are seconds. A *sample* is a window of T + 1 tokens, a *step* one update of the weights. Shapes
//! are row-major and written `[B, T, C]`: B sequences, T tokens, C channels, H heads, V vocabulary, F width of the MLP.
//!
//! # Errors and exit codes
//!
//! Everything that can fail returns [`Error`], whose message says what was found, what was expected and what to do. Its
//! variant decides the exit code of the process ([`Error::exit_code`]): 1 refused, nothing was changed; 2 failed, of the
//! machine; 3 stopped on request, with everything done saved; 4 not reproducible.
//!
//! What the library has to tell beside its results, warnings and the progress of a run, goes to [`mod@log`]: a program that
//! listens decides what becomes of it, [`console::show_log`] prints it as the command does. On a terminal long work draws a bar.
pub mod average;
pub mod backend;
pub mod bench;
pub mod checkpoint;
pub mod cli;
pub mod config;
pub mod console;
pub mod data;
mod demo;
pub mod device;
mod doctor;
pub mod edit;
pub mod error;
pub mod files;
mod generate;
mod hub;
mod machine;
pub mod model;
pub mod ops;
pub mod optim;
pub mod perf;
mod profile;
mod random;
pub mod reference;
mod report;
pub mod schedule;
pub mod selftest;
mod stop;
mod study;
pub mod train;
pub use error::{Error, Result};
