//! Documents to a Megatron shard, in parallel and in order.
use std::path::Path;

use rayon::prelude::*;

use super::megatron::with_suffix;
use super::progress::Progress;
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use super::writer::{ShardWriter, write_whole};
use crate::{Error, Result};

/// Text held at once, per chunk; two chunks are alive. A single larger document is a chunk of its own.
const CHUNK_BYTES: usize = 8 << 20;
const CHUNK_DOCUMENTS: usize = 16_384;

/// Writes `<out_prefix>.bin` and `.idx` with one document per text, `<out_prefix>.json` (`TokenizedInfo`) and
/// `tokenizer.json` beside them. `eod` is appended to each document. The output depends on the texts and their order
/// only, not on the number of threads. Texts without tokens are left out.
///
/// Refused: an existing output, another `tokenizer.json` in the folder, no documents, and what `documents` refuses.
pub fn tokenize_documents(
    documents: impl Iterator<Item = Result<String>> + Send,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    out_prefix: &Path,
    progress: &mut Progress,
) -> Result<TokenizedInfo> {
    let note = with_suffix(out_prefix, ".json");
    if note.exists() && TokenizedInfo::load(out_prefix)?.is_none() {
        return Err(Error::refused(format!(
            "{} exists already and is not overwritten; choose another output prefix",
            note.display()
        )));
    }
    let beside = out_prefix.with_file_name("tokenizer.json");
    let known = beside.exists();
    if known && std::fs::read(&beside).map_err(Error::input("read", &beside))? != tokenizer.json() {
        return Err(Error::refused(format!(
            "{} is another tokenizer than the one in use; write to another folder, or use that one",
            beside.display()
        )));
    }
    let mut writer = ShardWriter::create(out_prefix, tokenizer.vocab_size())?;
    let input_bytes = write_all(documents, tokenizer, eod, &mut writer, progress)?;
    if writer.documents() == 0 {
        return Err(Error::refused("the input holds no text; check the paths, --extension and --field"));
    }
    let info = TokenizedInfo {
        rewarm_tokenized: 1,
        tokenizer_hash: format!("{:032x}", tokenizer.hash()),
        vocab_size: tokenizer.vocab_size(),
        eod,
        dtype: writer.dtype().to_string(),
        input_bytes,
        documents: writer.documents(),
        tokens: writer.tokens(),
    };
    let json =
        serde_json::to_vec_pretty(&info).map_err(|e| Error::failed(format!("cannot write the note: {e}")))?;
    if !known {
        write_whole(&beside, tokenizer.json())?;
    }
    write_whole(&note, &json)?;
    writer.finish()?;
    Ok(info)
}

/// Encodes one chunk while the next is read. Returns the bytes of text.
fn write_all(
    mut documents: impl Iterator<Item = Result<String>> + Send,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    writer: &mut ShardWriter,
    progress: &mut Progress,
) -> Result<u64> {
    let mut input_bytes = 0;
    let mut chunk = next_chunk(&mut documents)?;
    while !chunk.is_empty() {
        let (encoded, next) = rayon::join(
            || chunk.par_iter().map(|text| encode(tokenizer, text, eod)).collect::<Result<Vec<_>>>(),
            || next_chunk(&mut documents),
        );
        for (text, ids) in chunk.iter().zip(encoded?) {
            if !ids.is_empty() {
                writer.push(&ids)?;
                input_bytes += text.len() as u64;
            }
            progress.add(text.len() as u64);
        }
        chunk = next?;
    }
    Ok(input_bytes)
}

fn encode(tokenizer: &TextTokenizer, text: &str, eod: Option<u32>) -> Result<Vec<u32>> {
    let mut ids = tokenizer.encode(text)?;
    if !ids.is_empty() {
        ids.extend(eod);
    }
    Ok(ids)
}

fn next_chunk(documents: &mut impl Iterator<Item = Result<String>>) -> Result<Vec<String>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0usize);
    while bytes < CHUNK_BYTES && chunk.len() < CHUNK_DOCUMENTS {
        let Some(text) = documents.next().transpose()? else { break };
        bytes += text.len();
        chunk.push(text);
    }
    Ok(chunk)
}
