//! F6, F7: damaged files are rejected by name, and the older step is used.
use crate::common::{Rng, Run, copy, memory_with, run_dir};
use rewarm::checkpoint::{MANIFEST, find_newest, verify};
use rewarm::files::simulate::Memory;
use std::path::PathBuf;

fn step(n: u64) -> PathBuf {
    run_dir().join(format!("step-{n:010}"))
}

/// Files of step 2 with their contents.
fn files(disk: &Memory) -> Vec<(PathBuf, Vec<u8>)> {
    let in_step = |path: &PathBuf| path.starts_with(step(2));
    disk.tree().into_iter().filter(|(p, _)| in_step(p)).filter_map(|(p, b)| Some((p, b?.to_vec()))).collect()
}

/// The reason for which step 2 is rejected; the file is named in it.
fn rejected(disk: &Memory, path: &PathBuf) -> String {
    let reason = verify(disk, &step(2)).expect_err(&format!("{path:?} was changed and accepted"));
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(reason.contains(name), "{reason}: does not name {name}");
    reason
}

#[test]
fn every_bit_of_the_manifest_counts() {
    let disk = memory_with(&[1, 2]);
    let path = step(2).join(MANIFEST);
    let good = disk.get(&path).unwrap();
    for byte in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[byte] ^= 1 << bit;
            disk.put(&path, bad);
            rejected(&disk, &path);
        }
    }
    println!("F6: {} of {} bit flips of the manifest detected", 8 * good.len(), 8 * good.len());
}

#[test]
fn random_bit_flips_are_detected() {
    let mut rng = Rng::from_env("random_bit_flips_are_detected");
    let disk = memory_with(&[1, 2]);
    let files: Vec<_> = files(&disk).into_iter().filter(|(p, _)| !p.ends_with(MANIFEST)).collect();
    let total: usize = files.iter().map(|(_, b)| b.len()).sum();
    let flips = 20_000;
    for n in 0..flips {
        let mut at = rng.below(total);
        let (path, good) = files
            .iter()
            .find(|(_, b)| {
                let here = at < b.len();
                at = if here { at } else { at - b.len() };
                here
            })
            .unwrap();
        let mut bad = good.clone();
        bad[at] ^= 1 << rng.below(8);
        disk.put(path, bad);
        rejected(&disk, path);
        if n % 100 == 0 {
            let found = find_newest(&disk, &run_dir()).unwrap();
            assert_eq!((found.manifest.state.step, found.rejected.len()), (1, 1));
            assert!(Run::at(2).equals(&disk, &step(2)).is_err() || path.extension().unwrap() == "json");
        }
        disk.put(path, good.clone());
    }
    assert_eq!(verify(&disk, &step(2)).map(|m| m.state.step), Ok(2));
    println!("F6: {flips} of {flips} random bit flips in {total} bytes detected");
}

#[test]
fn truncated_zeroed_extended_and_missing_files_are_rejected() {
    let disk = memory_with(&[1, 2]);
    let mut cases = 0;
    for (path, good) in files(&disk) {
        let mut try_one = |bad: Vec<u8>| {
            disk.put(&path, bad);
            rejected(&disk, &path);
            cases += 1;
        };
        for length in 0..good.len() {
            try_one(good[..length].to_vec());
        }
        for from in (0..good.len()).step_by(61) {
            let mut bad = good.clone();
            bad[from..].fill(0);
            try_one(bad);
        }
        for extra in [1, 8, 4096] {
            for fill in [0, b' ', b'\n'] {
                try_one([good.clone(), vec![fill; extra]].concat());
            }
        }
        disk.put(&path, good);
        let without = copy(&disk);
        rewarm::checkpoint::Storage::remove_file(&without, &path).unwrap();
        rejected(&without, &path);
        cases += 1;
        assert_eq!(find_newest(&without, &run_dir()).unwrap().manifest.state.step, 1);
    }
    println!("F7: {cases} of {cases} truncations, zeroed tails, extensions and deletions rejected");
}

#[test]
fn files_and_directories_swapped_between_steps_are_rejected() {
    let base = memory_with(&[1, 2]);
    for (path, mine) in files(&base) {
        let theirs = base.get(&step(1).join(path.file_name().unwrap())).unwrap();
        if mine != theirs {
            let disk = copy(&base);
            disk.put(&path, theirs);
            rejected(&disk, &path);
        }
    }
    let disk = Memory::new(&run_dir());
    for (path, bytes) in files(&base) {
        disk.put_dir(&step(7));
        disk.put(&step(7).join(path.file_name().unwrap()), bytes);
    }
    assert!(verify(&disk, &step(7)).unwrap_err().contains("of step 2"));
}

/// A hostile manifest has a right hash too: what it says is still not believed.
#[test]
fn a_forged_manifest_cannot_reach_outside_or_be_newer() {
    let disk = memory_with(&[1, 2]);
    let path = step(2).join(MANIFEST);
    let text = String::from_utf8(disk.get(&path).unwrap()).unwrap();
    let forge = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let body = text.replacen(from, to, 1);
        let body = &body[..body.len() - 36];
        let hash = xxhash_rust::xxh3::xxh3_128(body.as_bytes());
        disk.put(&path, format!("{body}{hash:032x}\"\n}}\n").into_bytes());
        rejected(&disk, &path)
    };
    assert!(forge("\"format\": 2", "\"format\": 3").contains("use the rewarm that wrote it"));
    assert!(forge("\"format\": 2", "\"format\": 0").contains("format"));
    assert!(forge("\"format\": 2", "\"format\": 2, \"surprise\": 1").contains("surprise"));
    assert!(forge("\"block_bytes\": 16777216", "\"block_bytes\": 0").contains("blocks of 0 bytes"));
    assert!(forge("\"block_bytes\": 16777216", "\"block_bytes\": 64").contains("for each of its"));
    assert!(forge("\"tokenizer.json\"", "\"../lock\"").contains("plain"));
    assert!(forge("\"model.safetensors\": {", "\"model.other\": {").contains("model.safetensors"));
    // Unforged, it verifies.
    disk.put(&path, text.clone().into_bytes());
    assert!(verify(&disk, &step(2)).is_ok());
}
