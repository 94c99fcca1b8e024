//! Matrix products as cuBLASLt would do them: its rules, then f32 sums in an order that the shape alone decides,
//! and one rounding.
use super::super::{Epilogue, Gemm, GemmShape, Span, Type};
use super::Emulated;
use super::memory::Memory;
use crate::{Error, Result};
use half::bf16;
use rayon::prelude::*;

/// Columns of D that are computed together.
const COLUMNS: usize = 128;

/// An operand as it is stored: columns of `rows` consecutive elements.
#[derive(Clone, Copy)]
struct Matrix {
    name: char,
    address: u64,
    of: Type,
    rows: usize,
    columns: usize,
    ld: usize,
}

impl Matrix {
    /// From the first byte to the last; None beyond what can be addressed.
    fn bytes(&self) -> Option<usize> {
        let elements = self.ld.checked_mul(self.columns - 1)?.checked_add(self.rows)?;
        elements.checked_mul(self.of.bytes())
    }

    /// Where it lies, at that address of the arena.
    fn span(&self, base: u64) -> Span {
        Span { offset: (self.address - base) as usize, bytes: self.bytes().unwrap_or(0) }
    }

    /// Whether an element of one is on one of the other. Matrices side by side in the rows of a wider one are
    /// apart; of others the whole extents are compared.
    fn overlaps(&self, other: &Self) -> bool {
        let (x, y) = (self.span(0), other.span(0));
        if x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset {
            return false;
        }
        let step = self.ld * self.of.bytes();
        if step != other.ld * other.of.bytes() {
            return true;
        }
        let apart = (y.offset as i128 - x.offset as i128).rem_euclid(step as i128) as usize;
        apart < self.rows * self.of.bytes() || apart + other.rows * other.of.bytes() > step
    }
}

/// A, B, C, D.
fn operands(g: &Gemm) -> [Matrix; 4] {
    let s = &g.shape;
    let stored = |name, address, (rows, columns), ld, of| Matrix { name, address, of, rows, columns, ld };
    let flip = |transposed, (rows, columns)| if transposed { (columns, rows) } else { (rows, columns) };
    [
        stored('A', g.a, flip(s.transpose_a, (s.m, s.k)), s.lda, Type::Bf16),
        stored('B', g.b, flip(s.transpose_b, (s.k, s.n)), s.ldb, Type::Bf16),
        stored('C', g.c, (s.m, s.n), s.ldc, s.output),
        stored('D', g.d, (s.m, s.n), s.ldd, s.output),
    ]
}

fn refused(s: &GemmShape, why: String) -> Result<()> {
    Err(Error::refused(format!("product {s}: {why}")))
}

/// Refuses a shape that cuBLASLt has no tensor-core algorithm for, or computes something else.
pub fn check_shape(s: &GemmShape) -> Result<()> {
    if s.m == 0 || s.n == 0 || s.k == 0 || s.beta > 1 {
        return refused(s, "expected sizes above 0 and a beta of 0 or 1".into());
    }
    for x in operands(&Gemm { shape: *s, a: 0, b: 0, c: 0, d: 0, bias: 0 }) {
        let whole = 16 / x.of.bytes();
        if x.ld < x.rows || !x.ld.is_multiple_of(whole) || x.bytes().is_none() {
            let Matrix { name, rows, ld, .. } = x;
            return refused(
                s,
                format!(
                    "{name} has a leading dimension of {ld}, expected a multiple of {whole} from {rows} on"
                ),
            );
        }
    }
    match (s.epilogue, s.output) {
        (Epilogue::Bias, Type::F32) => {
            refused(s, "the bias of a product in f32 is f32, expected one in bf16".into())
        }
        (Epilogue::BiasGradient, Type::Bf16) => {
            refused(s, "a bias gradient has the type of D, bf16, expected f32".into())
        }
        _ => Ok(()),
    }
}

/// Refuses addresses that cuBLASLt would not take or that are not those of one span each.
pub fn check(memory: &Memory, g: &Gemm) -> Result<()> {
    let s = &g.shape;
    check_shape(s)?;
    let all = operands(g);
    let bias =
        s.bias().map(|(of, len)| Matrix { name: 'b', address: g.bias, of, rows: len, columns: 1, ld: len });
    for x in all.iter().chain(&bias) {
        let name = if x.name == 'b' { "the bias".to_owned() } else { x.name.to_string() };
        if !x.address.is_multiple_of(16) {
            return refused(s, format!("{name} is at {:#x}, expected a multiple of 16 bytes", x.address));
        }
        let bytes = x.bytes().unwrap_or(usize::MAX);
        if memory.find(x.address, bytes).is_none() {
            let offset = x.address.wrapping_sub(memory.address());
            return refused(
                s,
                format!("{name}, {bytes} bytes at {offset:#x}, is not part of a span of the arena"),
            );
        }
    }
    if s.epilogue == Epilogue::None && g.bias != 0 {
        return refused(s, "a bias without the epilogue that adds it".into());
    }
    let [a, b, c, d] = all;
    for x in [a, b].iter().chain(&bias) {
        if d.overlaps(x) {
            let name = if x.name == 'b' { "the bias".to_owned() } else { x.name.to_string() };
            return refused(s, format!("D overlaps {name}"));
        }
    }
    if s.epilogue == Epilogue::BiasGradient
        && let Some(x) = [a, b, c].iter().find(|x| bias.is_some_and(|bias| bias.overlaps(x)))
    {
        return refused(s, format!("the bias overlaps {}", x.name));
    }
    let same = c.address == d.address && c.ld == d.ld;
    if !same && (s.beta == 0 || c.overlaps(&d)) {
        return refused(
            s,
            "C is neither D with D's leading dimension nor, with a beta of 1, apart from it".into(),
        );
    }
    Ok(())
}

