//! Runs whose documents are isolated: whatever stops them and however they are cut, the same bits.
use super::*;
use rewarm::data::ShardWriter;

/// Documents of 1 to 40 tokens, in all 12,000 of this seed.
pub fn write_documents(dir: &Dir, name: &str, seed: u64) {
    let mut writer = ShardWriter::create(&dir.join(name), 64).unwrap();
    let bytes = tokens(seed, 12_000);
    let (mut rest, mut length) = (bytes.chunks(2).map(|t| u32::from(u16::from_le_bytes([t[0], t[1]]))), 1);
    loop {
        let document: Vec<u32> = rest.by_ref().take(length).collect();
        if document.is_empty() {
            break;
        }
        writer.push(&document).unwrap();
        length = ((length * 7 + 3) % 41).max(1);
    }
    writer.finish().unwrap();
}

const SETS: &str =
    "--unset data.validation --set data.train=[\"DIR/docs\"] --set data.validation_fraction=0.2";
const ISOLATE: &str = "--set data.documents=isolate --set data.positions=reset";

#[test]
fn a_run_of_isolated_documents_is_resumed_with_equal_bits() {
    for precision in ["f32", "mixed"] {
        let whole = tiny();
        write_documents(&whole, "docs", 3);
        let train = format!("train DIR/tiny.toml {SETS} --set train.precision={precision}");
        line(&whole, &format!("{train} {ISOLATE}")).ok();
        let dir = moved(&whole);
        write_documents(&dir, "docs", 3);
        rewind(&dir, 10);
        line(&dir, "resume DIR/run --set data.documents=join").refused(&["data.documents"]);
        line(&dir, "resume DIR/run --set threads=3 --set batch.micro=1 --set train.recompute=block").ok();
        assert_equal_runs(&dir.join("run"), &whole.join("run"), precision);

        // Joined, it is another run, and so it is where positions go on.
        for other in ["", "--set data.documents=isolate", "--set data.positions=reset"] {
            line(&whole, &format!("{train} {other} --set run_dir=DIR/other")).ok();
            let losses = |run: &str| curve(&whole.join(run));
            assert_ne!(losses("run"), losses("other"), "{other}");
            fs::remove_dir_all(whole.join("other")).unwrap();
        }

        // It is evaluated as it was trained.
        if precision == "f32" {
            let said = line(&whole, "eval DIR/run --json --sequences 4");
            let found: serde_json::Value = serde_json::from_str(said.ok()).unwrap();
            let logged = log(&whole.join("run")).into_iter().rfind(|l| !l["eval"].is_null()).unwrap();
            assert_eq!(found["loss"], logged["loss"]);
        }
    }
}

#[test]
fn documents_that_nobody_knows_are_refused() {
    let dir = tiny();
    let said = line(&dir, &format!("train DIR/tiny.toml {}", "--set data.documents=isolate"));
    said.refused(&["data.documents is \"isolate\"", "tokens.bin", "data.tokenizer"]);
    assert!(!dir.join("run").exists());
}
