//! The calls of the trait, in its order.
use super::Cuda;
use crate::device::{
    Arena, DRIVER_RESERVE, Device, Event, Gemm, GemmShape, Graph, Kernel, Launch, Pinned, Rows, Span, Stream,
};
use crate::ops::GemmChoices;
use crate::{Error, Result};
use cudarc::driver::sys::{CUevent_flags, CUstream_flags, CUstreamCaptureMode};
use std::ptr::{NonNull, null_mut};

/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: u32 = 2;

impl Device for Cuda {
    fn name(&self) -> String {
        self.gpu.title()
    }

    fn shared_bytes(&self) -> usize {
        self.gpu.shared_bytes
    }

    fn memory(&self) -> Result<[u64; 2]> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: writes two values.
        let code = unsafe { (self.driver.cuMemGetInfo_v2)(&mut free, &mut total) };
        self.outcome(self.driver.check("cuMemGetInfo", code))?;
        Ok([(free as u64).saturating_sub(DRIVER_RESERVE), total as u64])
    }

    fn kernel(&self, name: &str) -> Result<Kernel> {
        self.enter_outside_capture("a kernel was looked up")?;
        self.outcome_of(self.kernels.borrow_mut().resolve(name))
    }

    fn allocate(&mut self, arena: &Arena) -> Result<()> {
        self.enter_outside_capture("memory was asked for")?;
        if self.arena.is_some() {
            return Err(Error::refused("device memory is allocated once"));
        }
        let bytes = arena.bytes().max(1);
        let [free, total] = self.memory()?;
        let mut base = 0;
        // SAFETY: writes one value.
        match unsafe { (self.driver.cuMemAlloc_v2)(&mut base, bytes) } {
            OUT_OF_MEMORY => {
                let gib = |bytes: u64| bytes as f64 / (1u64 << 30) as f64;
                return Err(Error::refused(format!(
                    "this run needs {:.2} GiB of device memory, {} has {:.2} GiB free of {:.2}: {:.2} GiB are \
                     missing; take a smaller micro_batch or another GPU",
                    gib(bytes as u64),
                    self.gpu.title(),
                    gib(free),
                    gib(total),
                    gib((bytes as u64).saturating_sub(free)),
                )));
            }
            code => self.outcome(self.driver.check("cuMemAlloc", code))?,
        }
        self.arena = Some((base, arena.clone()));
        // SAFETY: the memory was just allocated. The streams do not wait for this fill; the host does.
        let codes =
            unsafe { [(self.driver.cuMemsetD8_v2)(base, 0xFF, bytes), (self.driver.cuCtxSynchronize)()] };
        codes.into_iter().try_for_each(|code| self.outcome(self.driver.check("cuMemsetD8", code)))
    }

    fn address(&self, offset: usize) -> u64 {
        self.arena.as_ref().expect("allocated before it is used").0 + offset as u64
    }

    fn stream(&mut self) -> Result<Stream> {
        self.enter_outside_capture("a stream was asked for")?;
        let mut stream = null_mut();
        // SAFETY: writes one value.
        let code = unsafe {
            (self.driver.cuStreamCreate)(&mut stream, CUstream_flags::CU_STREAM_NON_BLOCKING as u32)
        };
        self.outcome(self.driver.check("cuStreamCreate", code))?;
        self.streams.push(stream);
        Ok(Stream(self.streams.len() - 1))
    }

    fn event(&mut self) -> Result<Event> {
        self.new_event(CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    fn timer(&mut self) -> Result<Event> {
        self.new_event(CUevent_flags::CU_EVENT_DEFAULT)
    }

    fn seconds_between(&mut self, first: Event, last: Event) -> Result<f64> {
        self.enter_outside_capture("a time was asked for")?;
        let mut ms = 0.0;
        let [first, last] = [first, last].map(|event| self.events[event.0].0);
        // SAFETY: handles of this context; one value is written.
        let code = unsafe { (self.driver.cuEventElapsedTime_v2)(&mut ms, first, last) };
        self.outcome(self.driver.check("cuEventElapsedTime", code))?;
        Ok(f64::from(ms) / 1e3)
    }

    fn pinned(&mut self, bytes: usize) -> Result<Pinned> {
        self.enter_outside_capture("pinned memory was asked for")?;
        let mut memory = null_mut();
        // SAFETY: writes one value. Flags 0: memory that the host reads at full speed, not write-combined.
        let code = unsafe { (self.driver.cuMemHostAlloc)(&mut memory, bytes.max(1), 0) };
        self.outcome(self.driver.check(&format!("cuMemHostAlloc of {bytes} bytes"), code))?;
        let memory = NonNull::new(memory.cast::<u8>()).ok_or("cuMemHostAlloc returned null".to_owned());
        let memory = self.outcome(memory)?;
        // SAFETY: the allocation is this large; from now on its bytes are initialised.
        unsafe { memory.as_ptr().write_bytes(0, bytes.max(1)) };
        self.pinned.push((memory, bytes));
        Ok(Pinned(self.pinned.len() - 1))
    }

    fn host(&mut self, pinned: Pinned) -> &mut [u8] {
        let (memory, bytes) = self.pinned[pinned.0];
        // SAFETY: allocated and initialised by `pinned`, freed by `drop`; the borrow of `self` keeps other slices
        // away. Copies by the GPU that the caller has not waited for are excluded by the trait's contract.
        unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), bytes) }
    }

    fn launch(&mut self, on: Stream, launch: Launch) -> Result<()> {
        self.enter()?;
        self.start_kernel(self.queue(on), &launch)?;
        self.count(launch.kernel.name);
        Ok(())
    }

    fn set_workspace(&mut self, workspace: Span) {
        self.workspace = workspace;
    }

    fn plan(&mut self, shape: &GemmShape, operands: Span) -> Result<()> {
        self.enter_outside_capture("a product was planned")?;
        self.plan_product(shape, operands)
    }

    fn plan_epilogue(&mut self, shape: &GemmShape, operands: Span, instead: Launch) -> Result<bool> {
        self.enter_outside_capture("a product was planned")?;
        self.choose_epilogue(shape, operands, &instead)
    }

    fn choices(&self) -> GemmChoices {
        self.products.choices()
    }

    fn adopt(&mut self, choices: &GemmChoices) -> Result<()> {
        self.products.adopt(choices)
    }

    fn gemm(&mut self, on: Stream, gemm: Gemm) -> Result<()> {
        self.enter()?;
        self.product(self.queue(on), &gemm)?;
        self.count("a matrix product");
        Ok(())
    }

    fn upload(&mut self, on: Stream, from: Pinned, at: usize, to: Span) -> Result<()> {
        self.enter()?;
        let (host, device) = (self.host_part(from, at, to.bytes)?, self.place(to)?);
        // SAFETY: both sides are inside of allocations that live until this value is dropped.
        let code = unsafe { (self.driver.cuMemcpyHtoDAsync_v2)(device, host, to.bytes, self.queue(on)) };
        self.outcome(self.driver.check("cuMemcpyHtoDAsync", code))
    }

    fn download(&mut self, on: Stream, from: Span, to: Pinned, at: usize) -> Result<()> {
        self.enter()?;
        let (host, device) = (self.host_part(to, at, from.bytes)?, self.place(from)?);
        // SAFETY: both sides are inside of allocations that live until this value is dropped.
        let code = unsafe { (self.driver.cuMemcpyDtoHAsync_v2)(host, device, from.bytes, self.queue(on)) };
        self.outcome(self.driver.check("cuMemcpyDtoHAsync", code))
    }

    fn upload_rows(&mut self, on: Stream, from: Pinned, at: usize, to: Rows) -> Result<()> {
        // One row is no copy in two dimensions, and not bound to its pitch.
        match to.count {
            1 => self.upload(on, from, at, to.first),
            _ => self.copy_rows(on, to, (from, at), true),
        }
    }

    fn download_rows(&mut self, on: Stream, from: Rows, to: Pinned, at: usize) -> Result<()> {
        match from.count {
            1 => self.download(on, from.first, to, at),
            _ => self.copy_rows(on, from, (to, at), false),
        }
    }

    fn fill(&mut self, on: Stream, span: Span, value: u8) -> Result<()> {
        self.enter()?;
        let device = self.place(span)?;
        // SAFETY: inside of the arena.
        let code = unsafe { (self.driver.cuMemsetD8Async)(device, value, span.bytes, self.queue(on)) };
        self.outcome(self.driver.check("cuMemsetD8Async", code))
    }

    fn record(&mut self, event: Event, on: Stream) -> Result<()> {
        self.enter()?;
        // SAFETY: handles of this context.
        let code = unsafe { (self.driver.cuEventRecord)(self.events[event.0].0, self.queue(on)) };
        self.outcome(self.driver.check("cuEventRecord", code))?;
        self.events[event.0].1 = true;
        Ok(())
    }

    fn wait(&mut self, on: Stream, event: Event) -> Result<()> {
        self.enter()?;
        let (event, recorded) = self.events[event.0];
        if !recorded {
            return Ok(());
        }
        // SAFETY: handles of this context.
        let code = unsafe { (self.driver.cuStreamWaitEvent)(self.queue(on), event, 0) };
        self.outcome(self.driver.check("cuStreamWaitEvent", code))
    }

    fn synchronize(&mut self, event: Event) -> Result<()> {
        self.enter_outside_capture("the host waited")?;
        // SAFETY: a handle of this context; one that was never recorded is no wait.
        let code = unsafe { (self.driver.cuEventSynchronize)(self.events[event.0].0) };
        self.waited("cuEventSynchronize", code)
    }

    fn check_red_zones(&mut self) -> Result<()> {
        self.enter_outside_capture("the host waited")?;
        // SAFETY: waits for everything.
        let code = unsafe { (self.driver.cuCtxSynchronize)() };
        self.waited("cuCtxSynchronize", code)?;
        let Some((base, arena)) = &self.arena else { return Ok(()) };
        let ends = arena.spans.iter().skip(1).map(|next| next.offset).chain([arena.bytes()]);
        for (span, end) in arena.spans.iter().zip(ends) {
            let from = span.offset + span.bytes;
            let mut zone = vec![0u8; end - from];
            // SAFETY: inside of the arena, and as long as the buffer.
            let code = unsafe {
                (self.driver.cuMemcpyDtoH_v2)(zone.as_mut_ptr().cast(), base + from as u64, zone.len())
            };
            self.outcome(self.driver.check("cuMemcpyDtoH", code))?;
            if let Some(at) = zone.iter().position(|&byte| byte != 0xFF) {
                let why = format!("something wrote {at} bytes behind {span:?}; launched last: {}", self.last);
                return self.outcome(Err(why));
            }
        }
        Ok(())
    }

    fn begin_capture(&mut self, on: Stream) -> Result<()> {
        self.enter_outside_capture("a second capture was begun")?;
        // SAFETY: a handle of this context. Captures of other threads are none of this one's business.
        let code = unsafe {
            (self.driver.cuStreamBeginCapture_v2)(
                self.queue(on),
                CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL,
            )
        };
        self.outcome(self.driver.check("cuStreamBeginCapture", code))?;
        self.capture = Some((on, 0));
        Ok(())
    }

    fn end_capture(&mut self, on: Stream) -> Result<Graph> {
        self.enter()?;
        let Some((_, launches)) = self.capture.take_if(|(captured, _)| *captured == on) else {
            return Err(Error::refused("a capture was ended on a stream that is not captured"));
        };
        let (mut graph, mut runnable) = (null_mut(), null_mut());
        // SAFETY: a handle of this context; one value is written.
        let code = unsafe { (self.driver.cuStreamEndCapture)(self.queue(on), &mut graph) };
        self.outcome(self.driver.check("cuStreamEndCapture", code))?;
        // SAFETY: the graph was just made; what is instantiated does not refer to it.
        let code = unsafe {
            let code = (self.driver.cuGraphInstantiateWithFlags)(&mut runnable, graph, 0);
            (self.driver.cuGraphDestroy)(graph);
            code
        };
        self.outcome(self.driver.check("cuGraphInstantiate", code))?;
        self.graphs.push((runnable, launches));
        Ok(Graph(self.graphs.len() - 1))
    }

    fn replay(&mut self, on: Stream, graph: Graph) -> Result<()> {
        self.enter_outside_capture("a graph was replayed")?;
        let (runnable, launches) = self.graphs[graph.0];
        // SAFETY: handles of this context.
        let code = unsafe { (self.driver.cuGraphLaunch)(runnable, self.queue(on)) };
        self.outcome(self.driver.check("cuGraphLaunch", code))?;
        self.launches += launches;
        "a graph".clone_into(&mut self.last);
        Ok(())
    }

    fn launches(&self) -> u64 {
        self.launches
    }
}
