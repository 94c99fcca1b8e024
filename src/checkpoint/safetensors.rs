//! The safetensors format. The header is parsed and validated by the `safetensors` crate; the data are read
//! with positioned reads instead of a mapping, so that a file that shrinks is an error, not a SIGBUS, and
//! any piece of a tensor can be read by itself. The writer is ours: sorted keys and fsync.
use super::blocks::TensorHasher;
use super::dtype::Dtype;
use super::output::{FileRecord, Output, hex};
use crate::error::one_line;
use crate::files::storage::{ReadAt, Storage, read_exact_at};
use crate::model::Param;
use crate::ops::{Part, Sink};
use crate::{Error, Result};
use safetensors::tensor::{Dtype as FileDtype, Metadata, TensorInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// The format's own bound on headers.
const HEADER_MAX: u64 = 100_000_000;
/// Elements encoded at a time.
const ENCODE_PIECE: usize = 1 << 16;

/// An open file whose header was found to describe it exactly.
pub struct TensorFile<'a> {
    source: Box<dyn ReadAt + 'a>,
    path: PathBuf,
    metadata: Metadata,
    data_start: u64,
}

impl<'a> TensorFile<'a> {
    /// Opens `path` and validates its header.
    ///
    /// # Errors
    /// Refused when the file cannot be read or its header does not describe exactly its bytes.
    pub fn open(storage: &'a dyn Storage, path: &Path) -> Result<Self> {
        let source = storage.open(path).map_err(Error::input("open", path))?;
        let bytes = source.bytes();
        let bad = |why: String| {
            Error::refused(format!(
                "{} is no valid safetensors file: {why}; it is damaged or incomplete, copy it again",
                path.display()
            ))
        };
        let mut length = [0; 8];
        if bytes < 8 {
            return Err(bad(format!("it has {bytes} bytes, and the length of its header alone takes 8")));
        }
        read_exact_at(&*source, &mut length, 0).map_err(Error::input("read", path))?;
        let header_bytes = u64::from_le_bytes(length);
        // Checked against the file before anything of that size is allocated.
        if header_bytes > HEADER_MAX || header_bytes > bytes - 8 {
            return Err(bad(format!("its header claims {header_bytes} bytes, and the file has {bytes}")));
        }
        let mut header = vec![0; header_bytes as usize];
        read_exact_at(&*source, &mut header, 8).map_err(Error::input("read", path))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| bad(format!("header: {}", one_line(e))))?;
        // `SafeTensors::deserialize` adds these lengths unchecked; hostile offsets near 2^64 would wrap.
        let expected = (metadata.data_len() as u64).checked_add(8 + header_bytes);
        if expected != Some(bytes) {
            let expected = expected.map_or("more than 2^64".into(), |n| n.to_string());
            return Err(bad(format!("its header describes {expected} bytes, and the file has {bytes}")));
        }
        Ok(Self { source, path: path.into(), metadata, data_start: 8 + header_bytes })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of the tensors, in the order of their data.
    pub fn names(&self) -> Vec<String> {
        self.metadata.offset_keys()
    }

    /// Shape and format of a tensor.
    pub fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.metadata.info(name)
    }

    /// Fills `values` with those of a tensor from row-major index `first` on.
    ///
    /// # Errors
    /// Refused when there is no such tensor or its format is not f32, f16, bf16 or f64; those of reading.
    pub fn fill(&self, name: &str, first: usize, values: &mut [f32]) -> Result<()> {
        let info = self.info(name).ok_or_else(|| {
            Error::refused(format!("{} has no tensor {name}; is it of another model?", self.path.display()))
        })?;
        let dtype = Dtype::from_file(info.dtype);
        let size = match (dtype, info.dtype) {
            (Some(dtype), _) => dtype.bytes(),
            (None, FileDtype::F64) => 8,
            (None, other) => {
                return Err(Error::refused(format!(
                    "{}: {} is stored as {other:?}, where F32, F16, BF16 or F64 is expected; convert it first",
                    self.path.display(),
                    one_line(name)
                )));
            }
        };
        let at = self.data_start + (info.data_offsets.0 + first * size) as u64;
        let failed = Error::input("read", &self.path);
        if dtype == Some(Dtype::F32) {
            return read_exact_at(&*self.source, bytemuck::cast_slice_mut(values), at).map_err(failed);
        }
        let mut bytes = vec![0; values.len() * size];
        read_exact_at(&*self.source, &mut bytes, at).map_err(failed)?;
        match dtype {
            Some(dtype) => dtype.decode(&bytes, values),
            None => Dtype::round_doubles(&bytes, values),
        }
        Ok(())
    }
}

/// A tensor to be written.
#[derive(Clone)]
pub struct TensorSource<'a> {
    /// Name in the file.
    pub name: String,
    /// Its shape, and its place in the flat buffers.
    pub param: &'a Param,
    /// Which of them it is in.
    pub part: Part,
}

/// Hands over the values of one tensor.
pub type Values<'a> = &'a mut dyn FnMut(&TensorSource, Sink<'_>) -> Result<()>;

/// One tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorRecord {
    /// XXH3-128 of each block of its data, 32 lowercase hex digits.
    pub blocks: Vec<String>,
    /// Bytes of its data.
    pub bytes: u64,
    /// Format of its elements.
    pub dtype: Dtype,
    /// The file of the checkpoint it is in.
    pub file: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
}

