//! The directory of a zip file whose entries are stored as they are, which is how `torch.save` writes them.
use crate::files::storage::{ReadAt, read_exact_at};
use std::collections::BTreeMap;
use std::io;

/// Where an entry lies in the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) start: u64,
    pub(super) bytes: u64,
    /// CRC-32 of its contents; 0 where PyTorch was told to leave it out (`torch.serialization.set_crc32_options`).
    crc: u32,
}

/// Bytes that are read at once to compare them.
const PART: usize = 1 << 20;

impl Entry {
    /// Refused where the contents are not those that were saved. The error is the reason only.
    pub(super) fn check(&self, source: &dyn ReadAt) -> Result<(), String> {
        if self.crc == 0 {
            return Ok(());
        }
        let (mut hash, mut part) = (crc32fast::Hasher::new(), vec![0; PART.min(self.bytes as usize)]);
        for done in (0..self.bytes).step_by(PART) {
            let now = &mut part[..PART.min((self.bytes - done) as usize)];
            read_exact_at(source, now, self.start + done).map_err(cannot_read)?;
            hash.update(now);
        }
        match hash.finalize() {
            found if found == self.crc => Ok(()),
            found => Err(format!(
                "its CRC-32 is {found:08x}, and {:08x} was saved with it: copy it again",
                self.crc
            )),
        }
    }
}

/// A file has a few hundred bytes of directory for each tensor.
const DIRECTORY_MAX: u64 = 256 << 20;
/// The record at the end, and a comment of any length before the end of the file.
const END_BYTES: usize = 22;
const COMMENT_MAX: usize = 65_535;
const CUT: &str = "it has no directory of its contents at its end: it is incomplete, copy it again";
const DAMAGED: &str = "the directory of its contents is damaged: copy it again";

/// Entries by name, without the folder that all of them are in. The error is the reason only.
pub(super) fn directory(source: &dyn ReadAt) -> Result<BTreeMap<String, Entry>, String> {
    let (start, bytes) = find_directory(source)?;
    let table = read(source, start, bytes)?;
    let (mut entries, mut rest) = (BTreeMap::new(), table.as_slice());
    while rest.starts_with(b"PK\x01\x02") {
        let (name, entry, length) = entry(source, rest)?;
        // `archive/data.pkl`: the folder is called like the file was.
        if let Some((_, name)) = name.split_once('/') {
            entries.insert(name.to_owned(), entry);
        }
        rest = &rest[length..];
    }
    Ok(entries)
}

fn read(source: &dyn ReadAt, start: u64, bytes: u64) -> Result<Vec<u8>, String> {
    let end = start.checked_add(bytes).filter(|end| *end <= source.bytes() && bytes <= DIRECTORY_MAX);
    end.ok_or(DAMAGED)?;
    let mut buffer = vec![0; bytes as usize];
    read_exact_at(source, &mut buffer, start).map_err(cannot_read)?;
    Ok(buffer)
}

fn cannot_read(e: io::Error) -> String {
    format!("cannot read it: {e}")
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u32_at(bytes, at) | u32_at(bytes, at + 4) << 32
}

/// Where the directory begins, and its length.
fn find_directory(source: &dyn ReadAt) -> Result<(u64, u64), String> {
    let bytes = source.bytes();
    let tail_bytes = bytes.min((END_BYTES + COMMENT_MAX) as u64);
    let tail = read(source, bytes - tail_bytes, tail_bytes)?;
    let is_end = |at: &usize| {
        tail[*at..].starts_with(b"PK\x05\x06") && at + END_BYTES + u16_at(&tail, at + 20) == tail.len()
    };
    let last = tail.len().checked_sub(END_BYTES).ok_or(CUT)?;
    let end = (0..=last).rev().find(is_end).ok_or(CUT)?;
    let (start, length) = (u32_at(&tail, end + 16), u32_at(&tail, end + 12));
    // A file beyond 4 GiB has a second record of the end, and one that says where.
    match end.checked_sub(20).map(|at| &tail[at..end]) {
        Some(locator) if locator.starts_with(b"PK\x06\x07") => {
            let record = read(source, u64_at(locator, 8), 56)?;
            if record.starts_with(b"PK\x06\x06") {
                Ok((u64_at(&record, 48), u64_at(&record, 40)))
            } else {
                Err(DAMAGED.into())
            }
        }
        _ => Ok((start, length)),
    }
}

/// The first entry of a directory, its name, and its length there.
fn entry<'a>(source: &dyn ReadAt, rest: &'a [u8]) -> Result<(&'a str, Entry, usize), String> {
    const HEAD: usize = 46;
    let head = rest.get(..HEAD).ok_or(DAMAGED)?;
    let (name, extra, comment) = (u16_at(head, 28), u16_at(head, 30), u16_at(head, 32));
    let length = HEAD + name + extra + comment;
    let whole = rest.get(..length).ok_or(DAMAGED)?;
    let (name, extra) = (&whole[HEAD..HEAD + name], &whole[HEAD + name..HEAD + name + extra]);
    let name = str::from_utf8(name).map_err(|_| DAMAGED)?;
    // Uncompressed and compressed size, and offset; those that are all ones are among the extra fields, in this order.
    let mut numbers = [24, 20, 42].map(|at| u32_at(head, at));
    let mut wide = wide_numbers(extra);
    for number in numbers.iter_mut().filter(|n| **n == u64::from(u32::MAX)) {
        *number = wide.next().ok_or(DAMAGED)?;
    }
    let [bytes, packed, offset] = numbers;
    if u16_at(head, 10) != 0 || bytes != packed {
        return Err(format!("{name:?} in it is compressed, which torch.save never does"));
    }
    let local = read(source, offset, 30)?;
    if !local.starts_with(b"PK\x03\x04") {
        return Err(DAMAGED.into());
    }
    // Payloads are aligned by an extra field that only this header has.
    let start = offset + 30 + (u16_at(&local, 26) + u16_at(&local, 28)) as u64;
    match start.checked_add(bytes) {
        Some(end) if end <= source.bytes() => {
            Ok((name, Entry { start, bytes, crc: u32_at(head, 16) as u32 }, length))
        }
        _ => Err(format!("{name:?} in it reaches beyond its end: it is incomplete, copy it again")),
    }
}

/// The numbers of the extra field of large files.
fn wide_numbers(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut found: &[u8] = &[];
    while extra.len() >= 4 {
        let (id, length) = (u16_at(extra, 0), u16_at(extra, 2));
        let Some(field) = extra.get(4..4 + length) else { break };
        if id == 1 {
            found = field;
        }
        extra = &extra[4 + length..];
    }
    found.as_chunks().0.iter().map(|eight| u64::from_le_bytes(*eight))
}
