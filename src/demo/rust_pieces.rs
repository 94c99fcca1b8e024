//! Where comments are in Rust source, and where they only seem to be: a scanner that knows strings, raw strings,
//! character literals, lifetimes and nested block comments, and nothing else of the language.

/// A piece of source; the pieces of a text, joined, are the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Everything that is neither a literal nor a comment.
    Code(&'a str),
    /// A string, a raw string or a character, with its quotes.
    Literal(&'a str),
    /// From `//` to the end of the line, which is not part of it.
    Line(&'a str),
    /// From `/*` to the matching `*/`.
    Block(&'a str),
}

/// Splits source into pieces. What is not closed reaches to the end.
pub fn pieces(source: &str) -> Vec<Piece<'_>> {
    let bytes = source.as_bytes();
    let (mut found, mut start, mut at) = (Vec::new(), 0, 0);
    while at < bytes.len() {
        // Delimiters are ASCII, so every cut is at the border of a character.
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line_end(bytes, at),
            b'/' if bytes[at..].starts_with(b"/*") => block_end(bytes, at),
            b'"' => string_end(bytes, at + 1, b'"'),
            b'\'' => char_end(source, at),
            b'r' if starts_word(bytes, at) => raw_end(bytes, at),
            _ => at,
        };
        if end == at {
            at += 1;
            continue;
        }
        if start < at {
            found.push(Piece::Code(&source[start..at]));
        }
        let text = &source[at..end];
        found.push(match &bytes[at..at + 2.min(bytes.len() - at)] {
            b"//" => Piece::Line(text),
            b"/*" => Piece::Block(text),
            _ => Piece::Literal(text),
        });
        (start, at) = (end, end);
    }
    if start < bytes.len() {
        found.push(Piece::Code(&source[start..]));
    }
    found
}

fn line_end(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
    at + length
}

fn block_end(bytes: &[u8], at: usize) -> usize {
    let (mut depth, mut end) = (0, at);
    while end < bytes.len() {
        if bytes[end..].starts_with(b"/*") {
            (depth, end) = (depth + 1, end + 2);
        } else if bytes[end..].starts_with(b"*/") {
            (depth, end) = (depth - 1, end + 2);
            if depth == 0 {
                return end;
            }
        } else {
            end += 1;
        }
    }
    bytes.len()
}

/// The end of a literal whose content begins at `at`, over escaped quotes.
fn string_end(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b if b == quote => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` itself where the quote begins a lifetime.
fn char_end(source: &str, at: usize) -> usize {
    let mut rest = source[at + 1..].chars();
    match (rest.next(), rest.next()) {
        (Some('\\'), _) => string_end(source.as_bytes(), at + 1, b'\''),
        (Some(c), Some('\'')) => at + 1 + c.len_utf8() + 1,
        _ => at,
    }
}

/// `at` itself where the `r` begins something else, such as `r#type`.
fn raw_end(bytes: &[u8], at: usize) -> usize {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    let open = at + 1 + hashes;
    if bytes.get(open) != Some(&b'"') {
        return at;
    }
    let mut end = open + 1;
    while end < bytes.len() {
        let after = &bytes[end + 1..];
        if bytes[end] == b'"' && after.len() >= hashes && after[..hashes].iter().all(|b| *b == b'#') {
            return end + 1 + hashes;
        }
        end += 1;
    }
    bytes.len()
}

/// Whether the byte at `at` begins a word, or follows the one-letter prefix `b` or `c` that does.
fn starts_word(bytes: &[u8], at: usize) -> bool {
    let inside = |i: usize| bytes[i].is_ascii_alphanumeric() || bytes[i] == b'_' || bytes[i] >= 0x80;
    match at {
        0 => true,
        1 => !inside(0) || matches!(bytes[0], b'b' | b'c'),
        _ => !inside(at - 1) || (matches!(bytes[at - 1], b'b' | b'c') && !inside(at - 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comments(source: &str) -> Vec<&str> {
        let all = pieces(source);
        let joined: String = all
            .iter()
            .map(|p| match p {
                Piece::Code(t) | Piece::Literal(t) | Piece::Line(t) | Piece::Block(t) => *t,
            })
            .collect();
        assert_eq!(joined, source, "the pieces are the text");
        let comment = |p: &Piece<'_>| matches!(p, Piece::Line(_) | Piece::Block(_));
        all.into_iter()
            .filter(comment)
            .map(|p| match p {
                Piece::Code(t) | Piece::Literal(t) | Piece::Line(t) | Piece::Block(t) => t,
            })
            .collect()
    }

    #[test]
    fn comments_nest() {
        assert_eq!(comments("a /* b /* c */ d */ e // f\n//g"), ["/* b /* c */ d */", "// f", "//g"]);
        assert_eq!(comments("/* open /* */"), ["/* open /* */"]);
        assert_eq!(comments("a / b /"), Vec::<&str>::new());
    }

    #[test]
    fn strings_hide_comments() {
        for source in [
            r##"let s = "// no";"##,
            r##"let s = "\"// no";"##,
            r##"let s = "\\";"##,
            r###"let s = r"\";"###,
            r###"let s = r#"// "no" /* "#;"###,
            r###"let s = br##"// "# /* "##;"###,
            r##"let s = b"//";"##,
            r###"let s = cr#"//"#;"###,
            "let s = \"a\n// no\n\";",
            "\"never closed // no",
            "r#\"never closed // no\"",
            "\"ends in \\",
        ] {
            assert_eq!(comments(source), Vec::<&str>::new(), "{source}");
        }
        assert_eq!(comments(r##"let s = "\\"; // yes"##), ["// yes"]);
        assert_eq!(comments("let s = r\"\\\"; // yes"), ["// yes"]);
        assert_eq!(comments("for\"a//\" // yes"), ["// yes"]);
    }

    #[test]
    fn quotes_of_characters_and_lifetimes_are_told_apart() {
        assert_eq!(comments("let c = '\"'; // yes \""), ["// yes \""]);
        assert_eq!(comments("let c = '\\''; // yes"), ["// yes"]);
        assert_eq!(comments("let c = '\\\\'; // yes"), ["// yes"]);
        assert_eq!(comments("let c = '\\u{2f}'; // yes"), ["// yes"]);
        assert_eq!(comments("let c = b'\"'; // yes"), ["// yes"]);
        assert_eq!(comments("let c = 'é'; // yes"), ["// yes"]);
        assert_eq!(comments("fn f<'a>(x: &'a str) {} // yes 'a"), ["// yes 'a"]);
        assert_eq!(comments("'outer: loop { break 'outer } // yes"), ["// yes"]);
        assert_eq!(comments("let r#type = 1; // yes"), ["// yes"]);
    }
}
