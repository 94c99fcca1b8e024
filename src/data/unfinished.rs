//! What of a shard that is not finished was encoded, so that a run that was stopped or killed goes on from there.
//!
//! `<prefix>.bin.part` has a header and, for each chunk of texts, a record: their hash, the number of tokens of each, the
//! tokens, their weights where there are any (f32), and the hash of all that. A record is used where the same texts come
//! again: what a killed process left half written, and what follows a text that is another one now, is written over. The
//! file goes when the shard is whole.
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::document::Document;
use super::megatron::with_suffix;
use crate::{Error, Result};

/// Appended to the prefix of a shard.
const SUFFIX: &str = ".bin.part";
/// Hash of the texts, their number, words that follow for their tokens.
const HEAD_BYTES: usize = 16 + 8 + 8;
const HASH_BYTES: usize = 16;

/// What a text became.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Encoded {
    pub(super) ids: Vec<u32>,
    /// The weight of each; none where no weights are written.
    pub(super) weights: Vec<f32>,
}

/// Chunks of texts that were encoded, in order.
pub(super) struct Unfinished {
    path: PathBuf,
    file: Option<File>,
    header: Vec<u8>,
    /// Where the next record is, or goes.
    at: u64,
    /// Whether records may follow that were written before.
    reading: bool,
    /// Whether tokens have weights.
    weighed: bool,
    documents: u64,
}

impl Unfinished {
    /// Of the shard `prefix`, whose texts are encoded as `key` says, which says whether they are `weighed`, too. A file with
    /// another key is written over.
    pub(super) fn open(prefix: &Path, key: &str, weighed: bool) -> Self {
        let path = with_suffix(prefix, SUFFIX);
        let header = format!("rewarm data tokenize, unfinished, 1\n{key}\n").into_bytes();
        let mut there = vec![0; header.len()];
        let file = OpenOptions::new().read(true).write(true).open(&path).ok();
        let file = file.filter(|file| file.read_exact_at(&mut there, 0).is_ok() && there == header);
        let reading = file.is_some();
        Self { path, reading, weighed, file, at: header.len() as u64, header, documents: 0 }
    }

    /// The tokens of each of these texts, where they were the next ones before, too.
    pub(super) fn known(&mut self, texts: &[Document]) -> Option<Vec<Encoded>> {
        let file = self.file.as_ref().filter(|_| self.reading);
        let record = file.and_then(|file| read_record(file, self.at, self.weighed));
        let known =
            record.filter(|record| record.hash == hash_of(texts) && record.encoded.len() == texts.len());
        let Some(record) = known else {
            if std::mem::take(&mut self.reading) && self.documents > 0 {
                log::info!("{} documents were encoded before; going on from there", self.documents);
            }
            return None;
        };
        self.at += record.bytes;
        self.documents += texts.len() as u64;
        Some(record.encoded)
    }

    /// Keeps the tokens of the texts that were last asked for.
    pub(super) fn keep(&mut self, texts: &[Document], encoded: &[Encoded]) -> Result<()> {
        let failed = |e| Error::io("write", &self.path)(e);
        if self.file.is_none() {
            let file = File::create(&self.path).map_err(failed)?;
            file.write_all_at(&self.header, 0).map_err(failed)?;
            self.file = Some(file);
        }
        let file = self.file.as_ref().expect("it was made in the lines above");
        let record = record(texts, encoded);
        file.set_len(self.at).and_then(|()| file.write_all_at(&record, self.at)).map_err(failed)?;
        self.at += record.len() as u64;
        Ok(())
    }

