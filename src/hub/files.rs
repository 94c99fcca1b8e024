//! Which files of a model are needed: its configuration, its tokenizer, licences, and one form of its weights.

/// Forms of weights, the one to be taken first: a file, or an index and what its shards are called.
const WEIGHTS: [(&str, &str, &str); 2] = [
    ("model.safetensors", "model.safetensors.index.json", ".safetensors"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json", ".bin"),
];
const LICENCES: [&str; 4] = ["LICENSE", "LICENCE", "NOTICE", "USE_POLICY"];

/// Those of `all`, the small ones first; `None` where there are no weights that are read.
pub(super) fn wanted(all: &[String]) -> Option<Vec<String>> {
    let has = |name: &str| all.iter().any(|own| own == name);
    let (single, index, end) = WEIGHTS.into_iter().find(|(single, index, _)| has(single) || has(index))?;
    let is_weight = |name: &str| match has(single) {
        true => name == single,
        false => {
            name == index || name.ends_with(end) && name.starts_with(&single[..single.len() - end.len()])
        }
    };
    let indices = WEIGHTS.map(|(_, index, _)| index);
    let is_small = |name: &str| {
        let ends = [".json", ".jinja", ".model", "merges.txt"].iter().any(|end| name.ends_with(end));
        let is_licence = LICENCES.iter().any(|start| name.to_uppercase().starts_with(start));
        (ends || is_licence) && !indices.contains(&name)
    };
    let is_inside = |name: &str| !name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    let here = |name: &&String| {
        is_inside(name) && (!name.contains('/') || name.starts_with("additional_chat_templates/"))
    };
    let (small, large): (Vec<&String>, Vec<&String>) = all
        .iter()
        .filter(here)
        .filter(|name| is_small(name) || is_weight(name))
        .partition(|name| !is_weight(name));
    Some(small.into_iter().chain(large).cloned().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_form_of_weights_and_what_lies_beside_it() {
        let names = |text: &str| text.split_whitespace().map(String::from).collect::<Vec<_>>();
        let small = "config.json tokenizer.json merges.txt LICENSE";
        for (all, expected) in [
            ("model.safetensors pytorch_model.bin tf_model.h5 README.md .gitattributes", "model.safetensors"),
            (
                "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors x.safetensors",
                "model.safetensors.index.json model-00001-of-00002.safetensors model-00002-of-00002.safetensors",
            ),
            ("pytorch_model.bin flax_model.msgpack pytorch_model.bin.index.json", "pytorch_model.bin"),
            (
                "pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin training_args.bin",
                "pytorch_model.bin.index.json pytorch_model-00001-of-00001.bin",
            ),
            ("model.safetensors onnx/config.json ../config.json a/.b.json", "model.safetensors"),
        ] {
            let found = wanted(&names(&format!("{all} {small}"))).unwrap();
            assert_eq!(found, names(&format!("{small} {expected}")), "{all}");
        }
        assert_eq!(wanted(&names(small)), None);
    }
}
