//! F3: every disk that a loss of power may leave.
use crate::common::{Run, run_dir, save};
use rewarm::checkpoint::{Rewound, find_newest, rewind};
use rewarm::files::simulate::{Crash, Memory};

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

/// A rewind over two later steps. Until the newest of them leaves, the run is the one from before; then it is the one that
/// went back; and nothing of either is lost.
#[test]
fn a_power_loss_in_a_rewind_leaves_the_run_before_or_after() {
    let crash = Crash::new(&run_dir());
    for step in 1..=3 {
        Run::at(step).save_keeping(&crash, &run_dir(), 4).unwrap();
    }
    crash.mark(3);
    let rewound = rewind(&crash, &run_dir(), 1, "{\"step\":2}\n{\"step\":3}\n").unwrap();
    assert_eq!((&rewound.prefix[..], rewound.steps.len()), ("rewound-1-", 2));
    crash.mark(1);
    let (mut judged, mut newest) = (0, std::collections::BTreeSet::new());
    crash.images(|disk, marked| {
        let Some(marked) = marked else { return };
        let found = find_newest(disk, &run_dir()).unwrap();
        assert!(found.rejected.is_empty(), "{:?}", found.rejected);
        let step = found.manifest.state.step;
        newest.insert((marked, step));
        assert_eq!(Run::at(step).equals(disk, &found.dir), Ok(true));
        // The others are there, under one name or the other.
        for other in [2, 3] {
            let names =
                [String::new(), "rewound-1-".into()].map(|before| format!("{before}step-{other:010}"));
            let kept =
                names.iter().any(|name| Run::at(other).equals(disk, &run_dir().join(name)) == Ok(true));
            assert!(kept, "step {other} is lost");
        }
        judged += 1;
    });
    assert!(judged >= 4, "{judged}");
    assert_eq!(newest.into_iter().collect::<Vec<_>>(), [(1, 1), (3, 1), (3, 3)]);
}

/// A step that does not verify is no reason to lose the one that does.
#[test]
fn a_rewind_over_a_damaged_step_ends_with_the_newest_that_verifies() {
    let disk = Memory::new(&run_dir());
    for step in 1..=4 {
        Run::at(step).save_keeping(&disk, &run_dir(), 4).unwrap();
    }
    disk.put(&run_dir().join("step-0000000004/model.safetensors"), vec![0; 9]);
    let order = ["step-0000000004", "step-0000000002", "step-0000000003"];
    let rewound = |steps: &[&str], number| {
        let Rewound { prefix, steps: found, log } = rewind(&disk, &run_dir(), 1, "").unwrap();
        assert_eq!(
            (found, prefix, log),
            (steps.iter().map(|s| s.to_string()).collect(), format!("rewound-{number}-"), None)
        );
    };
    rewound(&order, 1);
    rewound(&[], 2);
    Run::at(2).save_keeping(&disk, &run_dir(), 4).unwrap();
    rewound(&order[1..2], 2);
}
