//! Graphs.
use crate::rig::{N, bf16_bytes, cast, device, get, stream_and_event, timed, timings};
use rewarm::Error;
use rewarm::device::{Arena, Device, Epilogue, GemmShape, StreamTiming, Type};

#[test]
fn a_replay_does_what_was_noted_with_the_bytes_of_then() {
    for timing in timings(1) {
        let (mut d, spans) = device(timed(timing), &[4 * N, 2 * N, 2 * N]);
        let (stream, done) = stream_and_event(&mut d);
        let (input, output) = (d.pinned(4 * N).unwrap(), d.pinned(2 * N).unwrap());
        let mut launch = cast(&d, spans[0], spans[1]).unwrap();
        d.begin_capture(stream).unwrap();
        d.upload(stream, input, 0, spans[0]).unwrap();
        d.launch(stream, launch.clone()).unwrap();
        d.download(stream, spans[1], output, 0).unwrap();
        // The graph has the arguments of then.
        launch.args.clear();
        let graph = d.end_capture(stream).unwrap();
        d.record(done, stream).unwrap();
        d.synchronize(done).unwrap();
        assert_eq!((d.launches(), d.host(output)[0]), (0, 0xFF), "nothing runs during capture");
        for round in 1..4u64 {
            let values: Vec<f32> = (0..N).map(|i| (i as u64 * round % 200) as f32).collect();
            d.host(input).copy_from_slice(bytemuck::cast_slice(&values));
            d.replay(stream, graph).unwrap();
            d.record(done, stream).unwrap();
            d.synchronize(done).unwrap();
            assert_eq!(d.host(output), bf16_bytes(&values), "{timing:?}");
            assert_eq!(d.launches(), round);
        }
    }
}

#[test]
fn other_streams_go_on_during_capture() {
    let (mut d, spans) = device(timed(StreamTiming::Eager), &[64]);
    let (captured, other) = (d.stream().unwrap(), d.stream().unwrap());
    let event = d.event().unwrap();
    d.begin_capture(captured).unwrap();
    d.fill(captured, spans[0], 1).unwrap();
    d.fill(other, spans[0], 2).unwrap();
    d.record(event, other).unwrap();
    d.wait(other, event).unwrap();
    let graph = d.end_capture(captured).unwrap();
    assert_eq!(get(&mut d, other, spans[0]), [2; 64]);
    d.replay(captured, graph).unwrap();
    assert_eq!(get(&mut d, captured, spans[0]), [1; 64]);
}

#[test]
fn what_a_capture_refuses() {
    let (mut d, spans) = device(timed(StreamTiming::Eager), &[64]);
    let (stream, event) = stream_and_event(&mut d);
    assert!(d.end_capture(stream).is_err());
    d.begin_capture(stream).unwrap();
    let graph = d.end_capture(stream).unwrap();
    d.begin_capture(stream).unwrap();
    let shape = GemmShape {
        m: 8,
        n: 8,
        k: 8,
        transpose_a: false,
        transpose_b: false,
        lda: 8,
        ldb: 8,
        ldc: 8,
        ldd: 8,
        output: Type::Bf16,
        beta: 0,
        epilogue: Epilogue::None,
    };
    let refusals = [
        ("allocation", d.allocate(&Arena::default())),
        ("allocation", d.pinned(8).map(|_| ())),
        ("a new stream", d.stream().map(|_| ())),
        ("a new event", d.event().map(|_| ())),
        ("looking up a kernel", d.kernel("cast_f32_bf16").map(|_| ())),
        ("planning a product", d.plan(&shape, spans[0])),
        ("synchronising", d.synchronize(event)),
        ("recording an event", d.record(event, stream)),
        ("waiting for an event", d.wait(stream, event)),
        ("another capture", d.begin_capture(stream)),
        ("replaying a graph", d.replay(stream, graph)),
    ];
    for (what, result) in refusals {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("{what} during capture"));
    }
}
