//! NumPy's `.npy`: a header that is a Python dictionary, then one array.
use super::dtype::Dtype;
use super::map::Opening;
use crate::{Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// A header of a version that stores its length in 32 bits is not longer than this.
const HEADER_MAX: u64 = 1 << 20;

/// Whether a file is of this format.
pub(crate) fn is_npy(file: &Opening) -> Result<bool> {
    Ok(file.bytes >= 10 && file.array::<6>(0)? == *MAGIC)
}

/// Dtype, byte of the first token, and tokens: rows of an array follow each other.
pub(crate) fn header(file: &Opening) -> Result<(Dtype, u64, u64)> {
    let path = file.path.display();
    let refuse = |message: String| Error::refused(format!("{path}: {message}"));
    let [major, minor] = file.array(6)?;
    let (start, length) = match major {
        1 => (10, u64::from(u16::from_le_bytes(file.array(8)?))),
        2 | 3 if file.bytes >= 12 => (12, u64::from(u32::from_le_bytes(file.array(8)?))),
        _ => return Err(refuse(format!("is of NumPy's format {major}.{minor}, expected 1.0, 2.0 or 3.0"))),
    };
    if length > HEADER_MAX || start + length > file.bytes {
        return Err(refuse(format!(
            "promises a NumPy header of {length} bytes in a file of {}; it is truncated, copy it again",
            file.bytes
        )));
    }
    let mut text = vec![0; length as usize];
    file.read(start, &mut text)?;
    let text = String::from_utf8_lossy(&text);
    let unreadable = || {
        let shown: String = text.chars().take(200).collect();
        refuse(format!("has the NumPy header {shown:?}, expected 'descr', 'fortran_order' and 'shape'"))
    };
    let descr = value_of(&text, "descr").ok_or_else(unreadable)?;
    let dtype = dtype_of(descr).map_err(refuse)?;
    let columns_first = value_of(&text, "fortran_order").ok_or_else(unreadable)?.starts_with("True");
    let shape = value_of(&text, "shape").and_then(shape_of).ok_or_else(unreadable)?;
    if columns_first && shape.iter().filter(|n| **n != 1).count() > 1 {
        return Err(refuse(format!(
            "holds an array of shape {shape:?} column by column (fortran_order); save numpy.ascontiguousarray of it"
        )));
    }
    let tokens = shape.iter().try_fold(1u64, |all, n| all.checked_mul(*n));
    let bytes = tokens.and_then(|tokens| tokens.checked_mul(dtype.bytes()));
    match (tokens, bytes) {
        _ if shape.is_empty() => Err(refuse("holds a single number and no array of tokens".into())),
        (Some(0), _) => Err(refuse(format!("holds no tokens (shape {shape:?}); leave it out"))),
        (Some(tokens), Some(bytes)) if bytes == file.bytes - start - length => {
            Ok((dtype, start + length, tokens))
        }
        _ => Err(refuse(format!(
            "promises an array of shape {shape:?} of {dtype} after a header of {} bytes, but the file has {} bytes; it \
             is truncated or damaged, copy it again",
            start + length,
            file.bytes
        ))),
    }
}

/// What follows `'key':` in the text of a dictionary.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = ['\'', '"'].iter().find_map(|q| text.split_once(&format!("{q}{key}{q}")))?;
    Some(rest.trim_start().strip_prefix(':')?.trim_start())
}

/// `'<u2'` and its like.
fn dtype_of(descr: &str) -> Result<Dtype, String> {
    const WANTED: &str = "expected integers: u1, i1, u2, i2, u4, i4, u8 or i8";
    let shown = || descr.chars().take(30).collect::<String>();
    let quote = descr.chars().next().filter(|q| ['\'', '"'].contains(q));
    let Some(name) = quote.and_then(|q| descr[1..].split(q).next()) else {
        return Err(format!("holds records ({}...), {WANTED}", shown()));
    };
    let (order, kind) = match name.chars().next() {
        Some(order @ ('<' | '>' | '|' | '=')) => (order, &name[1..]),
        _ => ('=', name),
    };
    let dtype = match kind {
        "u1" => Dtype::U8,
        "i1" => Dtype::I8,
        "u2" => Dtype::U16,
        "i2" => Dtype::I16,
        "u4" => Dtype::U32,
        "i4" => Dtype::I32,
        // As i64: what is 2^63 or more is no token either way.
        "u8" | "i8" => Dtype::I64,
        _ => return Err(format!("holds {name:?}, {WANTED}; save array.astype(\"<u4\")")),
    };
    if order == '>' && dtype.bytes() > 1 {
        return Err(format!("holds {name:?}, which is big endian; save array.astype(\"<{kind}\")"));
    }
    Ok(dtype)
}

/// `(3, 4)`, `(3,)`, `()`; Python 2 wrote `(3L,)`.
fn shape_of(text: &str) -> Option<Vec<u64>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    let sizes = inside.split(',').map(|n| n.trim().trim_end_matches('L')).filter(|n| !n.is_empty());
    sizes.map(|n| n.parse().ok()).collect()
}
