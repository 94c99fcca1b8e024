//! Each primitive of `kernels/prim.h`, by `kernels/selfcheck.cu`, against a statement of its own: fragment layouts as the
//! figures of the PTX ISA draw them, Philox as its authors publish it, bf16 as the crate `half`. A device runs each once;
//! `tests/kernels/selfcheck.rs` runs them in every mode of the emulated one, and without their synchronisation.
use super::fragments::{A_PARTS, B_PARTS, C_PARTS, ROW_FIGURE, STACKED, bits, pack};
use super::judge::{Expected, bf16s, judge};
use super::launch::{Input, Program, given, halves, poison, values};
use super::naive::dot;
use crate::reference::measure::Stored;
use crate::reference::random::{Random, philox};
use std::fmt::Debug;

/// What is wrong with the buffers that a program left.
type Check = Box<dyn Fn(&[Vec<u8>]) -> Result<(), String>>;

/// A kernel of `selfcheck.cu` and what it must leave.
pub struct Primitive {
    /// Name of the test.
    pub op: &'static str,
    /// What it looks at.
    pub what: &'static str,
    /// The launch that puts the primitive to the test.
    pub program: Program,
    /// What its output has to be.
    pub check: Check,
}

/// All primitives that are tested, in the order of the table.
pub fn all() -> Vec<Primitive> {
    vec![
        indices(),
        grid(),
        warp(),
        numbers(),
        nan(),
        mma(),
        ldmatrix(),
        copies(),
        shared_vectors(),
        named_barriers(),
        reductions(),
        atomic(),
        random_bits(0, 0, [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        // The counter's lower half is the index: 0.
        random_bits(
            0x299f_31d0_a409_3822,
            0x0370_7344_1319_8a2e,
            philox(0x299f_31d0_a409_3822, [0, 0x0370_7344_1319_8a2e]),
        ),
        product(64, 96, 256),
    ]
}

fn equal<T: PartialEq + Debug>(what: &str, found: &[T], expected: &[T]) -> Result<(), String> {
    match found.iter().zip(expected).position(|(a, b)| a != b) {
        Some(i) => Err(format!("{what}[{i}] is {:?}, not {:?}", found[i], expected[i])),
        None if found.len() != expected.len() => Err(format!("{what}: {} elements", found.len())),
        None => Ok(()),
    }
}

/// One block.
fn block(kernel: &'static str, threads: u32, shared_bytes: usize, inputs: Vec<Input>) -> Program {
    Program { kernel, grid: [1, 1, 1], threads, shared_bytes, inputs }
}

fn indices() -> Primitive {
    let expected = (0..96).map(|i| i % 32).chain((0..96).map(|i| i / 32)).chain((0..96).map(|_| 96));
    let expected: Vec<i32> = expected.collect();
    Primitive {
        op: "indices",
        what: "lane, warp, threads",
        program: block("selfcheck_indices", 96, 0, vec![poison::<i32>(3 * 96)]),
        check: Box::new(move |out| equal("out", &values::<i32>(&out[0]), &expected)),
    }
}

fn grid() -> Primitive {
    let [x, y, z] = [3, 4, 5];
    let n = 32 * x * y * z;
    let pair = Input::Struct([0.5f32.to_bits(), 7]);
    let expected: Vec<f32> = (0..n).map(|i| 0.5 * i as f32 + 7.0).collect();
    let inputs = vec![pair, poison::<f32>(n as usize)];
    Primitive {
        op: "grid",
        what: "blocks in three dimensions",
        program: Program { grid: [x, y, z], ..block("selfcheck_grid", 32, 0, inputs) },
        check: Box::new(move |out| equal("out", &values::<f32>(&out[0]), &expected)),
    }
}

fn warp() -> Primitive {
    let input: Vec<i32> = (0..32).map(|i| i * i % 41).collect();
    let ballot = input.iter().enumerate().fold(0, |b, (i, x)| b | (x & 1) << i);
    let (any, all) = (i32::from(input.contains(&40)), i32::from(input.iter().all(|&x| x < 40)));
    let mut expected = vec![0; 6 * 32];
    for i in 0..32 {
        let down = if i + 3 < 32 { input[i + 3] } else { input[i] };
        for (k, x) in [input[i ^ 5], down, input[7], ballot, any, all].into_iter().enumerate() {
            expected[32 * k + i] = x;
        }
    }
    Primitive {
        op: "shuffles",
        what: "xor, down, from a lane, votes",
        program: block("selfcheck_warp", 32, 0, vec![given(&input), poison::<i32>(6 * 32)]),
        check: Box::new(move |out| equal("out", &values::<i32>(&out[1]), &expected)),
    }
}

fn numbers_program(x: &[f32]) -> Program {
    let n = x.len();
    let outputs = [poison::<u16>(n), poison::<f32>(n), poison::<u32>(n / 2), poison::<f32>(4 * n)];
    let inputs = [given(x)].into_iter().chain(outputs).chain([Input::Int(n as i32)]).collect();
    block("selfcheck_numbers", 256, 0, inputs)
}

fn numbers() -> Primitive {
    let ties = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-8) + 2f32.powi(-20)];
    let edges =
        [0.0, -0.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MIN_POSITIVE, 65504.0, -1e38];
    let mut x: Vec<f32> = [&ties[..], &edges[..]].concat();
    x.extend(Random::new(1).normals::<f32>(500, 0.0, 3.0));
    let program = numbers_program(&x);
    let check = move |out: &[Vec<u8>]| {
        let rounded: Vec<u16> = x.iter().map(|&x| bits(x) as u16).collect();
        let pairs: Vec<u32> = x.chunks(2).map(|p| bits(p[0]) | bits(p[1]) << 16).collect();
        equal("bf16", &values::<u16>(&out[1]), &rounded)?;
        equal("f32", &values::<f32>(&out[2]), &bf16s(&x))?;
        equal("packed", &values::<u32>(&out[3]), &pairs)?;
        let found = values::<f32>(&out[4]);
        found.chunks(x.len()).zip(APPROXIMATE).try_for_each(|(found, f)| approximations(found, &x, f))
    };
    Primitive { op: "numbers", what: "bf16, exp2, log2, rcp, rsqrt", program, check: Box::new(check) }
}

