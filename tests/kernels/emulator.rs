//! The emulator itself: what it refuses, what it reports, how fast it is.
use crate::rig::{Run, count, once};
use rewarm::Result;
use rewarm::device::{Arg, Capability, Emulated, Mode, WarpOrder};
use std::time::Instant;

fn fault(what: i32, mode: &Mode) -> Result<Vec<f32>> {
    let program = |run: &mut Run| {
        let out = run.poisoned::<i32>(128);
        run.launch("selfcheck_fault", [1, 1, 1], 128, 2048, &[what.into(), out.arg()])?;
        run.output("out", &out);
        Ok(())
    };
    once(mode, program).map(|(outputs, _)| outputs.get("out").to_vec())
}

/// The line of selfcheck.cu that has this comment.
fn line_of(comment: &str) -> usize {
    let source =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/selfcheck.cu")).unwrap();
    1 + source.lines().position(|l| l.ends_with(comment)).unwrap()
}

#[test]
fn faults_name_kernel_line_block_and_thread() {
    let cases = [
        (0, "// deadlock", "deadlock: threads wait: 64 at sync_block"),
        (2, "// behind the buffer", "write of 4 bytes out of bounds"),
        (3, "// misaligned", "misaligned 8-byte access to global memory"),
        (4, "// behind shared memory", "access to shared memory at byte 2048; the block has 2048"),
        (6, "// half a warp", "deadlock: threads wait: 16 at shuffle_xor"),
        (7, "// before the buffer", "write of 4 bytes out of bounds"),
        (8, "// not global memory", "is not device memory"),
    ];
    for mode in Mode::all() {
        for (what, comment, message) in cases {
            let error = fault(what, &mode).unwrap_err().to_string();
            let place = format!(
                "selfcheck_fault: kernels/selfcheck.cu:{}: block (0, 0, 0), thread ",
                line_of(comment)
            );
            assert!(error.starts_with(&place) && error.contains(message), "{what}: {error}");
        }
        let error = fault(1, &mode).unwrap_err().to_string();
        assert!(error.contains("threads meet at this sync_block and at that of line"), "{error}");
        // The sanitizers end the process at the access: sanitize.rs.
        if !cfg!(sanitized) {
            let error = fault(5, &mode).unwrap_err().to_string();
            assert!(error.contains("beyond the end of shared memory"), "{error}");
        }
        // Shared memory starts as 0xFF, and a fault leaves the device usable.
        assert_eq!(fault(9, &mode).unwrap(), vec![-1.0; 128]);
    }
}

