//! What a file is: by the name, by the bytes it begins with, or by what the user says.
use std::path::Path;

use strum::{Display, EnumString, VariantNames};

use super::json;
use crate::data::magic::{GZIP, Head, Kind, ZSTD};

/// How documents lie in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Display, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Format {
    /// By name and content, each file on its own.
    #[default]
    Auto,
    /// A file is a document.
    Text,
    /// A line is a JSON object with a document, or a string.
    #[strum(serialize = "jsonl")]
    JsonLines,
    /// An array of such objects or strings, one of them, or one after another, however they are broken into lines.
    Json,
}

/// What Parquet is called in messages.
pub(super) const PARQUET: &str = "Parquet";

/// What is packed in a way that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

/// What a file that begins with `head` (all of it when it is `whole`) is when it is no text, and what to do about it.
pub(super) fn foreign(head: &[u8], whole: bool) -> Option<(&'static str, &'static str)> {
    let size = whole.then_some(head.len() as u64);
    let end = head.last_chunk().copied().filter(|_| whole);
    if let Some(kind) = (Head { bytes: head, end, size }).kind() {
        return Some(described(kind));
    }
    let zeros = || head.iter().filter(|b| **b == 0).count();
    if head.starts_with(b"\xff\xfe") || head.starts_with(b"\xfe\xff") {
        return Some(("UTF-16", "convert it: iconv -f UTF-16 -t UTF-8 FILE > NAME"));
    }
    // Text may hold a few; that much is UTF-16 without its mark, or numbers.
    (zeros() * 10 > head.len())
        .then_some(("binary", "leave it out; where it is UTF-16, convert it with iconv"))
}

/// A kind in words, and how its texts are read after all.
fn described(kind: Kind) -> (&'static str, &'static str) {
    const TOKENS: &str = "name it as data, it is tokenized already";
    const WEIGHTS: &str = "leave it out, it holds weights";
    const LINES: &str = "write its texts as JSON lines first";
    match kind {
        Kind::MegatronIndex => ("a Megatron index", TOKENS),
        Kind::LlmcTokens => ("llm.c", TOKENS),
        Kind::LlmcOther => ("llm.c", "leave it out, it holds no texts"),
        Kind::Llmq => ("llmq", "leave it out, it is tokenized already"),
        Kind::Safetensors => ("safetensors", WEIGHTS),
        Kind::Gguf => ("GGUF", WEIGHTS),
        Kind::Zip => ("zip", "unpack it: unzip FILE"),
        Kind::Tar => ("tar", "unpack it: tar -xf FILE"),
        Kind::Gzip => ("gzip", "unpack it: gzip -dc FILE | rewarm data tokenize - ..."),
        Kind::Zstd => ("zstd", "unpack it: zstd -dc FILE | rewarm data tokenize - ..."),
        Kind::Xz => ("xz", "unpack it: xz -dc FILE | rewarm data tokenize - ..."),
        Kind::Bzip2 => ("bzip2", "unpack it: bzip2 -dc FILE | rewarm data tokenize - ..."),
        Kind::Lz4 => ("lz4", "unpack it: lz4 -dc FILE | rewarm data tokenize - ..."),
        // A file is read as such: this is a pipe, or a build that cannot.
        Kind::Parquet if cfg!(feature = "parquet") => {
            (PARQUET, "its contents are found from its end: keep it in a file, and name that")
        }
        Kind::Parquet => (
            PARQUET,
            "this rewarm was built without the feature `parquet`; build it with that, or write JSON lines: \
             datasets.Dataset.from_parquet(FILE).to_json(NAME.jsonl)",
        ),
        Kind::Arrow => {
            ("Arrow", "write it as JSON lines: datasets.Dataset.from_file(FILE).to_json(NAME.jsonl)")
        }
        Kind::Hdf5 => ("HDF5", LINES),
        Kind::Sqlite => ("SQLite", LINES),
        Kind::Pdf => ("PDF", "take its text out first, such as with pdftotext"),
        Kind::Numpy => ("numpy", "name it as data if it holds tokens"),
        Kind::Pickle => ("pickle", LINES),
    }
}

/// How `head` says that a file is packed.
pub(super) fn packing(head: &[u8]) -> Option<Packing> {
    match head {
        _ if head.starts_with(GZIP) => Some(Packing::Gzip),
        _ if head.starts_with(ZSTD) => Some(Packing::Zstd),
        // A frame that readers skip, as pzstd writes it at the front.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Packing::Zstd),
        _ => None,
    }
}

/// A name without the ending that says how it is packed, and that packing.
pub(super) fn unpacked_name(path: &Path) -> (&Path, Option<Packing>) {
    let packing = match extension(path).as_deref() {
        Some("gz" | "gzip") => Packing::Gzip,
        Some("zst" | "zstd") => Packing::Zstd,
        _ => return (path, None),
    };
    (path.file_stem().map_or(path, Path::new), Some(packing))
}

/// In small letters.
pub(super) fn extension(path: &Path) -> Option<String> {
    path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase)
}

