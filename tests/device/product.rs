//! Matrix products against sums in f64, and what cuBLASLt would refuse.
use crate::rig::{device, get, put, stream_and_event, timed, timings};
use half::bf16;
use rewarm::Result;
use rewarm::device::{Device, EmulatedDevice, Epilogue, Gemm, GemmShape, Span, StreamTiming, Type};
use std::time::Instant;

/// Column-major, `ld` elements between columns; what is between them is kept.
struct Stored {
    rows: usize,
    columns: usize,
    ld: usize,
    values: Vec<f32>,
}

impl Stored {
    fn new(rows: usize, columns: usize, ld: usize, mut value: impl FnMut() -> f32) -> Self {
        Self { rows, columns, ld, values: (0..ld * columns).map(|_| value()).collect() }
    }

    fn at(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.rows && j < self.columns);
        f64::from(self.values[j * self.ld + i])
    }

    fn bytes(&self, of: Type) -> Vec<u8> {
        match of {
            Type::F32 => bytemuck::cast_slice(&self.values).to_vec(),
            Type::Bf16 => self.values.iter().flat_map(|&x| bf16::from_f32(x).to_ne_bytes()).collect(),
        }
    }
}

fn shape(m: usize, n: usize, k: usize) -> GemmShape {
    GemmShape {
        m,
        n,
        k,
        transpose_a: false,
        transpose_b: false,
        lda: m.next_multiple_of(8),
        ldb: k.next_multiple_of(8),
        ldc: m.next_multiple_of(8),
        ldd: m.next_multiple_of(8),
        output: Type::Bf16,
        beta: 0,
        epilogue: Epilogue::None,
    }
}

/// Small integers, of which every sum is exact: the result has one rounding, if any.
fn integers(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 % 9.0 - 4.0
    }
}

/// The product, and what f64 makes of it: bytes of all of D, gaps included, and of the bias's gradient.
fn both(s: GemmShape, in_place: bool) -> [Vec<u8>; 2] {
    let (ar, ac) = if s.transpose_a { (s.k, s.m) } else { (s.m, s.k) };
    let (br, bc) = if s.transpose_b { (s.n, s.k) } else { (s.k, s.n) };
    let a = Stored::new(ar, ac, s.lda, integers(1));
    let b = Stored::new(br, bc, s.ldb, integers(2));
    let c = Stored::new(s.m, s.n, s.ldc, integers(3));
    let bias = Stored::new(s.m, 1, s.m, integers(4));
    let gradient = s.epilogue == Epilogue::BiasGradient;
    let size = if s.output == Type::F32 { 4 } else { 2 };
    let (d_bytes, c_bytes) = (s.ldd * s.n * size, s.ldc * s.n * size);
    let bias_bytes = if gradient { 4 * s.n } else { 2 * s.m };
    let sizes = [2 * s.lda * ac, 2 * s.ldb * bc, c_bytes, d_bytes, bias_bytes, 1 << 17];
    let (mut device, spans) = device(timed(StreamTiming::Lazy), &sizes);
    let stream = device.stream().unwrap();
    device.plan(&s, spans[5]).unwrap();
    put(&mut device, spans[0], &a.bytes(Type::Bf16));
    put(&mut device, spans[1], &b.bytes(Type::Bf16));
    put(&mut device, spans[2], &c.bytes(s.output));
    if s.epilogue == Epilogue::Bias {
        put(&mut device, spans[4], &bias.bytes(Type::Bf16));
    }
    // In place, D has the values of C; else NaN.
    let mut expected = vec![0xFF; d_bytes];
    if in_place && s.beta == 1 {
        expected.copy_from_slice(&c.bytes(s.output));
        put(&mut device, spans[3], &expected);
    }
    let at = |span: Span| device.address(span.offset);
    let with_bias = s.epilogue == Epilogue::Bias;
    let gemm = Gemm {
        shape: s,
        a: at(spans[0]),
        b: at(spans[1]),
        c: at(spans[if in_place || s.beta == 0 { 3 } else { 2 }]),
        d: at(spans[3]),
        bias: if with_bias || gradient { at(spans[4]) } else { 0 },
    };
    device.set_workspace(spans[5]);
    device.gemm(stream, gemm).unwrap();
    let mut got = get(&mut device, stream, spans[3]);
    let b_at = |k, j| if s.transpose_b { b.at(j, k) } else { b.at(k, j) };
    for j in 0..s.n {
        for i in 0..s.m {
            let a = |k| if s.transpose_a { a.at(k, i) } else { a.at(i, k) };
            let mut sum: f64 = (0..s.k).map(|k| a(k) * b_at(k, j)).sum();
            sum += if s.beta == 1 { c.at(i, j) } else { 0.0 };
            sum += if with_bias { bias.at(i, 0) } else { 0.0 };
            let to = &mut expected[(j * s.ldd + i) * size..][..size];
            match s.output {
                Type::F32 => to.copy_from_slice(&(sum as f32).to_ne_bytes()),
                Type::Bf16 => to.copy_from_slice(&bf16::from_f64(sum).to_ne_bytes()),
            }
        }
    }
    if gradient {
        got.extend(get(&mut device, stream, spans[4]));
        let sum = |j| (0..s.k).map(|k| b_at(k, j)).sum::<f64>() as f32;
        expected.extend((0..s.n).flat_map(|j| sum(j).to_ne_bytes()));
    }
    [got, expected]
}

