//! A Rust file as two texts: the code without its comments, and the prose of its doc comments without their markers.
use super::rust_pieces::{Piece, pieces};

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
    let mut code = Code::default();
    let mut docs = Docs::default();
    for piece in pieces(&source) {
        match piece {
            Piece::Code(text) => {
                docs.interrupted |= !text.trim().is_empty() || text.matches('\n').count() > 1;
                code.push(text);
            }
            Piece::Literal(text) => {
                docs.interrupted = true;
                code.literal(text);
            }
            Piece::Line(text) => {
                code.cut = true;
                if let Some(doc) = text.strip_prefix("///").filter(|t| !t.starts_with('/')) {
                    docs.line(doc);
                } else if let Some(doc) = text.strip_prefix("//!") {
                    docs.line(doc);
                }
            }
            Piece::Block(text) => {
                code.cut = true;
                if let Some(doc) = block_doc(text) {
                    docs.interrupted = true;
                    doc.lines().for_each(|line| docs.line(strip_star(line)));
                }
            }
        }
    }
    RustText { code: code.finish(), prose: without_code_blocks(&docs.text) }
}

/// The content of `/** */` and `/*! */`; `/**/` and `/***` are plain comments.
fn block_doc(text: &str) -> Option<&str> {
    let inner = text.strip_suffix("*/").unwrap_or(text);
    let doc = inner.strip_prefix("/**").filter(|t| !t.starts_with('*') && !t.is_empty());
    doc.or_else(|| inner.strip_prefix("/*!"))
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
    fn push(&mut self, text: &str) {
        for part in text.split_inclusive('\n') {
            match part.strip_suffix('\n') {
                Some(rest) => {
                    self.append(rest);
                    self.end_line();
                }
                None => self.append(part),
            }
        }
    }

    fn append(&mut self, text: &str) {
        // A comment separates what it stands between.
        let joins = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        if self.cut && joins(self.line.chars().next_back()) && joins(text.chars().next()) {
            self.line.push(' ');
        }
        self.line.push_str(text);
    }

    /// As it is, newlines included.
    fn literal(&mut self, text: &str) {
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
