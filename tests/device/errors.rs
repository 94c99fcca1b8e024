//! Errors of commands come out where the host waits; mistakes of the host at once.
use crate::rig::{N, cast, device, faulty, stream_and_event, timed, timings};
use rewarm::Error;
use rewarm::device::{Device, EmulatedDevice, EmulatedSettings, Rows, Span, StreamTiming};
use rewarm::ops::GemmChoices;

#[test]
fn a_fault_comes_out_at_synchronize_and_stays() {
    for timing in timings(2) {
        let (mut d, spans) = device(timed(timing), &[4 * N, 2 * N, 4 * 128]);
        let (stream, done) = stream_and_event(&mut d);
        let (other, never) = stream_and_event(&mut d);
        let launch = faulty(&d, spans[2]).unwrap();
        d.launch(stream, launch).unwrap();
        // A launch after it does not run.
        let good = cast(&d, spans[0], spans[1]).unwrap();
        d.launch(stream, good.clone()).unwrap();
        d.record(done, stream).unwrap();
        let first = d.synchronize(done).unwrap_err();
        assert!(matches!(first, Error::Failed(_)));
        let text = first.to_string();
        assert!(text.starts_with("selfcheck_fault: kernels/selfcheck.cu:"), "{text}");
        assert!(text.contains("out of bounds"), "{text}");
        assert_eq!(d.launches(), 1);
        let later = [
            d.synchronize(done),
            d.synchronize(never),
            d.launch(other, good),
            d.fill(other, spans[0], 0),
            d.record(never, other),
            d.stream().map(|_| ()),
        ];
        for result in later {
            assert_eq!(result.unwrap_err().to_string(), text);
        }
    }
}

#[test]
fn mistakes_of_the_host_are_refused_at_once() {
    let (mut d, spans) = device(timed(StreamTiming::Lazy), &[64, 64]);
    let (stream, _) = stream_and_event(&mut d);
    let pinned = d.pinned(64).unwrap();
    let across = Span { offset: spans[0].offset, bytes: spans[0].bytes + 1 };
    let behind = Span { offset: 1 << 20, bytes: 1 };
    for span in [across, behind] {
        let error = d.fill(stream, span, 0).unwrap_err().to_string();
        assert!(error.contains("not part of a span of the arena"), "{error}");
        assert!(d.upload(stream, pinned, 0, span).is_err());
        assert!(d.download(stream, span, pinned, 0).is_err());
    }
    let error = d.upload(stream, pinned, 1, spans[1]).unwrap_err().to_string();
    assert_eq!(error, "upload: 64 bytes at 1 of 64 bytes of pinned memory");
    assert!(d.download(stream, spans[1], pinned, usize::MAX).is_err());
    // Rows: beyond their span or the pinned memory, over each other, none, and more than can be counted.
    let rows = |bytes, count, pitch| Rows { first: spans[0].part(0, bytes), count, pitch };
    d.upload_rows(stream, pinned, 0, rows(4, 8, 8)).unwrap();
    for (bad, at, words) in [
        (rows(8, 8, 9), 0, "71 bytes at 0x0 are not part of a span"),
        (rows(4, 2, 1 << 31), 0, "2 rows of 4 bytes cannot begin every 2147483648 bytes"),
        (rows(4, 8, 8), 33, "32 bytes at 33 of 64 bytes of pinned memory"),
        (rows(4, 2, 3), 0, "2 rows of 4 bytes cannot begin every 3 bytes"),
        (rows(4, 0, 8), 0, "0 rows of 4 bytes"),
        (rows(4, usize::MAX, 8), 0, "rows of 4 bytes cannot begin every 8 bytes"),
    ] {
        for result in [d.upload_rows(stream, pinned, at, bad), d.download_rows(stream, bad, pinned, at)] {
            let error = result.unwrap_err().to_string();
            assert!(error.contains(words), "{bad:?}: {error}");
        }
    }
    let mut launch = cast(&d, spans[0], spans[1]).unwrap();
    launch.threads = 512;
    assert!(d.launch(stream, launch.clone()).is_err());
    launch.threads = 256;
    launch.args.pop();
    assert!(d.launch(stream, launch).is_err());
    let mut fresh = EmulatedDevice::new(EmulatedSettings::default()).unwrap();
    assert!(fresh.fill(stream, spans[0], 0).is_err(), "a stream of another device");
}

#[test]
fn choices_of_another_device_are_not_reproducible() {
    let (mut d, _) = device(EmulatedSettings::default(), &[8]);
    let none = d.choices();
    assert_eq!(none, GemmChoices::default());
    d.adopt(&none).unwrap();
    let choices = GemmChoices { device: "NVIDIA H200".into(), ..none };
    let error = d.adopt(&choices).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("NVIDIA H200"), "{error}");
}