#[test]
fn every_transpose_output_and_epilogue() {
    for case in 0..32 {
        let bit = |i: u32| case >> i & 1 == 1;
        let output = if bit(2) { Type::F32 } else { Type::Bf16 };
        let epilogue = match (output, bit(4)) {
            (_, false) => Epilogue::None,
            (Type::Bf16, true) => Epilogue::Bias,
            (Type::F32, true) => Epilogue::BiasGradient,
        };
        for (m, n, k) in [(1, 1, 1), (40, 130, 72), (129, 257, 33), (8, 1, 300)] {
            let mut s = shape(m, n, k);
            (s.transpose_a, s.transpose_b, s.output) = (bit(0), bit(1), output);
            s.beta = u8::from(bit(3));
            s.epilogue = epilogue;
            // Leading dimensions beyond the rows, all different.
            s.lda = (if bit(0) { k } else { m }).next_multiple_of(8) + 8;
            s.ldb = (if bit(1) { n } else { k }).next_multiple_of(8) + 16;
            s.ldd = m.next_multiple_of(8) + 24;
            s.ldc = s.ldd;
            let [got, expected] = both(s, true);
            assert!(got == expected, "{s} in place");
            if s.beta == 1 {
                s.ldc = m.next_multiple_of(8);
                let [got, expected] = both(s, false);
                assert!(got == expected, "{s}");
            }
        }
    }
}

/// The product of normal-looking numbers on pools of this many threads.
fn on_threads(threads: usize) -> Vec<u8> {
    let s = GemmShape { output: Type::F32, ..shape(264, 700, 520) };
    let mut random = integers(9);
    let mut value = move || random() / 3.0 + random() / 700.0;
    let (a, b) = (Stored::new(264, 520, 264, &mut value), Stored::new(520, 700, 520, &mut value));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let (mut d, spans) =
            device(timed(StreamTiming::Eager), &[2 * 264 * 520, 2 * 520 * 700, 4 * 264 * 700]);
        let stream = d.stream().unwrap();
        d.plan(&s, spans[2]).unwrap();
        put(&mut d, spans[0], &a.bytes(Type::Bf16));
        put(&mut d, spans[1], &b.bytes(Type::Bf16));
        let [a, b, c] = [0, 1, 2].map(|i| d.address(spans[i].offset));
        d.gemm(stream, Gemm { shape: s, a, b, c, d: c, bias: 0 }).unwrap();
        get(&mut d, stream, spans[2])
    })
}

#[test]
fn bits_do_not_depend_on_the_number_of_threads() {
    let one = on_threads(1);
    assert!(one == on_threads(2) && one == on_threads(5));
}

