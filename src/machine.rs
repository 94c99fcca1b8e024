//! The program, its process and the machine it runs on, in facts that everybody may ask for.
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// The commit that the program was built from, with `-dirty` where its sources differed from it; none where the build
/// had no checkout and nobody told it in `REWARM_COMMIT`.
pub const COMMIT: Option<&str> = match env!("REWARM_COMMIT") {
    commit if commit.is_empty() => None,
    commit => Some(commit),
};

/// Total and available bytes.
pub(crate) fn memory() -> (Option<u64>, Option<u64>) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (total, available) = (meminfo(&text, "MemTotal"), meminfo(&text, "MemAvailable"));
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // In a container the limit of its group (cgroup v2; "max" where there is none) comes before the machine's.
    let Some(limit) = number("/sys/fs/cgroup/memory.max") else { return (total, available) };
    let free = limit.saturating_sub(number("/sys/fs/cgroup/memory.current").unwrap_or(0));
    (total.map(|t| t.min(limit)), available.map(|a| a.min(free)))
}

/// The bytes of a line `Name:   123 kB`.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The name of this machine, where it is known.
pub(crate) fn host() -> Option<String> {
    let told = fs::read_to_string(PathBuf::from("/proc/sys/kernel/hostname")).ok();
    told.or_else(|| std::env::var("HOSTNAME").ok()).map(|host| host.trim().to_owned())
}

/// "pid 12 on host since 2025-01-31 12:00:00 UTC".
pub(crate) fn holder() -> String {
    let host = host().unwrap_or_else(|| "unknown host".into());
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("pid {} on {host} since {}\n", std::process::id(), utc(seconds))
}

/// Seconds since 1970 as a date, for people only: nothing compares it.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days; the year starts in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_lines_are_read_in_bytes() {
        let text = "MemTotal:       2048 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(meminfo(text, "MemTotal"), Some(2 << 20));
        assert_eq!(meminfo(text, "MemAvailable"), Some(1 << 20));
        assert_eq!(meminfo(text, "Mem"), None);
        assert_eq!(meminfo("", "MemTotal"), None);
    }

    #[test]
    fn dates_are_those_of_date_u() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
    }
}
