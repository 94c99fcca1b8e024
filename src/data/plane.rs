//! The file of a plane of weights, `PREFIX.weights`: what lies where, and how `data tokenize` writes it.
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
use std::fmt;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use half::f16;
use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, VariantNames};
use xxhash_rust::xxh3::Xxh3;

use super::megatron::with_suffix;
use crate::files::{Disk, Draft};
use crate::{Error, Result};

const MAGIC: &[u8; 8] = b"RWWEIGHT";
pub(super) const HEADER_BYTES: u64 = 24;

/// What a weight is stored as.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames, Serialize, Deserialize,
)]
#[strum(serialize_all = "lowercase")]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// Whole numbers from 0 to 255.
    U8,
    /// Half precision: up to 65504, with 11 significant bits.
    #[default]
    F16,
}

/// Which weights a plane holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaneKind {
    /// What each is stored as.
    #[serde(rename = "type")]
    pub weights: WeightType,
    /// Whether negative ones are meant: unlikelihood.
    pub unlikelihood: bool,
}

/// What a note says of the plane beside a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotedWeights {
    /// Which weights it holds.
    #[serde(flatten)]
    pub kind: PlaneKind,
    /// How many of them are 0.
    pub zeros: u64,
    /// XXH3-128 of the weights as they are stored, 32 hexadecimal digits.
    pub hash: String,
}

pub(super) fn plane_path(prefix: &Path) -> PathBuf {
    with_suffix(prefix, ".weights")
}

impl WeightType {
    /// Bytes of a weight.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::U8 => 1,
            Self::F16 => 2,
        }
    }
}

impl PlaneKind {
    /// A weight as it is stored: u8 must be exact, f16 is rounded. Refused, with what to do: one that is negative without
    /// being meant so, not a number, too large, or so small that it would mask.
    pub fn weight(self, number: f64) -> Result<f32, String> {
        let refuse =
            |expected: &str, advice: &str| Err(format!("the weight {number} is not {expected}; {advice}"));
        if number.is_nan() {
            return refuse("a number", "write one");
        }
        if number < 0.0 && !self.unlikelihood {
            return refuse("0 or more", "where unlikelihood is meant, say --unlikelihood");
        }
        let stored = match self.weights {
            WeightType::U8 if number.fract() == 0.0 && (0.0..=255.0).contains(&number) => number as f32,
            WeightType::U8 => {
                return refuse("a whole number from 0 to 255", "--weights-type f16 stores others");
            }
            WeightType::F16 => f16::from_f64(number).to_f32(),
        };
        if !stored.is_finite() {
            return refuse(
                "65504 or less, which is the largest of f16",
                "scale the weights: only their proportions count",
            );
        }
        if stored == 0.0 && number != 0.0 {
            return refuse(
                "0 and is less than f16 can tell from it",
                "scale the weights: only their proportions count",
            );
        }
        // There is one 0.
        Ok(stored + 0.0)
    }

    pub(super) fn header(self, tokens: u64) -> [u8; HEADER_BYTES as usize] {
        let mut bytes = [0; HEADER_BYTES as usize];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8] = self.weights.bytes() as u8;
        bytes[9] = u8::from(self.unlikelihood);
        bytes[16..].copy_from_slice(&tokens.to_le_bytes());
        bytes
    }

    /// The kind and the number of tokens of a header, or what is wrong with it.
    pub(super) fn of_header(bytes: &[u8]) -> Result<(Self, u64), String> {
        let rest = bytes.strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<16>());
        let Some([kind, flag, zeros @ .., _, _, _, _, _, _, _, _]) = rest else {
            return Err("it is no plane of weights (RWWEIGHT and a header of 24 bytes)".into());
        };
        let weights = match kind {
            1 => WeightType::U8,
            2 => WeightType::F16,
            _ => return Err(format!("its type is {kind}, expected 1 (u8) or 2 (f16)")),
        };
        if *flag > 1 || *zeros != [0; 6] {
            return Err("its header has bits that mean nothing".into());
        }
        let tokens = rest.and_then(|rest| rest.last_chunk().copied()).map_or(0, u64::from_le_bytes);
        Ok((Self { weights, unlikelihood: *flag == 1 }, tokens))
    }
}

