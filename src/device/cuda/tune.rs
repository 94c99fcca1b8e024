//! Which algorithm multiplies matrices of a shape: cuBLASLt's candidates timed on this GPU, on random numbers
//! (zeros draw less power and run faster), and of those that repeat their bits the fastest.
use super::Cuda;
use super::api::Driver;
use super::blas::{ALIGNMENT, Descriptors, Plan, from_text};
use super::candidates::candidates;
use crate::device::gemm::SEPARATE;
use crate::device::{Epilogue, Gemm, GemmShape, Launch, Span};
use crate::random::normal;
use crate::{Error, Result};
use cudarc::cublaslt::sys::cublasLtMatmulDescAttributes_t::CUBLASLT_MATMUL_DESC_BIAS_POINTER;
use cudarc::cublaslt::sys::{cublasLtMatmulAlgo_t, cublasLtMatmulHeuristicResult_t};
use cudarc::driver::sys::{CUevent, CUevent_flags, CUstream, CUstream_flags};
use half::bf16;
use std::mem::MaybeUninit;
use std::ptr::{addr_of, null_mut};
use std::sync::OnceLock;
use xxhash_rust::xxh3::Xxh3;

/// Measurements of a candidate, of which the median counts.
const SAMPLES: usize = 5;
/// How long a measurement should take, and how many products it has at most.
const SAMPLE: (f32, f32) = (0.3, 50.0);
/// A candidate that much slower than the best so far in its first run is not measured further.
const HOPELESS: f32 = 4.0;
/// Bytes compared at a time.
const CHUNK: usize = 32 << 20;

impl Cuda {
    /// The trait's `plan_epilogue`.
    pub(super) fn choose_epilogue(
        &mut self,
        shape: &GemmShape,
        operands: Span,
        instead: &Launch,
    ) -> Result<bool> {
        self.plan_product(&shape.plain(), operands)?;
        let name = shape.to_string();
        let products = &self.products;
        let adopted = products.adopted.get(&name).map(|choice| choice != SEPARATE);
        if products.plans.contains_key(shape) || adopted == Some(true) {
            self.plan_product(shape, operands)?;
            return Ok(true);
        }
        let timed = adopted.is_none() && shape.operand_bytes() <= operands.bytes;
        let faster = if timed { self.faster_with_epilogue(shape, operands, instead)? } else { None };
        match &faster {
            Some(plan) => self.warm(plan, shape, operands)?,
            None if timed => {
                let clock = self.outcome(Clock::new(self.driver))?;
                self.leave_ones(&clock, operands.part(0, shape.operand_bytes()))?;
            }
            None => (),
        }
        let products = &mut self.products;
        let used = faster.is_some();
        match faster {
            Some(plan) => drop(products.plans.insert(*shape, plan)),
            None => drop(products.adopted.insert(name, SEPARATE.into())),
        }
        Ok(used)
    }

    /// The plan with the epilogue, where cuBLASLt has one and it takes less time than a plain product and `instead`.
    fn faster_with_epilogue(
        &self,
        shape: &GemmShape,
        operands: Span,
        instead: &Launch,
    ) -> Result<Option<Plan>> {
        let products = &self.products;
        let of = self.outcome(Descriptors::new(products.blas, shape))?;
        let Ok(plan) = self.fastest(shape, of, operands)? else { return Ok(None) };
        let clock = self.outcome(Clock::new(self.driver))?;
        let (gemm, _) = self.place_operands(shape, operands)?;
        let (plain_gemm, _) = self.place_operands(&shape.plain(), operands)?;
        let plain = &products.plans[&shape.plain()];
        let with = self.time(&clock, f32::INFINITY, &|| self.multiply(clock.stream, &plan, &gemm))?;
        let without = self.time(&clock, f32::INFINITY, &|| {
            let done = self.multiply(clock.stream, plain, &plain_gemm)?;
            self.start_kernel(clock.stream, instead)?;
            Ok(done)
        })?;
        Ok(with.zip(without).is_some_and(|(with, without)| with < without).then_some(plan))
    }

