//! Device memory: what it starts as, who can touch it, when there is too little.
use crate::rig::{N, cast, device, get, stream_and_event, timed, timings};
use rewarm::device::{Arena, Capability, Device, EmulatedDevice, EmulatedSettings, Mode, StreamTiming};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Instant;

const CHILD: &str = "REWARM_TEST_HOST_READ";

/// Runs as a child of the next test, too: there it reads device memory after a launch, and must not get beyond.
#[test]
fn host_read_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let (mut d, spans) = device(EmulatedSettings::default(), &[4 * N, 2 * N]);
    let (stream, _) = stream_and_event(&mut d);
    d.fill(stream, spans[0], 0).unwrap();
    let launch = cast(&d, spans[0], spans[1]).unwrap();
    d.launch(stream, launch).unwrap();
    assert_eq!(get(&mut d, stream, spans[1]), vec![0; 2 * N]);
    println!("reads now");
    let address = d.address(spans[1].offset) as *const u8;
    // SAFETY: the page is mapped, as long as `d` lives, and has no access rights: the process ends here.
    let byte = unsafe { address.read_volatile() };
    println!("read {byte}");
}

#[test]
fn a_host_that_reads_device_memory_dies() {
    let test = ["memory::host_read_child", "--exact", "--nocapture", "--test-threads=1"];
    let child = Command::new(std::env::current_exe().unwrap()).args(test).env(CHILD, "1").output().unwrap();
    let text = String::from_utf8_lossy(&child.stdout);
    assert!(text.contains("reads now") && !text.contains("read 0"), "{text}");
    assert_eq!(child.status.signal(), Some(11), "{:?}", child.status);
}

#[test]
fn memory_starts_as_ones() {
    for timing in timings(1) {
        let (mut d, spans) = device(timed(timing), &[1000, 3, 256, 0, 5000]);
        let stream = d.stream().unwrap();
        for span in spans {
            assert!(d.address(span.offset).is_multiple_of(256));
            assert!(get(&mut d, stream, span).iter().all(|&b| b == 0xFF));
        }
    }
}

#[test]
fn too_little_memory_is_refused_with_numbers() {
    let settings = EmulatedSettings { memory_bytes: Some(3 << 20), ..EmulatedSettings::default() };
    let mut d = EmulatedDevice::new(settings).unwrap();
    assert_eq!(d.memory().unwrap(), [3 << 20, 3 << 20]);
    let mut arena = Arena::default();
    arena.add((4 << 20) - 256);
    let error = d.allocate(&arena).unwrap_err().to_string();
    let numbers = "4.0 MiB of device memory are needed, 3.0 of 3.0 MiB are free: 1.0 MiB too few";
    assert_eq!(error, format!("emulated (sm_86): {numbers}"));
    let mut arena = Arena::default();
    arena.add((1 << 20) - 256);
    d.allocate(&arena).unwrap();
    assert_eq!(d.memory().unwrap(), [2 << 20, 3 << 20]);
    assert!(d.allocate(&arena).is_err(), "a second allocation");
    let [free, total] = EmulatedDevice::new(EmulatedSettings::default()).unwrap().memory().unwrap();
    assert!(0 < free && free <= total);
}

#[test]
fn a_device_says_what_it_imitates() {
    let mode = Mode { capability: Capability::Sm90, ..Mode::default() };
    let d = EmulatedDevice::new(EmulatedSettings { mode, ..EmulatedSettings::default() }).unwrap();
    assert_eq!((d.name().as_str(), d.shared_bytes()), ("emulated (sm_90)", 232_448));
}

/// `cargo test --release --test device speed -- --nocapture`.
#[test]
fn speed_of_small_commands() {
    for mib in [1, 32, 256] {
        let mut sizes = vec![4 * N, 2 * N];
        sizes.resize(1000, (mib << 20) / 1000);
        let (mut d, spans) = device(timed(StreamTiming::Eager), &sizes);
        let (stream, _) = stream_and_event(&mut d);
        let launch = cast(&d, spans[0], spans[1]).unwrap();
        let rounds = 20;
        let time = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            (0..rounds).for_each(|_| work());
            start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        };
        let fill = time(&mut || d.fill(stream, spans[0], 0).unwrap());
        let cast = time(&mut || d.launch(stream, launch.clone()).unwrap());
        println!("arena of {mib} MiB, 1,000 spans: fill {fill:.0} us, launch {cast:.0} us");
    }
}
