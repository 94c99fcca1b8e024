//! The trait from opening to dropping; run by `every_call_against_a_fake_driver` in processes of their own.
use half::bf16;
use rewarm::Error;
use rewarm::device::{
    Arena, Cuda, Device, Epilogue, Gemm, GemmShape, Launch, RED_ZONE, Rows, Span, Stream, Type,
};
use rewarm::device::{Arg, Pinned};

const KERNELS: &[(&str, &[u8])] = &[("nothing", b""), ("fake", b"FAKE, an odd length")];

fn child() -> bool {
    std::env::var_os("CHILD").is_some()
}

struct Rig {
    device: Box<dyn Device>,
    stream: Stream,
    spans: Vec<Span>,
    host: Pinned,
}

impl Rig {
    fn new(sizes: &[usize]) -> Self {
        let mut device = Cuda::with_kernels(0, KERNELS).unwrap();
        let mut arena = Arena::default();
        let spans = sizes.iter().map(|bytes| arena.add(*bytes)).collect();
        device.allocate(&arena).unwrap();
        let stream = device.stream().unwrap();
        let host = device.pinned(1 << 16).unwrap();
        Self { device, stream, spans, host }
    }

    fn write<T: bytemuck::NoUninit>(&mut self, span: Span, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        self.device.host(self.host)[..bytes.len()].copy_from_slice(bytes);
        self.device.upload(self.stream, self.host, 0, span.part(0, bytes.len())).unwrap();
        self.wait();
    }

    fn wait(&mut self) {
        let event = self.device.event().unwrap();
        self.device.record(event, self.stream).unwrap();
        self.device.synchronize(event).unwrap();
    }

    fn read<T: bytemuck::AnyBitPattern>(&mut self, span: Span) -> Vec<T> {
        self.device.download(self.stream, span, self.host, 0).unwrap();
        self.wait();
        let bytes = &self.device.host(self.host)[..span.bytes];
        bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
    }

    fn at(&self, span: Span) -> u64 {
        self.device.address(span.offset)
    }