    /// The shard is whole.
    pub(super) fn remove(self) {
        if self.file.is_some() || self.path.exists() {
            // Best effort: the next run of this prefix would be refused by the shard, and nobody reads a leftover.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn hash_of(texts: &[Document]) -> u128 {
    let mut hash = Xxh3::new();
    for Document { text, runs } in texts {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
        for run in runs {
            hash.update(&(run.end as u64).to_le_bytes());
            hash.update(&run.weight.to_le_bytes());
        }
    }
    hash.digest128()
}

fn record(texts: &[Document], encoded: &[Encoded]) -> Vec<u8> {
    let all = encoded.iter().map(|own| own.ids.len() + own.weights.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(HEAD_BYTES + 4 * (encoded.len() + all) + HASH_BYTES);
    bytes.extend(hash_of(texts).to_le_bytes());
    bytes.extend((encoded.len() as u64).to_le_bytes());
    bytes.extend((all as u64).to_le_bytes());
    encoded.iter().for_each(|own| bytes.extend((own.ids.len() as u32).to_le_bytes()));
    for own in encoded {
        bytes.extend_from_slice(bytemuck::cast_slice(&own.ids));
        bytes.extend_from_slice(bytemuck::cast_slice(&own.weights));
    }
    bytes.extend(xxh3_128(&bytes).to_le_bytes());
    bytes
}

struct Record {
    hash: u128,
    encoded: Vec<Encoded>,
    /// Its length in the file.
    bytes: u64,
}

/// The record at `at`; `None` where there is no whole one.
fn read_record(file: &File, at: u64, weighed: bool) -> Option<Record> {
    let left = file.metadata().ok()?.len().checked_sub(at)?;
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, at).ok()?;
    let (hash, numbers) = head.split_first_chunk::<16>()?;
    let [documents, all] =
        [&numbers[..8], &numbers[8..]].map(|n| u64::from_le_bytes(n.try_into().expect("eight bytes")));
    let words = documents.checked_add(all)?.checked_mul(4)?;
    let bytes = words.checked_add((HEAD_BYTES + HASH_BYTES) as u64).filter(|bytes| *bytes <= left)?;
    let mut record = vec![0; bytes as usize];
    file.read_exact_at(&mut record, at).ok()?;
    let (content, own_hash) = record.split_last_chunk::<HASH_BYTES>()?;
    if u128::from_le_bytes(*own_hash) != xxh3_128(content) {
        return None;
    }
    let words: Vec<u32> =
        content[HEAD_BYTES..].as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (lengths, mut rest) = words.split_at(documents as usize);
    let mut take = |count: usize| {
        let (own, later) = rest.split_at_checked(count)?;
        rest = later;
        Some(own)
    };
    let encoded = lengths.iter().map(|length| {
        let ids = take(*length as usize)?.to_vec();
        let weights = if weighed { take(ids.len())? } else { &[] };
        Some(Encoded { ids, weights: weights.iter().map(|bits| f32::from_bits(*bits)).collect() })
    });
    let encoded = encoded.collect::<Option<_>>()?;
    Some(Record { hash: u128::from_le_bytes(*hash), encoded, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_known_again_up_to_the_first_text_that_differs() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("x");
        let chunk = |n: u32| {
            let texts = [format!("text {n}"), String::new()].map(Document::from);
            (texts, [Encoded { ids: vec![n, n + 1], weights: Vec::new() }, Encoded::default()])
        };
        let mut first = Unfinished::open(&prefix, "key", false);
        for n in 0..4 {
            let (texts, tokens) = chunk(n);
            assert!(first.known(&texts).is_none());
            first.keep(&texts, &tokens).unwrap();
        }
        let whole = fs::read(with_suffix(&prefix, SUFFIX)).unwrap();
        let known = |prefix: &Path, key: &str| {
            let mut again = Unfinished::open(prefix, key, false);
            (0..4)
                .take_while(|n| again.known(&chunk(*n).0).is_some_and(|tokens| tokens == chunk(*n).1))
                .count()
        };
        assert_eq!((known(&prefix, "key"), known(&prefix, "other")), (4, 0));
        // Cut off anywhere, or damaged: what is whole before it.
        let record = (whole.len() - first.header.len()) / 4;
        for (cut, expected) in [(1, 3), (record, 3), (record + 1, 2), (4 * record, 0), (whole.len(), 0)] {
            fs::write(with_suffix(&prefix, SUFFIX), &whole[..whole.len() - cut]).unwrap();
            assert_eq!(known(&prefix, "key"), expected, "{cut}");
        }
        let mut damaged = whole.clone();
        damaged[first.header.len() + record + 40] ^= 1;
        fs::write(with_suffix(&prefix, SUFFIX), &damaged).unwrap();
        assert_eq!(known(&prefix, "key"), 1);
        // Another text: from there on all is new, and is what is kept.
        fs::write(with_suffix(&prefix, SUFFIX), &whole).unwrap();
        let mut other = Unfinished::open(&prefix, "key", false);
        assert!(other.known(&chunk(0).0).is_some() && other.known(&chunk(7).0).is_none());
        assert!(other.known(&chunk(2).0).is_none());
        other.keep(&chunk(7).0, &chunk(7).1).unwrap();
        let mut again = Unfinished::open(&prefix, "key", false);
        assert!(
            [0, 7].iter().all(|n| again.known(&chunk(*n).0).is_some()) && again.known(&chunk(2).0).is_none()
        );
        again.remove();
        assert!(!with_suffix(&prefix, SUFFIX).exists());
    }

    #[test]
    fn weights_are_kept_with_their_tokens() {
        let dir = tempfile::tempdir().unwrap();
        let prefix = dir.path().join("x");
        let texts = [Document::weighing("a".into(), 2.0), Document::weighing("b".into(), 0.5)];
        let encoded = [
            Encoded { ids: vec![1, 2], weights: vec![2.0, 0.25] },
            Encoded { ids: vec![3], weights: vec![0.5] },
        ];
        Unfinished::open(&prefix, "key", true).keep(&texts, &encoded).unwrap();
        let known = |texts: &[Document]| Unfinished::open(&prefix, "key", true).known(texts);
        assert_eq!(known(&texts).unwrap(), encoded);
        // The same texts with other weights are others.
        assert!(known(&[Document::weighing("a".into(), 1.0), texts[1].clone()]).is_none());
        assert!(known(&["a", "b"].map(|text| Document::from(text.to_owned()))).is_none());
    }
}
