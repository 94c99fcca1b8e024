//! What `rewarm data tokenize` says when it is done, and the list of what it dropped.
use crate::console::print;
use crate::data::{Documents, TokenizedInfo};
use crate::files::write_whole;
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Prints sums, and what was left out or changed.
pub(super) fn print_tokenized(
    prefix: &Path,
    info: &TokenizedInfo,
    documents: &Documents,
    tokens: &[u64],
) -> Result<()> {
    let mut lines = Vec::new();
    lines.push(format!(
        "{}.bin and .idx: {} documents, {} tokens ({})",
        prefix.display(),
        info.documents,
        info.tokens,
        info.dtype
    ));
    lines.push(format!(
        "from {} files, {} bytes of text: {:.3} bytes per token, ends of documents included; vocabulary {}",
        documents.files(),
        info.input_bytes,
        info.bytes_per_token(),
        info.vocab_size
    ));
    lines.extend(info.weights.as_ref().map(|weights| {
        format!(
            "{}.weights: {} of {} tokens count, by weights in {}",
            prefix.display(),
            info.tokens - weights.zeros,
            info.tokens,
            weights.kind.weights
        )
    }));
    if info.without_tokens > 0 {
        lines.push(format!("left out: {} documents whose text gives no token", info.without_tokens));
    }
    lines.extend(documents.left_out().lines().iter().map(|line| format!("left out: {line}")));
    lines.extend(documents.mended().lines().iter().map(|line| format!("changed: {line}")));
    if documents.sources().len() > 1 {
        lines.extend(documents.sources().iter().zip(tokens).map(|(source, tokens)| {
            let dropped =
                if source.dropped > 0 { format!(", {} dropped", source.dropped) } else { String::new() };
            format!(
                "{}: {} documents, {tokens} tokens, {} bytes of text{dropped}",
                source.path.display(),
                source.documents,
                source.bytes
            )
        }));
    }
    lines.extend(write_dropped(prefix, documents)?);
    print(&lines.join("\n"))
}

/// Writes down, beside a shard, which lines gave no document, and says where; nothing where all did.
fn write_dropped(prefix: &Path, documents: &Documents) -> Result<Option<String>> {
    if documents.dropped().is_empty() {
        return Ok(None);
    }
    let mut name = prefix.as_os_str().to_owned();
    name.push(".dropped.jsonl");
    let path = PathBuf::from(name);
    let mut text = String::new();
    for dropped in documents.dropped() {
        let line = serde_json::to_string(dropped)
            .map_err(|e| Error::failed(format!("cannot write {}: {e}", path.display())))?;
        text += &line;
        text.push('\n');
    }
    write_whole(&path, text.as_bytes())?;
    let all: u64 = documents.sources().iter().map(|source| source.dropped).sum();
    let kept = documents.dropped().len() as u64;
    let first = if kept < all { format!("the first {kept} of ") } else { String::new() };
    Ok(Some(format!("{}: file, line and reason of {first}{all} dropped lines", path.display())))
}
