//! The command line: one file per sub-command.
pub mod data;
pub mod doctor;
pub mod schedule;
