use super::panels::Left;
use super::*;
use crate::backend::cpu::memory::Rows;
use std::slice::from_ref;

const MODELS: [MicroKernel; 2] = [MicroKernel::DotModel, MicroKernel::AmxModel];

/// Those of this machine, and the models.
fn all() -> impl Iterator<Item = MicroKernel> {
    MicroKernel::ALL.into_iter().filter(|m| m.is_here()).chain(MODELS)
}

fn numbers(len: usize, seed: usize) -> Vec<bf16> {
    (0..len).map(|i| bf16::from_f32(((i * 7919 + seed * 104_729) % 1021) as f32 / 511.0 - 1.0)).collect()
}

fn dense(rows: usize, cols: usize) -> Matrix {
    Matrix { offset: 0, rows, cols, ld: cols }
}

/// `x` as stored for a factor `[rows, cols]`, transposed where it says so.
fn factor(x: &[bf16], rows: usize, cols: usize, turned: bool) -> Operand<'_, bf16> {
    if turned {
        Operand::T(Rows::matrix(x, dense(cols, rows)))
    } else {
        Operand::N(Rows::matrix(x, dense(rows, cols)))
    }
}

fn product(
    micro: MicroKernel,
    [m, n, k]: [usize; 3],
    turned: [bool; 2],
    c: &mut [f32],
    spans: &[Range<usize>],
) {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let factors = [factor(&a, m, k, turned[0]), factor(&b, k, n, turned[1])];
    let accumulate = c[0] != 0.0;
    Products::new(micro).multiply(RowsMut::matrix(c, dense(m, n)), accumulate, factors, spans, |_, _| ());
}

/// Element by element, in f64.
fn exact([m, n, k]: [usize; 3], turned: [bool; 2]) -> Vec<f64> {
    let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
    let at = |x: &[bf16], i: usize, j: usize, rows: usize, cols: usize, turned: bool| {
        x[if turned { j * rows + i } else { i * cols + j }].to_f64()
    };
    let term = |i: usize, j: usize, l: usize| at(&a, i, l, m, k, turned[0]) * at(&b, l, j, k, n, turned[1]);
    (0..m * n).map(|e| (0..k).map(|l| term(e / n, e % n, l)).sum()).collect()
}

const SHAPES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [3, 5, 7],
    [32, 32, 32],
    [33, 31, 33],
    [64, 96, 512],
    [70, 130, 515],
    [300, 40, 1030],
    [17, 700, 64],
    [257, 513, 48],
];

#[test]
fn a_product_is_the_sum_of_its_terms() {
    for micro in all() {
        for shape in SHAPES {
            for turned in [[false, true], [false, false], [true, false], [true, true]] {
                let [m, n, k] = shape;
                let exact = exact(shape, turned);
                for start in [0.0, 2.5] {
                    let mut c = vec![start; m * n];
                    product(micro, shape, turned, &mut c, from_ref(&(0..k)));
                    let worst = c.iter().zip(&exact).map(|(c, e)| (f64::from(*c - start) - e).abs());
                    let worst = worst.fold(0.0, f64::max);
                    assert!(worst <= 2e-6 * k as f64 + 3e-7, "{micro} {shape:?} {turned:?}: {worst:e}");
                }
            }
        }
    }
}

/// The instructions of this machine, and their models. Of those that it lacks the models stand in, in every other test.
fn modelled() -> impl Iterator<Item = (MicroKernel, MicroKernel)> {
    [MicroKernel::Avx512Bf16, MicroKernel::Amx].into_iter().zip(MODELS).filter(|(micro, _)| micro.is_here())
}

/// The instruction of this machine against what the manual says of it.
#[test]
fn instructions_are_as_their_models() {
    for (micro, model) in modelled() {
        for [m, n, k] in SHAPES {
            let mut results = [micro, model].map(|micro| {
                let mut c = vec![0.0; m * n];
                product(micro, [m, n, k], [false, true], &mut c, from_ref(&(0..k)));
                c
            });
            let [found, expected] = results.each_mut().map(|c| c.iter().map(|x| x.to_bits()));
            assert!(found.eq(expected), "{micro} {m} x {n} x {k}");
        }
    }
}

