//! One description of a matrix product, in cuBLASLt's own terms: the `cuda` device passes it on unchanged, the
//! `emulated` one checks its rules and executes it.
use std::fmt;

/// Type of the elements of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Type {
    /// bf16, `CUDA_R_16BF`.
    Bf16,
    /// f32, `CUDA_R_32F`.
    F32,
}

impl Type {
    /// Of an element.
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 => 4,
        }
    }
}

/// What happens to the product before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Epilogue {
    /// Nothing but the product, `CUBLASLT_EPILOGUE_DEFAULT`.
    None,
    /// `CUBLASLT_EPILOGUE_BIAS`: `bias[i]` is added to row `i` of D; bf16.
    Bias,
    /// `CUBLASLT_EPILOGUE_BGRADB`: `bias[j]` becomes the sum over `k` of column `j` of op(B), whatever `beta` is: nothing
    /// is added to what was there. Of the type of D, which must be f32. NVIDIA states neither order nor precision of
    /// the sum; `rewarm selftest` measures it.
    BiasGradient,
}

/// All of a product but its addresses: what an algorithm is chosen for. Everything is column-major:
/// `D [m, n] = epilogue(op(A) [m, k] · op(B) [k, n] + beta · C [m, n])`, accumulated in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GemmShape {
    /// Rows of D, column-major as in all of cuBLASLt.
    pub m: usize,
    /// Columns of D, and of C.
    pub n: usize,
    /// Length of the inner products.
    pub k: usize,
    /// Whether A is stored as `[k, m]`.
    pub transpose_a: bool,
    /// Whether B is stored as `[n, k]`.
    pub transpose_b: bool,
    /// Elements between columns of A.
    pub lda: usize,
    /// Leading dimension of B, in elements.
    pub ldb: usize,
    /// Of C, which may be D.
    pub ldc: usize,
    /// Leading dimension of D, in elements.
    pub ldd: usize,
    /// Of C and D; A and B are bf16.
    pub output: Type,
    /// Factor on C: 0, which leaves it unread, or 1.
    pub beta: u8,
    /// What happens to the product.
    pub epilogue: Epilogue,
}

impl fmt::Display for GemmShape {
    /// One word, the key under which a choice is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = |t| if t { 't' } else { 'n' };
        let output = if self.output == Type::F32 { "f32" } else { "bf16" };
        let bias = match self.epilogue {
            Epilogue::None => "",
            Epilogue::Bias => "-bias",
            Epilogue::BiasGradient => "-bgradb",
        };
        write!(f, "{}{}-m{}-n{}-k{}", op(self.transpose_a), op(self.transpose_b), self.m, self.n, self.k)?;
        write!(f, "-a{}-b{}-c{}-d{}", self.lda, self.ldb, self.ldc, self.ldd)?;
        write!(f, "-{output}-beta{}{bias}", self.beta)
    }
}

impl GemmShape {
    /// Memory that [`super::Device::plan`] needs to time a product of this shape.
    pub fn operand_bytes(&self) -> usize {
        self.operand_offsets()[4] + self.bias().map_or(0, |(of, len)| of.bytes() * len)
    }

    /// The same product with nothing done to it.
    pub fn plain(self) -> Self {
        Self { epilogue: Epilogue::None, ..self }
    }

    /// Type and length of the bias or its gradient.
    pub(super) fn bias(&self) -> Option<(Type, usize)> {
        match self.epilogue {
            Epilogue::None => None,
            Epilogue::Bias => Some((Type::Bf16, self.m)),
            Epilogue::BiasGradient => Some((self.output, self.n)),
        }
    }

    /// Where [`super::Device::plan`] puts A, B, C, D and the bias. C is D where they look alike.
    pub(crate) fn operand_offsets(&self) -> [usize; 5] {
        let element = self.output.bytes();
        let a = self.lda * if self.transpose_a { self.m } else { self.k } * 2;
        let b = self.ldb * if self.transpose_b { self.k } else { self.n } * 2;
        let c = if self.ldc == self.ldd { 0 } else { self.ldc * self.n * element };
        let mut end = 0;
        let mut next = |bytes: usize| {
            let start = end;
            end += bytes.next_multiple_of(super::RED_ZONE);
            start
        };
        let (a, b, c) = (next(a), next(b), next(c));
        let d = next(self.ldd * self.n * element);
        [a, b, c, d, end]
    }
}

/// A product. Addresses are device addresses; `c` is `d` where it accumulates in place or `beta` is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gemm {
    /// Sizes, types and epilogue.
    pub shape: GemmShape,
    /// Device address of A.
    pub a: u64,
    /// Device address of B.
    pub b: u64,
    /// Device address of C.
    pub c: u64,
    /// Device address of D.
    pub d: u64,
    /// What the epilogue reads or writes; 0 without one.
    pub bias: u64,
}

/// The choice where a product does not use its epilogue, see [`super::Device::plan_epilogue`].
pub(super) const SEPARATE: &str = "separate";
