//! Equal bits, whatever the device does first; and every call that orders host, streams and copies is needed.
use crate::drive::Drive;
use rewarm::device::{EmulatedSettings, Mode, Order, StreamTiming, SyncSite};
use std::collections::BTreeSet;

/// Streams of the backend: computation, copies of batches.
const STREAMS: u32 = 2;

/// Losses are about the logarithm of the vocabulary, but that of a broken step.
fn assert_plausible(bits: &[u64], drive: Drive) {
    for (step, bits) in bits.chunks(3).take(drive.steps as usize).enumerate() {
        let loss = f64::from_bits(bits[0]);
        assert!((loss - 5.5).abs() < 1.0 || drive.broken == Some(step as u64), "step {step}: {loss}");
    }
}

/// What takes turns does so every second step, and what went wrong once stays in the weights: ten steps show it.
#[test]
fn ten_steps_in_every_mode() {
    let drive = Drive { broken: Some(5), average: true, ..Drive::new(10) };
    let (expected, _) = drive.run(EmulatedSettings::default()).unwrap();
    assert_plausible(&expected, drive);
    let applied: Vec<u64> = expected.chunks(3).take(10).map(|step| step[2]).collect();
    assert_eq!((applied[5], applied.iter().sum::<u64>()), (0, 9), "step 5 is skipped");
    for (i, mode) in Mode::all().into_iter().enumerate() {
        let mode = Mode { os_threads: 1 + i as u32 % 2, ..mode };
        for streams in StreamTiming::all(STREAMS).into_iter().skip(i % 2).step_by(2) {
            let settings = EmulatedSettings { mode: mode.clone(), streams, ..EmulatedSettings::default() };
            let (found, _) = drive.run(settings).unwrap();
            let first = expected.iter().zip(&found).position(|(a, b)| a != b);
            assert_eq!(first, None, "{mode:?} {streams:?}");
        }
    }
}

#[test]
fn captured_and_not() {
    let drive = Drive { broken: Some(5), average: true, ..Drive::new(10) };
    for order in [Order::Forward, Order::Shuffled] {
        let mode = Mode { order, ..Mode::default() };
        let run = |graphs: bool| {
            let settings = EmulatedSettings { mode: mode.clone(), ..EmulatedSettings::default() };
            Drive { graphs, ..drive }.run(settings).unwrap().0
        };
        assert_eq!(run(true), run(false));
    }
}

/// Those calls for ordering that a run does not need: in no timing of the streams has it failed or other bits without.
fn not_needed(drive: Drive, sites: &BTreeSet<SyncSite>) -> BTreeSet<SyncSite> {
    let settings = |streams| EmulatedSettings { streams, ..EmulatedSettings::default() };
    let (expected, _) = drive.run(settings(StreamTiming::Eager)).unwrap();
    assert_plausible(&expected, drive);
    let noticed = |site: &SyncSite| {
        let noticed = StreamTiming::all(STREAMS).into_iter().find_map(|streams| {
            let disabled = Some(site.clone());
            match drive.run(EmulatedSettings { disabled, ..settings(streams) }) {
                Ok((found, _)) => (found != expected).then(|| format!("{streams:?}: other bits")),
                Err(e) => Some(format!("{streams:?}: {e}")),
            }
        });
        println!("without {site}: {}", noticed.as_deref().unwrap_or("NOBODY NOTICED"));
        noticed.is_some()
    };
    sites.iter().filter(|site| !noticed(site)).cloned().collect()
}

/// Where all steps are alike every product was planned before the first, and nothing waits for that; it does where a
/// micro-batch of another size comes later, while a step is in flight.
#[test]
fn every_ordering_of_host_and_streams_is_needed() {
    let drive = Drive { micro: [2, 2], ..Drive::new(4) };
    let (_, sites) = drive.run(EmulatedSettings::default()).unwrap();
    assert!(sites.len() >= 12, "{sites:?}");
    let waits = not_needed(drive, &sites);
    let what: BTreeSet<_> = waits.iter().map(|site| (&site.file[..], &site.what[..])).collect();
    let file = "src/backend/gpu/transfer.rs";
    assert_eq!(what, [(file, "record"), (file, "synchronize")].into(), "{waits:?}");
    assert_eq!(waits.len(), 2, "{waits:?}");
    assert_eq!(not_needed(Drive { grows: Some(2), ..drive }, &waits), BTreeSet::new());
}