/// A device with one span, the product D = A · B in it, and how to try another.
fn try_one(change: impl FnOnce(&mut Gemm, &EmulatedDevice, Span)) -> Result<()> {
    let (mut d, spans) = device(timed(StreamTiming::Eager), &[1 << 20, 1 << 12]);
    let (stream, _) = stream_and_event(&mut d);
    d.fill(stream, spans[0], 0)?;
    let at = d.address(spans[0].offset);
    let s = GemmShape { lda: 256, ldb: 256, ldc: 256, ldd: 256, ..shape(64, 32, 48) };
    let mut gemm = Gemm { shape: s, a: at, b: at + (1 << 18), c: at + (1 << 19), d: at + (1 << 19), bias: 0 };
    change(&mut gemm, &d, spans[0]);
    d.plan(&gemm.shape, spans[1])?;
    d.gemm(stream, gemm)
}

#[test]
fn refuses_what_cublaslt_would() {
    try_one(|_, _, _| ()).unwrap();
    let refuse = |message: &str, change: &dyn Fn(&mut Gemm, &EmulatedDevice, Span)| {
        let error = try_one(change).expect_err(message).to_string();
        assert!(error.starts_with("product nn-m") && error.contains(message), "{message}: {error}");
    };
    refuse("A is at", &|g, _, _| g.a += 8);
    refuse("B is at", &|g, _, _| g.b += 2);
    refuse("D is at", &|g, _, _| g.d += 2);
    refuse("A has a leading dimension of 252, expected a multiple of 8 from 64 on", &|g, _, _| {
        g.shape.lda = 252
    });
    refuse("B has a leading dimension of 40,", &|g, _, _| g.shape.ldb = 40);
    refuse("expected a multiple of 4 from 64 on", &|g, _, _| {
        g.shape.output = Type::F32;
        (g.shape.ldc, g.shape.ldd) = (254, 254);
    });
    refuse("a beta of 0 or 1", &|g, _, _| g.shape.beta = 2);
    refuse("sizes above 0", &|g, _, _| g.shape.k = 0);
    refuse("a bias without the epilogue", &|g, _, _| g.bias = g.a);
    refuse("the bias is at", &|g, _, _| (g.shape.epilogue, g.bias) = (Epilogue::Bias, g.a + 4));
    refuse("the bias, 128 bytes at", &|g, _, _| g.shape.epilogue = Epilogue::Bias);
    refuse("the bias of a product in f32", &|g, _, _| {
        (g.shape.epilogue, g.bias, g.shape.output) = (Epilogue::Bias, g.a, Type::F32);
    });
    refuse("a bias gradient has the type of D, bf16, expected f32", &|g, _, _| {
        g.shape.epilogue = Epilogue::BiasGradient;
    });
    let gradient = |g: &mut Gemm, at: u64| {
        (g.shape.epilogue, g.shape.output, g.bias) = (Epilogue::BiasGradient, Type::F32, at);
    };
    refuse("the bias, 128 bytes at", &|g, _, _| gradient(g, 0));
    refuse("D overlaps the bias", &|g, _, _| gradient(g, g.d));
    refuse("the bias overlaps A", &|g, _, _| gradient(g, g.a));
    refuse("the bias overlaps B", &|g, _, _| gradient(g, g.b));
    refuse("A, 24192 bytes at 0xfff00, is not part of a span", &|g, d, s| g.a = d.address(s.bytes - 256));
    refuse("B, 15968 bytes at", &|g, _, _| g.b = 16);
    refuse("D overlaps A", &|g, _, _| (g.c, g.d) = (g.a + 16, g.a + 16));
    refuse("D overlaps B", &|g, _, _| g.b = g.d);
    refuse("C is neither D", &|g, _, _| g.c = g.a);
    refuse("C is neither D", &|g, _, _| (g.shape.beta, g.shape.ldc) = (1, 264));
    refuse("C is neither D", &|g, _, _| (g.shape.beta, g.c) = (1, g.d + 64));
}

#[test]
fn operands_side_by_side_in_wider_rows() {
    // A in rows 0..64 of a matrix of 256, D in rows 64..128 or 192..256, or one row too far.
    try_one(|g, _, _| (g.c, g.d) = (g.a + 128, g.a + 128)).unwrap();
    try_one(|g, _, _| (g.c, g.d) = (g.a + 384, g.a + 384)).unwrap();
    try_one(|g, _, _| (g.c, g.d) = (g.a + 400, g.a + 400)).unwrap_err();
}

