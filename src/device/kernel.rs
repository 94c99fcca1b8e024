//! Kernels by name, and the arguments of a launch.
use crate::{Error, Result};

/// A kernel resolved once by name; knows what a launch must give it.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    pub(super) name: &'static str,
    pub(super) threads_max: u32,
    /// Bytes of each argument.
    pub(super) sizes: &'static [u8],
    /// One letter per argument: `p`ointer, `f`loat, `i`nteger, `s`truct, or [`Kernel::ANY_KIND`].
    pub(super) kinds: &'static [u8],
    /// Index of the device's table.
    pub(super) entry: usize,
}

impl Kernel {
    /// A GPU's driver knows the sizes of arguments and not their kinds.
    pub(super) const ANY_KIND: u8 = b'?';

    /// As in the source.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Number, size and kind of the arguments.
    pub(super) fn check(&self, args: &[Arg]) -> Result<()> {
        if args.len() != self.sizes.len() {
            let (got, expected) = (args.len(), self.sizes.len());
            return Err(Error::refused(format!("{}: {got} arguments, expected {expected}", self.name)));
        }
        for (i, (arg, (&size, &kind))) in args.iter().zip(self.sizes.iter().zip(self.kinds)).enumerate() {
            if (arg.kind != kind && kind != Self::ANY_KIND) || arg.len != usize::from(size) {
                return Err(Error::refused(format!(
                    "{}: argument {i} is {} of {} bytes, expected {} of {size}",
                    self.name,
                    describe(arg.kind),
                    arg.len,
                    describe(kind),
                )));
            }
        }
        Ok(())
    }
}

fn describe(kind: u8) -> &'static str {
    match kind {
        b'p' => "a pointer",
        b'f' => "floating point",
        b'i' => "an integer",
        Kernel::ANY_KIND => "anything",
        _ => "a struct",
    }
}

/// One argument by value: `Arg::from(3i32)`, `3i32.into()`, a buffer's `arg()`, or [`Arg::bytes`] of a struct.
#[derive(Clone, Debug)]
pub struct Arg {
    kind: u8,
    len: usize,
    words: Vec<u64>,
}

impl Arg {
    fn new(kind: u8, bytes: &[u8]) -> Self {
        let mut words = vec![0u64; bytes.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Self { kind, len: bytes.len(), words }
    }

    /// A device address; 0 is the null pointer.
    pub fn address(address: u64) -> Self {
        Self::new(b'p', &address.to_ne_bytes())
    }

    /// A struct with the layout of the kernel's.
    pub fn bytes(value: &impl bytemuck::NoUninit) -> Self {
        Self::new(b's', bytemuck::bytes_of(value))
    }

    /// What a launch points to.
    pub(super) fn pointer(&self) -> *mut std::ffi::c_void {
        self.words.as_ptr().cast_mut().cast()
    }
}

macro_rules! scalar {
    ($($t:ty: $kind:literal),*) => {
        $(impl From<$t> for Arg {
            fn from(x: $t) -> Self {
                Self::new($kind, &x.to_ne_bytes())
            }
        })*
    };
}
scalar!(i32: b'i', u32: b'i', i64: b'i', u64: b'i', f32: b'f', f64: b'f');
