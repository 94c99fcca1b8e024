//! The demo in its short form, on two small folders.
use super::support::{Dir, line};

/// `files` documents of text that differ from each other.
fn folder(dir: &Dir, name: &str, files: usize, sentence: &str) {
    for i in 0..files {
        let text: String =
            (0..80).map(|j| format!("{sentence} {} {}.\n", i * 31 % 97, (i + j * 7) % 89)).collect();
        dir.write(&format!("{name}/{i:03}.txt"), text);
    }
}

#[test]
fn the_demo_compares_two_continuations_and_writes_a_report() {
    let dir = Dir::new();
    folder(&dir, "old", 40, "The river carries the boats of the morning past house number");
    folder(&dir, "new", 40, "let value = table.get(index).copied().unwrap_or_default(); // entry");
    let said = line(&dir, "demo --quick --dir DIR/out --upstream DIR/old --downstream DIR/new");
    assert_eq!(said.code, 0, "{}", said.err);
    for expected in
        ["before", "constant 4e-4", "re-warmed to 4e-3", "Re-warming the learning rate", "written by"]
    {
        assert!(said.out.contains(expected), "{expected:?} is missing: {}", said.out);
    }
    let html = std::fs::read_to_string(dir.join("out/report.html")).unwrap();
    assert_eq!(html.matches("<svg").count(), 4);
    assert!(!html.contains("NaN"), "a number in the report is missing");
    // Self-contained: nothing is fetched.
    assert!(!html.contains("src=\"http") && !html.contains("<link"));
    for run in ["upstream", "constant", "rewarmed"] {
        assert!(dir.join(&format!("out/{run}/metrics.jsonl")).exists(), "{run}");
    }
    let again = line(&dir, "demo --quick --dir DIR/out --upstream DIR/old --downstream DIR/new");
    assert!(again.code == 1 && again.err.contains("is not empty"), "{}", again.err);
}
