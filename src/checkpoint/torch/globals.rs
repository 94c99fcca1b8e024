//! The names that a pickle of tensors and of training may have, and what is made of them. Nothing is called.
use safetensors::Dtype;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    /// A dictionary, which begins empty.
    Dict,
    /// What it is given: a set of a list, a shape of a tuple.
    Same,
    /// A tensor of a storage, an offset, a shape and strides.
    Tensor,
    /// The class of a storage.
    Storage(Dtype),
    /// Something of no use here.
    Opaque,
}

/// Modules, their names, and what each is.
const TABLE: &[(&[&str], &[&str], Known)] = &[
    (&["collections"], &["OrderedDict", "defaultdict"], Known::Dict),
    (&["__builtin__", "builtins"], &["dict"], Known::Dict),
    (&["__builtin__", "builtins"], &["set", "frozenset"], Known::Same),
    (&["torch"], &["Size"], Known::Same),
    (&["torch._utils"], &["_rebuild_tensor_v2"], Known::Tensor),
    (&["torch._utils"], &["_rebuild_parameter"], Known::Same),
    (&["torch"], &["DoubleStorage"], Known::Storage(Dtype::F64)),
    (&["torch"], &["FloatStorage"], Known::Storage(Dtype::F32)),
    (&["torch"], &["HalfStorage"], Known::Storage(Dtype::F16)),
    (&["torch"], &["BFloat16Storage"], Known::Storage(Dtype::BF16)),
    (&["torch"], &["LongStorage"], Known::Storage(Dtype::I64)),
    (&["torch"], &["IntStorage"], Known::Storage(Dtype::I32)),
    (&["torch"], &["ShortStorage"], Known::Storage(Dtype::I16)),
    (&["torch"], &["CharStorage"], Known::Storage(Dtype::I8)),
    (&["torch"], &["ByteStorage"], Known::Storage(Dtype::U8)),
    (&["torch"], &["BoolStorage"], Known::Storage(Dtype::BOOL)),
    (
        &["torch"],
        &["float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool", "device"],
        Known::Opaque,
    ),
    // States of random numbers and objects beside the optimizer's, in checkpoints of training.
    (&["_codecs"], &["encode"], Known::Opaque),
    (&["numpy.core.multiarray", "numpy._core.multiarray"], &["_reconstruct", "scalar"], Known::Opaque),
    (&["numpy"], &["ndarray", "dtype"], Known::Opaque),
    (&["argparse"], &["Namespace"], Known::Opaque),
    (&["deepspeed.runtime.fp16.loss_scaler"], &["DynamicLossScaler", "LossScaler"], Known::Opaque),
    (&["deepspeed.runtime.zero.config"], &["ZeroStageEnum"], Known::Opaque),
    (&["deepspeed.utils.tensor_fragment"], &["fragment_address"], Known::Opaque),
];

/// The number of a name, where it is known.
pub(super) fn find(module: &str, name: &str) -> Option<usize> {
    TABLE.iter().position(|(modules, names, _)| modules.contains(&module) && names.contains(&name))
}

/// What the name of a number stands for.
pub(super) fn known(number: usize) -> Known {
    TABLE[number].2
}
