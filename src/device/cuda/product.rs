//! Matrix products on a GPU: which algorithm a shape has, and the call.
use super::Cuda;
use super::blas::{ALIGNMENT, Descriptors, Plan, Products};
use crate::device::gemm::SEPARATE;
use crate::device::{Epilogue, Gemm, GemmShape, Span};
use crate::{Error, Result};
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
use cudarc::driver::sys::CUstream;
use std::ptr::from_ref;

impl Cuda {
    /// The trait's `plan`: the adopted algorithm, or the fastest.
    pub(super) fn plan_product(&mut self, shape: &GemmShape, operands: Span) -> Result<()> {
        let products = &self.products;
        if products.plans.contains_key(shape) {
            return Ok(());
        }
        let adopted = products.adopted.get(&shape.to_string()).filter(|choice| *choice != SEPARATE).cloned();
        let of = self.outcome(Descriptors::new(products.blas, shape))?;
        let timed = shape.operand_bytes() <= operands.bytes;
        let plan = match adopted {
            Some(text) => self.adopted_plan(shape, of, &text)?,
            None if timed => self.fastest_plan(shape, of, operands)?,
            None => self.first_plan(shape, of)?,
        };
        if timed {
            self.warm(&plan, shape, operands)?;
        }
        self.products.plans.insert(*shape, plan);
        Ok(())
    }

    /// The trait's `gemm`.
    pub(super) fn product(&self, stream: CUstream, gemm: &Gemm) -> Result<()> {
        let shape = &gemm.shape;
        let products = &self.products;
        let plan = products.plans.get(shape);
        let plan = plan.ok_or_else(|| Error::refused(format!("no algorithm was chosen for {shape}")))?;
        if [gemm.a, gemm.b, gemm.c, gemm.d].iter().any(|address| !address.is_multiple_of(ALIGNMENT)) {
            return Err(Error::refused(format!("{shape}: operands start at multiples of {ALIGNMENT} bytes")));
        }
        self.outcome(self.multiply(stream, plan, gemm)?.map_err(|why| format!("{shape}: {why}")))
    }

    /// One call of cuBLASLt, refused where its workspace is too small. What the call says is inside.
    pub(super) fn multiply(&self, stream: CUstream, plan: &Plan, gemm: &Gemm) -> Result<Result<(), String>> {
        if plan.workspace > self.workspace.bytes {
            let (need, have) = (plan.workspace, self.workspace.bytes);
            return Err(Error::refused(format!(
                "{}: {need} bytes of workspace, there are {have}",
                gemm.shape
            )));
        }
        let workspace = if self.workspace.bytes == 0 { 0 } else { self.place(self.workspace)? };
        let Products { blas, handle, .. } = &self.products;
        let Descriptors { product, a, b, c, d, .. } = plan.of;
        if gemm.shape.epilogue != Epilogue::None
            && let Err(why) = plan.of.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, gemm.bias)
        {
            return Ok(Err(why));
        }
        let (alpha, beta) = (1f32, f32::from(gemm.shape.beta));
        // SAFETY: the descriptors and the algorithm belong together; addresses are the caller's, like those of a
        // launch. The factors are read before the call returns.
        let status = unsafe {
            (blas.cublasLtMatmul)(
                *handle,
                product,
                from_ref(&alpha).cast(),
                gemm.a as *const _,
                a,
                gemm.b as *const _,
                b,
                from_ref(&beta).cast(),
                gemm.c as *const _,
                c,
                gemm.d as *mut _,
                d,
                &plan.algorithm,
                workspace as *mut _,
                self.workspace.bytes,
                stream.cast(),
            )
        };
        Ok(blas.check("cublasLtMatmul", status))
    }
}
