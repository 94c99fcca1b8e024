//! llm.c `.bin` shards: a header of 256 i32 (magic, version, tokens), then u16 or u32 tokens.
use super::dtype::Dtype;
use super::map::Opening;
use crate::{Error, Result};

/// Bytes before the first token.
pub const HEADER_BYTES: u64 = 1024;

/// GPT-2 data: version 1, u16.
pub const MAGIC_U16: i32 = 20240520;
/// Llama-3 data: version 7, u32.
pub const MAGIC_U32: i32 = 20240801;

/// Other files of llm.c: evaluation data, models, states of runs, tokenizers.
pub(crate) const OTHER_MAGICS: [i32; 4] = [20240522, 20240326, 20240527, 20240328];

/// Whether a file that starts so calls itself an llm.c token shard.
pub(crate) fn is_magic(word: i32) -> bool {
    matches!(word, MAGIC_U16 | MAGIC_U32)
}

/// Dtype and tokens.
pub(crate) fn header(file: &Opening) -> Result<(Dtype, u64)> {
    let (path, bytes) = (file.path, file.bytes);
    let refuse = |message: String| Err(Error::refused(format!("{}: {message}", path.display())));
    if bytes < HEADER_BYTES {
        return refuse(format!(
            "has {bytes} bytes, an llm.c header alone takes {HEADER_BYTES}; copy it again"
        ));
    }
    let word = |i: u64| file.array(4 * i).map(i32::from_le_bytes);
    let (magic, version, count) = (word(0)?, word(1)?, word(2)?);
    let (dtype, wanted) = if magic == MAGIC_U16 { (Dtype::U16, 1) } else { (Dtype::U32, 7) };
    if version != wanted {
        return refuse(format!(
            "has version {version}, expected {wanted} for the llm.c magic {magic}; write it again with llm.c's script"
        ));
    }
    let promised = u64::try_from(count).ok();
    if promised.and_then(|n| n.checked_mul(dtype.bytes())) != Some(bytes - HEADER_BYTES) {
        return refuse(format!(
            "promises {count} tokens of {} bytes after a header of {HEADER_BYTES}, but the file has {bytes} bytes; \
             it is truncated or damaged, copy it again",
            dtype.bytes()
        ));
    }
    match promised {
        Some(tokens) if tokens > 0 => Ok((dtype, tokens)),
        _ => refuse("holds no tokens; leave it out".into()),
    }
}
