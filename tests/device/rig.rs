//! A device with a few spans, one stream for tests' own copies, and casts as the kernel that runs.
use rewarm::Result;
use rewarm::device::{
    Arena, Arg, Device, EmulatedDevice, EmulatedSettings, Event, Launch, Span, Stream, StreamTiming,
};

/// Elements of most tests' tensors.
pub const N: usize = 512;

/// Settings that differ in the timing of streams alone.
pub fn timed(streams: StreamTiming) -> EmulatedSettings {
    EmulatedSettings { streams, ..EmulatedSettings::default() }
}

/// All eager, then every stream eager or lazy.
pub fn timings(streams: u32) -> Vec<StreamTiming> {
    [vec![StreamTiming::Eager], StreamTiming::all(streams)].concat()
}

/// A device and spans of these sizes.
pub fn device(settings: EmulatedSettings, bytes: &[usize]) -> (EmulatedDevice, Vec<Span>) {
    let mut device = EmulatedDevice::new(settings).unwrap();
    let mut arena = Arena::default();
    let spans = bytes.iter().map(|&b| arena.add(b)).collect();
    device.allocate(&arena).unwrap();
    (device, spans)
}

/// A launch of `cast_f32_bf16` over whole spans.
pub fn cast(device: &dyn Device, from: Span, to: Span) -> Result<Launch> {
    let n = from.bytes / 4;
    let args = vec![
        Arg::address(device.address(from.offset)),
        Arg::address(device.address(to.offset)),
        Arg::from(n as i64),
    ];
    let kernel = device.kernel("cast_f32_bf16")?;
    Ok(Launch { kernel, grid: [n.div_ceil(4096) as u32, 1, 1], threads: 256, shared_bytes: 0, args })
}

/// A launch of `selfcheck_fault` that writes behind the span.
pub fn faulty(device: &dyn Device, out: Span) -> Result<Launch> {
    let args = vec![Arg::from(2i32), Arg::address(device.address(out.offset))];
    Ok(Launch {
        kernel: device.kernel("selfcheck_fault")?,
        grid: [1, 1, 1],
        threads: 128,
        shared_bytes: 2048,
        args,
    })
}

/// What `cast` makes of these.
pub fn bf16_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&x| half::bf16::from_f32(x).to_ne_bytes()).collect()
}

/// A stream and an event.
pub fn stream_and_event(device: &mut dyn Device) -> (Stream, Event) {
    (device.stream().unwrap(), device.event().unwrap())
}

/// Writes a span and waits for it.
pub fn put(device: &mut dyn Device, to: Span, bytes: &[u8]) {
    let (stream, done) = stream_and_event(device);
    let pinned = device.pinned(bytes.len()).unwrap();
    device.host(pinned).copy_from_slice(bytes);
    device.upload(stream, pinned, 0, to.part(0, bytes.len())).unwrap();
    device.record(done, stream).unwrap();
    device.synchronize(done).unwrap();
}

/// Reads a span after all work of `after`.
pub fn get(device: &mut dyn Device, after: Stream, from: Span) -> Vec<u8> {
    let pinned = device.pinned(from.bytes).unwrap();
    let done = device.event().unwrap();
    device.download(after, from, pinned, 0).unwrap();
    device.record(done, after).unwrap();
    device.synchronize(done).unwrap();
    device.host(pinned).to_vec()
}