    /// The fastest algorithm that gives the same bits twice.
    pub(super) fn fastest_plan(&self, shape: &GemmShape, of: Descriptors, operands: Span) -> Result<Plan> {
        let found = self.fastest(shape, of, operands)?;
        found.map_err(|why| Error::refused(format!("{shape}: {why}")))
    }

    /// The same, or why there is none.
    fn fastest(&self, shape: &GemmShape, of: Descriptors, operands: Span) -> Result<Result<Plan, String>> {
        let (gemm, output) = self.place_operands(shape, operands)?;
        if shape.epilogue != Epilogue::None {
            // Candidates depend on the alignment of the bias.
            self.outcome(of.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, gemm.bias))?;
        }
        let products = &self.products;
        let found = match candidates(products.blas, products.handle, &of, self.workspace.bytes) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let clock = self.quiet_clock()?;
        self.randomise(clock.stream, operands.part(0, shape.operand_bytes()))?;

        let mut plan = Plan { of, algorithm: cublasLtMatmulAlgo_t { data: [0; 8] }, workspace: 0 };
        let (mut timed, mut best) = (Vec::new(), f32::INFINITY);
        for candidate in found {
            (plan.algorithm, plan.workspace) = candidate;
            let time = self.time(&clock, best, &|| self.multiply(clock.stream, &plan, &gemm))?;
            if let Some(time) = time {
                timed.push((time, candidate));
                best = best.min(time);
            }
        }
        timed.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, candidate) in timed {
            (plan.algorithm, plan.workspace) = candidate;
            let run = || self.bits(&clock, &plan, &gemm, output);
            if run()? == run()? {
                return Ok(Ok(plan));
            }
        }
        Ok(Err("cuBLASLt has no algorithm that gives the same bits twice".into()))
    }

    /// cuBLASLt's own first choice, where there is no memory to time it on.
    pub(super) fn first_plan(&self, shape: &GemmShape, of: Descriptors) -> Result<Plan> {
        if shape.epilogue != Epilogue::None {
            // Candidates depend on the alignment of the bias.
            self.outcome(of.set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, self.place(self.workspace)?))?;
        }
        let products = &self.products;
        let found = candidates(products.blas, products.handle, &of, self.workspace.bytes);
        let found = self.outcome(found.map_err(|why| format!("{shape}: {why}")))?;
        let first = found.into_iter().next();
        let (algorithm, workspace) =
            first.ok_or_else(|| Error::failed(format!("{shape}: cuBLASLt has no algorithm")))?;
        Ok(Plan { of, algorithm, workspace })
    }

    /// The algorithm of an earlier run.
    pub(super) fn adopted_plan(&self, shape: &GemmShape, of: Descriptors, text: &str) -> Result<Plan> {
        let unusable =
            |why: String| Error::NotReproducible(format!("{shape}: the run's algorithm {text}: {why}"));
        let algorithm = from_text(text).ok_or_else(|| unusable("not 128 hexadecimal digits".into()))?;
        let products = &self.products;
        let mut result = MaybeUninit::<cublasLtMatmulHeuristicResult_t>::zeroed();
        // SAFETY: the descriptors belong together; a result is written.
        let status = unsafe {
            (products.blas.cublasLtMatmulAlgoCheck)(
                products.handle,
                of.product,
                of.a,
                of.b,
                of.c,
                of.d,
                &algorithm,
                result.as_mut_ptr(),
            )
        };
        products.blas.check("cublasLtMatmulAlgoCheck", status).map_err(unusable)?;
        // SAFETY: the result was written, or zeroed before.
        let workspace = unsafe { addr_of!((*result.as_ptr()).workspaceSize).read() };
        Ok(Plan { of, algorithm, workspace })
    }

    /// A clock, and nothing that runs beside it: what is timed uses memory of other work, and the workspace of all.
    fn quiet_clock(&self) -> Result<Clock> {
        let clock = self.outcome(Clock::new(self.driver))?;
        // SAFETY: waits for everything.
        self.waited("cuCtxSynchronize", unsafe { (self.driver.cuCtxSynchronize)() })?;
        Ok(clock)
    }

    /// Executes a plan once, so that capture finds its kernels loaded, and leaves 0xFF in the memory used.
    pub(super) fn warm(&self, plan: &Plan, shape: &GemmShape, operands: Span) -> Result<()> {
        let (gemm, _) = self.place_operands(shape, operands)?;
        let clock = self.quiet_clock()?;
        let used = operands.part(0, shape.operand_bytes());
        self.randomise(clock.stream, used)?;
        let done = self.multiply(clock.stream, plan, &gemm)?;
        self.outcome(done.map_err(|why| format!("{shape}: {why}")))?;
        self.leave_ones(&clock, used)
    }

    /// Fills memory, red zones included, with what they hold.
    fn leave_ones(&self, clock: &Clock, span: Span) -> Result<()> {
        let start = self.place(span)?;
        // SAFETY: inside of the arena.
        let code = unsafe { (self.driver.cuMemsetD8Async)(start, 0xFF, span.bytes, clock.stream) };
        self.outcome(self.driver.check("cuMemsetD8Async", code))?;
        self.finish(clock)
    }

    /// A product within `operands`, in place where C and D look alike; and all from its D on, where its results are.
    fn place_operands(&self, shape: &GemmShape, operands: Span) -> Result<(Gemm, Span)> {
        let need = shape.operand_bytes();
        if need > operands.bytes {
            let have = operands.bytes;
            return Err(Error::refused(format!("{shape}: {need} bytes to time it on, there are {have}")));
        }
        let start = self.place(operands)?;
        if !start.is_multiple_of(ALIGNMENT) {
            return Err(Error::refused(format!(
                "{operands:?} does not start at a multiple of {ALIGNMENT} bytes"
            )));
        }
        let [a, b, c, d, bias] = shape.operand_offsets();
        let at = |offset: usize| start + offset as u64;
        let output = operands.part(d, need - d);
        Ok((Gemm { shape: *shape, a: at(a), b: at(b), c: at(c), d: at(d), bias: at(bias) }, output))
    }

    /// Normally distributed numbers: a block of bf16 again and again. Pairs of them are normal f32 too.
    fn randomise(&self, stream: CUstream, span: Span) -> Result<()> {
        static BLOCK: OnceLock<Vec<bf16>> = OnceLock::new();
        let block = BLOCK.get_or_init(|| normal(1 << 18, 1.0, 1).into_iter().map(bf16::from_f32).collect());
        let block: &[u8] = bytemuck::cast_slice(block);
        let start = self.place(span)?;
        let mut done = block.len().min(span.bytes);
        // SAFETY: inside of the arena; the block lives as long as the process.
        let code = unsafe { (self.driver.cuMemcpyHtoDAsync_v2)(start, block.as_ptr().cast(), done, stream) };
        self.outcome(self.driver.check("cuMemcpyHtoDAsync", code))?;
        while done < span.bytes {
            let more = done.min(span.bytes - done);
            // SAFETY: inside of the arena; source and destination do not overlap, for `more` is at most `done`.
            let code =
                unsafe { (self.driver.cuMemcpyDtoDAsync_v2)(start + done as u64, start, more, stream) };
            self.outcome(self.driver.check("cuMemcpyDtoDAsync", code))?;
            done += more;
        }
        Ok(())
    }

    /// Milliseconds of what `issue` puts on the clock's stream, if cuBLASLt can do it this way.
    fn time(
        &self,
        clock: &Clock,
        best: f32,
        issue: &dyn Fn() -> Result<Result<(), String>>,
    ) -> Result<Option<f32>> {
        if issue()?.is_err() {
            return Ok(None);
        }
        self.finish(clock)?;
        let run = |products: usize| -> Result<f32> {
            self.outcome(clock.record(0))?;
            for _ in 0..products {
                self.outcome(issue()?)?;
            }
            self.outcome(clock.record(1))?;
            self.finish(clock)?;
            Ok(self.outcome(clock.elapsed())? / products as f32)
        };
        let first = run(1)?;
        if first > best * HOPELESS {
            return Ok(Some(first));
        }
        let products = (SAMPLE.0 / first.max(1e-3)).clamp(1.0, SAMPLE.1) as usize;
        let mut times = [0f32; SAMPLES];
        for time in &mut times {
            *time = run(products)?;
        }
        times.sort_by(f32::total_cmp);
        Ok(Some(times[SAMPLES / 2]))
    }

    /// A hash of the results of one product on fresh operands.
    fn bits(&self, clock: &Clock, plan: &Plan, gemm: &Gemm, output: Span) -> Result<u128> {
        self.randomise(clock.stream, output)?;
        self.outcome(self.multiply(clock.stream, plan, gemm)?)?;
        self.finish(clock)?;
        let (mut hash, mut chunk, start) =
            (Xxh3::new(), vec![0u8; CHUNK.min(output.bytes)], self.place(output)?);
        for at in (0..output.bytes).step_by(CHUNK) {
            let part = &mut chunk[..CHUNK.min(output.bytes - at)];
            // SAFETY: inside of the arena, and as long as the buffer.
            let code = unsafe {
                (self.driver.cuMemcpyDtoH_v2)(part.as_mut_ptr().cast(), start + at as u64, part.len())
            };
            self.outcome(self.driver.check("cuMemcpyDtoH", code))?;
            hash.update(part);
        }
        Ok(hash.digest128())
    }

    fn finish(&self, clock: &Clock) -> Result<()> {
        // SAFETY: a handle of this context.
        self.waited("cuStreamSynchronize", unsafe { (self.driver.cuStreamSynchronize)(clock.stream) })
    }
}

