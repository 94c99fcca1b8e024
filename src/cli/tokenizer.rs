//! The tokenizer of a model that is named on the command line.
use crate::data::TextTokenizer;
use crate::train::OpenModel;
use crate::{Error, Result};
use std::path::Path;

/// The one that `--tokenizer` names, or the one beside the model; `None` where there is neither. Refused when both are
/// there and are different ones.
pub fn of_model(source: &OpenModel, named: Option<&Path>) -> Result<Option<TextTokenizer>> {
    let beside = source.dir().join("tokenizer.json");
    let beside = beside.exists().then(|| TextTokenizer::load(&beside)).transpose()?;
    let Some(named) = named.map(TextTokenizer::load).transpose()? else { return Ok(beside) };
    match beside {
        Some(own) if own.identity() != named.identity() => Err(Error::refused(format!(
            "--tokenizer names {}, which is another tokenizer than {} beside the model: they differ in {}; leave --tokenizer \
             out, or put the file there that the model was trained with",
            named.name(),
            own.name(),
            named.difference(&own)
        ))),
        _ => Ok(Some(named)),
    }
}
