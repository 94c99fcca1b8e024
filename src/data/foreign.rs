//! Files of other kinds that are named as tokens by mistake: refused by name.
use super::magic::{Head, Kind};
use super::map::{BLOCK_BYTES, Opening};
use crate::{Error, Result};

/// Refuses a file that is of a kind known not to be tokens without a header.
pub(crate) fn refuse(file: &Opening) -> Result<()> {
    let Some((kind, instead)) = kind_of(file)? else { return Ok(()) };
    Err(Error::refused(format!(
        "{} is {kind}, expected tokens without a header; {instead}",
        file.path.display()
    )))
}

/// What a file is and what to do with it; `None` where it may be tokens.
pub(crate) fn kind_of(file: &Opening) -> Result<Option<(&'static str, &'static str)>> {
    let mut head = vec![0; file.bytes.min(BLOCK_BYTES) as usize];
    file.read(0, &mut head)?;
    let mut end = [0; 4];
    file.read(file.bytes.saturating_sub(4), &mut end[..file.bytes.min(4) as usize])?;
    let kind = Head { bytes: &head, end: Some(end), size: Some(file.bytes) }.kind();
    Ok(match kind {
        Some(kind) => Some(described(kind)),
        None if is_text(&head, file.bytes) => Some(("text", "make tokens of it with `rewarm data tokenize`")),
        None => None,
    })
}

/// A kind in words, and what to do about it.
fn described(kind: Kind) -> (&'static str, &'static str) {
    const UNPACK: &str = "unpack it first";
    const WEIGHTS: &str = "these are weights: name them in start.from, and tokens in data.train";
    const EXPORT: &str =
        "save its column of tokens with numpy.save, or its texts as .jsonl for `rewarm data tokenize`";
    const NUMPY: &str = "save its tokens with numpy.save";
    match kind {
        Kind::MegatronIndex => {
            ("the index of a Megatron shard", "name the shard by its .bin or its prefix, without raw-")
        }
        Kind::LlmcTokens => ("a token shard of llm.c with a header", "name it without raw-"),
        Kind::LlmcOther => ("a file of llm.c that holds no tokens to train on", "name a shard of tokens"),
        Kind::Llmq => {
            ("a token file of llmq", "write its tokens without the header of 1,024 bytes and the masks")
        }
        Kind::Safetensors => ("a safetensors file", WEIGHTS),
        Kind::Gguf => ("a GGUF file", WEIGHTS),
        Kind::Zip => ("a zip archive (.npz, or torch.save's .pt)", NUMPY),
        Kind::Tar => ("a tar archive", UNPACK),
        Kind::Gzip => ("packed by gzip", UNPACK),
        Kind::Zstd => ("packed by zstd", UNPACK),
        Kind::Xz => ("packed by xz", UNPACK),
        Kind::Bzip2 => ("packed by bzip2", UNPACK),
        Kind::Lz4 => ("packed by lz4", UNPACK),
        Kind::Parquet => ("a Parquet file", EXPORT),
        Kind::Arrow => ("an Arrow file", EXPORT),
        Kind::Hdf5 => ("an HDF5 file", NUMPY),
        Kind::Sqlite => ("a SQLite database", EXPORT),
        Kind::Pdf => ("a PDF", "take its text out first, such as with pdftotext"),
        Kind::Numpy => ("a NumPy array cut off in its header", "copy it again"),
        Kind::Pickle => ("a Python pickle (or torch.save's old format)", NUMPY),
    }
}

/// At least 64 bytes of UTF-8 without control characters in the `head` of a file of `size` bytes: tokens that read so are
/// 8,224 and more without exception.
fn is_text(head: &[u8], size: u64) -> bool {
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        // Cut inside a character.
        Err(e) => e.error_len().is_none() && (head.len() as u64) < size,
    };
    let blank = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x0c);
    head.len() >= 64 && valid && head.iter().all(|b| *b >= 0x20 && *b != 0x7f || blank(b))
}
