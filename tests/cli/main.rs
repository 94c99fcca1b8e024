//! The command line as people and scripts use it: the real binary, real files, exit codes and messages.
mod bad_config;
mod bad_input;
mod bad_run;
mod demo;
mod formats;
mod happy;
mod mixture;
mod support;
