//! Files of `torch.save`: a zip with a pickle that describes tensors, and their bytes. The pickle is followed by a reader
//! that builds plain values and tensors and can do nothing else: what would be called elsewhere is refused by its name.
mod file;
mod globals;
mod pickle;
mod value;
mod zip;

pub use file::TorchFile;
pub use pickle::parse;
pub use value::{Pickle, Tensor, Value};
