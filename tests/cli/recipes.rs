//! `rewarm new` and its recipes: each trains, made small.
use crate::support::*;
use std::fs;

const SMALL: &str = "--set device=cpu --set threads=2 --set start.from=run --set data.seq_len=32 --set batch.sequences=4 \
    --set batch.micro=2 --set train.tokens=2560 --set eval.sequences=2 --set checkpoint.every=5 --set schedule.warmup=2";

/// Texts of four kinds as shards, and a number for each document of the new ones.
fn texts(dir: &Dir) {
    for (name, seed) in [("new", 300), ("old", 400), ("best", 500), ("old-validation", 600)] {
        for i in 0..24 {
            dir.write(&format!("texts/{name}/{i:02}.txt"), english(seed + i, 1_500));
        }
        let to = format!("-o DIR/data/{name} --tokenizer DIR/data/tokenizer.json");
        line(dir, &format!("data tokenize DIR/texts/{name} --extension txt {to}")).ok();
    }
    let numbers: Vec<u8> = (0..24u32).flat_map(|i| ((i * 7 % 24) as f32).to_le_bytes()).collect();
    dir.write("data/new.quality.f32", numbers);
}

#[test]
fn every_recipe_trains() {
    let dir = workshop();
    texts(&dir);
    let listed = rewarm(&dir, ["new"]);
    let names: Vec<&str> = listed
        .ok()
        .lines()
        .take_while(|line| !line.is_empty())
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        rewarm(&dir, ["new", name, &format!("here/{name}")]).ok();
        let file = format!("here/{name}/run.toml");
        let text = fs::read_to_string(dir.join(&file)).unwrap();
        assert!(text.starts_with("# "), "{name} says what it is");
        let fraction =
            if text.contains("validation_fraction") { " --set data.validation_fraction=0.2" } else { "" };
        let subset = if text.contains("subset") { " --set data.mixture[0].subset=600" } else { "" };
        let said = line(&dir, &format!("train {file} {SMALL}{fraction}{subset}"));
        said.ok();
        assert!(said.out.contains("done: 20 steps"), "{name}: {}", said.out);
    }
    rewarm(&dir, ["new", "wsd", "here/wsd"]).refused(&["here/wsd/run.toml exists"]);
    rewarm(&dir, ["new", "replay"]).refused(&["no recipe \"replay\"", "nearest is replay5"]);
}
