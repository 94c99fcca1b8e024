//! The three floating-point formats of checkpoints and their exact conversions to and from f32.
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use safetensors::Dtype as FileDtype;
use serde::{Deserialize, Serialize};
use strum::{EnumString, VariantNames};

// Tensors are copied as bytes; both formats of files are little endian.
const _: () =
    assert!(cfg!(target_endian = "little"), "checkpoints are little endian, and so must the host be");

/// How the elements of a tensor are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, EnumString, VariantNames)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision: 11 significant bits, at most 65504.
    F16,
    /// The upper half of an f32: 8 significant bits.
    Bf16,
}

/// Elements converted at a time through a buffer on the stack.
const BLOCK: usize = 2048;

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// PyTorch's and `config.json`'s name.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The inverse of [`Dtype::torch_name`], which may be preceded by `torch.`.
    pub fn from_torch_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("torch.").unwrap_or(name);
        [Self::F32, Self::F16, Self::Bf16].into_iter().find(|d| d.torch_name() == name)
    }

    /// The name in a safetensors header.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// The format of a tensor in a file; `None` for integers, doubles and 8-bit floats.
    pub fn from_file(dtype: FileDtype) -> Option<Self> {
        match dtype {
            FileDtype::F32 => Some(Self::F32),
            FileDtype::F16 => Some(Self::F16),
            FileDtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    /// Widens `bytes` to f32, exactly. `bytes` needs no alignment: old files start their data at any offset.
    ///
    /// # Panics
    /// If the lengths do not belong together.
    pub fn decode(self, bytes: &[u8], values: &mut [f32]) {
        assert_eq!(bytes.len(), values.len() * self.bytes(), "callers cut pieces at elements");
        if self == Self::F32 {
            bytemuck::cast_slice_mut(values).copy_from_slice(bytes);
            return;
        }
        let mut bits = [0u16; BLOCK];
        for (source, target) in bytes.chunks(2 * BLOCK).zip(values.chunks_mut(BLOCK)) {
            let bits = &mut bits[..target.len()];
            bytemuck::cast_slice_mut(bits).copy_from_slice(source);
            match self {
                Self::F16 => bits.reinterpret_cast::<f16>().convert_to_f32_slice(target),
                _ => bits.reinterpret_cast::<bf16>().convert_to_f32_slice(target),
            }
        }
    }

    /// Doubles to the nearest f32; one beyond its range becomes infinite, and is refused with all that is not finite.
    pub fn round_doubles(bytes: &[u8], values: &mut [f32]) {
        for (eight, value) in bytes.as_chunks().0.iter().zip(values) {
            *value = f64::from_le_bytes(*eight) as f32;
        }
    }

    /// `values` rounded to this format (to nearest, ties to even): their own bytes, or those of `rounded`.
    ///
    /// # Errors
    /// Gives the index of the first value that is not finite in this format.
    pub fn encode<'a>(self, values: &'a [f32], rounded: &'a mut Vec<u8>) -> Result<&'a [u8], usize> {
        // Without a branch for each value, which is several times as fast.
        let largest = values.iter().fold(0, |largest, x| (x.to_bits() & 0x7fff_ffff).max(largest));
        if largest >= f32::INFINITY.to_bits() {
            return Err(values.iter().position(|x| !x.is_finite()).unwrap_or(0));
        }
        if self == Self::F32 {
            return Ok(bytemuck::cast_slice(values));
        }
        rounded.clear();
        let mut bits = [0u16; BLOCK];
        for (piece, source) in values.chunks(BLOCK).enumerate() {
            let bits = &mut bits[..source.len()];
            let infinity = match self {
                Self::F16 => {
                    bits.reinterpret_cast_mut::<f16>().convert_from_f32_slice(source);
                    f16::INFINITY.to_bits()
                }
                _ => {
                    bits.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(source);
                    bf16::INFINITY.to_bits()
                }
            };
            if let Some(index) = bits.iter().position(|&b| b & 0x7fff == infinity) {
                return Err(piece * BLOCK + index);
            }
            rounded.extend_from_slice(bytemuck::cast_slice(bits));
        }
        Ok(rounded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every finite 16-bit pattern comes back from f32, at odd addresses too.
    #[test]
    fn sixteen_bit_formats_round_trip_exactly() {
        for (dtype, infinity) in [(Dtype::F16, 0x7c00), (Dtype::Bf16, 0x7f80)] {
            let bits: Vec<u16> = (0..=u16::MAX).filter(|b| b & 0x7fff < infinity).collect();
            let mut odd = vec![0u8];
            odd.extend_from_slice(bytemuck::cast_slice(&bits));
            let mut values = vec![0f32; bits.len()];
            dtype.decode(&odd[1..], &mut values);
            let mut back = Vec::new();
            assert!(dtype.encode(&values, &mut back).unwrap() == &odd[1..], "{dtype:?}");
        }
    }

    #[test]
    fn what_a_format_cannot_hold_is_found() {
        let mut values = vec![1.0; 5000];
        values[4500] = 70_000.0;
        assert_eq!(Dtype::F16.encode(&values, &mut Vec::new()), Err(4500));
        assert!(Dtype::Bf16.encode(&values, &mut Vec::new()).is_ok());
        values[3000] = f32::NAN;
        assert_eq!(Dtype::F32.encode(&values, &mut Vec::new()), Err(3000));
    }
}
