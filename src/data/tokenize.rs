//! Documents to a Megatron shard, in parallel and in order.
use std::path::Path;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::document::Document;
use super::megatron::with_suffix;
use super::plane::PlaneKind;
use super::progress::Progress;
use super::text_tokenizer::TextTokenizer;
use super::tokenized::TokenizedInfo;
use super::unfinished::{Encoded, Unfinished};
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
    documents: impl Iterator<Item = Result<String>> + Send,
    tokenizer: &TextTokenizer,
    eod: Option<u32>,
    out_prefix: &Path,
    progress: &mut Progress,
) -> Result<TokenizedInfo> {
    let encoding = Encoding { tokenizer, eod, plane: None };
    let documents = documents.map(|text| text.map(Document::from));
    tokenize_each(documents, encoding, out_prefix, &mut |bytes, _| progress.add(bytes))
}

/// As [`tokenize_documents`], with a plane of weights beside the shard where `encoding` says which (`<out_prefix>.weights`): a
/// token weighs as the run of its document in which it begins, and `eod` as the token before it. `each` is told the bytes and
/// the tokens of every text, in order.
pub fn tokenize_each(
    mut documents: impl Iterator<Item = Result<Document>> + Send,
    encoding: Encoding<'_>,
    out_prefix: &Path,
    each: Each<'_>,
) -> Result<TokenizedInfo> {
    tokenize_all(&mut documents, encoding, out_prefix, each)
}

/// How a text becomes tokens.
#[derive(Clone, Copy, Debug)]
pub struct Encoding<'a> {
    /// What makes them.
    pub tokenizer: &'a TextTokenizer,
    /// Ends each text that has any.
    pub eod: Option<u32>,
    /// Which weights are written beside them.
    pub plane: Option<PlaneKind>,
}

/// What is told the bytes and the tokens of a text.
pub type Each<'a> = &'a mut dyn FnMut(u64, u64);

/// Texts one after the other.
type Texts<'a> = &'a mut (dyn Iterator<Item = Result<Document>> + Send);

/// Compiled once, whatever iterator the texts come from.
fn tokenize_all(
    documents: Texts<'_>,
    encoding: Encoding<'_>,
    out_prefix: &Path,
    each: Each<'_>,
) -> Result<TokenizedInfo> {
    let Encoding { tokenizer, eod, plane } = encoding;
    let note = with_suffix(out_prefix, ".json");
    let beside = out_prefix.with_file_name("tokenizer.json");
    let mut writer = ShardWriter::create_weighed(out_prefix, tokenizer.vocab_size(), plane)?;
    shared_tokenizer(out_prefix, &note, &beside, tokenizer)?;
    let mut key = format!("{} {eod:?}", tokenizer.identity());
    key.extend(plane.map(|kind| format!(" {kind:?}")));
    let mut unfinished = Unfinished::open(out_prefix, &key, plane.is_some());
    let Seen { input_bytes, without_tokens } =
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
        weights: None,
    };
    writer.finish_with(|content, weights| {
        let shared = shared_tokenizer(out_prefix, &note, &beside, tokenizer)?;
        info.tokenizer_hash = format!("{:032x}", xxh3_128(&shared));
        info.content = Some(content);
        info.weights = weights;
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
struct Seen {
    /// Bytes of text that became tokens.
    input_bytes: u64,
    /// Texts that gave none.
    without_tokens: u64,
}

/// Encodes one chunk while the next is read, unless that was done before.
fn write_all(
    documents: Texts<'_>,
    encoding: Encoding,
    unfinished: &mut Unfinished,
    writer: &mut ShardWriter,
    each: Each<'_>,
) -> Result<Seen> {
    let mut seen = Seen { input_bytes: 0, without_tokens: 0 };
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
        for (Document { text, .. }, Encoded { ids, weights }) in chunk.iter().zip(encoded) {
            if ids.is_empty() {
                seen.without_tokens += 1;
            } else {
                writer.push_weighed(&ids, &weights)?;
                seen.input_bytes += text.len() as u64;
            }
            each(text.len() as u64, ids.len() as u64);
        }
        chunk = next?;
    }
    Ok(seen)
}

fn encode(encoding: Encoding, document: &Document) -> Result<Encoded> {
    let Document { text, runs } = document;
    let mut encoded = match (encoding.plane, runs.as_slice()) {
        (None, _) => Encoded { ids: encoding.tokenizer.encode(text)?, weights: Vec::new() },
        (Some(_), runs @ ([] | [_])) => {
            let ids = encoding.tokenizer.encode(text)?;
            let weight = runs.first().map_or(1.0, |run| run.weight);
            Encoded { weights: vec![weight; ids.len()], ids }
        }
        (Some(_), _) => {
            let (ids, starts) = encoding.tokenizer.encode_with_starts(text)?;
            Encoded { ids, weights: document.weights_at(&starts) }
        }
    };
    if !encoded.ids.is_empty() {
        encoded.ids.extend(encoding.eod);
        // It is predicted from the token before it, and weighs as that.
        let last = encoded.weights.last().copied();
        encoded.weights.extend(encoding.eod.and(last));
    }
    Ok(encoded)
}

fn next_chunk(documents: Texts<'_>) -> Result<Vec<Document>> {
    let (mut chunk, mut bytes) = (Vec::new(), 0usize);
    while bytes < CHUNK_BYTES && chunk.len() < CHUNK_DOCUMENTS {
        let Some(document) = documents.next().transpose()? else { break };
        bytes += document.text.len();
        chunk.push(document);
    }
    Ok(chunk)
}
