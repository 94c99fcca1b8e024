//! That the kernels are instrumented: each planted error ends a process of its own with the sanitizer's report.
//! Only in the build of tools/sanitize.sh.
use crate::rig::{Run, once};
use rewarm::Result;
use rewarm::device::Mode;
use std::env::{current_exe, var};
use std::process::Command;

const VARIABLE: &str = "REWARM_PLANTED";

#[test]
fn planted_errors_are_reported() {
    if let Ok(what) = var(VARIABLE) {
        return plant(what.parse().unwrap()).unwrap();
    }
    let cases = [
        ("use-after-poison", "// behind the buffer"),
        ("use-after-poison", "// before the buffer"),
        ("use-after-poison", "// behind every buffer"),
        ("use-after-poison", "// behind shared memory"),
        ("use-after-poison", "// before shared memory"),
        // Said only of a stack whose bounds are known: the switches of fibers are.
        ("overflows this variable", "// behind a local"),
        ("runtime error: index 4 out of bounds", "// the same, by index"),
        ("runtime error: signed integer overflow", "// overflow"),
        ("runtime error: shift exponent 32 is too large", "// shift"),
        ("runtime error: store to misaligned address", "// misaligned"),
    ];
    let source = include_str!("../../kernels/selfcheck.cu");
    let (before, body) = source.split_once("KERNEL(selfcheck_sanitize").unwrap();
    for (what, (report, comment)) in cases.into_iter().enumerate() {
        let mut child = Command::new(current_exe().unwrap());
        child.args(["--exact", "sanitize::planted_errors_are_reported", "--nocapture"]);
        let out = child.env(VARIABLE, what.to_string()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        let line = 1 + before.lines().count() + body.lines().position(|l| l.ends_with(comment)).unwrap();
        let place = format!("kernels/selfcheck.cu:{line}");
        assert!(!out.status.success(), "{comment}: {text}");
        assert!(text.contains(report) && text.contains(&place), "{comment}: no {report} at {place}: {text}");
    }
    // Nothing is reported where nothing is wrong: a launch that failed left its fibers half-way, and the next has
    // other frames on their stacks.
    assert!(plant(10).unwrap_err().to_string().contains("deadlock"));
    plant(11).unwrap();
}

fn plant(what: i32) -> Result<()> {
    let program = |run: &mut Run| {
        let out = run.poisoned::<i32>(32);
        run.launch("selfcheck_sanitize", [1, 1, 1], 32, 2048, &[what.into(), out.arg()])?;
        Ok(())
    };
    once(&Mode::default(), program).map(drop)
}
