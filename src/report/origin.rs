//! What a page says of where it comes from.
use crate::bench::Machine;
use crate::machine::COMMIT;
use crate::machine::utc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Machine, program and date, as facts of a page: what figures need to be compared with others.
pub fn origin(machine: &Machine) -> Vec<(&'static str, String)> {
    let cores = machine.cores.map(|n| format!("{n} cores"));
    let memory = machine.memory_bytes.map(|bytes| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64));
    let driver = machine.driver.as_ref().map(|version| format!("driver for CUDA {version}"));
    let os = Some(machine.os.clone());
    let known = [machine.gpu.clone(), driver, machine.cpu.clone(), cores, memory, os];
    let machine = known.into_iter().flatten().collect::<Vec<_>>().join(", ");
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    vec![
        ("machine", machine),
        ("program", format!("rewarm {}, commit {}", env!("CARGO_PKG_VERSION"), COMMIT.unwrap_or("unknown"))),
        ("date", utc(seconds)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DeviceName;

    #[test]
    fn a_page_tells_machine_commit_and_date() {
        let facts = origin(&Machine::detect(DeviceName::Cpu));
        let of = |name: &str| facts.iter().find(|fact| fact.0 == name).unwrap().1.clone();
        assert!(of("machine").contains(std::env::consts::OS) && of("machine").contains(" cores"));
        assert!(of("program").starts_with(&format!("rewarm {}, commit ", env!("CARGO_PKG_VERSION"))));
        assert!(of("program").ends_with(COMMIT.unwrap_or("unknown")));
        let date = of("date");
        assert!(
            date.ends_with(" UTC") && date.len() == "2025-01-31 12:00:00 UTC".len() && &date[..2] == "20",
            "{date}"
        );
    }
}
