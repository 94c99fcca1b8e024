//! The targets of cargo-fuzz on their seeds and on damaged copies of those: cut off, with bits turned over, numbers put in,
//! and parts left out or doubled. `SEED=` repeats a failure, `ROUNDS=` makes it
//! longer, `TARGET=` names one.
mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use targets::{TARGETS, Target};

/// Damaged copies of each seed.
const ROUNDS: u64 = 300;

/// The files of `seeds/NAME`, which are valid.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/seeds").join(name);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// One to four kinds of damage, one after the other.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        /// What breaks sums and products of lengths, in files of numbers and of text.
        const TEXTS: [&[u8]; 8] =
            [b"18446744073709551615", b"-1", b"1e999", b"NaN", b"null", b"\"\"", b"[[", b"\xff\xfe"];
        const NUMBERS: [u64; 6] = [0, 1, u64::MAX, i64::MAX as u64, u32::MAX as u64, 1 << 31];
        for _ in 0..1 + self.below(4) {
            let (at, length) = (self.below(bytes.len()), 1 + self.below(16));
            let end = bytes.len().min(at + length);
            match self.below(7) {
                0 => bytes.truncate(at),
                1 | 2 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                3 => bytes[at..end]
                    .copy_from_slice(&NUMBERS[self.below(6)].to_le_bytes().repeat(2)[..end - at]),
                4 => drop(bytes.splice(at..end, TEXTS[self.below(8)].iter().copied())),
                5 => drop(bytes.drain(at..end)),
                _ => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
            }
        }
    }
}

/// Runs every target on each seed and on its damaged copies.
fn drive(name: &str, target: Target) {
    let (rounds, start) = (number("ROUNDS", ROUNDS), number("SEED", 1));
    let (mut run, mut refused) = (0u64, 0u64);
    for (file, seed) in seeds(name).iter().enumerate() {
        assert!(target(seed), "{name}: seed {file} is valid, and was refused");
        for round in start..start + rounds {
            let mut bytes = seed.clone();
            Random(round ^ (file as u64) << 56).damage(&mut bytes);
            let accepted = catch_unwind(AssertUnwindSafe(|| target(&bytes))).unwrap_or_else(|_| {
                panic!("{name}: seed {file} with SEED={round} ROUNDS=1, {} bytes", bytes.len())
            });
            (run, refused) = (run + 1, refused + u64::from(!accepted));
        }
    }
    assert!(
        run >= rounds && refused > run / 10,
        "{name}: only {refused} of {run} damaged files were refused"
    );
}

#[test]
fn every_target_takes_whatever_bytes_there_are() {
    let only = std::env::var("TARGET").ok();
    for (name, target) in
        TARGETS.into_iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
    {
        target(b"");
        drive(name, target);
    }
}

#[test]
fn every_target_is_one_of_cargo_fuzz() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name} is not in tests/fuzz/Cargo.toml"
        );
        let text = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(text.contains(&format!("targets::{name}(")), "{text}");
    }
}
