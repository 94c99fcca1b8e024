//! Documents that are hard on a tokenizer, the same on every run, and tokenizers that were trained on them.
use rewarm::data::{TextTokenizer, train_bpe};
use std::sync::LazyLock;
use tokenizers::{AddedToken, NormalizerWrapper, Tokenizer, normalizers::NFC};

/// A byte-level BPE of 1,024 tokens.
pub static TRAINED: LazyLock<TextTokenizer> = LazyLock::new(|| train(&documents(400), 1024));

/// The same as Pythia's: NFC, a second special token, and runs of spaces as added tokens that are looked for after NFC.
pub static LIKE_PYTHIA: LazyLock<TextTokenizer> = LazyLock::new(|| {
    changed(|t| {
        t.with_normalizer(Some(NormalizerWrapper::NFC(NFC))).unwrap();
        t.add_special_tokens(vec![AddedToken::from("<|padding|>", true)]).unwrap();
        let spaces = (2..=24).rev().map(|n| AddedToken::from(" ".repeat(n), false).normalized(true));
        t.add_tokens(spaces.collect::<Vec<_>>()).unwrap();
    })
});

/// Trained on these.
pub fn train(texts: &[String], vocab_size: u32) -> TextTokenizer {
    train_bpe(texts.iter().cloned().map(Ok), vocab_size).unwrap()
}

/// [`TRAINED`], changed.
pub fn changed(change: impl FnOnce(&mut Tokenizer)) -> TextTokenizer {
    let mut inner = as_library(&TRAINED);
    change(&mut inner);
    TextTokenizer::from_json(inner.to_string(true).unwrap().into_bytes()).unwrap()
}

/// As the library itself reads it; its `from_bytes`, which is generic, would be compiled here again.
pub fn as_library(tokenizer: &TextTokenizer) -> Tokenizer {
    str::from_utf8(tokenizer.json()).unwrap().parse().unwrap()
}

/// A small generator (Marsaglia's xorshift), so that texts do not depend on a crate's version.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % n
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const SYLLABLES: [&str; 24] = [
    "the", "re", "in", "ing", "er", "on", "st", "ar", "men", "ti", "on", "ly", "pre", "com", "ble", "a", "s",
    "qu", "ou", "wh", "ed", "str", "th", "al",
];
const RARE: [&str; 40] = [
    " ",
    "  ",
    "\n",
    "\n\n",
    "\t",
    "    ",
    "        ",
    "\r\n",
    " \u{a0} ",
    "\u{3000}",
    "'s",
    "'ll",
    "'LL",
    "'",
    "n't",
    "--",
    "...",
    "§",
    "é",
    "e\u{301}",
    "ü",
    "日本",
    "語",
    "。",
    "🙂",
    "👩\u{200d}💻",
    "½",
    "Ⅷ",
    "3.14",
    "2048",
    "1e-9",
    "<|endoftext|>",
    "<|endo",
    "|>",
    "\u{fb01}",
    "\u{ac00}",
    "\u{1100}\u{1161}",
    "\u{212b}",
    "\0",
    "{ x += 1; }",
];

/// One document of about `words` words.
pub fn document(dice: &mut Dice, words: usize) -> String {
    let mut text = String::new();
    for _ in 0..words {
        if dice.below(6) == 0 {
            text.push_str(dice.pick(&RARE));
            continue;
        }
        text.push(' ');
        // Squared: few syllables make most words, as in real text.
        for _ in 0..1 + dice.below(3) {
            let n = SYLLABLES.len();
            text.push_str(SYLLABLES[dice.below(n) * dice.below(n) / n]);
        }
    }
    text
}

pub fn documents(count: usize) -> Vec<String> {
    let mut dice = Dice::new(7);
    (0..count).map(|i| document(&mut dice, 5 + i % 200)).collect()
}
