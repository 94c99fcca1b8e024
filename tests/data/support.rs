//! Shards written byte by byte, independently of the library's writer.
use std::path::{Path, PathBuf};

use rewarm::data::Corpus;

/// A `.idx` with every field open to lies.
#[derive(Clone)]
pub struct Idx {
    pub magic: [u8; 9],
    pub version: u64,
    pub code: u8,
    pub sequences: u64,
    pub bounds: u64,
    pub sizes: Vec<i32>,
    pub pointers: Vec<i64>,
    pub documents: Vec<i64>,
}

impl Idx {
    /// A valid index of documents of these lengths, one sequence each.
    pub fn new(code: u8, item: usize, lengths: &[usize]) -> Self {
        let mut pointers = vec![0i64];
        for length in lengths {
            pointers.push(pointers.last().unwrap() + (length * item) as i64);
        }
        pointers.pop();
        Self {
            magic: *b"MMIDIDX\0\0",
            version: 1,
            code,
            sequences: lengths.len() as u64,
            bounds: lengths.len() as u64 + 1,
            sizes: lengths.iter().map(|n| *n as i32).collect(),
            pointers,
            documents: (0..=lengths.len() as i64).collect(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.push(self.code);
        out.extend(self.sequences.to_le_bytes());
        out.extend(self.bounds.to_le_bytes());
        self.sizes.iter().for_each(|v| out.extend(v.to_le_bytes()));
        self.pointers.iter().for_each(|v| out.extend(v.to_le_bytes()));
        self.documents.iter().for_each(|v| out.extend(v.to_le_bytes()));
        out
    }
}

/// Writes u16 documents as a Megatron shard `folder/name.bin` and `.idx`; returns the prefix.
pub fn megatron(folder: &Path, name: &str, documents: &[Vec<u16>]) -> PathBuf {
    let lengths: Vec<usize> = documents.iter().map(Vec::len).collect();
    let prefix = folder.join(name);
    let tokens: Vec<u8> = documents.concat().iter().flat_map(|t| t.to_le_bytes()).collect();
    std::fs::write(prefix.with_extension("bin"), tokens).unwrap();
    std::fs::write(prefix.with_extension("idx"), Idx::new(8, 2, &lengths).bytes()).unwrap();
    prefix
}

/// `count` documents of 1 to `longest` tokens; token values count up from `first` over the corpus.
pub fn counting(count: usize, longest: usize, first: u16) -> Vec<Vec<u16>> {
    let mut next = first;
    (0..count)
        .map(|d| {
            let length = 1 + (d * 7919 + 13) % longest;
            (0..length)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next.wrapping_sub(1)
                })
                .collect()
        })
        .collect()
}

pub fn spec(path: &Path) -> Vec<String> {
    vec![path.to_str().unwrap().to_string()]
}

pub fn open(path: &Path) -> Corpus {
    Corpus::open(&spec(path)).unwrap()
}

/// The message of a refusal; anything else fails the test.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: rewarm::Result<T>) -> String {
    match result {
        Err(rewarm::Error::Refused(message)) => message,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[track_caller]
pub fn mentions(message: &str, words: &[&str]) {
    for word in words {
        assert!(message.contains(word), "{word:?} is missing in: {message}");
    }
}
