//! `data tokenize` that is killed goes on from what it has encoded, and gives the bytes of one that was not, weights included.
use crate::{SIGKILL, signal, start, support::*};
use std::fs;
use std::time::Duration;

const FILES: [&str; 6] = ["x.bin", "x.idx", "x.hashes", "x.weights", "x.json", "x.dropped.jsonl"];

/// `KILLS=` makes it longer.
fn kills_wanted() -> usize {
    std::env::var("KILLS").map_or(3, |kills| kills.parse().expect("a number"))
}

/// Documents: those of more chunks than there are kills, each of 16,384.
fn lines() -> usize {
    (kills_wanted() + 2) * 16_384
}

/// Such documents, and two lines that are none.
fn texts(dir: &Dir) {
    let some: Vec<String> = (0..200).map(|i| english(i, 30)).collect();
    let line = |i: usize| match i {
        7 => "{\"text\": 1}\n".to_owned(),
        40_000 => "{\"meta\": {\"text\": \"without a weight\"}}\n".to_owned(),
        _ => {
            let (text, weight) = (format!("{i} {}", some[i % 200]), i % 7);
            serde_json::json!({ "meta": { "text": text, "weight": weight } }).to_string() + "\n"
        }
    };
    dir.write("a.jsonl", (0..lines()).map(line).collect::<String>());
    dir.write("few.txt", some.concat());
    rewarm(dir, ["data", "tokenize", "DIR/few.txt", "-o", "DIR/few/x", "--vocab-size", "300"]).ok();
}

fn arguments(to: &str) -> Vec<String> {
    let line = format!(
        "data tokenize DIR/a.jsonl -o DIR/{to}/x --tokenizer DIR/few/tokenizer.json --field meta.text \
         --weights-field meta.weight --weights-type u8"
    );
    line.split(' ').map(String::from).collect()
}

#[test]
fn kills_change_no_byte() {
    let dir = Dir::in_memory();
    texts(&dir);
    let said = rewarm(&dir, arguments("whole"));
    let documents = format!("{} documents", lines() - 2);
    assert!(said.ok().contains(&documents) && said.out.contains("2 dropped lines"), "{}", said.out);
    // More than what stands at the front of the file.
    let (mut kills, mut kept) = (0, 1000);
    let part = dir.join("killed/x.bin.part");
    while kills < kills_wanted() {
        let owned = arguments("killed");
        let mut child = start(&dir, &owned.iter().map(String::as_str).collect::<Vec<_>>());
        // More than the time before, perhaps in the middle of a chunk; the last time behind one, so that something is known.
        let length = || fs::metadata(&part).map_or(0, |metadata| metadata.len());
        let is_written = |bytes: u64| {
            std::thread::sleep(Duration::from_millis(30));
            length() == bytes
        };
        let goes_on = || {
            let now = length();
            now > kept && (kills + 1 < kills_wanted() || is_written(now))
        };
        while !goes_on() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.try_wait().unwrap().is_none(), "it was done after {kills} kills");
        signal(&child, SIGKILL);
        child.wait().unwrap();
        kept = length();
        kills += 1;
        assert!(!dir.join("killed/x.bin").exists());
    }
    let said = rewarm(&dir, arguments("killed"));
    assert!(said.ok().contains(&documents) && said.err.contains("were encoded before"), "{}", said.err);
    for file in FILES {
        let [whole, killed] =
            ["whole", "killed"].map(|to| fs::read(dir.join(&format!("{to}/{file}"))).unwrap());
        if file == "x.dropped.jsonl" {
            assert_eq!(String::from_utf8(killed).unwrap().lines().count(), 2);
        } else {
            assert!(whole == killed, "{file}");
        }
    }
    assert_eq!(
        fs::read_dir(dir.join("killed")).unwrap().count(),
        FILES.len() + 1,
        "the tokenizer, and nothing else"
    );
}
