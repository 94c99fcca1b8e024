//! `data tokenize` that is killed goes on from what it has encoded, and gives the bytes of one that was not.
use crate::{SIGKILL, signal, start, support::*};
use std::fs;
use std::time::Duration;

const FILES: [&str; 5] = ["x.bin", "x.idx", "x.hashes", "x.json", "x.dropped.jsonl"];

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
        7 | 40_000 => "{\"text\": 1}\n".to_owned(),
        _ => serde_json::json!({ "meta": { "text": format!("{i} {}", some[i % 200]) } }).to_string() + "\n",
    };
    dir.write("a.jsonl", (0..lines()).map(line).collect::<String>());
    dir.write("few.txt", some.concat());
    rewarm(dir, ["data", "tokenize", "DIR/few.txt", "-o", "DIR/few/x", "--vocab-size", "300"]).ok();
}

fn arguments(to: &str) -> Vec<String> {
    let line = format!(
        "data tokenize DIR/a.jsonl -o DIR/{to}/x --tokenizer DIR/few/tokenizer.json --field meta.text"
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
    let (mut kills, mut kept) = (0, 0);
    let part = dir.join("killed/x.bin.part");
    while kills < kills_wanted() {
        let owned = arguments("killed");
        let mut child = start(&dir, &owned.iter().map(String::as_str).collect::<Vec<_>>());
        // One more chunk than the time before.
        let goes_on = || fs::metadata(&part).is_ok_and(|metadata| metadata.len() > kept);
        while !goes_on() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(child.try_wait().unwrap().is_none(), "it was done after {kills} kills");
        signal(&child, SIGKILL);
        child.wait().unwrap();
        kept = fs::metadata(&part).unwrap().len();
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
