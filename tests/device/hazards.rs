//! Two streams, a pinned buffer that is refilled and a device buffer that is overwritten: every call that orders
//! them is removed in turn, and some timing must notice.
use crate::rig::{N, bf16_bytes, cast, timed, timings};
use rewarm::Result;
use rewarm::device::{Arena, Device, EmulatedDevice, EmulatedSettings, StreamTiming, SyncSite};

const STEPS: usize = 4;

fn values(step: usize) -> Vec<f32> {
    (0..N).map(|i| (100 * step + i % 100) as f32).collect()
}

/// Computes on the first stream and uploads on the second; returns what was computed in all steps.
fn pipeline(device: &mut dyn Device) -> Result<Vec<u8>> {
    let mut arena = Arena::default();
    let (x, y) = (arena.add(4 * N), arena.add(2 * N));
    device.allocate(&arena)?;
    let (compute, copies) = (device.stream()?, device.stream()?);
    let (uploaded, consumed, done) = (device.event()?, device.event()?, device.event()?);
    let (input, output) = (device.pinned(4 * N)?, device.pinned(2 * N * STEPS)?);
    let launch = cast(device, x, y)?;
    for step in 0..STEPS {
        device.synchronize(uploaded)?; // the pinned buffer is refilled
        device.host(input).copy_from_slice(bytemuck::cast_slice(&values(step)));
        device.wait(copies, consumed)?; // x is overwritten
        device.upload(copies, input, 0, x)?;
        device.record(uploaded, copies)?;
        device.wait(compute, uploaded)?; // x is read
        device.launch(compute, launch.clone())?;
        device.record(consumed, compute)?;
        device.download(compute, y, output, 2 * N * step)?;
    }
    device.record(done, compute)?;
    device.synchronize(done)?; // the output is read
    Ok(device.host(output).to_vec())
}

fn run(settings: EmulatedSettings) -> (Result<Vec<u8>>, Vec<SyncSite>) {
    let mut device = EmulatedDevice::new(settings).unwrap();
    let result = pipeline(&mut device);
    (result, device.sites().lock().unwrap().iter().cloned().collect())
}

/// The line of this file with this comment or code.
fn line_of(text: &str) -> u32 {
    1 + include_str!("hazards.rs").lines().position(|l| l.contains(text)).unwrap() as u32
}

#[test]
fn every_call_that_orders_is_needed_in_some_timing() {
    let expected: Vec<u8> = (0..STEPS).flat_map(|s| bf16_bytes(&values(s))).collect();
    let mut sites = Vec::new();
    for timing in timings(2) {
        let (result, reached) = run(timed(timing));
        assert!(result.unwrap() == expected, "{timing:?}");
        sites = reached;
    }
    let whats: Vec<_> = sites.iter().map(|s| s.what.as_str()).collect();
    assert_eq!(whats, ["synchronize", "wait", "record", "wait", "record", "record", "synchronize"]);
    for site in sites {
        let notices = |timing: &StreamTiming| {
            let settings = EmulatedSettings { disabled: Some(site.clone()), ..timed(*timing) };
            run(settings).0.ok().as_ref() != Some(&expected)
        };
        let noticed: Vec<_> = timings(2).into_iter().filter(notices).collect();
        println!("{site}: {noticed:?}");
        assert!(!noticed.is_empty(), "nobody misses {site}");
        // A device that runs everything at once misses them all.
        assert!(!noticed.contains(&StreamTiming::Eager), "{site}");
        let needed = [
            ("// the pinned buffer is refilled", StreamTiming::Lazy),
            ("// x is overwritten", StreamTiming::Mixed(2)),
            ("// x is read", StreamTiming::Mixed(1)),
            ("// the output is read", StreamTiming::Lazy),
        ];
        for (comment, timing) in needed {
            assert!(site.line != line_of(comment) || noticed.contains(&timing), "{timing:?}: {site}");
        }
    }
}

#[test]
fn sites_are_those_of_the_caller_of_the_trait() {
    let mut concrete = EmulatedDevice::new(EmulatedSettings::default()).unwrap();
    let device: &mut dyn Device = &mut concrete;
    let (stream, event) = (device.stream().unwrap(), device.event().unwrap());
    device.record(event, stream).unwrap();
    let site = concrete.sites().lock().unwrap().first().unwrap().clone();
    let file = file!().to_owned();
    assert_eq!(
        site,
        SyncSite { file, line: line_of("device.record(event, stream).unwrap();"), what: "record".into() }
    );
}
