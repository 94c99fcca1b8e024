//! A model of the hub in the cache, downloaded where it is not there.
use super::cache::Cache;
use super::client::{Client, Incoming};
use super::files::wanted;
use super::name::Name;
use crate::files::write_whole;
use crate::{Error, Result, stop};
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// Read and written at a time; between two of them a request to stop is heard.
const PIECE: usize = 1 << 20;

/// The folder with the files of a model. A cache that has them is believed where the hub cannot be asked.
pub(super) fn fetch(cache: &Cache, name: &Name) -> Result<PathBuf> {
    let client = Client::of_environment();
    let commit = match (client.commit(name), cache.snapshot(name)) {
        (Ok(commit), _) => commit,
        (Err(error @ Error::Failed(_)), Some(dir)) => {
            log::warn!("{error}; {} is from the cache, as it was when it was downloaded", name);
            return Ok(dir);
        }
        (Err(error), _) => return Err(error),
    };
    let files = wanted(&commit.files()).ok_or_else(|| {
        Error::refused(format!(
            "{name} has neither model.safetensors nor pytorch_model.bin, nor shards of either: it is no model that can be read"
        ))
    })?;
    let dir = cache.commit(name, &commit.sha);
    for file in &files {
        if !dir.join(file).exists() {
            download(&client, cache, name, &commit.sha, file)?;
        }
    }
    if name.revision != commit.sha {
        let reference = cache.reference(name);
        make_folder_of(&reference)?;
        // Another process may be reading it.
        write_whole(&reference, commit.sha.as_bytes())?;
    }
    Ok(dir)
}

/// Brings one file into the cache: its contents under the name of their hash, and a link to them.
fn download(client: &Client, cache: &Cache, name: &Name, commit: &str, file: &str) -> Result<()> {
    let first = client.file(name, commit, file, 0)?;
    let blob = cache.model(name).join("blobs").join(&first.etag);
    if !blob.exists() {
        make_folder_of(&blob)?;
        let lock = cache.root().join(".locks").join(format!("models--{}--{}", name.owner, name.model));
        let lock = lock.join(format!("{}.lock", first.etag));
        make_folder_of(&lock)?;
        let held = File::create(&lock).map_err(Error::io("create", &lock))?;
        // Python's lock of the same file, which is waited for: another process may be downloading it.
        held.lock().map_err(Error::io("lock", &lock))?;
        if !blob.exists() {
            receive(client, (name, commit, file), first, &blob)?;
        }
    }
    let link = cache.commit(name, commit).join(file);
    make_folder_of(&link)?;
    let up = "../".repeat(2 + file.matches('/').count());
    let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
    match std::os::unix::fs::symlink(target, &link) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(Error::io("create", &link)(e)),
        _ => Ok(()),
    }
}

/// Writes the contents of a file into `<blob>.incomplete`, behind what an earlier try left there, and gives it its name.
fn receive(
    client: &Client,
    (name, commit, file): (&Name, &str, &str),
    first: Incoming,
    blob: &Path,
) -> Result<()> {
    let mut part = blob.as_os_str().to_owned();
    part.push(".incomplete");
    let part = PathBuf::from(part);
    let there = fs::metadata(&part).map_or(0, |metadata| metadata.len());
    let Incoming { start, bytes, mut body, .. } = match first.bytes {
        Some(bytes) if there > 0 && there < bytes => client.file(name, commit, file, there)?,
        _ => first,
    };
    let size = bytes.map_or("of unknown size".into(), |bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    log::info!("downloading {file} of {name} ({size})");
    let failed = Error::io("write", &part);
    let mut out = OpenOptions::new().create(true).write(true).truncate(false).open(&part).map_err(failed)?;
    let mut at = start;
    let seek =
        out.set_len(start).and_then(|()| std::io::Seek::seek(&mut out, std::io::SeekFrom::Start(start)));
    seek.map_err(Error::io("write", &part))?;
    let mut piece = vec![0; PIECE];
    loop {
        stop::check()?;
        let count = match body.read(&mut piece) {
            Ok(0) => break,
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::Interrupted => continue,
            Err(e) => return Err(client.failed(file, format!("{e} behind {at} bytes"))),
        };
        out.write_all(&piece[..count]).map_err(Error::io("write", &part))?;
        at += count as u64;
    }
    if bytes.is_some_and(|bytes| bytes != at) {
        let all = bytes.unwrap_or_default();
        return Err(
            client.failed(file, format!("it gave {at} of {all} bytes, which the next try goes on from"))
        );
    }
    out.sync_all().map_err(Error::io("sync", &part))?;
    fs::rename(&part, blob).map_err(Error::io("rename to", blob))
}

fn make_folder_of(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io("create", folder))
}
