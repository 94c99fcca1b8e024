//! Splits text as GPT-2's regular expression does, without running a regular expression.
//!
//! `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
//!
//! The classes of characters are read off the regular expression engine of `tokenizers` itself, so both follow the same
//! version of Unicode.
use std::sync::LazyLock;

use tokenizers::utils::SysRegex;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Letter,
    Number,
    Space,
}

/// Class of every character, by code point.
static CLASSES: LazyLock<Vec<Class>> = LazyLock::new(|| {
    let all: String = ('\0'..=char::MAX).collect();
    let mut classes = vec![Class::Other; char::MAX as usize + 1];
    for (pattern, class) in [(r"\p{L}+", Class::Letter), (r"\p{N}+", Class::Number), (r"\s+", Class::Space)] {
        let regex = SysRegex::new(pattern).expect("the pattern is a constant that compiles");
        for (start, end) in regex.find_iter(&all) {
            for c in all[start..end].chars() {
                classes[c as usize] = class;
            }
        }
    }
    classes
});

/// The words of `text`: their concatenation is `text`.
pub(crate) struct Words<'a> {
    text: &'a str,
    classes: &'static [Class],
    at: usize,
}

impl<'a> Words<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, classes: &CLASSES, at: 0 }
    }

    /// Class and length in bytes of the character at a character boundary.
    fn class(&self, at: usize) -> Option<(Class, usize)> {
        let byte = *self.text.as_bytes().get(at)?;
        if byte < 128 {
            return Some((self.classes[usize::from(byte)], 1));
        }
        let c = self.text.get(at..)?.chars().next()?;
        Some((self.classes[c as usize], c.len_utf8()))
    }

    fn skip(&self, class: Class, mut at: usize) -> usize {
        while let Some((found, len)) = self.class(at)
            && found == class
        {
            at += len;
        }
        at
    }

    fn end_of_word(&self) -> Option<usize> {
        let (mut class, len) = self.class(self.at)?;
        let rest = &self.text.as_bytes()[self.at..];
        match rest {
            [b'\'', b's' | b't' | b'm' | b'd', ..] => return Some(self.at + 2),
            [b'\'', b'r' | b'v', b'e', ..] | [b'\'', b'l', b'l', ..] => return Some(self.at + 3),
            _ => {}
        }
        let mut end = self.at + len;
        if rest[0] == b' '
            && let Some((next, len)) = self.class(end)
            && next != Class::Space
        {
            class = next;
            end += len;
        }
        let run = self.skip(class, end);
        if class != Class::Space || run == self.text.len() || run == end {
            return Some(run);
        }
        // `\s+(?!\S)`: of two or more spaces before a word, the last is left to the word.
        let last = self.text[..run].chars().next_back().map_or(1, char::len_utf8);
        Some(run - last)
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let end = self.end_of_word()?;
        let word = &self.text[self.at..end];
        self.at = end;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    static REGEX: LazyLock<SysRegex> = LazyLock::new(|| {
        SysRegex::new(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+").unwrap()
    });

    fn same(text: &str) {
        let expected: Vec<&str> = REGEX.find_iter(text).map(|(a, b)| &text[a..b]).collect();
        assert_eq!(Words::new(text).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn tricky_text() {
        for text in [
            "",
            " ",
            "  ",
            "a",
            "it's 'tis we'll we'Ll I'd they've 'r 're '",
            " 's  's",
            "a  b   c\n\n\td \n e",
            "x = y+1;\r\n\r\n  return",
            "héllo wörld ½ ² Ⅷ ٣",
            "日本語テキスト、です。",
            "e\u{301}a \u{301}",
            "a\u{a0}b\u{a0}\u{a0}c",
            "\u{2028}\u{3000}x",
            "🙂🙂 🙂",
            "\u{85}\u{1c}\u{b}\u{c}a",
            "\0\u{7f}",
            "trailing   ",
            "trailing \u{2003}\u{2003}",
            "  'll",
            " \u{200b}x",
            "\u{10ffff}\u{e000}",
        ] {
            same(text);
        }
    }

    #[test]
    fn every_character_in_every_neighbourhood() {
        for c in '\0'..=char::MAX {
            // Assigned ranges are dense below U+3400; above it one character in 61 is enough.
            if c as u32 >= 0x3400 && !(c as u32).is_multiple_of(61) {
                continue;
            }
            same(&format!("a{c}{c} {c}1{c}  {c}.{c}\n{c}"));
        }
    }

    proptest! {
        #[test]
        fn random_text(text in "(['stmdrevl]|[ \t\n\u{a0}\u{3000}]|[a-zA-Zé日]|[0-9½]|[.,!🙂]|\\PC){0,60}") {
            same(&text);
        }
    }
}
