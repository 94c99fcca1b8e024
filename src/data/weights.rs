//! Weights of the loss per token: a plane beside a shard, `PREFIX.weights`, that says how much the prediction of each token
//! counts.
//!
//! Layout, little endian:
//!
//! | offset | type | field |
//! |---|---|---|
//! | 0 | 8 bytes | `RWWEIGHT` |
//! | 8 | u8 | 1: u8, 2: f16 |
//! | 9 | u8 | 1 where negative weights are meant: unlikelihood; else 0 |
//! | 10 | 6 bytes | 0 |
//! | 16 | u64 | tokens N of the shard |
//! | 24 | u8 or f16 × N | weight of each token as a target; 0 masks it |
use std::path::PathBuf;

use half::f16;
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::corpus::Corpus;
use super::fingerprint;
use super::map::{LazyMap, Opening};
use super::megatron::with_suffix;
use super::piece::Excerpt;
use super::shard::{Shard, prefix_of};
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"RWWEIGHT";
const HEADER_BYTES: u64 = 24;
/// So much of a plane is looked at before a run starts; the rest when it is read.
const LOOKED_AT_BYTES: u64 = 128 << 20;

/// The plane of one shard.
#[derive(Debug)]
struct Plane {
    map: LazyMap,
    /// Bytes of a weight.
    item: u64,
    /// Whether negative weights are meant.
    unlikelihood: bool,
}

/// The planes of the shards of a corpus; a shard without one has weight 1 everywhere.
#[derive(Debug)]
pub struct LossWeights {
    planes: Vec<Option<Plane>>,
    fingerprint: u128,
}

impl LossWeights {
    /// Those beside the shards of a corpus, none where no shard has one. Refused: a plane of another length or layout, and,
    /// in what is looked at before a run, weights that are negative without being meant so, not finite, or all 0.
    pub fn open(corpus: &Corpus) -> Result<Option<Self>> {
        let planes = corpus.shards().par_iter().map(open_beside).collect::<Result<Vec<_>>>()?;
        if planes.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut hash = Xxh3::new();
        for plane in &planes {
            hash.update(&plane.as_ref().map_or(0, |(_, fingerprint)| *fingerprint).to_le_bytes());
        }
        let planes: Vec<_> = planes.into_iter().map(|plane| plane.map(|(plane, _)| plane)).collect();
        let counts = planes.par_iter().map(|plane| plane.as_ref().map_or(Ok(true), Plane::look));
        if !counts.collect::<Result<Vec<_>>>()?.contains(&true) {
            let first = planes.iter().flatten().next().expect("there is one");
            return Err(Error::refused(format!(
                "{}: all weights of the data are 0, and nothing would be trained on; write weights above 0, or leave out \
                 data.loss_weights",
                first.map.path().display()
            )));
        }
        Ok(Some(Self { planes, fingerprint: hash.digest128() }))
    }

    /// Of the contents of the planes, as far as the fingerprints of shards go.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    fn plane(&self, shard: usize) -> Option<&Plane> {
        self.planes.get(shard).and_then(Option::as_ref)
    }
}

/// The weights of the targets of a sequence, which are the tokens of `excerpts` behind the first one: those of the planes, 1
/// where there is none, and 0 of padding.
pub fn fill_weights(of: Option<&LossWeights>, excerpts: &[Excerpt], weights: &mut [f32]) -> Result<()> {
    let mut row = 0;
    for (i, excerpt) in excerpts.iter().enumerate() {
        let skipped = u64::from(i == 0);
        let count = (excerpt.tokens - skipped).min((weights.len() - row) as u64);
        let to = &mut weights[row..row + count as usize];
        match of.and_then(|of| of.plane(excerpt.place.shard)) {
            _ if excerpt.padding => to.fill(0.0),
            Some(plane) => plane.read(excerpt.place.token + skipped, to)?,
            None => to.fill(1.0),
        }
        row += count as usize;
    }
    Ok(())
}

fn plane_path(shard: &Shard) -> PathBuf {
    with_suffix(&prefix_of(shard.path()), ".weights")
}

/// The plane of a shard and its fingerprint.
fn open_beside(shard: &Shard) -> Result<Option<(Plane, u128)>> {
    let path = plane_path(shard);
    if !path.exists() {
        return Ok(None);
    }
    let file = Opening::new(&path)?;
    let refuse = |found: String| {
        Err(Error::refused(format!(
            "{}: {found}; write the plane of weights again, or take it away",
            path.display()
        )))
    };
    if file.bytes < HEADER_BYTES || file.array::<8>(0)? != *MAGIC {
        return refuse("it is no plane of weights (RWWEIGHT and a header of 24 bytes)".into());
    }
    let [kind, flag, zeros @ ..] = file.array::<8>(8)?;
    let item = match kind {
        1 => 1,
        2 => 2,
        _ => return refuse(format!("its type is {kind}, expected 1 (u8) or 2 (f16)")),
    };
    if flag > 1 || zeros != [0; 6] {
        return refuse("its header has bits that mean nothing".into());
    }
    let tokens = u64::from_le_bytes(file.array(16)?);
    let expected = tokens.checked_mul(item).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
    if tokens != shard.tokens() || expected != Some(file.bytes) {
        return refuse(format!(
            "it has weights for {tokens} tokens in {} bytes, and {} has {} tokens",
            file.bytes,
            shard.path().display(),
            shard.tokens()
        ));
    }
    let fingerprint = fingerprint::of_file(&file)?;
    let map = LazyMap::new(path.clone(), file.bytes);
    Ok(Some((Plane { map, item, unlikelihood: flag == 1 }, fingerprint)))
}

impl Plane {
    /// Reads the weights from token `first` on; refused where one is not meant.
    fn read(&self, first: u64, to: &mut [f32]) -> Result<()> {
        let bytes = self.map.slice(HEADER_BYTES + first * self.item, to.len() as u64 * self.item)?;
        let bytes = bytes.ok_or_else(|| Error::refused("a plane of weights ends before its shard"))?;
        if self.item == 1 {
            to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = f32::from(*byte));
            return Ok(());
        }
        for (i, (to, pair)) in to.iter_mut().zip(bytes.as_chunks::<2>().0).enumerate() {
            *to = f16::from_le_bytes(*pair).to_f32();
            let meant = to.is_finite() && (self.unlikelihood || *to >= 0.0);
            if !meant {
                return Err(self.unmeant(first + i as u64, *to));
            }
        }
        Ok(())
    }

    fn unmeant(&self, token: u64, weight: f32) -> Error {
        let expected = match weight {
            w if w.is_finite() => {
                "0 or more, since its flag does not say that negative ones mean unlikelihood"
            }
            _ => "a finite number",
        };
        Error::refused(format!(
            "{}: the weight of token {token} is {weight}, expected {expected}; write the plane of weights again",
            self.map.path().display()
        ))
    }

    /// Whether a weight is not 0, or there is more than what is looked at.
    fn look(&self) -> Result<bool> {
        let tokens = (self.map.len() - HEADER_BYTES) / self.item;
        let looked_at = tokens.min(LOOKED_AT_BYTES / self.item);
        let mut counts = tokens > looked_at;
        let mut weights = vec![0.0; 1 << 16];
        for first in (0..looked_at).step_by(weights.len()) {
            let part = &mut weights[..((looked_at - first) as usize).min(1 << 16)];
            self.read(first, part)?;
            counts |= part.iter().any(|w| *w != 0.0);
            if counts && self.item == 1 {
                break; // a u8 is always meant
            }
        }
        Ok(counts)
    }
}
