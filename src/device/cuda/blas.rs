//! Matrix products: cuBLASLt's descriptors of a shape, the algorithm chosen for it, and the call.
use super::api::Blas;
use crate::device::{Epilogue, GemmShape, Type};
use crate::ops::GemmChoices;
use crate::{Error, Result};
use cudarc::cublaslt::sys::cublasComputeType_t::CUBLAS_COMPUTE_32F;
use cudarc::cublaslt::sys::cublasLtEpilogue_t::{
    CUBLASLT_EPILOGUE_BGRADB, CUBLASLT_EPILOGUE_BIAS, CUBLASLT_EPILOGUE_DEFAULT,
};
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t::{self, *};
use cudarc::cublaslt::sys::cudaDataType_t::{self, CUDA_R_16BF, CUDA_R_32F};
use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
};
use std::collections::{BTreeMap, HashMap};
use std::ptr::{from_ref, null_mut};

/// Operands start at multiples of this: what algorithms are chosen for.
pub const ALIGNMENT: u64 = 16;

/// cuBLASLt on one GPU, with what was chosen so far.
pub struct Products {
    pub blas: &'static Blas,
    pub handle: cublasLtHandle_t,
    /// GPU, SMs and versions: where choices apply.
    place: String,
    pub plans: HashMap<GemmShape, Plan>,
    /// Choices of an earlier run, and epilogues that are not used, by [`GemmShape`]'s name.
    pub adopted: BTreeMap<String, String>,
}

/// What a product of one shape needs.
pub struct Plan {
    pub of: Descriptors,
    pub algorithm: cublasLtMatmulAlgo_t,
    /// Scratch memory of the algorithm.
    pub workspace: usize,
}

impl Products {
    /// Starts cuBLASLt in the current context.
    pub fn new(blas: &'static Blas, place: String) -> Result<Self, String> {
        let mut handle = null_mut();
        // SAFETY: a context is current; one value is written.
        blas.check("cublasLtCreate", unsafe { (blas.cublasLtCreate)(&mut handle) })?;
        Ok(Self { blas, handle, place, plans: HashMap::new(), adopted: BTreeMap::new() })
    }

    /// What was chosen here or adopted.
    pub fn choices(&self) -> GemmChoices {
        let mut algorithms = self.adopted.clone();
        algorithms
            .extend(self.plans.iter().map(|(shape, plan)| (shape.to_string(), to_text(&plan.algorithm))));
        GemmChoices { device: self.place.clone(), algorithms }
    }

    /// Choices of another run of this GPU and these versions.
    pub fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        if choices.device != self.place {
            return Err(Error::NotReproducible(format!(
                "the run's matrix products were chosen on \"{}\", this is \"{}\": other algorithms give other bits",
                choices.device, self.place
            )));
        }
        self.adopted.extend(choices.algorithms.iter().map(|(shape, text)| (shape.clone(), text.clone())));
        Ok(())
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made by `new`, used for the last time.
        unsafe { (self.blas.cublasLtDestroy)(self.handle) };
    }
}

/// cuBLASLt's description of a shape.
pub struct Descriptors {
    blas: &'static Blas,
    pub product: cublasLtMatmulDesc_t,
    pub a: cublasLtMatrixLayout_t,
    pub b: cublasLtMatrixLayout_t,
    pub c: cublasLtMatrixLayout_t,
    pub d: cublasLtMatrixLayout_t,
}