/// A stream and two events for measurements.
struct Clock {
    driver: &'static Driver,
    stream: CUstream,
    events: [CUevent; 2],
}

impl Clock {
    fn new(driver: &'static Driver) -> Result<Self, String> {
        let mut this = Self { driver, stream: null_mut(), events: [null_mut(); 2] };
        let flags = (CUstream_flags::CU_STREAM_NON_BLOCKING as u32, CUevent_flags::CU_EVENT_DEFAULT as u32);
        // SAFETY: a context is current; each call writes one value.
        unsafe {
            driver.check("cuStreamCreate", (driver.cuStreamCreate)(&mut this.stream, flags.0))?;
            for event in &mut this.events {
                driver.check("cuEventCreate", (driver.cuEventCreate)(event, flags.1))?;
            }
        }
        Ok(this)
    }

    fn record(&self, which: usize) -> Result<(), String> {
        // SAFETY: handles of the current context.
        self.driver
            .check("cuEventRecord", unsafe { (self.driver.cuEventRecord)(self.events[which], self.stream) })
    }

    /// Milliseconds from event 0 to event 1, which have happened.
    fn elapsed(&self) -> Result<f32, String> {
        let mut ms = 0.0;
        // SAFETY: handles of the current context; one value is written.
        let code = unsafe { (self.driver.cuEventElapsedTime_v2)(&mut ms, self.events[0], self.events[1]) };
        self.driver.check("cuEventElapsedTime", code).map(|()| ms)
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // SAFETY: made by `new`, used for the last time. What still runs keeps what it needs.
        unsafe {
            for event in self.events.into_iter().filter(|event| !event.is_null()) {
                (self.driver.cuEventDestroy_v2)(event);
            }
            if !self.stream.is_null() {
                (self.driver.cuStreamDestroy_v2)(self.stream);
            }
        }
    }
}
