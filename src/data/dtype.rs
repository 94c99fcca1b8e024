//! How one token is stored in a shard.
use strum::Display;

/// The integer type of stored tokens. All files are little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Display)]
#[strum(serialize_all = "lowercase")]
pub enum Dtype {
    /// One unsigned byte: Megatron's code 1.
    U8,
    /// One signed byte: Megatron's code 2.
    I8,
    /// Megatron code 8, llm.c GPT-2, `raw-u16`.
    U16,
    /// Two signed bytes: Megatron's code 3.
    I16,
    /// Four unsigned bytes: llm.c's files of Llama 3, and `raw-u32:`.
    U32,
    /// Four signed bytes: Megatron's code 4.
    I32,
    /// Eight signed bytes: Megatron's code 5.
    I64,
}

/// A stored value that is no token: negative, or not below the vocabulary size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken {
    /// Index into the slice that was read.
    pub index: usize,
    /// The value as it is stored, which is no token id.
    pub value: i64,
}

impl Dtype {
    /// Bytes that one token takes in the file.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// From the code in a `.idx` header. Codes 6 and 7 are floats (and differ between gpt-neox and Megatron):
    /// `None`, as for every unknown code.
    pub const fn from_megatron(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::U8),
            2 => Some(Self::I8),
            3 => Some(Self::I16),
            4 => Some(Self::I32),
            5 => Some(Self::I64),
            8 => Some(Self::U16),
            _ => None,
        }
    }

    /// Widens `bytes` into `out`, one token each; they must agree in length (the shorter one decides).
    /// Stops at the first value outside `0..vocab`.
    pub fn decode(self, bytes: &[u8], out: &mut [u32], vocab: u32) -> Result<(), BadToken> {
        match self {
            Self::U8 => widen(bytes, out, vocab, |b: [u8; 1]| i64::from(b[0])),
            Self::I8 => widen(bytes, out, vocab, |b| i64::from(i8::from_le_bytes(b))),
            Self::U16 => widen(bytes, out, vocab, |b| i64::from(u16::from_le_bytes(b))),
            Self::I16 => widen(bytes, out, vocab, |b| i64::from(i16::from_le_bytes(b))),
            Self::U32 => widen(bytes, out, vocab, |b| i64::from(u32::from_le_bytes(b))),
            Self::I32 => widen(bytes, out, vocab, |b| i64::from(i32::from_le_bytes(b))),
            Self::I64 => widen(bytes, out, vocab, i64::from_le_bytes),
        }
    }
}

fn widen<const N: usize>(
    bytes: &[u8],
    out: &mut [u32],
    vocab: u32,
    value_of: impl Fn([u8; N]) -> i64,
) -> Result<(), BadToken> {
    let (chunks, _) = bytes.as_chunks::<N>();
    for (index, (chunk, slot)) in chunks.iter().zip(out).enumerate() {
        let value = value_of(*chunk);
        // The cast sends negative values above every vocabulary: one comparison covers both faults.
        if value as u64 >= u64::from(vocab) {
            return Err(BadToken { index, value });
        }
        *slot = value as u32;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_each_type_and_stops_at_the_first_bad_value() {
        let mut out = [0; 2];
        assert_eq!(Dtype::U16.decode(&[1, 2, 3, 4], &mut out, 65_536), Ok(()));
        assert_eq!(out, [0x0201, 0x0403]);
        assert_eq!(Dtype::I16.decode(&[1, 0, 255, 255], &mut out, 9), Err(BadToken { index: 1, value: -1 }));
        assert_eq!(Dtype::I8.decode(&[1, 128], &mut out, 9), Err(BadToken { index: 1, value: -128 }));
        assert_eq!(Dtype::U8.decode(&[1, 9], &mut out, 9), Err(BadToken { index: 1, value: 9 }));
        assert_eq!(
            Dtype::U32.decode(&[255; 4], &mut out, u32::MAX),
            Err(BadToken { index: 0, value: 4294967295 })
        );
        let min = i64::MIN.to_le_bytes();
        assert_eq!(Dtype::I64.decode(&min, &mut out, u32::MAX), Err(BadToken { index: 0, value: i64::MIN }));
    }
}
