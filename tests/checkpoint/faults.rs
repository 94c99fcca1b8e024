//! F2, F4, F9, F11, F12, F13: each call of a save or a load goes wrong in turn.
use crate::common::{Run, copy, memory_with, names, run_dir, save};
use rewarm::checkpoint::{Disk, Storage, clean, find_newest, verify};
use rewarm::files::simulate::{Fault, Faulty, Memory};
use std::io::ErrorKind;

/// Calls of a save into a run directory that holds two steps, rotation included.
fn calls_of_a_save() -> u64 {
    let disk = memory_with(&[1, 2]);
    let counter = Faulty::counting(&disk);
    save(&counter, 3).unwrap();
    counter.calls()
}

fn valid_steps(storage: &dyn Storage) -> usize {
    let steps = rewarm::checkpoint::list_steps(storage, &run_dir()).unwrap();
    steps.iter().filter(|(_, dir)| verify(storage, dir).is_ok()).count()
}

fn leftovers(storage: &dyn Storage) -> Vec<String> {
    names(storage).into_iter().filter(|n| n.starts_with("tmp-") || n.starts_with("trash-")).collect()
}

/// F2 and F4: the process dies at call n, during the save or the rotation.
#[test]
fn death_at_every_call_of_a_save_loses_nothing() {
    let calls = calls_of_a_save();
    let base = memory_with(&[1, 2]);
    let mut least_valid = usize::MAX;
    for n in 0..calls {
        let disk = copy(&base);
        let saved = save(&Faulty::new(&disk, n, Fault::Death), 3).is_ok();
        least_valid = least_valid.min(valid_steps(&disk));
        clean(&disk, &run_dir()).unwrap();
        assert_eq!(leftovers(&disk), [""; 0], "call {n}");
        let found = find_newest(&disk, &run_dir()).unwrap();
        let step = found.manifest.state.step;
        assert!(step == 3 || (step == 2 && !saved), "call {n}: found {step}, saved {saved}");
        assert_eq!(Run::at(step).equals(&disk, &found.dir), Ok(true), "call {n}");
        if step == 2 {
            save(&disk, 3).unwrap();
        }
    }
    println!("F2/F4: death at each of {calls} calls, least valid checkpoints {least_valid}");
    assert!(least_valid >= 2);
}

/// The same on the operating system's file system.
#[test]
fn death_at_every_call_on_a_real_disk() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path();
    let counter = Faulty::counting(&Disk);
    Run::at(1).save(&counter, base).unwrap();
    for n in 0..counter.calls() {
        let step = 2 + n;
        let saved = Run::at(step).save(&Faulty::new(&Disk, n, Fault::Death), base).is_ok();
        clean(&Disk, base).unwrap();
        let found = find_newest(&Disk, base).unwrap();
        assert!(found.rejected.is_empty());
        assert!(!saved || found.manifest.state.step == step);
        assert_eq!(Run::at(found.manifest.state.step).equals(&Disk, &found.dir), Ok(true), "call {n}");
    }
    println!("F2 on disk: death at each of {} calls", counter.calls());
}

/// F9, F12, F13: an error at call n. Before the commit it fails the save and leaves nothing; after it, the
/// step is saved and the error is a warning. No failed call, a sync least of all, is tried again: that would
/// be an `Ok` among the errors.
#[test]
fn an_error_at_every_call_of_a_save_is_reported_and_leaves_nothing() {
    let calls = calls_of_a_save();
    let base = memory_with(&[1, 2]);
    for kind in [ErrorKind::StorageFull, ErrorKind::Other, ErrorKind::ReadOnlyFilesystem] {
        let (mut errors, mut warnings) = (0, 0);
        for n in 0..calls {
            let disk = copy(&base);
            match save(&Faulty::new(&disk, n, Fault::Error(kind)), 3) {
                Err(e) => {
                    assert_eq!(n, errors, "{kind:?}: a failed call before {n} was tried again");
                    errors += 1;
                    assert_eq!(e.exit_code(), 2, "{e}");
                    assert!(e.to_string().contains("/run"), "{e}: names no path");
                    assert_eq!(leftovers(&disk), [""; 0], "call {n}: {e}");
                    assert_eq!(names(&disk), ["step-0000000001", "step-0000000002"], "call {n}");
                    save(&disk, 3).unwrap();
                }
                Ok(saved) => {
                    warnings += u64::from(saved.warning.is_some());
                    let found = find_newest(&disk, &run_dir()).unwrap();
                    assert_eq!(found.manifest.state.step, 3);
                    assert!(valid_steps(&disk) >= 2);
                }
            }
            // The next save clears what a failed rotation left.
            assert!(save(&disk, 4).unwrap().warning.is_none(), "call {n}");
            assert_eq!(leftovers(&disk), [""; 0], "call {n}");
            assert_eq!(Run::at(4).equals(&disk, &find_newest(&disk, &run_dir()).unwrap().dir), Ok(true));
        }
        println!(
            "F9/F12/F13 {kind:?}: {calls} calls, {errors} failed saves, {warnings} warnings after the commit"
        );
        assert!(errors > 20 && warnings > 0);
    }
}

