//! Runs whose losses are weighted: the same bits however they are cut, and the same planes on resume.
use super::*;

/// Weights 0, 1, 2 of the tokens of `tokens.bin`, beside it.
fn write_weights(dir: &Dir, most: usize) {
    let mut dice = Dice::new(9);
    let mut bytes = b"RWWEIGHT".to_vec();
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(40_000u64.to_le_bytes());
    bytes.extend((0..40_000).map(|_| dice.below(most) as u8));
    dir.write("tokens.weights", bytes);
}

const TRAIN: &str = "train DIR/tiny.toml --set data.loss_weights=true";

#[test]
fn a_weighted_run_is_resumed_with_equal_bits() {
    let whole = tiny();
    line(&whole, TRAIN).refused(&["data.loss_weights", "PREFIX.weights"]);
    assert!(!whole.join("run").exists());
    write_weights(&whole, 3);
    line(&whole, TRAIN).ok();
    assert_ne!(curve(&whole.join("run")), curve(&undisturbed().join("run")), "weighted, and not");
    let dir = moved(&whole);
    rewind(&dir, 10);
    line(&dir, "resume DIR/run").refused(&["PREFIX.weights"]);
    write_weights(&dir, 2);
    line(&dir, "resume DIR/run").refused(&["weights of the loss", "others"]);
    write_weights(&dir, 3);
    line(&dir, "resume DIR/run --set threads=3 --set batch.micro=1").ok();
    assert_equal_runs(&dir.join("run"), &whole.join("run"), "resumed with weights");
}

/// A validation set whose weights count only behind what is evaluated.
#[test]
fn an_evaluation_of_which_nothing_counts_is_refused() {
    let dir = tiny();
    write_weights(&dir, 3);
    let mut bytes = b"RWWEIGHT".to_vec();
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(2_000u64.to_le_bytes());
    bytes.extend((0..2_000).map(|token| u8::from(token == 900)));
    dir.write("other.weights", bytes);
    let said = line(&dir, TRAIN);
    said.one_error(&[
        "targets of validation set \"other\"",
        "weight 0",
        "PREFIX.weights",
        "before its first step",
    ]);
    assert_eq!(said.code, 2);
    line(&dir, &format!("{TRAIN} --set eval.sequences=0 --set run_dir=DIR/all")).ok();
}

/// Weights of 1 are the run without weights, bit by bit.
#[test]
fn weights_of_1_change_nothing() {
    let dir = tiny();
    let mut bytes = b"RWWEIGHT".to_vec();
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(40_000u64.to_le_bytes());
    bytes.extend(vec![1; 40_000]);
    dir.write("tokens.weights", bytes);
    line(&dir, TRAIN).ok();
    assert_equal_runs(&dir.join("run"), &undisturbed().join("run"), "weights of 1");
}
