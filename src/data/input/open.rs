//! Opens one input: unpacks it and looks at what it begins with.
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::format::{PARQUET, Packing, foreign, packing, unpacked_name};
use crate::{Error, Result};

/// Looked at before it is decided what a file is.
const HEAD_BYTES: u64 = 64 << 10;
const BUFFER_BYTES: usize = 1 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where the bytes of an input come from.
#[derive(Clone, Debug)]
pub(super) enum Place {
    File(PathBuf),
    /// A pipe or a device, which is read once.
    Stream(PathBuf),
    Stdin,
    /// What a stream gave, in a file without a name.
    Spooled(Arc<File>, PathBuf),
}

/// Why an input that was found gives no documents: in a folder it is left out, and refused where it was named.
#[derive(Debug)]
pub(super) struct Unfit {
    /// What is counted, such as "files that are not UTF-8 text".
    pub(super) what: String,
    /// What is wrong with it and what to do.
    pub(super) message: String,
    /// It is a Parquet file, which is read in another way.
    pub(super) parquet: bool,
}

/// What follows the head.
pub(super) type Reader = Chain<Cursor<Vec<u8>>, BufReader<Box<dyn Read + Send>>>;

/// An input that may be read.
pub(super) struct Opened {
    /// Its name without the ending of a packing.
    pub(super) name: PathBuf,
    /// All of its text, a mark of UTF-8 at the front left out.
    pub(super) reader: Reader,
    /// The whole text lies in the head.
    pub(super) whole: bool,
}

impl Opened {
    /// The first bytes of the text, which stay in the reader.
    pub(super) fn head(&self) -> &[u8] {
        let head = self.reader.get_ref().0;
        &head.get_ref()[head.position() as usize..]
    }
}

impl Place {
    /// The name in messages.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Stream(path) | Self::Spooled(_, path) => path,
            Self::Stdin => Path::new("the standard input"),
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream(_) | Self::Stdin)
    }

    fn read(&self) -> io::Result<Box<dyn Read + Send>> {
        Ok(match self {
            Self::File(path) | Self::Stream(path) => Box::new(File::open(path)?),
            Self::Stdin => Box::new(io::stdin()),
            Self::Spooled(file, _) => Box::new(At { file: file.clone(), at: 0 }),
        })
    }

    /// What this stream gives, in a file without a name in `folder`, which goes with the last reader.
    pub(super) fn spooled(&self, folder: &Path) -> Result<Self> {
        let mut file =
            tempfile::tempfile_in(folder).map_err(Error::io("create a temporary file in", folder))?;
        let mut from = self.read().map_err(Error::input("open", self.path()))?;
        io::copy(&mut from, &mut file).map_err(Error::io("keep a copy of", self.path()))?;
        Ok(Self::Spooled(Arc::new(file), self.path().to_path_buf()))
    }

    /// Opens it. `count` follows the bytes that are read, as they lie there.
    pub(super) fn open(&self, count: &Arc<AtomicU64>) -> Result<Result<Opened, Unfit>> {
        let raw = match self.read() {
            Ok(raw) => Counted { inner: raw, count: count.clone() },
            Err(e) => return Ok(Err(self.unreadable(&e))),
        };
        let (head, raw) = match head_of(Box::new(raw)) {
            Ok(read) => read,
            Err(e) => return Ok(Err(self.unreadable(&e))),
        };
        let (name, said) = unpacked_name(self.path());
        let unpack = packing(&head);
        if said.is_some() && unpack.is_none() && !head.is_empty() {
            return Ok(Err(Unfit {
                what: "files that are not packed as their name says".into(),
                message: format!(
                    "{} does not begin as a file that is packed so; copy it again, or rename it if it is text",
                    self.path().display()
                ),
                parquet: false,
            }));
        }
        let (head, rest) = match unpack {
            None => (head, raw),
            Some(kind) => {
                let packed = Box::new(Cursor::new(head).chain(raw));
                unpacked(kind, packed).and_then(head_of).map_err(Error::input("unpack", self.path()))?
            }
        };
        if unpack.is_some() && packing(&head).is_some() {
            return Ok(Err(self.foreign("packed twice", "unpack it once")));
        }
        let whole = (head.len() as u64) < HEAD_BYTES;
        if let Some((kind, advice)) = foreign(&head, whole) {
            return Ok(Err(self.foreign(kind, advice)));
        }
        let mut head = Cursor::new(head);
        if head.get_ref().starts_with(BOM) {
            head.set_position(BOM.len() as u64);
        }
        // What is read line by line lies in one piece.
        let rest = BufReader::with_capacity(if whole { 1 } else { BUFFER_BYTES }, rest);
        Ok(Ok(Opened { name: name.to_path_buf(), reader: head.chain(rest), whole }))
    }

    fn foreign(&self, kind: &str, advice: &str) -> Unfit {
        let path = self.path().display();
        let message = format!(
            "{path} is {kind}, expected text or JSON, plain or packed as .gz or .zst; {}",
            advice.replace("FILE", &path.to_string())
        );
        Unfit { what: format!("{kind} files"), message, parquet: kind == PARQUET }
    }

    fn unreadable(&self, e: &io::Error) -> Unfit {
        let what = if e.kind() == ErrorKind::IsADirectory { "folders" } else { "files that cannot be read" };
        let message = format!("cannot read {}: {e}", self.path().display());
        Unfit { what: what.into(), message, parquet: false }
    }
}

/// The first bytes, and what follows them.
fn head_of(mut from: Box<dyn Read + Send>) -> io::Result<(Vec<u8>, Box<dyn Read + Send>)> {
    let mut head = Vec::new();
    from.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    Ok((head, from))
}

fn unpacked(kind: Packing, packed: Box<dyn Read + Send>) -> io::Result<Box<dyn Read + Send>> {
    let packed = BufReader::with_capacity(BUFFER_BYTES, packed);
    Ok(match kind {
        // Files that are joined, or packed in parallel, have several members.
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(packed)?;
            // As `zstd --long=31` writes.
            decoder.window_log_max(31)?;
            Box::new(decoder)
        }
    })
}

struct Counted {
    inner: Box<dyn Read + Send>,
    count: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// A reader with a place of its own in a shared file.
struct At {
    file: Arc<File>,
    at: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Whatever is left, as a document.
pub(super) fn read_text(mut reader: Reader) -> io::Result<Vec<u8>> {
    let mut bytes = reader.fill_buf()?.to_vec();
    let head = bytes.len();
    reader.consume(head);
    reader.read_to_end(&mut bytes)?;
    Ok(bytes)
}
