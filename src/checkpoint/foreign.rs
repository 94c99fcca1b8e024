//! Directories that hold no weights we read: what they are instead, and what to do.
use std::path::{Path, PathBuf};

/// What a directory without `model.safetensors` is, where it is known: the end of a sentence that begins with its path.
pub fn describe(dir: &Path) -> Option<String> {
    let files = names(dir, |p| p.is_file());
    let has = |test: fn(&str) -> bool| files.iter().find(|name| test(name)).map(String::as_str);
    if let Some(reason) = adapter(dir) {
        return Some(reason);
    }
    let stray: Vec<&str> = files.iter().map(String::as_str).filter(|n| n.ends_with(".safetensors")).collect();
    if let Some(shard) = stray.iter().find(|name| name.contains("-of-")) {
        return Some(format!(
            "has {} files of weights such as {shard} and no model.safetensors.index.json, which says what they hold; \
             copy it, too",
            stray.len()
        ));
    }
    if let Some(file) = stray.first() {
        return Some(format!(
            "has its weights in {}, where model.safetensors is expected; name the one that is meant model.safetensors, \
             or in config.json: \"transformers_weights\": \"{file}\"",
            stray.join(" and ")
        ));
    }
    if let Some(file) = has(|n| n.starts_with("pytorch_model") && n.ends_with(".bin")) {
        return Some(format!(
            "has weights in {file}, where pytorch_model.bin is expected, or pytorch_model.bin.index.json, which says what \
             several such files hold; copy what is missing, or rename what is meant"
        ));
    }
    if let Some(file) = has(|n| [".gguf", ".h5", ".msgpack", ".onnx"].iter().any(|end| n.ends_with(end))) {
        return Some(format!(
            "has its weights in {file} only, where model.safetensors is expected; convert it with transformers \
             (from_pretrained, save_pretrained)"
        ));
    }
    let folders = names(dir, Path::is_dir);
    let is_neox = |n: &str| n.ends_with("model_states.pt") || n.ends_with("optim_states.pt");
    if files.iter().any(|n| is_neox(n)) || folders.iter().any(|n| n.starts_with("global_step")) {
        return Some(
            "is a checkpoint of GPT-NeoX (DeepSpeed); `rewarm import` makes one of rewarm of it, moments included, and \
             tools/ckpts/convert_neox_to_hf.py of gpt-neox a Hugging Face model of its weights"
                .into(),
        );
    }
    let inside = below(dir, &folders);
    (!inside.is_empty()).then(|| {
        let list: Vec<String> = inside.iter().take(4).map(|p| p.display().to_string()).collect();
        let dots = if inside.len() > list.len() { ", …" } else { "" };
        format!("is no model itself; give the folder in it that is: {}{dots}", list.join(", "))
    })
}

/// Why the model of a directory is not the one that its weights are: transformers puts an adapter on top.
pub(super) fn adapter(dir: &Path) -> Option<String> {
    dir.join("adapter_config.json").exists().then(|| {
        "has an adapter (adapter_config.json), which changes what its base model computes and is not read; merge the \
         two with peft (merge_and_unload, save_pretrained)"
            .into()
    })
}

/// Names in `dir` that pass, sorted.
fn names(dir: &Path, is: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let named =
        entries.filter(|entry| is(&entry.path())).filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = named.collect();
    names.sort();
    names
}

/// Models one folder down, or two, as in the hub's cache (`snapshots/<commit>`).
fn below(dir: &Path, folders: &[String]) -> Vec<PathBuf> {
    let is_model =
        |path: &PathBuf| path.join("config.json").exists() || path.join("model.safetensors").exists();
    let one: Vec<PathBuf> = folders.iter().map(|name| dir.join(name)).collect();
    let two = one.iter().flat_map(|path| names(path, Path::is_dir).into_iter().map(|name| path.join(name)));
    one.iter().cloned().chain(two).filter(is_model).collect()
}
