//! What a file is by its first bytes: every kind that is told from tokens and from texts, in one list.
//!
//! Tokens may begin with any bytes, so none of these goes by two or three of them: what is asked for beside a magic
//! (lengths that fit the file, fields that a format keeps at zero, the magic at the end) comes by chance less often than
//! once in 10^9 files.
use super::{llmc, megatron};

/// How a gzip file begins: its magic, and deflate, the only method there is.
pub(crate) const GZIP: &[u8] = b"\x1f\x8b\x08";
/// How a frame of zstd begins.
pub(crate) const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";

/// What is no text and no tokens without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    MegatronIndex,
    LlmcTokens,
    /// Weights, states or questions.
    LlmcOther,
    Llmq,
    Safetensors,
    Gguf,
    /// `.npz` and torch's `.pt`, too.
    Zip,
    Tar,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
    Lz4,
    Parquet,
    Arrow,
    Hdf5,
    Sqlite,
    Pdf,
    Numpy,
    /// Also what torch.save wrote before it wrote zip archives.
    Pickle,
}

/// The first bytes of a file; of one that is known whole, its last bytes and size, too.
pub(crate) struct Head<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) end: Option<[u8; 4]>,
    pub(crate) size: Option<u64>,
}

impl Head<'_> {
    /// `None` where it may be text or tokens.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let index = self.starts(megatron::MAGIC) || self.starts(b"TNTIDX\0\0");
        let tokens = self.is_llmc(&[llmc::MAGIC_U16, llmc::MAGIC_U32]);
        let parquet = self.starts(b"PAR1") && (self.end == Some(*b"PAR1") || self.byte(4) == 0x15);
        let kinds = [
            (index, Kind::MegatronIndex),
            (tokens, Kind::LlmcTokens),
            (self.is_llmc(&llmc::OTHER_MAGICS), Kind::LlmcOther),
            (self.starts(b"BIN.TOK\n"), Kind::Llmq),
            (self.is_safetensors(), Kind::Safetensors),
            (self.starts(b"GGUF") && self.word(4) < 16, Kind::Gguf),
            (self.is_zip(), Kind::Zip),
            (self.at(257, b"ustar"), Kind::Tar),
            (self.is_gzip(), Kind::Gzip),
            (self.is_zstd(), Kind::Zstd),
            (self.starts(b"\xfd7zXZ\0"), Kind::Xz),
            (self.starts(b"BZh") && self.at(4, b"1AY&SY"), Kind::Bzip2),
            (self.starts(b"\x04\x22\x4d\x18") && self.byte(4) >> 6 == 1, Kind::Lz4),
            (parquet, Kind::Parquet),
            (self.starts(b"ARROW1\0\0") || self.is_arrow_stream(), Kind::Arrow),
            (self.starts(b"\x89HDF\r\n\x1a\n"), Kind::Hdf5),
            (self.starts(b"SQLite format 3\0"), Kind::Sqlite),
            (self.starts(b"%PDF-"), Kind::Pdf),
            (self.starts(b"\x93NUMPY") && matches!(self.byte(6), 1..=3), Kind::Numpy),
            (self.is_pickle(), Kind::Pickle),
        ];
        kinds.into_iter().find(|(found, _)| *found).map(|(_, kind)| kind)
    }

    fn starts(&self, magic: &[u8]) -> bool {
        self.bytes.starts_with(magic)
    }

    fn at(&self, at: usize, magic: &[u8]) -> bool {
        self.bytes.get(at..).is_some_and(|rest| rest.starts_with(magic))
    }

    /// 0 past the end.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.byte(at), self.byte(at + 1)])
    }

    fn word(&self, at: usize) -> u32 {
        u32::from(self.half(at)) | u32::from(self.half(at + 2)) << 16
    }

    fn long(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 4)) << 32
    }

    /// A header of 256 words, of which the last 192 are kept at zero.
    fn is_llmc(&self, magics: &[i32]) -> bool {
        let zeros = self.bytes.get(256..1024).is_some_and(|rest| rest.iter().all(|b| *b == 0));
        zeros && magics.contains(&(self.word(0) as i32)) && self.word(4) < 64
    }

    fn is_safetensors(&self) -> bool {
        let header = self.long(0);
        let fits = self.size.is_none_or(|size| size.checked_sub(8).is_some_and(|rest| header <= rest));
        // Its length comes first: far below 2^48 where the size of the file does not say.
        header >= 2 && header >> 48 == 0 && fits && self.at(8, b"{\"")
    }

    /// A local file header with a version, flags and a method that exist; or an archive of nothing.
    fn is_zip(&self) -> bool {
        let method = matches!(self.half(8), 0 | 8 | 9 | 12 | 14 | 93 | 95);
        self.starts(b"PK\x03\x04") && self.half(4) <= 63 && method && (1..=1024).contains(&self.half(26))
            || self.starts(b"PK\x05\x06") && self.size == Some(22)
    }

    /// Deflate, no reserved flag, a known degree and system.
    fn is_gzip(&self) -> bool {
        self.starts(GZIP)
            && self.byte(3) & 0xe0 == 0
            && matches!(self.byte(8), 0 | 2 | 4)
            && matches!(self.byte(9), 0..=13 | 255)
    }

    /// A frame whose reserved bit is clear.
    fn is_zstd(&self) -> bool {
        self.starts(ZSTD) && self.byte(4) & 0x08 == 0
    }

    /// A continuation marker and the length of a message that lies in the file: what the `datasets` library writes.
    fn is_arrow_stream(&self) -> bool {
        let length = u64::from(self.word(4));
        self.starts(&[0xff; 4])
            && length > 0
            && length % 8 == 0
            && self.size.is_none_or(|size| length + 8 <= size)
    }

    /// Protocol 4 or 5 with a frame that fits, or torch's number; either ends in a stop.
    fn is_pickle(&self) -> bool {
        let framed = self.byte(0) == 0x80 && matches!(self.byte(1), 4 | 5) && self.byte(2) == 0x95;
        let end = self.long(3).checked_add(11);
        let fits = end.is_some_and(|end| self.size.is_none_or(|size| end <= size));
        let stops = self.end.is_none_or(|end| end[3] == b'.');
        framed && fits && stops
            || self.starts(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
            || self.byte(0) == 0x80
                && matches!(self.byte(1), 2 | 3)
                && matches!(self.byte(2), b'}' | b']' | b'c' | b'(')
                && self.byte(3) == b'q'
                && stops
    }
}