#[test]
fn a_product_must_be_planned() {
    let (mut d, spans) = device(timed(StreamTiming::Eager), &[1 << 16, 4096]);
    let (stream, _) = stream_and_event(&mut d);
    let at = d.address(0);
    let gemm = Gemm { shape: shape(8, 8, 8), a: at, b: at + 256, c: at + 512, d: at + 512, bias: 0 };
    let error = d.gemm(stream, gemm).unwrap_err().to_string();
    assert_eq!(error, "product nn-m8-n8-k8-a8-b8-c8-d8-bf16-beta0: not planned");
    // Timing candidates writes to the memory it was given.
    put(&mut d, spans[1], &[0; 4096]);
    d.plan(&gemm.shape, spans[1]).unwrap();
    d.gemm(stream, gemm).unwrap();
    assert_eq!(d.launches(), 1);
    assert_eq!(get(&mut d, stream, spans[1]), [0xFF; 4096]);
    // Where there is too little of it nothing is timed, and nothing written.
    d.fill(stream, spans[1], 0).unwrap();
    d.plan(&shape(8, 8, 16), spans[1].part(0, 256)).unwrap();
    assert_eq!(get(&mut d, stream, spans[1]), [0; 4096]);
    // And products use the workspace.
    d.fill(stream, spans[1], 0).unwrap();
    d.set_workspace(spans[1]);
    d.gemm(stream, gemm).unwrap();
    assert_eq!(get(&mut d, stream, spans[1]), [0xFF; 4096]);
}

/// Candidates are timed on memory of other work: not while any of it may run, whether or not it has by chance.
#[test]
fn a_product_is_planned_when_the_host_has_waited_for_everything() {
    for timing in timings(3) {
        let (mut d, spans) = device(timed(timing), &[1 << 16, 4096]);
        let (a, b, never) = (d.stream().unwrap(), d.stream().unwrap(), d.stream().unwrap());
        let (first, second) = (d.event().unwrap(), d.event().unwrap());
        let mut others = (1..).map(|n| shape(8, 8, 8 * n));
        let mut plan = |d: &mut EmulatedDevice, bytes: usize| {
            let planned = d.plan(&others.next().unwrap(), spans[1].part(0, bytes));
            planned.map_err(|e| e.to_string().split("all work ").last().unwrap().to_owned())
        };
        plan(&mut d, 4096).unwrap();
        d.fill(a, spans[0], 0).unwrap();
        assert_eq!(plan(&mut d, 4096).unwrap_err(), "on stream 0");
        // Without memory nothing is timed.
        plan(&mut d, 0).unwrap();
        // The host waits for b alone, which has waited for what a had been given then.
        d.record(first, a).unwrap();
        d.wait(b, first).unwrap();
        d.fill(b, spans[0], 1).unwrap();
        d.record(second, b).unwrap();
        d.synchronize(second).unwrap();
        plan(&mut d, 4096).unwrap();
        d.begin_capture(a).unwrap();
        d.fill(a, spans[0], 2).unwrap();
        let graph = d.end_capture(a).unwrap();
        plan(&mut d, 4096).unwrap();
        d.replay(b, graph).unwrap();
        d.synchronize(second).unwrap();
        assert_eq!(plan(&mut d, 4096).unwrap_err(), "on stream 1");
        d.wait(never, second).unwrap();
        d.record(second, b).unwrap();
        d.synchronize(second).unwrap();
        assert_eq!(plan(&mut d, 4096).unwrap_err(), "on stream 2");
    }
}

/// `cargo test --release --test device speed -- --nocapture`.
#[test]
fn speed_of_products() {
    let s = shape(512, 1024, 512);
    let (mut d, spans) = device(timed(StreamTiming::Eager), &[2 << 19, 2 << 19, 2 << 19]);
    let stream = d.stream().unwrap();
    d.plan(&s, spans[2]).unwrap();
    spans.iter().for_each(|&span| d.fill(stream, span, 0).unwrap());
    let [a, b, c] = [0, 1, 2].map(|i| d.address(spans[i].offset));
    let start = Instant::now();
    (0..10).for_each(|_| d.gemm(stream, Gemm { shape: s, a, b, c, d: c, bias: 0 }).unwrap());
    let flops = 20 * s.m * s.n * s.k;
    println!("products: {:.1} GFLOP/s", flops as f64 / start.elapsed().as_secs_f64() / 1e9);
}
