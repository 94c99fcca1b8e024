//! Names of files and directories of a run, and which directories are whose.
use crate::ops::Part;

/// Weights of a step, under Hugging Face's names.
pub const MODEL: &str = "model.safetensors";
/// Moments of a step: `m.<name>` and `v.<name>`.
pub const OPTIMIZER: &str = "optimizer.safetensors";
/// Moving average of the weights of a step that has one: `ema.<name>`.
pub const EMA: &str = "ema.safetensors";
/// Which parts of the state the files of a step have, and what precedes the names of their tensors.
pub const FILES: [(&str, &[(Part, &str)]); 3] = [
    (MODEL, &[(Part::Weights, "")]),
    (OPTIMIZER, &[(Part::First, "m."), (Part::Second, "v.")]),
    (EMA, &[(Part::Average, "ema.")]),
];
/// What a step says of itself.
pub const MANIFEST: &str = "manifest.json";
/// The log of a run, whose presence says that steps were taken.
pub const LOG: &str = "metrics.jsonl";

/// Beginning of the name of a step that left the run and is being deleted.
const TRASH: &str = "trash-";

/// The directory name of a step.
pub fn step_name(step: u64) -> String {
    format!("step-{step:010}")
}

/// The step of a directory; `step-+5` and `step-5` are not ours.
pub fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (name == step_name(step)).then_some(step)
}

/// Where this process writes a step.
pub fn tmp_name(step: u64) -> String {
    format!("tmp-{step:010}-{}", std::process::id())
}

/// Where a step goes to be deleted, the `number`-th of that name.
pub fn trash_name(step: &str, number: usize) -> String {
    if number == 1 { format!("{TRASH}{step}") } else { format!("{TRASH}{step}-{number}") }
}

/// What becomes of the name of a file or a step that the `number`-th rewind of a run took out of it.
pub fn rewound_name(number: u32, name: &str) -> String {
    format!("rewound-{number}-{name}")
}

/// Whether a directory is a step that is being deleted.
pub fn is_trash(name: &str) -> bool {
    name.strip_prefix(TRASH).is_some_and(|step| step.starts_with("step-"))
}

/// Whether a directory is a step that is being written: `tmp-<step>-<pid>`.
pub fn is_tmp(name: &str) -> bool {
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix("tmp-")
        .and_then(|rest| rest.split_once('-'))
        .is_some_and(|(step, pid)| digits(step) && digits(pid))
}

/// Whether `name` stays inside the directory it is joined to.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}
