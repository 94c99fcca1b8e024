//! One launch on a fresh device, without a backend.
use crate::Result;
use crate::device::{Arena, Arg, Device, Launch, Span};
use bytemuck::{AnyBitPattern, NoUninit};
use half::bf16;

/// An argument of a kernel.
pub enum Input {
    /// A pointer to these bytes.
    Given(Vec<u8>),
    /// A pointer to so many bytes of poison.
    Poison(usize),
    /// A 32-bit integer.
    Int(i32),
    /// A 64-bit integer.
    Long(u64),
    /// 32 bits of floating point.
    Float(f32),
    /// Two members of 32 bits.
    Struct([u32; 2]),
    /// The null pointer, for what a kernel may do without.
    Null,
}

/// A kernel and what it is given.
pub struct Program {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Shared memory of a block.
    pub shared_bytes: usize,
    /// Its arguments, in the order of its parameters.
    pub inputs: Vec<Input>,
}

impl Input {
    fn bytes(&self) -> Option<usize> {
        match self {
            Self::Given(bytes) => Some(bytes.len()),
            Self::Poison(bytes) => Some(*bytes),
            _ => None,
        }
    }
}

/// A pointer to these values.
pub fn given<T: NoUninit>(values: &[T]) -> Input {
    Input::Given(bytemuck::cast_slice(values).to_vec())
}

/// The same, each as bf16.
pub fn halves(values: &[f32]) -> Input {
    given(&values.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>())
}

/// A pointer to so many elements of poison.
pub fn poison<T>(len: usize) -> Input {
    Input::Poison(len * size_of::<T>())
}

/// What lies in a buffer.
pub fn values<T: AnyBitPattern>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

/// The same, of bf16.
pub fn half_values(bytes: &[u8]) -> Vec<f32> {
    values::<bf16>(bytes).into_iter().map(bf16::to_f32).collect()
}

/// What the buffers hold afterwards, in order.
pub fn run(mut device: Box<dyn Device>, program: &Program) -> Result<Vec<Vec<u8>>> {
    let mut arena = Arena::default();
    let spans: Vec<Option<Span>> = program.inputs.iter().map(|i| i.bytes().map(|n| arena.add(n))).collect();
    device.allocate(&arena)?;
    let (stream, done) = (device.stream()?, device.event()?);
    let pinned = device.pinned(arena.bytes())?;
    let mut args = Vec::new();
    for (input, span) in program.inputs.iter().zip(&spans) {
        if let (Input::Given(bytes), &Some(span)) = (input, span) {
            device.host(pinned)[span.offset..][..span.bytes].copy_from_slice(bytes);
            device.upload(stream, pinned, span.offset, span)?;
        }
        args.push(match *input {
            Input::Int(x) => x.into(),
            Input::Long(x) => x.into(),
            Input::Float(x) => x.into(),
            Input::Struct(x) => Arg::bytes(&x),
            Input::Null => Arg::address(0),
            _ => Arg::address(device.address(span.expect("of a buffer").offset)),
        });
    }
    let Program { grid, threads, shared_bytes, .. } = *program;
    let kernel = device.kernel(program.kernel)?;
    device.launch(stream, Launch { kernel, grid, threads, shared_bytes, args })?;
    let buffers: Vec<Span> = spans.into_iter().flatten().collect();
    for &span in &buffers {
        device.download(stream, span, pinned, span.offset)?;
    }
    device.record(done, stream)?;
    device.synchronize(done)?;
    device.check_red_zones()?;
    let host = device.host(pinned);
    Ok(buffers.iter().map(|span| host[span.offset..][..span.bytes].to_vec()).collect())
}