/// Whether a file that begins so is a plane.
pub(super) fn is_plane(head: &[u8]) -> bool {
    head.starts_with(MAGIC)
}

/// A plane under construction: a draft.
pub(super) struct PlaneWriter {
    path: PathBuf,
    kind: PlaneKind,
    out: BufWriter<Draft<'static>>,
    hash: Xxh3,
    tokens: u64,
    zeros: u64,
    scratch: Vec<u8>,
}

impl fmt::Debug for PlaneWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlaneWriter({}, {:?}, {} tokens)", self.path.display(), self.kind, self.tokens)
    }
}

impl PlaneWriter {
    pub(super) fn create(prefix: &Path, kind: PlaneKind) -> Result<Self> {
        let path = plane_path(prefix);
        let draft = Draft::create(&Disk, &path).map_err(Error::input("create", &path))?;
        let mut out = BufWriter::with_capacity(1 << 20, draft);
        out.write_all(&kind.header(0)).map_err(Error::io("write", &path))?;
        Ok(Self { path, kind, out, hash: Xxh3::new(), tokens: 0, zeros: 0, scratch: Vec::new() })
    }

    /// Appends weights of [`PlaneKind::weight`].
    pub(super) fn push(&mut self, weights: &[f32]) -> Result<()> {
        self.scratch.clear();
        match self.kind.weights {
            WeightType::U8 => self.scratch.extend(weights.iter().map(|w| *w as u8)),
            WeightType::F16 => {
                self.scratch.extend(weights.iter().flat_map(|w| f16::from_f32(*w).to_le_bytes()));
            }
        }
        self.hash.update(&self.scratch);
        self.out.write_all(&self.scratch).map_err(Error::io("write", &self.path))?;
        self.tokens += weights.len() as u64;
        self.zeros += weights.iter().filter(|w| **w == 0.0).count() as u64;
        Ok(())
    }

    /// The whole plane, durably, and what the note says of it.
    pub(super) fn finish(self) -> Result<(Draft<'static>, NotedWeights)> {
        let Self { path, kind, out, hash, tokens, zeros, .. } = self;
        let mut draft = out.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        // How many there are is known now.
        let file = std::fs::OpenOptions::new().write(true).open(draft.path());
        file.and_then(|file| file.write_all_at(&kind.header(tokens), 0))
            .map_err(Error::io("write", &path))?;
        draft.sync().map_err(Error::io("sync", &path))?;
        Ok((draft, NotedWeights { kind, zeros, hash: format!("{:032x}", hash.digest128()) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_a_plane_cannot_hold_are_refused() {
        let kind = |weights, unlikelihood| PlaneKind { weights, unlikelihood };
        let (u8, f16) = (kind(WeightType::U8, false), kind(WeightType::F16, false));
        for (kind, number, stored) in [
            (u8, 0.0, Ok(0.0)),
            (u8, 255.0, Ok(255.0)),
            (u8, 0.5, Err("--weights-type f16")),
            (u8, 256.0, Err("from 0 to 255")),
            (u8, -1.0, Err("--unlikelihood")),
            (f16, 0.1, Ok(f16::from_f64(0.1).to_f32())),
            (f16, 65504.0, Ok(65504.0)),
            (f16, 65520.0, Err("65504 or less")),
            (f16, f64::INFINITY, Err("65504 or less")),
            (f16, 1e-9, Err("can tell")),
            (f16, f64::NAN, Err("a number")),
            (f16, -0.25, Err("--unlikelihood")),
            (kind(WeightType::F16, true), -0.25, Ok(-0.25)),
            (kind(WeightType::U8, true), -1.0, Err("from 0 to 255")),
        ] {
            match (kind.weight(number), stored) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{number}"),
                (Err(message), Err(word)) => assert!(message.contains(word), "{message}"),
                (found, _) => panic!("{number} of {kind:?}: {found:?}"),
            }
        }
        assert!(f16.weight(-0.0).unwrap().is_sign_positive());
        assert_eq!(PlaneKind::of_header(&f16.header(7)), Ok((f16, 7)));
    }
}
