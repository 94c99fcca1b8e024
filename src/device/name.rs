//! Devices by the names that users give them.
use crate::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a model computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceName {
    /// `cpu`: this machine's processor, f32.
    #[default]
    Cpu,
    /// `cuda:N`: an NVIDIA GPU, bf16. `cuda` is the first one.
    Cuda(usize),
    /// `emulated`: the GPU's own kernels on this machine's processor, slowly.
    Emulated,
    /// `auto`: the first GPU where there is one that works, otherwise the processor.
    Auto,
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Emulated => f.write_str("emulated"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let index = text.strip_prefix("cuda:").map(str::parse);
        match (text, index) {
            ("cpu", _) => Ok(Self::Cpu),
            ("emulated", _) => Ok(Self::Emulated),
            ("auto", _) => Ok(Self::Auto),
            ("cuda", _) => Ok(Self::Cuda(0)),
            (_, Some(Ok(index))) => Ok(Self::Cuda(index)),
            _ => Err(Error::refused(format!("no device {text:?}; give cpu, cuda:0, emulated or auto"))),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [DeviceName::Cpu, DeviceName::Cuda(3), DeviceName::Emulated, DeviceName::Auto] {
            assert_eq!(name.to_string().parse::<DeviceName>().unwrap(), name);
        }
        assert_eq!("cuda".parse::<DeviceName>().unwrap(), DeviceName::Cuda(0));
        for text in ["", "cuda:", "cuda:-1", "cuda:x", "gpu", "CPU"] {
            let e = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(e.contains("give cpu, cuda:0"), "{e}");
        }
    }
}