/// A function, whether it takes the argument's size alone, and its largest absolute error near 0.
type Function = (&'static str, fn(f64) -> f64, bool, f64);

/// Of PTX's `.approx.ftz`: 2⁻²² of the result or better, and for log2 2⁻²² where that is larger; twice of it allowed.
const APPROXIMATE: [Function; 4] = [
    ("exp2", f64::exp2, false, 0.0),
    ("log2", f64::log2, true, 1.0 / (1u64 << 21) as f64),
    ("rcp", |x| 1.0 / x, false, 0.0),
    ("rsqrt", |x| 1.0 / x.sqrt(), true, 0.0),
];

fn approximations(found: &[f32], x: &[f32], (name, f, size_alone, absolute): Function) -> Result<(), String> {
    for (&found, &x) in found.iter().zip(x) {
        let x = if size_alone { x.abs() } else { x };
        let exact = f(f64::from(x));
        let close = |exact: f64| {
            let (distance, rounded) = ((f64::from(found) - exact).abs(), exact as f32);
            let flushed = rounded.abs() < f32::MIN_POSITIVE && found == 0.0;
            let near = distance <= exact.abs() / f64::from(1 << 21) + absolute;
            flushed || near || (rounded.is_infinite() && found == rounded)
        };
        // Numbers below the normal ones may count as 0.
        let flushed = x.abs() < f32::MIN_POSITIVE && close(f(f64::from(0f32.copysign(x))));
        if !close(exact) && !flushed {
            return Err(format!("{name}({x:e}) is {found:e}, not {exact:e}"));
        }
    }
    Ok(())
}

fn nan() -> Primitive {
    Primitive {
        op: "numbers",
        what: "NaN stays NaN",
        program: numbers_program(&[f32::NAN, -f32::NAN]),
        check: Box::new(|out| equal("packed", &values::<u32>(&out[3]), &[0x7fff_7fff])),
    }
}

fn mma() -> Primitive {
    // Small integers: every product and sum is exact.
    let a = |i: usize, k: usize| ((i * 7 + k * 3) % 13) as f32 - 6.0;
    let b = |k: usize, j: usize| ((k * 5 + j * 11) % 17) as f32 - 8.0;
    let c = |i: usize, j: usize| (i * 8 + j) as f32;
    let (mut sums, mut expected) = (vec![0f32; 128], vec![0f32; 128]);
    for (part, &(row, col)) in C_PARTS.iter().enumerate() {
        for (i, lanes) in ROW_FIGURE.iter().enumerate() {
            for (j, lane) in lanes.iter().enumerate() {
                let register = 4 * lane + 2 * part + j % 2;
                let (i, j) = (row + i, col + j);
                sums[register] = c(i, j);
                expected[register] = c(i, j) + (0..16).map(|k| a(i, k) * b(k, j)).sum::<f32>();
            }
        }
    }
    let operands = [given(&pack(&A_PARTS, true, a)), given(&pack(&B_PARTS, false, b)), given(&sums)];
    let inputs = operands.into_iter().chain([poison::<f32>(128)]).collect();
    Primitive {
        op: "mma",
        what: "m16n8k16, bf16",
        program: block("selfcheck_mma", 32, 0, inputs),
        check: Box::new(move |out| equal("d", &values::<f32>(&out[3]), &expected)),
    }
}

fn ldmatrix() -> Primitive {
    let at = |row: usize, col: usize| (row * 8 + col) as f32;
    let input: Vec<u16> = (0..256).map(|i| bits(i as f32) as u16).collect();
    let (plain, transposed) = (pack(&STACKED, true, at), pack(&STACKED, false, at));
    let two = |lane: usize| [&plain, &transposed].map(|r| r[4 * lane..][..2].to_vec()).concat();
    let halves: Vec<u32> = (0..32).flat_map(two).collect();
    let expected = [plain.clone(), transposed.clone(), halves].concat();
    Primitive {
        op: "ldmatrix",
        what: "x4, x2, transposed",
        program: block("selfcheck_ldmatrix", 32, 512, vec![given(&input), poison::<u32>(384)]),
        check: Box::new(move |out| equal("registers", &values::<u32>(&out[1]), &expected)),
    }
}

fn copies() -> Primitive {
    let input: Vec<u32> = (0..512).collect();
    let from = |i: u32| (127 - i / 4) * 4 + i % 4;
    let expected: Vec<u32> = (0..512).map(|i| if from(i) < 400 { from(i) } else { 0 }).collect();
    let inputs = vec![given(&input), poison::<u32>(512), Input::Int(100)];
    Primitive {
        op: "cp_async",
        what: "with zeros behind the end",
        program: block("selfcheck_cp_async", 128, 2048, inputs),
        check: Box::new(move |out| equal("out", &values::<u32>(&out[1]), &expected)),
    }
}

fn shared_vectors() -> Primitive {
    let expected = [1f32, 2.0, 3.0, 4.0].repeat(32);
    Primitive {
        op: "shared",
        what: "four values of a lane, strided",
        program: block("selfcheck_banks", 32, 4 * 1280, vec![Input::Int(36), poison::<f32>(128)]),
        check: Box::new(move |out| equal("out", &values::<f32>(&out[0]), &expected)),
    }
}

fn named_barriers() -> Primitive {
    let input: Vec<i32> = (0..7 * 32).collect();
    let expected: Vec<i32> = (0..7 * 32).map(|i| 2 * (i / 32 * 32 + 31 - i % 32)).collect();
    let inputs = vec![given(&input), poison::<i32>(7 * 32), Input::Int(7)];
    Primitive {
        op: "named_barriers",
        what: "a producer and a consumer",
        program: block("selfcheck_named", 64, 256, inputs),
        check: Box::new(move |out| equal("out", &values::<i32>(&out[1]), &expected)),
    }
}

fn reductions() -> Primitive {
    let x: Vec<f32> = Random::new(2).normals(256, 1.0, 1.0);
    let inputs = vec![given(&x), poison::<f32>(768)];
    let check = move |out: &[Vec<u8>]| {
        let found = values::<f32>(&out[1]);
        let sum = |f: fn(f64) -> f64| x.iter().map(|&x| f(f64::from(x))).sum::<f64>();
        let naive = |f: fn(f32) -> f32| x.iter().map(|&x| f(x)).sum::<f32>();
        let sums =
            [("sum", 0, sum(|x| x), naive(|x| x)), ("sum of squares", 512, sum(|x| x * x), naive(|x| x * x))];
        for (name, at, exact, naive) in sums {
            equal(name, &found[at..at + 256], &[found[at]; 256])?;
            agree(name, &found[at..=at], vec![naive], vec![exact])?;
        }
        equal("maximum", &found[256..512], &[x.iter().copied().fold(f32::MIN, f32::max); 256])
    };
    let program = block("selfcheck_reduce", 256, 128, inputs);
    Primitive { op: "reductions", what: "sum and maximum of a block", program, check: Box::new(check) }
}

fn agree(name: &'static str, found: &[f32], naive: Vec<f32>, exact: Vec<f64>) -> Result<(), String> {
    let expected = Expected::new(name, Stored::F32, exact.len(), naive, exact);
    let judgement = judge(&vec![(name, found.to_vec())], &[expected]);
    let text = format!("{}: {:.1e}, allowed {:.1e}", judgement.what, judgement.error, judgement.bound);
    judgement.holds().then_some(()).ok_or(text)
}

fn atomic() -> Primitive {
    let inputs = vec![given(&[7i32]), poison::<i32>(9 * 32)];
    let check = |out: &[Vec<u8>]| {
        let mut found = values::<i32>(&out[1]);
        found.sort_unstable();
        equal("tickets", &found, &(0..9 * 32).map(|i| 7 + 2 * i).collect::<Vec<i32>>())?;
        equal("counter", &values::<i32>(&out[0]), &[7 + 2 * 9 * 32])
    };
    let program = Program { grid: [9, 1, 1], ..block("selfcheck_atomic", 32, 0, inputs) };
    Primitive { op: "atomic", what: "additions of nine blocks", program, check: Box::new(check) }
}

/// Known answers of Random123 (kat_vectors: philox4x32 10).
fn random_bits(key: u64, high: u64, expected: [u32; 4]) -> Primitive {
    let inputs = vec![Input::Long(key), Input::Long(high), poison::<u32>(4), Input::Int(1)];
    Primitive {
        op: "philox",
        what: if key == 0 { "known answer" } else { "the paper's rounds" },
        program: block("selfcheck_philox", 32, 0, inputs),
        check: Box::new(move |out| equal("bits", &values::<u32>(&out[0]), &expected)),
    }
}

/// Copies, ldmatrix and mma together: `C [m, n]` of `A [m, k]` and `B [n, k]`, in blocks of 32 × 32.
pub fn product(m: usize, n: usize, k: usize) -> Primitive {
    let mut random = Random::new(5);
    let (a, b) = (bf16s(&random.normals(m * k, 0.0, 1.0)), bf16s(&random.normals(n * k, 0.0, 1.0)));
    let sizes = [Input::Int(n as i32), Input::Int(k as i32)];
    let inputs = [halves(&a), halves(&b), poison::<f32>(m * n)].into_iter().chain(sizes).collect();
    let program =
        Program { grid: [n as u32 / 32, m as u32 / 32, 1], ..block("selfcheck_gemm", 128, 8192, inputs) };
    let check = move |out: &[Vec<u8>]| {
        let (mut naive, mut exact) = (Vec::new(), Vec::new());
        for a in a.chunks(k) {
            for b in b.chunks(k) {
                naive.push(dot(a, b));
                exact.push(a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>());
            }
        }
        agree("c", &values::<f32>(&out[2]), naive, exact)
    };
    Primitive { op: "product", what: "copies, ldmatrix and mma", program, check: Box::new(check) }
}