/// How the documents of a file lie that is named `name` and begins with `head`, which ends inside of it unless `whole`. A
/// document is in a field, and begins with a byte: `looked_for`.
pub(super) fn detect(name: &Path, head: &[u8], whole: bool, looked_for: (&str, u8)) -> Format {
    let named = match extension(name).as_deref() {
        Some("jsonl" | "ndjson" | "jsonlines" | "jl") => Some(Format::JsonLines),
        Some("json") => Some(Format::Json),
        _ => None,
    };
    let start = head.trim_ascii_start();
    let line = start.split(|b| *b == b'\n').next().unwrap_or_default();
    let ends = line.len() < start.len() || whole;
    match named {
        // An array, and an object that Python or jq has broken into lines.
        Some(_) if start.starts_with(b"[") || line.trim_ascii_end() == b"{" => Format::Json,
        // A line that is whole: the others of such a file are read even where one is not.
        Some(Format::Json) if !(ends && json::value_of(line, looked_for.0).is_ok()) => Format::Json,
        Some(_) => Format::JsonLines,
        None if ends && is_record(line, looked_for) => Format::JsonLines,
        None if !ends && is_cut_record(line, looked_for) => Format::JsonLines,
        None if start.starts_with(b"[") && is_cut_record(start[1..].trim_ascii_start(), looked_for) => {
            Format::Json
        }
        None => Format::Text,
    }
}

/// Of a file whose name says nothing: an object with a document where it is looked for.
fn is_record(line: &[u8], (field, opening): (&str, u8)) -> bool {
    line.starts_with(b"{") && matches!(json::value_of(line, field), Ok(Some(value)) if value[0] == opening)
}

/// The same of an object of which only the beginning is known.
fn is_cut_record(start: &[u8], (field, opening): (&str, u8)) -> bool {
    start.starts_with(b"{") && json::begins_with(start, field, opening)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents() {
        let object = "{\"id\": 1, \"text\": \"a\"}";
        let lines = format!("{object}\n{object}\n");
        let array = format!("[{object},\n{object}]");
        let pretty = "{\n  \"text\": \"a\"\n}\n";
        for (name, head, format) in [
            ("a.jsonl", lines.as_str(), Format::JsonLines),
            ("a.JSONL", &lines, Format::JsonLines),
            ("a.ndjson", &lines, Format::JsonLines),
            ("a.jsonlines", &lines, Format::JsonLines),
            ("a.jl", &lines, Format::JsonLines),
            ("a.json", &lines, Format::JsonLines),
            ("a.Json", object, Format::JsonLines),
            ("a.json", &array, Format::Json),
            ("a.jsonl", &array, Format::Json),
            ("a.json", pretty, Format::Json),
            ("a.jsonl", pretty, Format::Json),
            ("a.json", "[\"a\", \"b\"]", Format::Json),
            ("a.json", "{\"text\": \"a\",\n\"x\": 1}", Format::Json),
            ("a.jsonl", "{\"text\": \"torn\n{\"text\": \"b\"}\n", Format::JsonLines),
            // A name that says nothing.
            ("a", &lines, Format::JsonLines),
            ("a.txt", &lines, Format::JsonLines),
            ("a.dat", &array, Format::Json),
            ("a.txt", "{\"other\": \"a\"}\n", Format::Text),
            ("a.txt", "[\"a\", \"b\"]", Format::Text),
            ("a.c", "{ return; }\n", Format::Text),
            ("a.txt", "", Format::Text),
            ("a.txt", pretty, Format::Text),
        ] {
            assert_eq!(
                detect(Path::new(name), head.as_bytes(), true, ("text", b'"')),
                format,
                "{name} {head}"
            );
        }
        let cut = format!("{{\"id\": [1, {{}}], \"text\": \"{}", "long ".repeat(100));
        assert_eq!(detect(Path::new("a"), cut.as_bytes(), false, ("text", b'"')), Format::JsonLines);
        assert_eq!(detect(Path::new("a"), cut.as_bytes(), true, ("text", b'"')), Format::Text);
        assert_eq!(detect(Path::new("a"), cut.as_bytes(), false, ("body", b'"')), Format::Text);
        // Conversations.
        let chat = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n";
        for (whole, field, opening, format) in [
            (true, "messages", b'[', Format::JsonLines),
            (false, "messages", b'[', Format::JsonLines),
            (true, "messages", b'"', Format::Text),
            (true, "other", b'[', Format::Text),
        ] {
            assert_eq!(detect(Path::new("a"), chat.as_bytes(), whole, (field, opening)), format, "{field}");
        }
    }

    #[test]
    fn kinds_that_are_no_text() {
        let mut tar = vec![b'a'; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, kind) in [
            (&b"\xfd7zXZ\0abc"[..], Some("xz")),
            (b"BZh91AY&SY", Some("bzip2")),
            (b"BZhang is a name", None),
            (b"PK\x03\x04\x14\0\0\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05\0\0\0a.txt", Some("zip")),
            (b"PK is a name", None),
            (b"PAR1\x15\x04", Some("Parquet")),
            (b"PAR1 is a name", None),
            (b"\xff\xff\xff\xff\x08\0\0\0\x10\0\0\0\0\0\0\0", Some("Arrow")),
            (b"%PDF-1.7", Some("PDF")),
            (b"\xff\xfeh\0i\0", Some("UTF-16")),
            (b"h\0i\0", Some("binary")),
            (b"plain text with one \0", None),
            (b"", None),
            (&tar, Some("tar")),
        ] {
            assert_eq!(foreign(head, true).map(|f| f.0), kind, "{head:?}");
        }
        // Of a pipe only the beginning is known.
        assert_eq!(foreign(b"\xff\xff\xff\xff\x08\x01\0\0\x10", false).map(|f| f.0), Some("Arrow"));
        assert_eq!(foreign(b"\x80\x04\x95\0\x01\0\0\0\0\0\0\x8c", false).map(|f| f.0), Some("pickle"));
    }
}