    fn scale(&self, by: f32, n: i32) -> Launch {
        let kernel = self.device.kernel("scale").unwrap();
        let args = vec![Arg::address(self.at(self.spans[0])), by.into(), n.into()];
        Launch { kernel, grid: [1, 1, 1], threads: 64, shared_bytes: 0, args }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn work() {
    if !child() {
        return;
    }
    let mut rig = Rig::new(&[64, 100]);
    let on = rig.stream;
    assert_eq!(rig.device.name(), "cuda:0 (Fake 40)");
    assert_eq!(rig.device.shared_bytes(), 232_448);
    // Of 2 GiB that are free one is left to the driver.
    assert_eq!(rig.device.memory().unwrap(), [1 << 30, 3 << 30]);
    assert_eq!(rig.read::<u8>(rig.spans[1]), [0xFF; 100]);

    // Launches: arguments arrive, and what does not fit is refused without harm.
    let (x, y) = (rig.spans[0], rig.spans[1]);
    rig.write(x, &[1f32, 2.0, 3.0, 4.0]);
    rig.device.launch(on, rig.scale(2.0, 3)).unwrap();
    assert_eq!(rig.read::<f32>(x.part(0, 16)), [2.0, 4.0, 6.0, 4.0]);
    assert_eq!(rig.device.launches(), 1);
    assert!(refused(rig.device.kernel("scales")).contains("no kernel scales"));
    let mut wrong = rig.scale(2.0, 3);
    wrong.args[1] = 1f64.into();
    assert_eq!(
        refused(rig.device.launch(on, wrong)),
        "scale: argument 1 is floating point of 8 bytes, expected anything of 4"
    );
    let threads = Launch { threads: 512, ..rig.scale(1.0, 1) };
    assert!(refused(rig.device.launch(on, threads)).contains("at most 256"));
    let wide = Launch { kernel: rig.device.kernel("wide").unwrap(), args: vec![], ..rig.scale(1.0, 1) };
    rig.device.launch(on, Launch { shared_bytes: 232_448, ..wide.clone() }).unwrap();
    assert!(
        refused(rig.device.launch(on, Launch { shared_bytes: 232_449, ..wide.clone() })).contains("232449")
    );
    rig.device.launch(on, wide).unwrap();

    // Copies and fills stay inside.
    rig.device.fill(on, y, 7).unwrap();
    assert_eq!(rig.read::<u8>(y), [7; 100]);
    let outside = Span { offset: 0, bytes: 1 << 20 };
    assert!(refused(rig.device.fill(on, outside, 0)).contains("outside of the arena"));
    assert!(refused(rig.device.upload(on, rig.host, (1 << 16) - 8, y)).contains("pinned"));
    assert!(refused(rig.device.allocate(&Arena::default())).contains("once"));

    // Rows, in both directions: 4 of 5 bytes, 25 bytes apart.
    let rows = Rows { first: y.part(6, 5), count: 4, pitch: 25 };
    let there: Vec<u8> = (0..20).collect();
    rig.device.host(rig.host)[9..29].copy_from_slice(&there);
    rig.device.upload_rows(on, rig.host, 9, rows).unwrap();
    let mut expected = vec![7; 100];
    for (row, bytes) in there.chunks(5).enumerate() {
        expected[6 + 25 * row..][..5].copy_from_slice(bytes);
    }
    assert_eq!(rig.read::<u8>(y), expected);
    rig.device.download_rows(on, rows, rig.host, 200).unwrap();
    rig.wait();
    assert_eq!(rig.device.host(rig.host)[200..220], there);
    for (bad, words) in [
        (Rows { count: 4, pitch: 4, ..rows }, "4 rows of 5 bytes cannot begin every 4 bytes"),
        (Rows { count: 0, ..rows }, "0 rows"),
        (Rows { count: 1 << 20, ..rows }, "outside of the arena"),
    ] {
        assert!(refused(rig.device.upload_rows(on, rig.host, 0, bad)).contains(words));
        assert!(refused(rig.device.download_rows(on, bad, rig.host, 0)).contains(words));
    }
    assert!(refused(rig.device.upload_rows(on, rig.host, (1 << 16) - 19, rows)).contains("pinned"));

    // Capture: nothing happens until the graph is replayed; its launches count then.
    rig.write(x, &[1f32; 4]);
    let (before, event) = (rig.device.launches(), rig.device.event().unwrap());
    let other = rig.device.stream().unwrap();
    rig.device.wait(other, event).unwrap();
    let launch = rig.scale(3.0, 4);
    rig.device.begin_capture(on).unwrap();
    assert!(refused(rig.device.kernel("scale")).contains("during the capture"));
    rig.device.launch(on, launch).unwrap();
    rig.device.fill(on, y, 9).unwrap();
    assert!(refused(rig.device.pinned(4)).contains("during the capture"));
    assert!(refused(rig.device.synchronize(event)).contains("during the capture"));
    let graph = rig.device.end_capture(on).unwrap();
    assert!(refused(rig.device.end_capture(on)).contains("not captured"));
    assert_eq!((rig.read::<f32>(x.part(0, 16)), rig.device.launches()), (vec![1.0; 4], before));
    rig.device.replay(on, graph).unwrap();
    rig.device.replay(on, graph).unwrap();
    assert_eq!((rig.read::<f32>(x.part(0, 16)), rig.device.launches()), (vec![9.0; 4], before + 2));
    assert_eq!(rig.read::<u8>(y), [9; 100]);

    let timers = [rig.device.timer().unwrap(), rig.device.timer().unwrap()];
    rig.device.record(timers[0], on).unwrap();
    rig.device.launch(on, rig.scale(1.0, 4)).unwrap();
    rig.device.record(timers[1], on).unwrap();
    rig.device.synchronize(timers[1]).unwrap();
    assert!(rig.device.seconds_between(timers[0], timers[1]).unwrap() >= 0.0);

    // Dropped on another thread, in the middle of a capture.
    rig.device.check_red_zones().unwrap();
    rig.device.begin_capture(on).unwrap();
    std::thread::spawn(move || drop(rig)).join().unwrap();
}

/// Uneven strides, both transposed, accumulated in place; then the forward product with a bias.
#[test]
#[ignore = "run by the others, in a process of its own"]
fn products() {
    if !child() {
        return;
    }
    let weights = GemmShape {
        m: 6,
        n: 5,
        k: 4,
        transpose_a: true,
        transpose_b: true,
        lda: 8,
        ldb: 8,
        ldc: 8,
        ldd: 8,
        output: Type::F32,
        beta: 1,
        epilogue: Epilogue::None,
    };
    let forward = GemmShape {
        transpose_a: false,
        output: Type::Bf16,
        beta: 0,
        epilogue: Epilogue::Bias,
        ldc: 6,
        ldd: 8,
        ..weights
    };
    let mut rig = Rig::new(&[128, 128, 512, 64, 256, 8192]);
    let [a, b, d, bias, workspace, scratch] = rig.spans[..] else { unreachable!() };
    rig.device.set_workspace(workspace);
    let on = rig.stream;
    let gemm = |rig: &Rig, shape: GemmShape| Gemm {
        shape,
        a: rig.at(a),
        b: rig.at(b),
        c: rig.at(d),
        d: rig.at(d),
        bias: if shape.epilogue == Epilogue::Bias { rig.at(bias) } else { 0 },
    };
    let product = gemm(&rig, weights);
    assert!(refused(rig.device.gemm(on, product)).contains("no algorithm was chosen for tt-m6-n5-k4"));
    rig.device.plan(&weights, scratch).unwrap();
    rig.device.plan(&forward, scratch).unwrap();
    let choices = rig.device.choices();
    assert_eq!(choices.device, "Fake 40, 132 SMs, cuBLASLt 13.0.2, driver 13.0");
    // The second algorithm: the first does not repeat its bits, the third is not supported.
    let algorithm = format!("{:016x}{:016x}{}", 2, 77, "0".repeat(96));
    let chosen = [(weights.to_string(), algorithm.clone()), (forward.to_string(), algorithm)];
    assert_eq!(choices.algorithms, chosen.into_iter().collect());

    let values = |n: usize, seed: usize| -> Vec<bf16> {
        (0..n).map(|i| bf16::from_f32(((i * 7 + seed) % 13) as f32 - 6.0)).collect()
    };
    let (av, bv, cv) = (values(64, 1), values(64, 2), vec![0.5f32; 128]);
    rig.write(a, &av);
    rig.write(b, &bv);
    rig.write(d, &cv);
    // Captured and replayed: what was planned works there too.
    rig.device.begin_capture(on).unwrap();
    rig.device.gemm(on, product).unwrap();
    let graph = rig.device.end_capture(on).unwrap();
    rig.device.replay(on, graph).unwrap();
    assert_eq!(rig.device.launches(), 1);
    let at = |x: &[bf16], i: usize| x[i].to_f32();
    let sum = |term: &dyn Fn(usize) -> f32| (0..4).map(term).sum::<f32>();
    let got = rig.read::<f32>(d);
    for (i, j) in (0..6).flat_map(|i| (0..5).map(move |j| (i, j))) {
        let expected = sum(&|l| at(&av, l + 8 * i) * at(&bv, j + 8 * l)) + 0.5;
        assert_eq!(got[i + 8 * j], expected, "{i} {j}");
    }
    let biases = values(6, 5);
    rig.write(bias, &biases);
    let product = gemm(&rig, forward);
    rig.device.gemm(on, product).unwrap();
    let got = rig.read::<bf16>(d);
    for (i, j) in (0..6).flat_map(|i| (0..5).map(move |j| (i, j))) {
        let expected = sum(&|l| at(&av, i + 8 * l) * at(&bv, j + 8 * l)) + biases[i].to_f32();
        assert_eq!(got[i + 8 * j], bf16::from_f32(expected), "{i} {j}");
    }
    let odd = Gemm { a: product.a + 2, ..product };
    assert!(refused(rig.device.gemm(on, odd)).contains("multiples of 16"));
    rig.device.set_workspace(workspace.part(0, 16));
    assert!(refused(rig.device.gemm(on, product)).contains("64 bytes of workspace"));
    rig.device.set_workspace(workspace);

    // Another process of the same GPU takes the choices over; another GPU does not.
    let mut again = Rig::new(&[128, 128, 512, 64, 256, 8192]);
    again.device.set_workspace(workspace);
    let mut other = choices.clone();
    other.device.push('x');
    assert_eq!(again.device.adopt(&other).unwrap_err().exit_code(), 4);
    let mut damaged = choices.clone();
    damaged.algorithms.insert(weights.to_string(), "0".repeat(128));
    again.device.adopt(&damaged).unwrap();
    assert_eq!(again.device.plan(&weights, scratch).unwrap_err().exit_code(), 4);
    again.device.adopt(&choices).unwrap();
    assert_eq!(again.device.choices(), choices);
    again.device.plan(&weights, scratch).unwrap();
    assert_eq!(again.device.choices(), choices);
    // What is queued is done before anything is tried out on memory that it uses, as after a resume.
    let mut busy = Rig::new(&[128, 128, 512, 64, 256, 8192]);
    let on = busy.stream;
    busy.device.set_workspace(workspace);
    busy.device.adopt(&choices).unwrap();
    busy.device.fill(on, scratch, 1).unwrap();
    busy.device.upload(on, busy.host, 0, workspace).unwrap();
    busy.device.plan(&weights, scratch).unwrap();
    let (left, used) = (busy.read::<u8>(scratch), weights.operand_bytes());
    assert!(left[..used].iter().all(|&byte| byte == 0xFF) && left[used..].iter().all(|&byte| byte == 1));
    // Without memory to time candidates on, the first one.
    let narrow = GemmShape { n: 3, ..weights };
    again.device.plan(&narrow, scratch.part(0, 0)).unwrap();
    let first = &again.device.choices().algorithms[&narrow.to_string()];
    assert!(first.starts_with(&format!("{:016x}", 1)), "{first}");
    // What timing used is 0xFF again.
    assert_eq!(rig.read::<u8>(scratch), vec![0xFF; 8192]);
    again.device.check_red_zones().unwrap();
}

/// A product with a bias gradient takes 3, without 2, and a launch as much as it has blocks.
#[test]
#[ignore = "run by the others, in a process of its own"]
fn bias_gradients() {
    if !child() {
        return;
    }
    let shape = GemmShape {
        m: 6,
        n: 5,
        k: 4,
        transpose_a: false,
        transpose_b: true,
        lda: 8,
        ldb: 8,
        ldc: 8,
        ldd: 8,
        output: Type::F32,
        beta: 0,
        epilogue: Epilogue::BiasGradient,
    };
    let rig = || {
        let mut rig = Rig::new(&[128, 128, 512, 64, 256, 8192]);
        rig.device.set_workspace(rig.spans[4]);
        let blocks = |rig: &Rig, blocks: u32| Launch { grid: [blocks, 1, 1], ..rig.scale(1.0, 0) };
        let launches = [1, 2].map(|n| blocks(&rig, n));
        (rig, launches)
    };
    let (mut first, [short, long]) = rig();
    let scratch = first.spans[5];
    // Where it takes as long, the kernel of its own; where that takes longer, the epilogue.
    assert!(!first.device.plan_epilogue(&shape, scratch, short.clone()).unwrap());
    let wider = GemmShape { n: 7, ..shape };
    assert!(first.device.plan_epilogue(&wider, scratch, long.clone()).unwrap());
    // Where cuBLASLt has no algorithm, and where nothing can be timed.
    let unknown = GemmShape { k: 100, ..shape };
    assert!(!first.device.plan_epilogue(&unknown, scratch, long.clone()).unwrap());
    let untimed = GemmShape { n: 3, ..shape };
    assert!(!first.device.plan_epilogue(&untimed, scratch.part(0, 0), long.clone()).unwrap());
    assert!(refused(first.device.plan(&unknown, scratch)).contains("m6-n5-k100"));
    assert_eq!(first.device.launches(), 0);
    // What timing used is 0xFF again, whatever was chosen.
    assert!(first.read::<u8>(scratch).iter().all(|&byte| byte == 0xFF));
    first.device.check_red_zones().unwrap();
    let choices = first.device.choices();
    let chosen = |shape: GemmShape| choices.algorithms[&shape.to_string()].as_str();
    for separate in [shape, unknown, untimed] {
        assert_eq!(chosen(separate), "separate");
        assert_eq!(chosen(separate.plain()).len(), 128);
    }
    // The second algorithm: the first does not repeat its bits.
    assert!(chosen(wider).starts_with(&format!("{:016x}", 2)));

    let values = |n: usize, seed: usize| -> Vec<bf16> {
        (0..n).map(|i| bf16::from_f32(((i * 7 + seed) % 13) as f32 - 6.0)).collect()
    };
    let (a, b, d, sums) = (first.spans[0], first.spans[1], first.spans[2], first.spans[3]);
    let bv = values(64, 2);
    first.write(a, &values(64, 1));
    first.write(b, &bv);
    let [a, b, d, bias] = [a, b, d, sums].map(|span| first.at(span));
    let gemm = Gemm { shape: wider, a, b, c: d, d, bias };
    first.device.gemm(first.stream, gemm).unwrap();
    let expected: Vec<f32> = (0..7).map(|j| (0..4).map(|l| bv[j + 8 * l].to_f32()).sum()).collect();
    assert_eq!(first.read::<f32>(sums)[..7], expected);

    // A run that adopts the choices does not time anything, and chooses the same against all evidence.
    let (mut again, [short, long]) = rig();
    again.device.adopt(&choices).unwrap();
    assert!(!again.device.plan_epilogue(&shape, scratch, long).unwrap());
    assert!(again.device.plan_epilogue(&wider, scratch, short).unwrap());
    assert_eq!(again.device.choices(), choices);
    let mut damaged = choices.clone();
    damaged.algorithms.insert(wider.to_string(), "0".repeat(128));
    let (mut other, [short, _]) = rig();
    other.device.adopt(&damaged).unwrap();
    assert_eq!(other.device.plan_epilogue(&wider, scratch, short).unwrap_err().exit_code(), 4);
}

#[test]
#[ignore = "run by the others, in a process of its own"]
fn failures() {
    if !child() {
        return;
    }
    // More memory than there is.
    let mut device = Cuda::with_kernels(0, KERNELS).unwrap();
    let mut arena = Arena::default();
    arena.add(3 << 30);
    let why = refused(device.allocate(&arena));
    assert!(why.contains("needs 3.00 GiB") && why.contains("2.00 GiB are missing"), "{why}");
    drop(device);
    let broken = Cuda::with_kernels(0, &[("broken", b"nothing")]);
    let why = broken.map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("kernels/broken.cu: cuModuleLoadData: CUDA error 200"), "{why}");

    // A write between tensors.
    let mut rig = Rig::new(&[64, 64]);
    rig.device.fill(rig.stream, Span { offset: 70, bytes: 1 }, 0).unwrap();
    let why = rig.device.check_red_zones().unwrap_err().to_string();
    assert!(why.contains("6 bytes behind Span { offset: 0, bytes: 64 }"), "{why}");
    assert_eq!(rig.device.memory().unwrap_err().to_string(), why);
    assert_eq!(rig.spans[1].offset, 64usize.next_multiple_of(RED_ZONE) + RED_ZONE);
    drop(rig);

    // A kernel that fails: whoever waits learns of it, and everybody after.
    let mut rig = Rig::new(&[64]);
    let event = rig.device.event().unwrap();
    let crash = Launch {
        kernel: rig.device.kernel("crash").unwrap(),
        args: vec![],
        threads: 32,
        ..rig.scale(1.0, 1)
    };
    rig.device.launch(rig.stream, crash).unwrap();
    rig.device.record(event, rig.stream).unwrap();
    let why = rig.device.synchronize(event).unwrap_err();
    assert_eq!(why.exit_code(), 2);
    let why = why.to_string();
    assert!(
        why.starts_with("cuda:0: cuEventSynchronize: CUDA_ERROR_ILLEGAL_ADDRESS (as the driver says it)"),
        "{why}"
    );
    assert!(why.contains("launched last: crash"), "{why}");
    let launch = rig.device.stream().unwrap_err().to_string();
    assert_eq!(launch, why);
}
