//! What several commands do.
use crate::{Error, Result};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::str::FromStr;
use strum::VariantNames;

/// Runs `f` on a pool of `threads` threads (0: all cores); everything it computes in parallel runs there.
pub fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> Result<R> + Send) -> Result<R> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| Error::failed(format!("cannot start {threads} threads: {e}")))?;
    pool.install(f)
}

/// An argument that is one of an enum's names, which help, completions and refusals list.
pub fn one_of<T>() -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = strum::ParseError> + VariantNames + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(T::VARIANTS).try_map(|name| name.parse())
}

/// Prints a value as one line of JSON.
pub fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|e| Error::failed(format!("cannot print JSON: {e}")))?;
    crate::console::print(&text)
}

/// The same on several lines, for people and programs.
pub fn print_pretty(value: &impl serde::Serialize) -> Result<()> {
    let text =
        serde_json::to_string_pretty(value).map_err(|e| Error::failed(format!("cannot print JSON: {e}")))?;
    crate::console::print(&text)
}
