//! What runs when, and what an event stands for.
use crate::rig::{N, cast, device, get, put, stream_and_event, timed, timings};
use rewarm::device::{Device, Rows, StreamTiming};

#[test]
fn a_stream_keeps_its_order() {
    for timing in timings(1) {
        let (mut d, spans) = device(timed(timing), &[64]);
        let (stream, done) = stream_and_event(&mut d);
        let pinned = d.pinned(4 * 64).unwrap();
        assert!(d.host(pinned).iter().all(|&b| b == 0xFF));
        d.download(stream, spans[0], pinned, 0).unwrap();
        for i in 1..4 {
            d.fill(stream, spans[0].part(0, 32), i).unwrap();
            d.download(stream, spans[0], pinned, usize::from(i) * 64).unwrap();
        }
        d.record(done, stream).unwrap();
        d.synchronize(done).unwrap();
        for (i, part) in d.host(pinned).chunks(32).enumerate() {
            let expected = if i % 2 == 1 || i == 0 { 0xFF } else { (i / 2) as u8 };
            assert!(part.iter().all(|&b| b == expected), "{timing:?}: part {i} is {part:?}");
        }
    }
}

/// In the order of the stream, and nothing but the rows.
#[test]
fn rows_are_copied_when_their_turn_comes() {
    for timing in timings(1) {
        let (mut d, spans) = device(timed(timing), &[100]);
        let (stream, done) = stream_and_event(&mut d);
        let [from, to] = [(); 2].map(|()| d.pinned(64).unwrap());
        d.host(from).iter_mut().zip(1..).for_each(|(byte, i)| *byte = i);
        let rows = Rows { first: spans[0].part(6, 5), count: 4, pitch: 20 };
        d.fill(stream, spans[0], 0).unwrap();
        d.upload_rows(stream, from, 3, rows).unwrap();
        d.download_rows(stream, rows, to, 7).unwrap();
        d.fill(stream, spans[0].part(0, 30), 99).unwrap();
        d.record(done, stream).unwrap();
        d.synchronize(done).unwrap();
        let back: Vec<u8> = (4..24).collect();
        assert_eq!(*d.host(to), [&[0xFF; 7][..], &back, &[0xFF; 37]].concat(), "{timing:?}");
        let mut expected = vec![0; 100];
        for (row, bytes) in back.chunks(5).enumerate() {
            expected[6 + 20 * row..][..5].copy_from_slice(bytes);
        }
        expected[..30].fill(99);
        assert_eq!(get(&mut d, stream, spans[0]), expected, "{timing:?}");
    }
}

#[test]
fn eager_runs_at_once_and_lazy_when_needed() {
    for (timing, at_once) in [(StreamTiming::Eager, 1), (StreamTiming::Lazy, 0)] {
        let (mut d, spans) = device(timed(timing), &[4 * N, 2 * N]);
        let (stream, done) = stream_and_event(&mut d);
        let (other, unrelated) = stream_and_event(&mut d);
        let launch = cast(&d, spans[0], spans[1]).unwrap();
        d.launch(stream, launch).unwrap();
        d.record(done, stream).unwrap();
        d.fill(other, spans[0], 0).unwrap();
        d.record(unrelated, other).unwrap();
        d.synchronize(unrelated).unwrap();
        assert_eq!(d.launches(), at_once);
        d.wait(other, done).unwrap();
        assert_eq!(d.launches(), at_once);
        d.record(unrelated, other).unwrap();
        d.synchronize(unrelated).unwrap();
        assert_eq!(d.launches(), 1);
    }
}

#[test]
fn an_eager_stream_does_not_force_a_lazy_one() {
    let (mut d, spans) = device(timed(StreamTiming::Mixed(1)), &[4 * N, 2 * N]);
    let (eager, done) = stream_and_event(&mut d);
    let (lazy, filled) = stream_and_event(&mut d);
    d.fill(lazy, spans[0], 0).unwrap();
    d.record(filled, lazy).unwrap();
    d.wait(eager, filled).unwrap();
    let launch = cast(&d, spans[0], spans[1]).unwrap();
    d.launch(eager, launch.clone()).unwrap();
    assert_eq!(d.launches(), 0);
    // What is forced on one stream lets the other go on.
    d.synchronize(filled).unwrap();
    assert_eq!(d.launches(), 1);
    d.record(done, eager).unwrap();
    d.synchronize(done).unwrap();
    assert_eq!(get(&mut d, eager, spans[1]), vec![0; 2 * N]);
}

#[test]
fn a_wait_is_for_the_latest_record_at_the_time_of_the_wait() {
    let (mut d, spans) = device(timed(StreamTiming::Lazy), &[64, 64]);
    let (a, event) = stream_and_event(&mut d);
    let (b, done) = stream_and_event(&mut d);
    // Never recorded: nobody waits.
    d.wait(b, event).unwrap();
    d.synchronize(event).unwrap();
    d.fill(a, spans[0], 1).unwrap();
    d.record(event, a).unwrap();
    d.wait(b, event).unwrap();
    // Recorded again: the wait is not for this one.
    d.fill(a, spans[0], 2).unwrap();
    d.record(event, a).unwrap();
    let pinned = d.pinned(64).unwrap();
    d.download(b, spans[0], pinned, 0).unwrap();
    d.record(done, b).unwrap();
    d.synchronize(done).unwrap();
    assert_eq!(d.host(pinned), [1; 64]);
    d.synchronize(event).unwrap();
    assert_eq!(get(&mut d, b, spans[0]), vec![2; 64]);
}

#[test]
fn streams_that_wait_for_each_other_many_times() {
    for timing in timings(2) {
        let (mut d, spans) = device(timed(timing), &[64]);
        let (a, to_b) = stream_and_event(&mut d);
        let (b, to_a) = stream_and_event(&mut d);
        put(&mut d, spans[0], &[7; 64]);
        for i in 0..20_000u32 {
            d.fill(a, spans[0].part(0, 1), i as u8).unwrap();
            d.record(to_b, a).unwrap();
            d.wait(b, to_b).unwrap();
            d.fill(b, spans[0].part(1, 1), i as u8).unwrap();
            d.record(to_a, b).unwrap();
            d.wait(a, to_a).unwrap();
        }
        let last = 19_999u32 as u8;
        assert_eq!(get(&mut d, a, spans[0])[..3], [last, last, 7]);
    }
}

/// Times are those of the stream, whenever it runs.
#[test]
fn timers_tell_how_long_work_took() {
    for timing in timings(1) {
        let (mut d, spans) = device(timed(timing), &[4 * N, 2 * N]);
        let (stream, done) = stream_and_event(&mut d);
        let timers = [d.timer().unwrap(), d.timer().unwrap(), d.timer().unwrap()];
        for timer in timers {
            d.record(timer, stream).unwrap();
            let launch = cast(&d, spans[0], spans[1]).unwrap();
            d.launch(stream, launch).unwrap();
        }
        d.synchronize(timers[2]).unwrap();
        let between = |d: &mut dyn Device, a, b| d.seconds_between(timers[a], timers[b]).unwrap();
        let (first, second) = (between(&mut d, 0, 1), between(&mut d, 1, 2));
        assert!(first > 0.0 && second > 0.0, "{timing:?}: {first} {second}");
        assert!((between(&mut d, 0, 2) - first - second).abs() < 1e-9);
        // One that never happened, and one that keeps no time.
        let never = d.timer().unwrap();
        d.record(done, stream).unwrap();
        for event in [never, done] {
            assert!(d.seconds_between(timers[0], event).is_err());
        }
    }
}
