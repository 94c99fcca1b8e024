//! Free space of a file system, which the standard library does not tell.
use std::io;
use std::path::Path;

/// Bytes an unprivileged process can still write below `dir`.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub(super) fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    use std::ffi::{CString, c_char, c_int};
    use std::os::unix::ffi::OsStrExt;

    /// The head of `struct statvfs`, equal in glibc and musl on 64-bit Linux, and more room than its tail needs.
    #[repr(C)]
    struct StatVfs {
        block_bytes: u64,
        fragment_bytes: u64,
        blocks: u64,
        blocks_free: u64,
        blocks_available: u64,
        rest: [u64; 32],
    }
    unsafe extern "C" {
        fn statvfs(path: *const c_char, out: *mut StatVfs) -> c_int;
    }

    let path = CString::new(dir.as_os_str().as_bytes())?;
    let mut out = StatVfs {
        block_bytes: 0,
        fragment_bytes: 0,
        blocks: 0,
        blocks_free: 0,
        blocks_available: 0,
        rest: [0; 32],
    };
    // SAFETY: `path` ends in a NUL, and `out` is larger than the C structure that is written.
    if unsafe { statvfs(path.as_ptr(), &mut out) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(out.blocks_available.checked_mul(out.fragment_bytes))
}

/// Unknown here: a full disk is then found by the write that fails.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub(super) fn free_bytes(_dir: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    /// `df` is the second opinion; other processes write meanwhile, hence the margin.
    #[test]
    fn free_bytes_agree_with_df() {
        let out = std::process::Command::new("df").args(["--output=avail", "-B1", "/tmp"]).output();
        let Ok(out) = out else { return println!("skipped: no df") };
        let text = String::from_utf8(out.stdout).unwrap();
        let df: f64 = text.lines().last().unwrap().trim().parse().unwrap();
        let ours = super::free_bytes("/tmp".as_ref()).unwrap().unwrap() as f64;
        assert!((ours - df).abs() < 0.1 * df, "{ours} against {df}");
    }
}
