//! F14, F38, F39: one process per run directory, and run directories that cannot be used.
use rewarm::checkpoint::{Disk, RunLock, create_run_dir};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const CHILD: &str = "REWARM_TEST_LOCK_DIR";

#[test]
fn one_of_a_hundred_wins_and_the_others_name_it() {
    let temp = tempfile::tempdir().unwrap();
    let (winners, losers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let barrier = std::sync::Barrier::new(100);
    std::thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let lock = RunLock::acquire(temp.path());
                match &lock {
                    Ok(_) => winners.fetch_add(1, Ordering::SeqCst),
                    Err(e) => {
                        assert_eq!(e.exit_code(), 1);
                        losers.fetch_add(1, Ordering::SeqCst)
                    }
                };
                // Nobody lets go before everyone has tried.
                barrier.wait();
            });
        }
    });
    println!("F38: 100 starts, {winners:?} winner, {losers:?} losers");
    assert_eq!((winners.into_inner(), losers.into_inner()), (1, 99));
    let lock = RunLock::acquire(temp.path()).unwrap();
    let message = RunLock::acquire(temp.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
    drop(lock);
    RunLock::acquire(temp.path()).unwrap();
}

/// Runs as a child of the tests below.
#[test]
fn child_process() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    match RunLock::acquire(Path::new(&dir)) {
        Err(e) => println!("refused {} {e}", e.exit_code()),
        Ok(_lock) => {
            println!("locked");
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

fn child_command(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "lock::child_process", "--nocapture"]).env(CHILD, dir);
    command
}

#[test]
fn a_killed_holder_frees_the_lock() {
    let temp = tempfile::tempdir().unwrap();
    let mut child = child_command(temp.path()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("locked")));
    let message = RunLock::acquire(temp.path()).unwrap_err().to_string();
    assert!(message.contains(&format!("pid {} on ", child.id())), "{message}");
    child.kill().unwrap();
    child.wait().unwrap();
    RunLock::acquire(temp.path()).unwrap();
}

#[test]
fn a_run_directory_is_created_with_its_parents_or_refused() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("a/b/run");
    create_run_dir(&Disk, &dir).unwrap();
    create_run_dir(&Disk, &dir).unwrap();
    RunLock::acquire(&dir).unwrap();
    let file = temp.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for bad in [file.clone(), file.join("below")] {
        let error = create_run_dir(&Disk, &bad).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
    }
    assert_eq!(RunLock::acquire(&temp.path().join("missing")).unwrap_err().exit_code(), 1);
}

/// Root ignores permissions, so the directory is mounted read-only in a namespace of its own.
#[test]
fn a_read_only_run_directory_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let child = child_command(temp.path());
    let script = "mount -t tmpfs -o ro none \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(temp.path())
        .arg(child.get_program())
        .args(child.get_args())
        .env(CHILD, temp.path())
        .output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    if !text.contains("running 1 test") {
        return println!("skipped: no namespaces");
    }
    assert!(text.contains("refused 1 cannot create the lock"), "{text}");
}