/// Random bits: subnormal numbers, infinities and NaN among them.
#[test]
fn instructions_are_as_their_models_on_any_bits() {
    let bits = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) as u32;
    let tame = |x: u32, i: usize| if i.is_multiple_of(3) { x & 0x3fff_3fff } else { x & 0x83ff_80ff };
    for (micro, model) in modelled() {
        for wild in [false, true] {
            let units = |seed: usize| -> Vec<u32> {
                (0..64 * 32)
                    .map(|i| (bits(i + seed), i))
                    .map(|(x, i)| if wild { x } else { tame(x, i) })
                    .collect()
            };
            let (a, b) = (units(1), units(100_000));
            let [found, expected] = [micro, model].map(|micro| {
                let mut c = [0.0f32; 32 * 32];
                let ready = micro.begin();
                ready.multiply(Left::Panel(&a), &b, &mut c, false);
                ready.multiply(Left::Panel(&b), &a, &mut c, true);
                c
            });
            for (i, (x, y)) in found.iter().zip(&expected).enumerate() {
                assert!(x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan(), "{micro} {i}: {x:e} {y:e}");
            }
        }
    }
}

/// Rows that lie in cache lines are read where they are, others are rearranged.
#[test]
fn rows_as_stored_and_rearranged_are_multiplied_alike() {
    let [m, n, k] = [96, 70, 1600];
    let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
    for micro in all() {
        let bits = [0, 1, 32].map(|offset| {
            let mut scratch = Scratch::new();
            let room = scratch.room(offset + a.len());
            room[offset..].copy_from_slice(&a);
            let factors = [factor(&room[offset..], m, k, false), factor(&b, k, n, true)];
            let mut c = vec![0.0f32; m * n];
            Products::new(micro).multiply(
                RowsMut::matrix(&mut c, dense(m, n)),
                false,
                factors,
                from_ref(&(0..k)),
                |_, _| (),
            );
            c.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        });
        assert!(bits[0] == bits[1] && bits[0] == bits[2], "{micro}");
    }
}

/// A depth that does not fit into the panels at once, with an odd length and a result that is rounded.
#[test]
fn deep_products_are_rounded_once() {
    let [m, n, k] = [3, 4200, 2111];
    let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
    let factors = [factor(&a, m, k, false), factor(&b, k, n, true)];
    let (mut wide, mut narrow) = (vec![0.0f32; m * n], vec![bf16::ZERO; m * n]);
    let mut products = Products::new(MicroKernel::Fma);
    let columns_seen = std::sync::Mutex::new(vec![0; n]);
    products.multiply(RowsMut::matrix(&mut wide, dense(m, n)), false, factors, from_ref(&(0..k)), |_, _| ());
    products.multiply(
        RowsMut::matrix(&mut narrow, dense(m, n)),
        false,
        factors,
        from_ref(&(0..k)),
        |_, (_, c)| {
            c.for_each(|c| columns_seen.lock().unwrap()[c] += 1);
        },
    );
    assert!(groups(&cut(from_ref(&(0..k)), 1), 4096).len() > 1, "too shallow to be split");
    assert!(narrow.iter().zip(&wide).all(|(n, w)| *n == bf16::from_f32(*w)));
    assert!(columns_seen.into_inner().unwrap().iter().all(|n| *n == 1));
}

/// `MicroKernel::Fma` is the plain loop, whatever vectors it runs in.
#[test]
fn widened_factors_add_up_term_by_term() {
    for shape @ [m, n, k] in SHAPES {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let mut c = vec![0.0; m * n];
        product(MicroKernel::Fma, shape, [false, true], &mut c, from_ref(&(0..k)));
        for (e, c) in c.iter().enumerate() {
            let (a, b) = (&a[e / n * k..][..k], &b[e % n * k..][..k]);
            let sum = a.iter().zip(b).fold(0.0f32, |sum, (a, b)| a.to_f32().mul_add(b.to_f32(), sum));
            assert_eq!(c.to_bits(), sum.to_bits(), "{shape:?} {e}");
        }
    }
}

#[test]
fn rows_beside_a_row_change_no_bit_of_it() {
    for micro in all() {
        let (n, k) = (130, 70);
        let (a, b) = (numbers(300 * k, 1), numbers(n * k, 2));
        let of = |rows: Range<usize>| {
            let mut c = vec![0.0; rows.len() * n];
            let a = Rows::matrix(&a[rows.start * k..], dense(rows.len(), k));
            let factors = [Operand::N(a), factor(&b, k, n, true)];
            let c_view = RowsMut::matrix(&mut c, dense(rows.len(), n));
            Products::new(micro).multiply(c_view, false, factors, from_ref(&(0..k)), |_, _| ());
            c
        };
        let all = of(0..300);
        for rows in [0..1, 5..38, 290..300] {
            assert!(of(rows.clone()) == all[rows.start * n..rows.end * n], "{micro} {rows:?}");
        }
    }
}
