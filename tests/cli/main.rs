//! The command line as people and scripts use it: the real binary, real files, exit codes and messages.
mod average;
mod bad_config;
mod bad_input;
mod bad_run;
mod bench;
mod demo;
mod examples;
mod formats;
mod happy;
mod mixture;
mod model_dirs;
mod plan;
mod refine;
mod shell;
mod support;
mod tokenize;
mod tokenizers;
