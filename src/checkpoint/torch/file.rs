//! A file of `torch.save` that is open: what its pickle says, and the elements of its tensors.
use super::pickle;
use super::value::{Pickle, Tensor, Value};
use super::zip::{Entry, directory};
use crate::checkpoint::dtype::Dtype;
use crate::error::one_line;
use crate::files::storage::{ReadAt, Storage, read_exact_at};
use crate::{Error, Result};
use rayon::prelude::*;
use safetensors::Dtype as FileDtype;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A pickle names tensors and says little more.
const PICKLE_MAX: u64 = 256 << 20;
/// How files from before PyTorch 1.6 begin: a pickle of a number.
const OLD_FORMAT: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";

/// An open file, each of whose tensors was found to lie within it.
pub struct TorchFile<'a> {
    source: Box<dyn ReadAt + 'a>,
    path: PathBuf,
    pickle: Pickle,
    /// By their keys.
    storages: BTreeMap<String, Entry>,
}

impl<'a> TorchFile<'a> {
    /// Opens `path`, reads its pickle, and compares what else it holds with its checksums.
    ///
    /// # Errors
    /// Refused when it cannot be read, is no file of `torch.save`, is incomplete, has a pickle that calls something, or other
    /// contents than were saved.
    pub fn open(storage: &'a dyn Storage, path: &Path) -> Result<Self> {
        let source = storage.open(path).map_err(Error::input("open", path))?;
        let bad = |why: String| Error::refused(format!("{}: {}", path.display(), one_line(why)));
        let mut head = [0; OLD_FORMAT.len()];
        let known = head.len().min(source.bytes() as usize);
        read_exact_at(&*source, &mut head[..known], 0).map_err(Error::input("read", path))?;
        if head == OLD_FORMAT {
            return Err(bad(format!(
                "it was written by PyTorch before 1.6, whose format is not read; where you trust it: python -c \"import torch; \
                 torch.save(torch.load('{0}', map_location='cpu', weights_only=True), '{0}')\"",
                path.display()
            )));
        }
        if !head.starts_with(b"PK") {
            return Err(bad("it is no file of torch.save, which is a zip; copy it again".into()));
        }
        let mut entries = directory(&*source).map_err(bad)?;
        let mut text = |name: &str, most: u64| -> Result<Option<Vec<u8>>> {
            let Some(entry) = entries.remove(name) else { return Ok(None) };
            if entry.bytes > most {
                return Err(bad(format!(
                    "{name} in it has {} bytes, where at most {most} are expected",
                    entry.bytes
                )));
            }
            let mut bytes = vec![0; entry.bytes as usize];
            read_exact_at(&*source, &mut bytes, entry.start).map_err(Error::input("read", path))?;
            Ok(Some(bytes))
        };
        if text("byteorder", 16)?.is_some_and(|order| order == b"big") {
            return Err(bad("its numbers are big endian; save it on a little endian machine".into()));
        }
        let data = text("data.pkl", PICKLE_MAX)?;
        let data = data.ok_or_else(|| bad("it has no data.pkl: it is a zip of something else".into()))?;
        let pickle = pickle::parse(&data).map_err(|why| bad(format!("data.pkl in it: {why}")))?;
        let storages = entries.into_iter();
        let storages = storages
            .filter_map(|(name, entry)| Some((name.strip_prefix("data/")?.to_owned(), entry)))
            .collect();
        let file = Self { source, path: path.into(), pickle, storages };
        let fault = file.pickle.tensors().find_map(|tensor| file.fault_of(tensor));
        fault.map_or(Ok(()), |fault| Err(bad(fault)))?;
        file.storages.par_iter().try_for_each(|(key, entry)| {
            entry.check(&*file.source).map_err(|why| bad(format!("storage {key} in it is damaged: {why}")))
        })?;
        Ok(file)
    }

    /// Why a tensor is not in the file.
    fn fault_of(&self, tensor: &Tensor) -> Option<String> {
        let storage = &tensor.storage;
        let need = u128::from(storage.len) * size_of_element(storage.dtype) as u128;
        match self.storages.get(&storage.key) {
            Some(entry) if u128::from(entry.bytes) >= need => None,
            Some(entry) => Some(format!(
                "storage {} has {} of its {need} bytes; copy it again",
                storage.key, entry.bytes
            )),
            None => Some(format!("storage {} is missing in it; copy it again", storage.key)),
        }
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was saved.
    pub fn root(&self) -> Value<'_> {
        self.pickle.root()
    }

    /// Fills `values` with those of one of its tensors from row-major index `first` on.
    ///
    /// # Errors
    /// Refused when they are no floating-point numbers; those of reading.
    pub fn fill(&self, tensor: &Tensor, first: usize, values: &mut [f32]) -> Result<()> {
        let stretch = tensor.stretch();
        let mut done = 0;
        while done < values.len() {
            let index = first + done;
            let count = (stretch - index % stretch).min(values.len() - done);
            self.fill_stretch(tensor, tensor.place(index), &mut values[done..done + count])?;
            done += count;
        }
        Ok(())
    }

    /// Elements that lie one behind the other.
    fn fill_stretch(&self, tensor: &Tensor, place: u64, values: &mut [f32]) -> Result<()> {
        let entry = &self.storages[&tensor.storage.key];
        let size = size_of_element(tensor.dtype());
        let at = entry.start + place * size as u64;
        let failed = Error::input("read", &self.path);
        let dtype = Dtype::from_file(tensor.dtype());
        if dtype == Some(Dtype::F32) {
            return read_exact_at(&*self.source, bytemuck::cast_slice_mut(values), at).map_err(failed);
        }
        let mut bytes = vec![0; values.len() * size];
        read_exact_at(&*self.source, &mut bytes, at).map_err(failed)?;
        match (dtype, tensor.dtype()) {
            (Some(dtype), _) => dtype.decode(&bytes, values),
            (None, FileDtype::F64) => Dtype::round_doubles(&bytes, values),
            (None, other) => {
                return Err(Error::refused(format!(
                    "{}: a tensor is stored as {other:?}, where F32, F16, BF16 or F64 is expected",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }
}

/// Bytes of an element of a storage, whose formats have whole ones.
fn size_of_element(dtype: FileDtype) -> usize {
    dtype.bitsize() / 8
}
