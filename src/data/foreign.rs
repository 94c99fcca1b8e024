//! Files of other kinds that are named as tokens by mistake: told by their first bytes, and refused by name.
//!
//! Tokens may begin with any bytes, so none of these goes by two or three of them: what is asked for beside a magic
//! (lengths that fit the file, fields that a format keeps at zero, the magic at the end) comes by chance less often than
//! once in 10^9 files.
use super::llmc;
use super::map::{BLOCK_BYTES, Opening};
use super::megatron;
use crate::{Error, Result};

/// Refuses a file that is of a kind known not to be tokens without a header.
pub(crate) fn refuse(file: &Opening) -> Result<()> {
    let Some((kind, instead)) = kind_of(file)? else { return Ok(()) };
    Err(Error::refused(format!(
        "{} is {kind}, expected tokens without a header; {instead}",
        file.path.display()
    )))
}

/// What a file is and what to do with it; `None` where it may be tokens.
pub(crate) fn kind_of(file: &Opening) -> Result<Option<(&'static str, &'static str)>> {
    const UNPACK: &str = "unpack it first";
    const WEIGHTS: &str = "these are weights: name them in start.from, and tokens in data.train";
    const EXPORT: &str =
        "save its column of tokens with numpy.save, or its texts as .jsonl for `rewarm data tokenize`";
    const NUMPY: &str = "save its tokens with numpy.save";
    let mut head = vec![0; file.bytes.min(BLOCK_BYTES) as usize];
    file.read(0, &mut head)?;
    let mut end = [0; 4];
    file.read(file.bytes.saturating_sub(4), &mut end[..file.bytes.min(4) as usize])?;
    let head = Head { bytes: &head, end, size: file.bytes };
    let index = head.starts(megatron::MAGIC) || head.starts(b"TNTIDX\0\0");
    let parquet = head.starts(b"PAR1") && (head.end == *b"PAR1" || head.byte(4) == 0x15);
    let kinds = [
        (index, "the index of a Megatron shard", "name the shard by its .bin or its prefix, without raw-"),
        (
            head.is_llmc(&[llmc::MAGIC_U16, llmc::MAGIC_U32]),
            "a token shard of llm.c with a header",
            "name it without raw-",
        ),
        (
            head.is_llmc(&llmc::OTHER_MAGICS),
            "a file of llm.c that holds no tokens to train on",
            "name a shard of tokens",
        ),
        (
            head.starts(b"BIN.TOK\n"),
            "a token file of llmq",
            "write its tokens without the header of 1,024 bytes and the masks",
        ),
        (head.is_safetensors(), "a safetensors file", WEIGHTS),
        (head.starts(b"GGUF") && head.word(4) < 16, "a GGUF file", WEIGHTS),
        (head.is_zip(), "a zip archive (.npz, or torch.save's .pt)", NUMPY),
        (head.is_gzip(), "packed by gzip", UNPACK),
        (head.is_zstd(), "packed by zstd", UNPACK),
        (head.starts(b"\xfd7zXZ\0"), "packed by xz", UNPACK),
        (head.starts(b"BZh") && head.at(4, b"1AY&SY"), "packed by bzip2", UNPACK),
        (head.starts(b"\x04\x22\x4d\x18") && head.byte(4) >> 6 == 1, "packed by lz4", UNPACK),
        (parquet, "a Parquet file", EXPORT),
        (head.starts(b"ARROW1\0\0") || head.is_arrow_stream(), "an Arrow file", EXPORT),
        (head.starts(b"\x89HDF\r\n\x1a\n"), "an HDF5 file", NUMPY),
        (head.is_pickle(), "a Python pickle (or torch.save's old format)", NUMPY),
        (head.is_text(), "text", "make tokens of it with `rewarm data tokenize`"),
    ];
    Ok(kinds.into_iter().find(|kind| kind.0).map(|(_, kind, instead)| (kind, instead)))
}

/// The first 4 KiB of a file, its last bytes and its size.
struct Head<'a> {
    bytes: &'a [u8],
    end: [u8; 4],
    size: u64,
}

impl Head<'_> {
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
        header >= 2 && self.size.checked_sub(8).is_some_and(|rest| header <= rest) && self.at(8, b"{\"")
    }

    /// A local file header with a version, flags and a method that exist; or an archive of nothing.
    fn is_zip(&self) -> bool {
        let method = matches!(self.half(8), 0 | 8 | 9 | 12 | 14 | 93 | 95);
        self.starts(b"PK\x03\x04") && self.half(4) <= 63 && method && (1..=1024).contains(&self.half(26))
            || self.starts(b"PK\x05\x06") && self.size == 22
    }

    /// Deflate, no reserved flag, a known degree and system.
    fn is_gzip(&self) -> bool {
        self.starts(b"\x1f\x8b\x08")
            && self.byte(3) & 0xe0 == 0
            && matches!(self.byte(8), 0 | 2 | 4)
            && matches!(self.byte(9), 0..=13 | 255)
    }

    /// A frame whose reserved bit is clear.
    fn is_zstd(&self) -> bool {
        self.starts(b"\x28\xb5\x2f\xfd") && self.byte(4) & 0x08 == 0
    }

    /// A continuation marker and the length of a message that lies in the file: what the `datasets` library writes.
    fn is_arrow_stream(&self) -> bool {
        let length = u64::from(self.word(4));
        self.word(0) == u32::MAX && length > 0 && length % 8 == 0 && length + 8 <= self.size
    }

    /// Protocol 4 or 5 with a frame that fits, or torch's number; either ends in a stop.
    fn is_pickle(&self) -> bool {
        let framed = self.byte(0) == 0x80 && matches!(self.byte(1), 4 | 5) && self.byte(2) == 0x95;
        let fits = self.long(3).checked_add(11).is_some_and(|end| end <= self.size);
        framed && fits && self.end.last() == Some(&b'.')
            || self.starts(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.")
            || self.byte(0) == 0x80
                && matches!(self.byte(1), 2 | 3)
                && matches!(self.byte(2), b'}' | b']' | b'c' | b'(')
                && self.byte(3) == b'q'
                && self.end.last() == Some(&b'.')
    }

    /// At least 64 bytes of UTF-8 without control characters: tokens that read so are 8,224 and more without exception.
    fn is_text(&self) -> bool {
        let valid = match std::str::from_utf8(self.bytes) {
            Ok(_) => true,
            // Cut inside a character.
            Err(e) => e.error_len().is_none() && (self.bytes.len() as u64) < self.size,
        };
        let blank = |b: &u8| matches!(b, b'\t' | b'\n' | b'\r' | 0x0c);
        self.bytes.len() >= 64 && valid && self.bytes.iter().all(|b| *b >= 0x20 && *b != 0x7f || blank(b))
    }
}
