//! Each primitive against a statement of its own: fragment layouts as the figures of the PTX ISA draw them, Philox as its authors publish it, bf16 as the crate `half`.
use crate::measure::{Stored, judge};
use crate::reference::random::Random;
use crate::rig::{Outputs, Run, bf16s, check_traffic, count, deterministic, every_mode, mutations, once};
use half::bf16;
use rewarm::Result;
use rewarm::device::Mode;
use rewarm::selftest::fragments::{A_PARTS, B_PARTS, C_PARTS, ROW_FIGURE, STACKED, bits, pack};

fn tickets(run: &mut Run) -> Result<()> {
    let (counter, out) = (run.upload(&[7i32]), run.poisoned::<i32>(9 * 32));
    run.launch("selfcheck_atomic", [9, 1, 1], 32, 0, &[counter.arg(), out.arg()])?;
    run.output("counter", &counter);
    run.output("out", &out);
    Ok(())
}

#[test]
fn atomic_additions_lose_nothing() {
    for mode in Mode::all() {
        let outputs = once(&mode, tickets).unwrap().0;
        let mut found = outputs.exact::<i32>("out");
        found.sort_unstable();
        assert_eq!(found, (0..9 * 32).map(|i| 7 + 2 * i).collect::<Vec<i32>>());
        assert_eq!(outputs.exact::<i32>("counter"), [7 + 2 * 9 * 32]);
    }
}

/// The reason why kernels have none: who comes first shows.
#[test]
#[should_panic(expected = "out differs")]
fn atomic_additions_are_found_to_depend_on_the_order() {
    deterministic(tickets);
}

#[test]
fn mma_fragments_are_those_of_the_ptx_isa() {
    // Small integers: every product and sum is exact.
    let a = |i: usize, k: usize| ((i * 7 + k * 3) % 13) as f32 - 6.0;
    let b = |k: usize, j: usize| ((k * 5 + j * 11) % 17) as f32 - 8.0;
    let c = |i: usize, j: usize| (i * 8 + j) as f32;
    let mut c_registers = vec![0f32; 128];
    let mut expected = vec![0f32; 128];
    for (part, &(row, col)) in C_PARTS.iter().enumerate() {
        for (i, lanes) in ROW_FIGURE.iter().enumerate() {
            for (j, lane) in lanes.iter().enumerate() {
                let register = 4 * lane + 2 * part + j % 2;
                let (i, j) = (row + i, col + j);
                c_registers[register] = c(i, j);
                expected[register] = c(i, j) + (0..16).map(|k| a(i, k) * b(k, j)).sum::<f32>();
            }
        }
    }
    let program = |run: &mut Run| {
        let (a, b) = (run.upload(&pack(&A_PARTS, true, a)), run.upload(&pack(&B_PARTS, false, b)));
        let (c, d) = (run.upload(&c_registers), run.poisoned::<f32>(128));
        let counters =
            run.launch("selfcheck_mma", [1, 1, 1], 32, 0, &[a.arg(), b.arg(), c.arg(), d.arg()])?;
        assert_eq!(counters.mma_flops, 2 * 16 * 8 * 16);
        run.output("d", &d);
        Ok(())
    };
    assert_eq!(every_mode(program).get("d"), expected);
    assert_eq!(count(program).mma_flops, 2 * 16 * 8 * 16);
}

#[test]
fn ldmatrix_fragments_are_those_of_the_ptx_isa() {
    let at = |row: usize, col: usize| (row * 8 + col) as f32;
    let input: Vec<f32> = (0..256).map(|i| i as f32).collect();
    let program = |run: &mut Run| {
        let (x, out) = (run.upload_bf16(&input), run.poisoned::<u32>(384));
        run.launch("selfcheck_ldmatrix", [1, 1, 1], 32, 512, &[x.arg(), out.arg()])?;
        run.output("out", &out);
        Ok(())
    };
    let registers = every_mode(program).exact::<u32>("out");
    assert_eq!(registers[..256], [plain(at), transposed(at)].concat());
    for lane in 0..32 {
        let x2 = [plain(at), transposed(at)].map(|r| r[4 * lane..][..2].to_vec()).concat();
        assert_eq!(registers[256 + 4 * lane..][..4], x2);
    }
    mutations("ldmatrix", &[], program);
    assert_eq!(count(program).bank_conflicts, 0);

    fn plain(at: impl Fn(usize, usize) -> f32) -> Vec<u32> {
        pack(&STACKED, true, at)
    }
    /// Lane l gets element (j, i) where it would have got (i, j).
    fn transposed(at: impl Fn(usize, usize) -> f32) -> Vec<u32> {
        pack(&STACKED, false, at)
    }
}