/// F12: short writes and interrupted calls change nothing.
#[test]
fn short_and_interrupted_calls_are_continued() {
    let calls = calls_of_a_save();
    let base = memory_with(&[1, 2]);
    let reference = copy(&base);
    save(&reference, 3).unwrap();
    for fault in [Fault::Short, Fault::Interrupt] {
        for n in 0..calls {
            let disk = copy(&base);
            assert!(save(&Faulty::new(&disk, n, fault), 3).unwrap().warning.is_none());
            assert!(disk.tree() == reference.tree(), "{fault:?} at call {n}");
        }
    }
}

/// F12: reading. An error rejects a step by name or is returned; short and interrupted reads do nothing.
#[test]
fn every_call_of_a_load_may_fail() {
    let disk = memory_with(&[1, 2]);
    let read = |storage: &dyn Storage| -> Result<u64, String> {
        let found = find_newest(storage, &run_dir()).map_err(|e| e.to_string())?;
        let step = found.manifest.state.step;
        if step == 1 {
            assert!(!found.rejected[0].reason.is_empty());
        }
        assert!(Run::at(step).equals(storage, &found.dir)?);
        Ok(step)
    };
    let counter = Faulty::counting(&disk);
    read(&counter).unwrap();
    let (mut failed, mut older) = (0, 0);
    for n in 0..counter.calls() {
        for fault in [Fault::Short, Fault::Interrupt] {
            assert_eq!(read(&Faulty::new(&disk, n, fault)), Ok(2), "{fault:?} at call {n}");
        }
        match read(&Faulty::new(&disk, n, Fault::Error(ErrorKind::Other))) {
            Ok(step) => older += u64::from(step == 1),
            Err(message) => {
                failed += 1;
                assert!(message.contains("/run"), "{message}");
            }
        }
    }
    println!("F12 reading: {} calls, {failed} errors, {older} times the older step", counter.calls());
    assert!(failed > 0 && older > 0);
}

/// F9: a disk of fixed size. Too little room is refused before anything is written.
#[test]
fn a_full_disk_is_an_error_before_writing() {
    let one = memory_with(&[1]).peak_bytes();
    let disk = Memory::with_capacity(&run_dir(), 3 * one - 2000);
    let (mut saved, mut refused) = (0, 0);
    for step in 1..=4 {
        let before = disk.tree();
        match save(&disk, step) {
            Ok(_) => saved += 1,
            Err(e) => {
                refused += 1;
                assert!(e.to_string().contains("free some space"), "{e}");
                assert!(disk.tree() == before);
            }
        }
    }
    println!("F9: {saved} saved, {refused} refused");
    assert!(saved >= 2 && refused >= 1);
}

/// F11: 500 saves stay within keep + 1 checkpoints.
#[test]
fn rotation_bounds_the_disk() {
    let one = memory_with(&[500]).peak_bytes();
    let disk = Memory::new(&run_dir());
    for step in 1..=500 {
        assert!(save(&disk, step).unwrap().warning.is_none());
    }
    println!("F11: peak {} bytes, one checkpoint {one} bytes", disk.peak_bytes());
    assert!(disk.peak_bytes() <= 3 * one);
    assert_eq!(names(&disk), ["step-0000000499", "step-0000000500"]);
}

/// Rotation keeps two that verify, however many damaged ones lie between.
#[test]
fn rotation_never_deletes_the_last_two_valid() {
    let disk = memory_with(&[1, 2]);
    disk.put(&run_dir().join("step-0000000002/model.safetensors"), vec![0; 10]);
    save(&disk, 3).unwrap();
    assert_eq!(names(&disk), ["step-0000000001", "step-0000000002", "step-0000000003"]);
    disk.put(&run_dir().join("step-0000000003/manifest.json"), vec![]);
    save(&disk, 4).unwrap();
    assert_eq!(valid_steps(&disk), 2);
    save(&disk, 5).unwrap();
    assert_eq!(names(&disk), ["step-0000000004", "step-0000000005"]);
}