/// The values, without gaps between columns.
fn dense(device: &Emulated, base: u64, x: &Matrix) -> Vec<f32> {
    let bytes = device.bytes(x.span(base));
    let mut values = vec![0f32; x.rows * x.columns];
    values.par_chunks_mut(x.rows).enumerate().for_each(|(j, to)| {
        let from = &bytes[j * x.ld * x.of.bytes()..][..x.rows * x.of.bytes()];
        match x.of {
            Type::F32 => to.copy_from_slice(bytemuck::cast_slice(from)),
            Type::Bf16 => {
                let from: &[bf16] = bytemuck::cast_slice(from);
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from.to_f32());
            }
        }
    });
    values
}

/// Columns `first..` of op(A) · op(B), as many as `d` has room for.
fn columns(s: &GemmShape, a: &[f32], b: &[f32], first: usize, d: &mut [f32]) {
    let n = d.len() / s.m;
    let strides = |transposed, rows: usize, columns: usize| match transposed {
        false => (rows as isize, 1),
        true => (1, columns as isize),
    };
    let (a_columns, a_rows) = strides(s.transpose_a, s.m, s.k);
    let (b_columns, b_rows) = strides(s.transpose_b, s.k, s.n);
    assert!(a.len() == s.m * s.k && b.len() == s.k * s.n && first + n <= s.n, "operands of {s}");
    let b = &b[first * b_columns as usize..];
    // SAFETY: A has m · k elements, B k · n, of which columns `first..first + n` are read, and D, which is
    // exclusive, m · n, all without gaps at these strides.
    unsafe {
        gemm::gemm(
            s.m,
            n,
            s.k,
            d.as_mut_ptr(),
            s.m as isize,
            1,
            false,
            a.as_ptr(),
            a_columns,
            a_rows,
            b.as_ptr(),
            b_columns,
            b_rows,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Sum of every column of op(B) `[k, n]`, from its first row to its last.
fn column_sums(s: &GemmShape, b: &[f32]) -> Vec<f32> {
    let mut sums = vec![0f32; s.n];
    if s.transpose_b {
        for row in b.chunks(s.n) {
            sums.iter_mut().zip(row).for_each(|(sum, b)| *sum += b);
        }
    } else {
        sums.iter_mut().zip(b.chunks(s.k)).for_each(|(sum, column)| column.iter().for_each(|b| *sum += b));
    }
    sums
}

/// Does what [`check`] found to be right.
pub fn run(device: &mut Emulated, base: u64, g: &Gemm) {
    let s = &g.shape;
    let [a, b, c, d] = operands(g);
    let (a, b) = (dense(device, base, &a), dense(device, base, &b));
    let mut sums = vec![0f32; s.m * s.n];
    let tiles = sums.par_chunks_mut(s.m * COLUMNS).enumerate();
    tiles.for_each(|(i, tile)| columns(s, &a, &b, i * COLUMNS, tile));
    if s.beta == 1 {
        let c = dense(device, base, &c);
        sums.iter_mut().zip(c).for_each(|(sum, c)| *sum += c);
    }
    if let Some((of, len)) = s.bias() {
        let span = Span { offset: (g.bias - base) as usize, bytes: of.bytes() * len };
        if s.epilogue == Epilogue::BiasGradient {
            device.bytes_mut(span).copy_from_slice(bytemuck::cast_slice(&column_sums(s, &b)));
        } else {
            let bias: &[bf16] = bytemuck::cast_slice(device.bytes(span));
            for column in sums.chunks_mut(s.m) {
                column.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias.to_f32());
            }
        }
    }
    let to = device.bytes_mut(d.span(base));
    for (to, column) in to.chunks_mut(s.ldd * s.output.bytes()).zip(sums.chunks(s.m)) {
        let to = &mut to[..s.m * s.output.bytes()];
        match s.output {
            Type::F32 => to.copy_from_slice(bytemuck::cast_slice(column)),
            Type::Bf16 => {
                let to: &mut [bf16] = bytemuck::cast_slice_mut(to);
                to.iter_mut().zip(column).for_each(|(to, &sum)| *to = bf16::from_f32(sum));
            }
        }
    }
}