#[test]
fn indices_shuffles_and_votes() {
    let input: Vec<i32> = (0..32).map(|i| i * i % 41).collect();
    let program = |run: &mut Run| {
        let out = run.poisoned::<i32>(3 * 96);
        run.launch("selfcheck_indices", [1, 1, 1], 96, 0, &[out.arg()])?;
        run.output("indices", &out);
        let (x, out) = (run.upload(&input), run.poisoned::<i32>(6 * 32));
        run.launch("selfcheck_warp", [1, 1, 1], 32, 0, &[x.arg(), out.arg()])?;
        run.output("warp", &out);
        Ok(())
    };
    let expected = (0..96).map(|i| i % 32).chain((0..96).map(|i| i / 32)).chain((0..96).map(|_| 96));
    let out = every_mode(program);
    assert_eq!(out.get("indices"), expected.map(|x| x as f32).collect::<Vec<_>>());
    let warp = out.exact::<i32>("warp");
    let ballot = input.iter().enumerate().fold(0, |b, (i, x)| b | (x & 1) << i);
    for i in 0..32 {
        let down = if i + 3 < 32 { input[i + 3] } else { input[i] };
        let any = i32::from(input.contains(&40));
        let all = i32::from(input.iter().all(|&x| x < 40));
        let expected = [input[i ^ 5], down, input[7], ballot, any, all];
        assert_eq!((0..6).map(|k| warp[32 * k + i]).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn numbers() {
    let ties = [1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 1.0 + 2f32.powi(-8) + 2f32.powi(-20)];
    let edges =
        [0.0, -0.0, f32::MAX, f32::INFINITY, f32::NEG_INFINITY, 1e-40, f32::MIN_POSITIVE, 65504.0, -1e38];
    let mut x: Vec<f32> = [&ties[..], &edges[..]].concat();
    x.extend(Random::new(1).normals::<f32>(500, 0.0, 3.0));
    let program = |run: &mut Run| {
        let n = x.len();
        let (input, out) = (run.upload(&x), run.poisoned::<bf16>(n));
        let (back, packed) = (run.poisoned::<f32>(n), run.poisoned::<u32>(n / 2));
        let approx = run.poisoned::<f32>(4 * n);
        let args = [input.arg(), out.arg(), back.arg(), packed.arg(), approx.arg(), (n as i32).into()];
        run.launch("selfcheck_numbers", [1, 1, 1], 256, 0, &args)?;
        run.output("packed", &packed);
        run.output("bf16", &out);
        run.output("f32", &back);
        run.output("approx", &approx);
        Ok(())
    };
    let out = every_mode(program);
    let pairs: Vec<u32> = x.chunks(2).map(|p| bits(p[0]) | bits(p[1]) << 16).collect();
    assert_eq!(out.exact::<u32>("packed"), pairs);
    assert_eq!(out.get("bf16"), bf16s(&x));
    assert_eq!(out.get("f32"), bf16s(&x));
    let functions: [fn(f64) -> f64; 4] =
        [f64::exp2, |x| x.abs().log2(), |x| 1.0 / x, |x| 1.0 / x.abs().sqrt()];
    let exact = functions.iter().flat_map(|f| x.iter().map(move |&x| f(f64::from(x)) as f32));
    for (got, exact) in out.get("approx").iter().zip(exact) {
        assert!(got.to_bits().abs_diff(exact.to_bits()) <= 1, "{got} {exact}");
    }
}

#[test]
fn nan_stays_nan() {
    let program = |run: &mut Run| {
        let (input, out) = (run.upload(&[f32::NAN, -f32::NAN]), run.poisoned::<bf16>(2));
        let (back, packed, approx) = (run.poisoned::<f32>(2), run.poisoned::<u32>(1), run.poisoned::<f32>(8));
        let args = [input.arg(), out.arg(), back.arg(), packed.arg(), approx.arg(), 2i32.into()];
        run.launch("selfcheck_numbers", [1, 1, 1], 32, 0, &args)?;
        run.output("packed", &packed);
        Ok(())
    };
    assert_eq!(every_mode(program).exact::<u32>("packed"), [0x7fff_7fff]);
}

#[test]
fn asynchronous_copies() {
    let input: Vec<u32> = (0..512).collect();
    let program = |run: &mut Run| {
        let (x, out) = (run.upload(&input), run.poisoned::<u32>(512));
        run.launch("selfcheck_cp_async", [1, 1, 1], 128, 2048, &[x.arg(), out.arg(), 100i32.into()])?;
        run.output("out", &out);
        Ok(())
    };
    let out = every_mode(program);
    for (i, &x) in out.get("out").iter().enumerate() {
        let from = (127 - i / 4) * 4 + i % 4;
        assert_eq!(x, if from < 400 { from as f32 } else { 0.0 });
    }
    mutations("cp_async", &[], program);
}

#[test]
fn named_barriers() {
    let input: Vec<i32> = (0..7 * 32).collect();
    let program = |run: &mut Run| {
        let (x, out) = (run.upload(&input), run.poisoned::<i32>(7 * 32));
        run.launch("selfcheck_named", [1, 1, 1], 64, 256, &[x.arg(), out.arg(), 7i32.into()])?;
        run.output("out", &out);
        Ok(())
    };
    let expected = |i: usize| 2.0 * (i / 32 * 32 + 31 - i % 32) as f32;
    assert_eq!(every_mode(program).get("out"), (0..224).map(expected).collect::<Vec<_>>());
    assert_eq!(mutations("named barriers", &[], program), 4);
}

#[test]
fn reductions() {
    let x: Vec<f32> = Random::new(2).normals(256, 1.0, 1.0);
    let program = |run: &mut Run| {
        let (input, out) = (run.upload(&x), run.poisoned::<f32>(768));
        run.launch("selfcheck_reduce", [1, 1, 1], 256, 128, &[input.arg(), out.arg()])?;
        run.output("out", &out);
        Ok(())
    };
    let out = every_mode(program);
    let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
    let naive: f32 = x.iter().sum();
    judge("block_sum", Stored::F32, &out.get("out")[..256], &[naive; 256], &[exact; 256], 256);
    assert_eq!(out.get("out")[256..512], [x.iter().copied().fold(f32::MIN, f32::max); 256]);
    assert_eq!(mutations("reduce", &[], program), 4);
}

/// Known answers of Random123 (kat_vectors: philox4x32 10).
#[test]
fn philox_is_philox() {
    let one = |key: u64, high: u64| {
        let program = |run: &mut Run| {
            let out = run.poisoned::<u32>(4);
            run.launch(
                "selfcheck_philox",
                [1, 1, 1],
                32,
                0,
                &[key.into(), high.into(), out.arg(), 1i32.into()],
            )?;
            run.output("out", &out);
            Ok(())
        };
        assert_eq!(every_mode(program).exact::<u32>("out"), expected(key, 0, high));
    };
    assert_eq!(expected(0, 0, 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    assert_eq!(
        expected(0x299f_31d0_a409_3822, 0x85a3_08d3_243f_6a88, 0x0370_7344_1319_8a2e),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
    one(0, 0);
    one(0x299f_31d0_a409_3822, 0x0370_7344_1319_8a2e);

    /// The rounds as the paper writes them.
    fn expected(key: u64, lo: u64, hi: u64) -> [u32; 4] {
        let (mut c, mut k) =
            ([lo as u32, (lo >> 32) as u32, hi as u32, (hi >> 32) as u32], [key as u32, (key >> 32) as u32]);
        for _ in 0..10 {
            let (a, b) = (0xd251_1f53u64 * u64::from(c[0]), 0xcd9e_8d57u64 * u64::from(c[2]));
            c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
            k = [k[0].wrapping_add(0x9e37_79b9), k[1].wrapping_add(0xbb67_ae85)];
        }
        c
    }
}

struct Gemm {
    m: usize,
    n: usize,
    k: usize,
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Gemm {
    fn new(m: usize, n: usize, k: usize) -> Self {
        let mut random = Random::new(5);
        let (a, b) = (bf16s(&random.normals(m * k, 0.0, 1.0)), bf16s(&random.normals(n * k, 0.0, 1.0)));
        Self { m, n, k, a, b }
    }

    fn run(&self, run: &mut Run) -> Result<()> {
        let (a, b) = (run.upload_bf16(&self.a), run.upload_bf16(&self.b));
        let c = run.poisoned::<f32>(self.m * self.n);
        let args = [a.arg(), b.arg(), c.arg(), (self.n as i32).into(), (self.k as i32).into()];
        run.launch("selfcheck_gemm", [self.n / 32, self.m / 32, 1], 128, 8192, &args)?;
        run.output("c", &c);
        Ok(())
    }

    fn check(&self, out: &Outputs) {
        let (mut naive, mut exact) = (Vec::new(), Vec::new());
        for a in self.a.chunks(self.k) {
            for b in self.b.chunks(self.k) {
                naive.push(a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
                exact.push(a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>());
            }
        }
        judge("gemm", Stored::F32, out.get("c"), &naive, &exact, self.n);
    }
}

#[test]
fn a_small_gemm_uses_them_together() {
    let gemm = Gemm::new(64, 96, 256);
    gemm.check(&every_mode(|run| gemm.run(run)));
    let counters = count(|run| gemm.run(run));
    assert_eq!(counters.mma_flops, 2 * 64 * 96 * 256);
    // Each block reads its rows of both matrices.
    check_traffic(&counters, (2 * 3 * 2 * (32 + 32) * 256 + 4 * 64 * 96) as f64);
    let small = Gemm::new(32, 32, 128);
    assert_eq!(mutations("gemm", &[], |run| small.run(run)), 5);
}
