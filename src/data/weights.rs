//! Weights of the loss per token: a plane beside a shard, `PREFIX.weights`, that says how much the prediction of each token
//! counts ([`super::plane`] says what lies where).
use half::f16;
use rayon::prelude::*;
use xxhash_rust::xxh3::Xxh3;

use super::corpus::Corpus;
use super::fingerprint;
use super::map::{LazyMap, Opening};
use super::piece::Excerpt;
use super::plane::{HEADER_BYTES, PlaneKind, WeightType, plane_path};
use super::shard::{Shard, prefix_of};
use super::tokenized::TokenizedInfo;
use crate::{Error, Result};

/// So much of a plane is looked at before a run starts; the rest when it is read.
const LOOKED_AT_BYTES: u64 = 128 << 20;

/// The plane of one shard.
#[derive(Debug)]
pub(super) struct Plane {
    map: LazyMap,
    pub(super) kind: PlaneKind,
    pub(super) tokens: u64,
}

/// The planes of the shards of a corpus; a shard without one has weight 1 everywhere.
#[derive(Debug)]
pub struct LossWeights {
    planes: Vec<Option<Plane>>,
    fingerprint: u128,
}

impl LossWeights {
    /// Those beside the shards of a corpus, none where no shard has one. Refused: a plane of another length or layout, none
    /// where the note beside a shard promises one, and, in what is looked at before a run, weights that are negative without
    /// being meant so, not finite, or all 0.
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

/// The plane of a shard and its fingerprint. Refused: one that is wrong, and none where the shard's note promises one.
pub(super) fn open_beside(shard: &Shard) -> Result<Option<(Plane, u128)>> {
    let prefix = prefix_of(shard.path());
    let path = plane_path(&prefix);
    if !path.exists() {
        return missing(shard, TokenizedInfo::load(&prefix)?.is_some_and(|note| note.weights.is_some()));
    }
    let file = Opening::new(&path)?;
    let refuse = |found: String| {
        Err(Error::refused(format!(
            "{}: {found}; write the plane of weights again, or take it away",
            path.display()
        )))
    };
    let header = if file.bytes < HEADER_BYTES { [0; _] } else { file.array::<{ HEADER_BYTES as usize }>(0)? };
    let (kind, tokens) = match PlaneKind::of_header(&header) {
        Ok(read) => read,
        Err(found) => return refuse(found),
    };
    let expected = tokens.checked_mul(kind.weights.bytes()).and_then(|bytes| bytes.checked_add(HEADER_BYTES));
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
    Ok(Some((Plane { map, kind, tokens }, fingerprint)))
}

fn missing<T>(shard: &Shard, promised: bool) -> Result<Option<T>> {
    if !promised {
        return Ok(None);
    }
    let prefix = prefix_of(shard.path());
    Err(Error::refused(format!(
        "{} is not there, and {}.json says that it belongs to the shard; copy it, too, or tokenize again",
        plane_path(&prefix).display(),
        prefix.display()
    )))
}

impl Plane {
    pub(super) fn path(&self) -> &std::path::Path {
        self.map.path()
    }

    /// The weights as they are stored, `count` of them from token `first` on.
    pub(super) fn bytes(&self, first: u64, count: u64) -> Result<&[u8]> {
        let item = self.kind.weights.bytes();
        let bytes = self.map.slice(HEADER_BYTES + first * item, count * item)?;
        bytes.ok_or_else(|| Error::refused("a plane of weights ends before its shard"))
    }

    /// Whether a weight is one that the plane may hold.
    pub(super) fn is_meant(&self, weight: f32) -> bool {
        weight.is_finite() && (self.kind.unlikelihood || weight >= 0.0)
    }

    /// Reads the weights from token `first` on, meant or not.
    pub(super) fn values(&self, first: u64, to: &mut [f32]) -> Result<()> {
        let bytes = self.bytes(first, to.len() as u64)?;
        match self.kind.weights {
            WeightType::U8 => to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = f32::from(*byte)),
            WeightType::F16 => {
                let pairs = bytes.as_chunks::<2>().0;
                to.iter_mut().zip(pairs).for_each(|(to, pair)| *to = f16::from_le_bytes(*pair).to_f32());
            }
        }
        Ok(())
    }

    /// Reads the weights from token `first` on; refused where one is not meant.
    fn read(&self, first: u64, to: &mut [f32]) -> Result<()> {
        self.values(first, to)?;
        if self.kind.weights == WeightType::U8 {
            return Ok(()); // always meant
        }
        let bad = to.iter().position(|weight| !self.is_meant(*weight));
        bad.map_or(Ok(()), |bad| Err(self.unmeant(first + bad as u64, to[bad])))
    }

    pub(super) fn unmeant(&self, token: u64, weight: f32) -> Error {
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
        let looked_at = self.tokens.min(LOOKED_AT_BYTES / self.kind.weights.bytes());
        let mut counts = self.tokens > looked_at;
        let mut weights = vec![0.0; 1 << 16];
        for first in (0..looked_at).step_by(weights.len()) {
            let part = &mut weights[..((looked_at - first) as usize).min(1 << 16)];
            self.read(first, part)?;
            counts |= part.iter().any(|w| *w != 0.0);
            if counts && self.kind.weights == WeightType::U8 {
                break; // a u8 is always meant
            }
        }
        Ok(counts)
    }
}