#[test]
fn refuses_what_a_gpu_would() {
    let mut device = Emulated::new().unwrap();
    let kernel = device.kernel("selfcheck_fault").unwrap();
    let out = device.alloc::<i32>(128).unwrap();
    let good = [Arg::from(10i32), out.arg()];
    let mode = |capability| Mode { capability, ..Mode::default() };
    for (capability, limit) in
        [(Capability::Sm80, 166_912), (Capability::Sm86, 101_376), (Capability::Sm90, 232_448)]
    {
        device.launch(&kernel, [1, 1, 1], 128, limit, &good, &mode(capability)).unwrap();
        let error = device.launch(&kernel, [1, 1, 1], 128, limit + 1, &good, &mode(capability)).unwrap_err();
        assert_eq!(error.exit_code(), 1, "{error}");
    }
    let mode = Mode::default();
    let mut refuse = |grid, threads, smem, args: &[Arg], what: &str| {
        let error = device.launch(&kernel, grid, threads, smem, args, &mode).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    refuse([1, 1, 1], 128, 2048, &good[..1], "1 arguments, expected 2");
    refuse(
        [1, 1, 1],
        128,
        2048,
        &[1i64.into(), out.arg()],
        "argument 0 is an integer of 8 bytes, expected an integer of 4",
    );
    refuse([1, 1, 1], 128, 2048, &[1f32.into(), out.arg()], "argument 0 is floating point");
    refuse(
        [1, 1, 1],
        128,
        2048,
        &[1i32.into(), 1i64.into()],
        "argument 1 is an integer of 8 bytes, expected a pointer",
    );
    refuse([1, 1, 1], 100, 2048, &good, "whole warps");
    refuse([1, 1, 1], 160, 2048, &good, "at most 128");
    refuse([0, 1, 1], 128, 2048, &good, "grid");
    refuse([1, 65_536, 1], 128, 2048, &good, "grid");
    refuse([1, 1, 1], 128, 2047, &good, "the kernel needs 2048 bytes of shared memory");
    let error = device.kernel("selfcheck_fualt").unwrap_err().to_string();
    assert!(error.contains("did you mean selfcheck_fault?"), "{error}");
}

/// The scheduler runs one warp as far ahead as it can: the first to reach the barrier is the one of priority.
#[test]
fn schedules_differ() {
    let thread = |schedule| {
        let error = fault(2, &Mode { schedule, ..Mode::default() }).unwrap_err().to_string();
        let thread = error.split("thread ").nth(1).and_then(|rest| rest.split(':').next());
        thread.unwrap_or_else(|| panic!("{error}")).to_string()
    };
    assert_eq!((thread(WarpOrder::Forward), thread(WarpOrder::Reverse)), ("0".into(), "127".into()));
}

#[test]
fn counts_what_a_warp_asks_for() {
    // 128 threads read 16 bytes each and write 16 each; nothing is read where the copy is not valid.
    let copy = |valid: i32| {
        count(|run| {
            let (a, b) = (run.upload(&[1u32; 512]), run.poisoned::<u32>(512));
            run.launch("selfcheck_cp_async", [1, 1, 1], 128, 2048, &[a.arg(), b.arg(), valid.into()])?;
            Ok(())
        })
    };
    let all = copy(128);
    assert_eq!(
        (all.bytes_read, all.bytes_written, all.sectors_read, all.sectors_written),
        (2048, 2048, 64, 64)
    );
    assert_eq!((all.shared_requests, all.bank_conflicts), (8, 0));
    let what: Vec<_> = all.sites.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(what, ["cp_async_commit", "cp_async_wait", "sync_block"]);
    assert_eq!(copy(32).bytes_read, 512);
}

#[test]
fn counts_bank_conflicts() {
    // Lane i at float i*stride: 8 lanes of a phase on 8, 4, 2 or 1 groups of four banks.
    for (stride, conflicts) in [(4, 0), (8, 4), (16, 12), (32, 28), (36, 0)] {
        let counters = count(|run| {
            let out = run.poisoned::<f32>(128);
            run.launch("selfcheck_banks", [1, 1, 1], 32, 4 * 1280, &[stride.into(), out.arg()])?;
            Ok(())
        });
        // The same pattern is written and read.
        assert_eq!(counters.bank_conflicts, 2 * conflicts, "stride {stride}");
    }
}

/// Not a measurement to rely on: the figure in kernels/README.md comes from here.
#[test]
fn speed() {
    let mut device = Emulated::new().unwrap();
    let mut time = |name: &str, grid: [u32; 3], threads: u32, smem, args: &[Arg]| {
        let kernel = device.kernel(name).unwrap();
        let start = Instant::now();
        device.launch(&kernel, grid, threads, smem, args, &Mode::default()).unwrap();
        start.elapsed().as_secs_f64()
    };
    let empty = time("selfcheck_speed", [256, 1, 1], 1024, 0, &[0i32.into(), 0i32.into()]);
    println!("empty thread {:.0} ns", empty / 256.0 / 1024.0 * 1e9);
    for (what, name) in ["sync_block", "shuffle_xor", "mma"].into_iter().enumerate() {
        let rounds = 1000;
        let t = time("selfcheck_speed", [1, 1, 1], 256, 0, &[rounds.into(), (what as i32).into()]);
        println!("{name}: {:.0} ns per thread", t / f64::from(rounds) / 256.0 * 1e9);
        if name == "mma" {
            println!("mma: {:.1} GFLOP/s", 4096.0 * 8.0 * f64::from(rounds) / t / 1e9);
        }
    }
}