impl Descriptors {
    /// Accumulated and scaled in f32, A and B in bf16, factors on the host.
    pub fn new(blas: &'static Blas, shape: &GemmShape) -> Result<Self, String> {
        let GemmShape { m, n, k, transpose_a, transpose_b, lda, ldb, ldc, ldd, .. } = *shape;
        let mut of =
            Self { blas, product: null_mut(), a: null_mut(), b: null_mut(), c: null_mut(), d: null_mut() };
        // SAFETY: writes one value.
        let status =
            unsafe { (blas.cublasLtMatmulDescCreate)(&mut of.product, CUBLAS_COMPUTE_32F, CUDA_R_32F) };
        blas.check("cublasLtMatmulDescCreate", status)?;
        of.set(CUBLASLT_MATMUL_DESC_TRANSA, i32::from(transpose_a))?;
        of.set(CUBLASLT_MATMUL_DESC_TRANSB, i32::from(transpose_b))?;
        let cuda_type = |of| if of == Type::F32 { CUDA_R_32F } else { CUDA_R_16BF };
        let epilogue = match shape.epilogue {
            Epilogue::None => CUBLASLT_EPILOGUE_DEFAULT,
            Epilogue::Bias => CUBLASLT_EPILOGUE_BIAS,
            Epilogue::BiasGradient => CUBLASLT_EPILOGUE_BGRADB,
        };
        of.set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue as u32)?;
        if let Some((bias, _)) = shape.bias() {
            of.set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, cuda_type(bias) as i32)?;
        }
        let stored =
            |transposed: bool, rows, columns| if transposed { (columns, rows) } else { (rows, columns) };
        let output = cuda_type(shape.output);
        of.a = layout(blas, CUDA_R_16BF, stored(transpose_a, m, k), lda)?;
        of.b = layout(blas, CUDA_R_16BF, stored(transpose_b, k, n), ldb)?;
        of.c = layout(blas, output, (m, n), ldc)?;
        of.d = layout(blas, output, (m, n), ldd)?;
        Ok(of)
    }

    /// An attribute of the product; `T` has the size that the attribute has.
    pub fn set<T: bytemuck::NoUninit>(
        &self,
        which: cublasLtMatmulDescAttributes_t,
        value: T,
    ) -> Result<(), String> {
        // SAFETY: reads as many bytes as the value has.
        let status = unsafe {
            (self.blas.cublasLtMatmulDescSetAttribute)(
                self.product,
                which,
                from_ref(&value).cast(),
                size_of::<T>(),
            )
        };
        self.blas.check(&format!("cublasLtMatmulDescSetAttribute {which:?}"), status)
    }
}

/// A column-major matrix.
fn layout(
    blas: &Blas,
    of: cudaDataType_t,
    (rows, columns): (usize, usize),
    stride: usize,
) -> Result<cublasLtMatrixLayout_t, String> {
    let mut layout = null_mut();
    let (rows, columns, stride) = (rows as u64, columns as u64, stride as i64);
    // SAFETY: writes one value.
    let status = unsafe { (blas.cublasLtMatrixLayoutCreate)(&mut layout, of, rows, columns, stride) };
    blas.check("cublasLtMatrixLayoutCreate", status)?;
    Ok(layout)
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        for layout in [self.a, self.b, self.c, self.d].into_iter().filter(|layout| !layout.is_null()) {
            // SAFETY: made by `layout`, used for the last time.
            unsafe { (self.blas.cublasLtMatrixLayoutDestroy)(layout) };
        }
        if !self.product.is_null() {
            // SAFETY: made by `new`, used for the last time.
            unsafe { (self.blas.cublasLtMatmulDescDestroy)(self.product) };
        }
    }
}

/// An algorithm is 64 bytes of plain data, valid for one version of the library: as hexadecimal digits.
fn to_text(algorithm: &cublasLtMatmulAlgo_t) -> String {
    algorithm.data.iter().map(|word| format!("{word:016x}")).collect()
}

/// The algorithm that [`to_text`] wrote; none where the text is not of its form.
pub fn from_text(text: &str) -> Option<cublasLtMatmulAlgo_t> {
    if text.len() != 128 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut data = [0; 8];
    for (i, word) in data.iter_mut().enumerate() {
        *word = u64::from_str_radix(&text[16 * i..][..16], 16).ok()?;
    }
    Some(cublasLtMatmulAlgo_t { data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithms_survive_as_text() {
        let algorithm = cublasLtMatmulAlgo_t { data: [1, u64::MAX, 0, 0xABCD, 5, 6, 7, 1 << 63] };
        let text = to_text(&algorithm);
        assert_eq!(text.len(), 128);
        assert_eq!(from_text(&text), Some(algorithm));
        assert_eq!(from_text(&text[1..]), None);
        assert_eq!(from_text(&format!("+{}", &text[1..])), None);
    }
}
