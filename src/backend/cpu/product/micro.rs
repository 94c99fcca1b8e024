//! The micro-kernels: which there are, and which this machine is fastest with.
use super::panels::{A_ROWS, Left, Sums, UNITS};
use super::{amx, dot, fma};
use strum::Display;

/// What multiplies two panels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Display)]
#[strum(serialize_all = "kebab-case")]
pub enum MicroKernel {
    /// Factors widened to f32 and multiplied so, a term after the other, on any processor: equal bits on all of them.
    Fma,
    /// `vdpbf16ps` of AVX-512: two terms at a time.
    Avx512Bf16,
    /// `tdpbf16ps` of AMX: 32 terms at a time.
    Amx,
    /// [`MicroKernel::Avx512Bf16`] by the model of its instruction.
    #[cfg(test)]
    DotModel,
    /// [`MicroKernel::Amx`] by the model of its instruction.
    #[cfg(test)]
    AmxModel,
}

impl MicroKernel {
    /// All that a machine may have.
    pub const ALL: [Self; 3] = [Self::Fma, Self::Avx512Bf16, Self::Amx];

    /// The fastest of this machine: AMX where the system grants it, the instruction of AVX-512 where it is faster than
    /// conversion (AMD's processors; Intel's run it at half the rate of f32).
    pub fn of_machine() -> Self {
        if amx::granted() {
            Self::Amx
        } else if dot::is_fast() {
            Self::Avx512Bf16
        } else {
            Self::Fma
        }
    }

    /// Whether this machine has what it takes.
    pub fn is_here(self) -> bool {
        match self {
            Self::Amx => amx::granted(),
            Self::Avx512Bf16 => dot::is_here(),
            _ => true,
        }
    }

    /// Terms of a unit, which are multiplied together.
    pub fn unit(self) -> usize {
        if self == Self::Fma { 1 } else { 2 }
    }

    /// Whether it reads rows of the left factor: a panel of it has blocks of 16 rows of 16 units, and 32 rows of whole
    /// blocks need no rearranging. Else a panel has groups of 8 rows, side by side.
    pub fn left_in_rows(self) -> bool {
        match self {
            Self::Amx => true,
            #[cfg(test)]
            Self::AmxModel => true,
            _ => false,
        }
    }

    /// Readies this thread.
    pub fn begin(self) -> Ready {
        Ready { micro: self, tiles: (self == Self::Amx).then(amx::Configured::new) }
    }
}

/// A micro-kernel on the thread that it was readied on.
pub struct Ready {
    micro: MicroKernel,
    /// Of AMX.
    tiles: Option<amx::Configured>,
}

impl Ready {
    /// Adds the product of 32 rows and a panel to the sums, or overwrites them.
    pub fn multiply(&self, a: Left, b: &[u32], sums: &mut Sums, accumulate: bool) {
        let a = match (self.micro, a) {
            (MicroKernel::Amx, _) => {
                let tiles = self.tiles.as_ref().expect("configured when the thread was readied");
                return amx::multiply(tiles, a, b, sums, accumulate);
            }
            #[cfg(test)]
            (MicroKernel::AmxModel, _) => return super::model::amx(a, b, sums, accumulate),
            (_, Left::Panel(a)) => a,
            (_, Left::Rows(_)) => unreachable!("{} reads panels alone", self.micro),
        };
        assert!(a.len() == b.len() && a.len().is_multiple_of(UNITS * A_ROWS), "panels of one depth");
        match self.micro {
            MicroKernel::Fma => fma::multiply(a, b, sums, accumulate),
            MicroKernel::Avx512Bf16 => dot::multiply(a, b, sums, accumulate),
            MicroKernel::Amx => unreachable!("above"),
            #[cfg(test)]
            MicroKernel::DotModel => super::model::dot(a, b, sums, accumulate),
            #[cfg(test)]
            MicroKernel::AmxModel => unreachable!("above"),
        }
    }
}