/// Length of the header and of the data of a file of these tensors, in bytes.
fn layout(tensors: &BTreeMap<&str, (&[usize], Dtype)>, metadata: &BTreeMap<&str, &str>) -> (Vec<u8>, u64) {
    let mut header = String::from("{");
    if !metadata.is_empty() {
        let json = serde_json::to_string(metadata).expect("a map of strings is always JSON");
        let _ = write!(header, "\"__metadata__\":{json},");
    }
    let mut offset = 0u64;
    for (name, (shape, dtype)) in tensors {
        let elements: u64 = shape.iter().map(|&n| n as u64).product();
        let end = offset + elements * dtype.bytes() as u64;
        let name = serde_json::Value::from(*name);
        let shape = serde_json::Value::from(*shape);
        let dtype = dtype.file_name();
        let _ = write!(
            header,
            r#"{name}:{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{offset},{end}]}},"#
        );
        offset = end;
    }
    if header.ends_with(',') {
        header.pop();
    }
    header.push('}');
    // Spaces up to 8 bytes, as the format asks, so that the data are aligned.
    let padded = header.len().next_multiple_of(8);
    let mut bytes = (padded as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(8 + padded, b' ');
    (bytes, offset)
}

/// Bytes that [`write_tensors`] will write.
pub fn file_bytes(tensors: &[TensorSource], dtype: Dtype, metadata: &BTreeMap<&str, &str>) -> u64 {
    let entries = tensors.iter().map(|t| (t.name.as_str(), (&t.param.shape[..], dtype))).collect();
    let (header, data) = layout(&entries, metadata);
    header.len() as u64 + data
}

/// Writes `tensors` with their `values`, in the order of their names, to the new file `path`, and makes its contents durable.
/// Equal tensors give equal bytes.
///
/// # Errors
/// Failed when a value is not finite in `dtype`, naming tensor and element; those of reading and writing. The file is
/// then incomplete.
pub fn write_tensors(
    storage: &dyn Storage,
    path: &Path,
    tensors: &[TensorSource],
    values: Values<'_>,
    dtype: Dtype,
    metadata: &BTreeMap<&str, &str>,
) -> Result<(FileRecord, BTreeMap<String, TensorRecord>)> {
    let mut sorted: Vec<&TensorSource> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let entries = sorted.iter().map(|t| (t.name.as_str(), (&t.param.shape[..], dtype))).collect();
    let (head, _) = layout(&entries, metadata);
    let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut output = Output::create(storage, path)?;
    output.put(&head)?;
    let mut records = BTreeMap::new();
    for tensor in sorted {
        let record = TensorRecord {
            blocks: write_tensor(&mut output, tensor, values, dtype)?,
            bytes: (tensor.param.place.elements() * dtype.bytes()) as u64,
            dtype,
            file: file.clone(),
            shape: tensor.param.shape.clone(),
        };
        records.insert(tensor.name.clone(), record);
    }
    let (head_bytes, xxh3_128) = (Some(head.len() as u64), hex(xxh3_128(&head)));
    Ok((FileRecord { bytes: output.finish()?, head_bytes, xxh3_128 }, records))
}

/// Appends one tensor; gives the hashes of its blocks.
fn write_tensor(
    output: &mut Output,
    tensor: &TensorSource,
    values: Values<'_>,
    dtype: Dtype,
) -> Result<Vec<String>> {
    let (mut blocks, mut rounded, mut first) = (TensorHasher::new(), Vec::new(), 0);
    values(tensor, &mut |piece| {
        for values in piece.chunks(ENCODE_PIECE) {
            let bytes = dtype
                .encode(values, &mut rounded)
                .map_err(|i| not_finite(tensor, first + i, values[i], dtype))?;
            blocks.update(bytes);
            output.put(bytes)?;
            first += values.len();
        }
        Ok(())
    })?;
    assert_eq!(first, tensor.param.place.elements(), "{} was handed over in full", tensor.name);
    Ok(blocks.finish())
}

fn not_finite(tensor: &TensorSource, element: usize, value: f32, dtype: Dtype) -> Error {
    let (what, name) = (tensor.part.name(), &tensor.name);
    let why = if value.is_finite() {
        format!("which {} cannot hold as a finite number; choose a wider dtype", dtype.torch_name())
    } else {
        "and only finite values are saved; nothing was, use the last checkpoint that was".into()
    };
    Error::failed(format!("{what} {name} element {element} is {value}, {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Offsets past 2^32 bytes and 2^31 elements (F44), parsed back by the crate.
    #[test]
    fn large_offsets_are_exact() {
        let shapes: [&[usize]; 2] = [&[3, 1 << 31], &[7]];
        let tensors = BTreeMap::from([("a", (shapes[0], Dtype::F32)), ("b", (shapes[1], Dtype::Bf16))]);
        let (header, data) = layout(&tensors, &BTreeMap::from([("format", "pt")]));
        assert_eq!(data, 4 * 3 * (1 << 31) + 14);
        assert_eq!(header.len() % 8, 0);
        let metadata: Metadata = serde_json::from_slice(&header[8..]).unwrap();
        assert_eq!(metadata.info("b").unwrap().data_offsets, (25_769_803_776, 25_769_803_790));
    }
}
