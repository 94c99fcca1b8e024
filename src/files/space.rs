//! Free space of a file system, which the standard library does not tell.
use std::io;
use std::path::Path;

/// Bytes an unprivileged process can still write below `dir`; `None` where that does not fit a number.
pub(super) fn free_bytes(dir: &Path) -> io::Result<Option<u64>> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.checked_mul(stat.f_frsize))
}

#[cfg(test)]
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
