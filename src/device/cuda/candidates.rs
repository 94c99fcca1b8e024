//! The algorithms that cuBLASLt proposes for a shape.
use super::api::Blas;
use super::blas::{ALIGNMENT, Descriptors};
use cudarc::cublaslt::sys::cublasLtMatmulPreferenceAttributes_t::{self, *};
use cudarc::cublaslt::sys::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
use cudarc::cublaslt::sys::{
    cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
};
use std::mem::MaybeUninit;
use std::ptr::{addr_of, null_mut};

/// How many it is asked for.
const CANDIDATES: usize = 32;

/// An algorithm and its scratch memory.
type Candidate = (cublasLtMatmulAlgo_t, usize);

/// What cuBLASLt proposes, without sums whose order depends on chance.
pub fn candidates(
    blas: &Blas,
    handle: cublasLtHandle_t,
    of: &Descriptors,
    workspace: usize,
) -> Result<Vec<Candidate>, String> {
    let mut preference: cublasLtMatmulPreference_t = null_mut();
    // SAFETY: writes one value.
    let status = unsafe { (blas.cublasLtMatmulPreferenceCreate)(&mut preference) };
    blas.check("cublasLtMatmulPreferenceCreate", status)?;
    let found = candidates_with(blas, handle, of, workspace, preference);
    // SAFETY: used for the last time.
    unsafe { (blas.cublasLtMatmulPreferenceDestroy)(preference) };
    found
}

fn candidates_with(
    blas: &Blas,
    handle: cublasLtHandle_t,
    of: &Descriptors,
    workspace: usize,
    preference: cublasLtMatmulPreference_t,
) -> Result<Vec<Candidate>, String> {
    let set = |which: cublasLtMatmulPreferenceAttributes_t, value: &[u8]| {
        // SAFETY: reads as many bytes as there are.
        let status = unsafe {
            (blas.cublasLtMatmulPreferenceSetAttribute)(preference, which, value.as_ptr().cast(), value.len())
        };
        blas.check(&format!("cublasLtMatmulPreferenceSetAttribute {which:?}"), status)
    };
    set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &(workspace as u64).to_ne_bytes())?;
    // Besides algorithms without any reduction: partial sums in f32, added up by a kernel of their own.
    let scheme = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
    set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme.to_ne_bytes())?;
    for operand in [
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
    ] {
        set(operand, &(ALIGNMENT as u32).to_ne_bytes())?;
    }
    let mut results = [const { MaybeUninit::<cublasLtMatmulHeuristicResult_t>::zeroed() }; CANDIDATES];
    let mut count = 0;
    // SAFETY: the descriptors belong together; at most as many results are written as there is room for.
    let status = unsafe {
        (blas.cublasLtMatmulAlgoGetHeuristic)(
            handle,
            of.product,
            of.a,
            of.b,
            of.c,
            of.d,
            preference,
            CANDIDATES as i32,
            results.as_mut_ptr().cast(),
            &mut count,
        )
    };
    blas.check("cublasLtMatmulAlgoGetHeuristic", status)?;
    let usable = results.iter().take(count.max(0) as usize).filter_map(|result| {
        let result = result.as_ptr();
        // SAFETY: written, or zeroed before; the state is read as a number, for it may be one cudarc has no name for.
        unsafe {
            (addr_of!((*result).state).cast::<u32>().read() == 0)
                .then(|| (addr_of!((*result).algo).read(), addr_of!((*result).workspaceSize).read()))
        }
    });
    let usable: Vec<_> = usable.filter(|(_, bytes)| *bytes <= workspace).collect();
    if usable.is_empty() { Err("cuBLASLt knows no algorithm".into()) } else { Ok(usable) }
}
