//! A Rust file as two texts: the code without its comments, and the prose of its doc comments without their markers.
use ra_ap_rustc_lexer::{FrontmatterAllowed, TokenKind, tokenize};

/// The two texts of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RustText {
    /// Code; lines that held nothing but comments are gone, and so are repeated blank lines.
    pub code: String,
    /// Doc comments, a blank line between those of different items; blocks of code in them are left out.
    pub prose: String,
}

/// Separates code and prose.
pub fn split_rust(source: &str) -> RustText {
    let source = source.replace("\r\n", "\n");
    let (mut code, mut docs) = (Code::default(), Docs::default());
    let mut rest = source.as_str();
    for token in tokenize(&source, FrontmatterAllowed::No) {
        let text;
        (text, rest) = rest.split_at(token.len as usize);
        match token.kind {
            TokenKind::Whitespace => {
                docs.interrupted |= text.matches('\n').count() > 1;
                code.space(text);
            }
            // The markers of doc comments are three bytes long.
            TokenKind::LineComment { doc_style } => {
                code.cut = true;
                if doc_style.is_some() {
                    docs.line(&text[3..]);
                }
            }
            TokenKind::BlockComment { doc_style, .. } => {
                code.cut = true;
                if doc_style.is_some() {
                    docs.interrupted = true;
                    let inner = text.strip_suffix("*/").unwrap_or(text);
                    inner[3..].lines().for_each(|line| docs.line(strip_star(line)));
                }
            }
            _ => {
                docs.interrupted = true;
                code.token(text);
            }
        }
    }
    RustText { code: code.finish(), prose: without_code_blocks(&docs.text) }
}

fn strip_star(line: &str) -> &str {
    line.trim_start().strip_prefix('*').unwrap_or(line.trim_start())
}

#[derive(Default)]
struct Docs {
    text: String,
    /// Something other than doc comments came since the last line.
    interrupted: bool,
}

impl Docs {
    fn line(&mut self, line: &str) {
        if std::mem::take(&mut self.interrupted) && !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(line.strip_prefix(' ').unwrap_or(line).trim_end());
        self.text.push('\n');
    }
}

#[derive(Default)]
struct Code {
    done: String,
    line: String,
    /// A comment was taken out of this line.
    cut: bool,
}

impl Code {
    fn space(&mut self, text: &str) {
        for (i, part) in text.split('\n').enumerate() {
            if i > 0 {
                self.end_line();
            }
            self.line.push_str(part);
        }
    }

    /// As it is; a string may have newlines.
    fn token(&mut self, text: &str) {
        // A comment separates what it stands between.
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if self.cut && joins(self.line.chars().next_back()) && joins(text.chars().next()) {
            self.line.push(' ');
        }
        self.line.push_str(text);
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let cut = std::mem::take(&mut self.cut);
        let line = line.trim_end();
        let repeated = self.done.is_empty() || self.done.ends_with("\n\n");
        if line.is_empty() && (cut || repeated) {
            return;
        }
        self.done.push_str(line);
        self.done.push('\n');
    }

    fn finish(mut self) -> String {
        if !self.line.trim().is_empty() {
            self.end_line();
        }
        let length = self.done.trim_end().len();
        self.done.truncate(length);
        if length > 0 {
            self.done.push('\n');
        }
        self.done
    }
}

/// Markdown without fenced blocks and their fences. A fence that is not closed is not a fence.
pub fn without_code_blocks(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while at < lines.len() {
        let close = fence(lines[at]).and_then(|open| {
            let closes = |line: &&str| fence(line).is_some_and(|f| f.len() >= open.len() && f == line.trim());
            lines[at + 1..].iter().position(|line| closes(line) && line.trim().starts_with(open))
        });
        if let Some(inside) = close {
            at += inside + 2;
            continue;
        }
        let blank = lines[at].trim().is_empty();
        if !(blank && (out.is_empty() || out.ends_with("\n\n"))) {
            out.push_str(lines[at].trim_end());
            out.push('\n');
        }
        at += 1;
    }
    let length = out.trim_end().len();
    out.truncate(length);
    if length > 0 {
        out.push('\n');
    }
    out
}

/// The three or more backticks or tildes that a line begins with.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim();
    let mark = line.chars().next().filter(|c| matches!(c, '`' | '~'))?;
    let length = line.len() - line.trim_start_matches(mark).len();
    (length >= 3).then(|| &line[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_keeps_its_lines_and_loses_its_comments() {
        let source = "//! Module.\n\n// note\nfn f() { // why\n    /* gone */\n    a/**/b; // \"x\"\n\n\n    \
                      let s = \"// kept  \";\n}\n";
        assert_eq!(split_rust(source).code, "fn f() {\n    a b;\n\n    let s = \"// kept  \";\n}\n");
    }

    #[test]
    fn comments_nest() {
        for (source, code) in [
            ("a /* b /* c */ d */ e // f\n//g", "a  e\n"),
            ("a /* open /* */", "a\n"),
            ("a / b /", "a / b /\n"),
        ] {
            assert_eq!(split_rust(source).code, code, "{source}");
        }
    }

    #[test]
    fn what_only_seems_a_comment_stays() {
        for code in [
            r##"let s = "// kept";"##,
            r##"let s = "\"// kept";"##,
            r##"let s = "\\";"##,
            r###"let s = r"\";"###,
            r###"let s = r#"// "kept" /* "#;"###,
            r###"let s = br##"// "# /* "##;"###,
            r##"let s = b"//";"##,
            r###"let s = cr#"//"#;"###,
            r##"for"a//""##,
            "let s = \"a\n// kept\n\";",
            "let c = '\"';",
            "let c = '\\'';",
            "let c = '\\\\';",
            "let c = '\\u{2f}';",
            "let c = b'\"';",
            "let c = 'é';",
            "fn f<'a>(x: &'a str) {}",
            "'outer: loop { break 'outer }",
            "let r#type = 1;",
        ] {
            assert_eq!(split_rust(&format!("{code} // \"gone' 'a")).code, format!("{code}\n"));
        }
        for open in ["\"never closed // kept", "r#\"never closed // kept\"", "\"ends in \\"] {
            assert_eq!(split_rust(open).code, format!("{open}\n"));
        }
    }

    #[test]
    fn strings_over_several_lines_stay_as_they_are() {
        let source = "let s = r#\"a  \n\n\n// b  \n\"#; // c\n";
        assert_eq!(split_rust(source).code, "let s = r#\"a  \n\n\n// b  \n\"#;\n");
    }

    #[test]
    fn prose_is_the_text_of_doc_comments() {
        let source = "//! One\n//! two.\n\n//// no\n// no\n/// Three.\nfn f() {}\n/** Four\n * five. */\nfn g() {}\n/***/ /**/\n";
        assert_eq!(split_rust(source).prose, "One\ntwo.\n\nThree.\n\nFour\nfive.\n");
    }

    #[test]
    fn blocks_of_code_are_left_out_of_prose() {
        let source = "/// Before.\n///\n/// ```\n/// let a = 1;\n/// ```\n///\n/// After.\nfn f() {}\n";
        assert_eq!(split_rust(source).prose, "Before.\n\nAfter.\n");
        assert_eq!(without_code_blocks("a\n```\nopen\n"), "a\n```\nopen\n");
        assert_eq!(without_code_blocks("a\n````md\n```\n````\nb\n"), "a\nb\n");
    }

    #[test]
    fn nothing_gives_nothing() {
        assert_eq!(split_rust(""), RustText::default());
        assert_eq!(split_rust("// only\n"), RustText::default());
    }
}
