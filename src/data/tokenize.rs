//! Documents to a Megatron shard, in parallel and in order.
use std::path::Path;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::megatron::with_suffix;
use super::progress::Progress;
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use super::unfinished::Unfinished;
use super::writer::{Beside, ShardWriter};
use crate::{Error, Result};

/// Text held at once, per chunk; two chunks are alive. A single larger document is a chunk of its own.
const CHUNK_BYTES: usize = 8 << 20;
const CHUNK_DOCUMENTS: usize = 16_384;

/// Writes `<out_prefix>.bin` and `.idx` with one document per text, `<out_prefix>.json` (`TokenizedInfo`), hashes of
/// the content (`<out_prefix>.hashes`) and `tokenizer.json` beside them. `eod` is appended to each document. The output
/// depends on the texts and their order only, not on the number of threads. Texts without tokens are left out and
/// counted. A run that was stopped or killed goes on where the same texts come again.
///
/// Refused: an existing output, one that another process is writing, another `tokenizer.json` in the folder, no documents,
/// and what `documents` refuses.
pub fn tokenize_documents(
    mut documents: impl Iterator<Item = Result<String>> + Send,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    out_prefix: &Path,
    progress: &mut Progress,
) -> Result<TokenizedInfo> {
    tokenize_all(&mut documents, tokenizer, eod, out_prefix, &mut |bytes, _| progress.add(bytes))
}

/// As [`tokenize_documents`]; `each` is told the bytes and the tokens of every text, in order.
pub fn tokenize_each(
    mut documents: impl Iterator<Item = Result<String>> + Send,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    out_prefix: &Path,
    each: Each<'_>,
) -> Result<TokenizedInfo> {
    tokenize_all(&mut documents, tokenizer, eod, out_prefix, each)
}

/// What is told the bytes and the tokens of a text.
pub type Each<'a> = &'a mut dyn FnMut(u64, u64);

/// Texts one after the other.
type Texts<'a> = &'a mut (dyn Iterator<Item = Result<String>> + Send);

/// Compiled once, whatever iterator the texts come from.
fn tokenize_all(
    documents: Texts<'_>,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    out_prefix: &Path,
    each: Each<'_>,
) -> Result<TokenizedInfo> {
    let note = with_suffix(out_prefix, ".json");
    let beside = out_prefix.with_file_name("tokenizer.json");
    let mut writer = ShardWriter::create(out_prefix, tokenizer.vocab_size())?;
    shared_tokenizer(out_prefix, &note, &beside, tokenizer)?;
    let mut unfinished = Unfinished::open(out_prefix, &format!("{} {eod:?}", tokenizer.identity()));
    let encoding = Encoding { tokenizer, eod };
    let Encoded { input_bytes, without_tokens } =
        write_all(documents, encoding, &mut unfinished, &mut writer, each)?;
    if writer.documents() == 0 {
        return Err(Error::refused("the input holds no text; check the paths, --extension and --field"));
    }
    let mut info = TokenizedInfo {
        rewarm_tokenized: 1,
        tokenizer_hash: tokenizer.hash_hex(),
        tokenizer_identity: Some(tokenizer.identity()),
        vocab_size: tokenizer.vocab_size(),
        eod,
        dtype: writer.dtype().to_string(),
        input_bytes,
        documents: writer.documents(),
        without_tokens,
        tokens: writer.tokens(),
        content: None,
    };
    writer.finish_with(|content| {
        let shared = shared_tokenizer(out_prefix, &note, &beside, tokenizer)?;
        info.tokenizer_hash = format!("{:032x}", xxh3_128(&shared));
        info.content = Some(content);
        let json = serde_json::to_vec_pretty(&info)
            .map_err(|e| Error::failed(format!("cannot write the note: {e}")))?;
        Ok(vec![
            Beside { path: beside, content: shared, shared: true },
            Beside { path: note, content: json, shared: false },
        ])
    })?;
    unfinished.remove();
    Ok(info)
}

/// The `tokenizer.json` of the folder, and the one to put there where it has none. Refused: a file in the place of the
/// note that is none, and a tokenizer of the folder that is another one.
fn shared_tokenizer(prefix: &Path, note: &Path, beside: &Path, tokenizer: &TextTokenizer) -> Result<Vec<u8>> {
    if note.exists() && TokenizedInfo::load(prefix)?.is_none() {
        return Err(Error::refused(format!(
            "{} exists already and is not overwritten; choose another output prefix",
            note.display()
        )));
    }
    if !beside.exists() {
        return Ok(tokenizer.json().to_vec());
    }
    let there = TextTokenizer::load(beside)?;
    if there.identity() != tokenizer.identity() {
        return Err(Error::refused(format!(
            "{} is another tokenizer than {}: they differ in {}; write to another folder, or use that one (--tokenizer)",
            there.name(),
            tokenizer.name(),
            there.difference(tokenizer)
        )));
    }
    Ok(there.json().to_vec())
}

/// What became of the texts.
struct Encoded {
    /// Bytes of text that became tokens.
    input_bytes: u64,
    /// Texts that gave none.
    without_tokens: u64,
}

/// How a text becomes tokens.
#[derive(Clone, Copy)]
struct Encoding<'a> {
    tokenizer: &'a TextTokenizer,
    /// Ends it.
    eod: Option<u32>,
}

/// Encodes one chunk while the next is read, unless that was done before.
fn write_all(
    documents: Texts<'_>,
    encoding: Encoding,
    unfinished: &mut Unfinished,
    writer: &mut ShardWriter,
    each: Each<'_>,
) -> Result<Encoded> {
    let mut seen = Encoded { input_bytes: 0, without_tokens: 0 };
    let mut chunk = next_chunk(documents)?;
    while !chunk.is_empty() {
        let known = unfinished.known(&chunk);
        let is_new = known.is_none();
        let (encoded, next) = match known {
            Some(encoded) => (encoded, next_chunk(documents)),
            None => {
                let encode =
                    || chunk.par_iter().map(|text| encode(encoding, text)).collect::<Result<Vec<_>>>();
                let (encoded, next) = rayon::join(encode, || next_chunk(documents));
                (encoded?, next)
            }
        };
        // The last one is in the shard in a moment.
        if is_new && !matches!(&next, Ok(next) if next.is_empty()) {
            unfinished.keep(&chunk, &encoded)?;
        }
        for (text, ids) in chunk.iter().zip(encoded) {
            if ids.is_empty() {
                seen.without_tokens += 1;
            } else {
                writer.push(&ids)?;
                seen.input_bytes += text.len() as u64;
            }
            each(text.len() as u64, ids.len() as u64);
        }
        chunk = next?;
    }
    Ok(seen)
}

fn encode(encoding: Encoding, text: &str) -> Result<Vec<u32>> {
    let mut ids = encoding.tokenizer.encode(text)?;
    if !ids.is_empty() {
        ids.extend(encoding.eod);
    }
    Ok(ids)
}

fn next_chunk(documents: Texts<'_>) -> Result<Vec<String>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0usize);
    while bytes < CHUNK_BYTES && chunk.len() < CHUNK_DOCUMENTS {
        let Some(text) = documents.next().transpose()? else { break };
        bytes += text.len();
        chunk.push(text);
    }
    Ok(chunk)
}
