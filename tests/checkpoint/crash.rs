//! F3: every disk that a loss of power may leave.
use crate::common::{Run, run_dir, save};
use rewarm::checkpoint::find_newest;
use rewarm::files::simulate::Crash;

/// Images that load wrong bytes, that hold nothing although a step was reported saved, and whose newest
/// step is older than the one reported.
#[derive(Debug, Default, PartialEq)]
struct Verdict {
    images: u64,
    invalid: u64,
    none: u64,
    lost: u64,
}

fn judge(crash: &Crash) -> Verdict {
    let mut verdict = Verdict::default();
    verdict.images = crash.images(|disk, marked| match find_newest(disk, &run_dir()) {
        Ok(found) => {
            let step = found.manifest.state.step;
            if Run::at(step).equals(disk, &found.dir) != Ok(true) {
                verdict.invalid += 1;
            }
            if marked.is_some_and(|m| step < m) {
                verdict.lost += 1;
            }
        }
        Err(_) if marked.is_some() => verdict.none += 1,
        Err(_) => {}
    });
    verdict
}

fn saves(crash: &Crash, steps: u64) {
    for step in 1..=steps {
        save(crash, step).unwrap();
        crash.mark(step);
    }
}

/// Four saves, the last two with rotation.
#[test]
fn every_image_of_a_power_loss_is_valid_found_and_durable() {
    let crash = Crash::new(&run_dir());
    saves(&crash, 4);
    let verdict = judge(&crash);
    println!("F3: {} calls, {verdict:?}", crash.calls());
    assert!(verdict.images > 100, "{verdict:?}: an empty pass");
    assert_eq!((verdict.invalid, verdict.none, verdict.lost), (0, 0, 0), "{verdict:?}");
}

/// The enumeration finds a protocol that does not sync its files, and one that does not sync directories.
#[test]
fn planted_bugs_are_found() {
    for (file_syncs, dir_syncs) in [(true, false), (false, true)] {
        let crash = Crash::ignoring(&run_dir(), file_syncs, dir_syncs);
        saves(&crash, 1);
        let verdict = judge(&crash);
        println!("F3 without file syncs: {file_syncs}, without directory syncs: {dir_syncs}: {verdict:?}");
        assert!(verdict.none + verdict.lost > 0, "{verdict:?}: the bug was not found");
        // Hashes alone already prevent wrong bytes.
        assert_eq!(verdict.invalid, 0, "{verdict:?}");
    }
}
