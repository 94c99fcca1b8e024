//! The command line as people and scripts use it: the real binary, real files, exit codes and messages.
mod average;
mod bad_config;
mod bad_input;
mod bad_run;
mod bench;
mod compare;
mod demo;
mod emulated;
mod examples;
mod formats;
mod happy;
#[cfg(feature = "hub")]
mod hub;
mod import;
mod limits;
mod lineage;
mod mixture;
mod model_dirs;
mod phases;
mod plan;
mod refine;
mod seen;
mod selftest;
mod shell;
mod support;
mod tokenize;
mod tokenizers;
