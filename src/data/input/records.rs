//! JSON values one after another: lines, the elements of an array, or a stream.
use std::io::{self, BufRead};

use super::open::Reader;

/// Cuts a file into values. Nothing is known of a value but where it ends.
pub(super) struct Records {
    reader: Reader,
    kind: Kind,
    /// Of the value in `value`, from 1.
    pub(super) line: u64,
    /// Lines that are behind.
    passed: u64,
    pub(super) value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Lines,
    /// Values of any form; whether they are in an array is seen at the first one.
    Start,
    Stream,
    Array,
    /// Behind the end of an array.
    End,
}

/// What comes next.
pub(super) enum Next {
    /// It is in `value`.
    Value,
    End,
    /// The file goes on in a way that JSON does not.
    Bad(&'static str),
}

impl Records {
    pub(super) fn lines(reader: Reader) -> Self {
        Self { reader, kind: Kind::Lines, line: 0, passed: 0, value: Vec::new() }
    }

    pub(super) fn values(reader: Reader) -> Self {
        Self { kind: Kind::Start, ..Self::lines(reader) }
    }

    /// Whether a value that is bad may be passed over: the next one is found all the same.
    pub(super) fn go_on_after_bad(&self) -> bool {
        self.kind == Kind::Lines
    }

    pub(super) fn next(&mut self) -> io::Result<Next> {
        if self.kind == Kind::Lines { self.next_line() } else { self.next_value() }
    }

    fn next_line(&mut self) -> io::Result<Next> {
        loop {
            self.value.clear();
            if self.reader.read_until(b'\n', &mut self.value)? == 0 {
                return Ok(Next::End);
            }
            self.line += 1;
            if self.value.ends_with(b"\n") {
                self.value.pop();
            }
            if !self.value.trim_ascii().is_empty() {
                return Ok(Next::Value);
            }
        }
    }

    fn next_value(&mut self) -> io::Result<Next> {
        let mut first = self.first_byte()?;
        if self.kind == Kind::Start {
            self.kind = if first == Some(b'[') { Kind::Array } else { Kind::Stream };
            if self.kind == Kind::Array {
                self.reader.consume(1);
                first = self.first_byte()?;
                if first != Some(b']') {
                    return self.take_value(first);
                }
            }
        }
        match (self.kind, first) {
            (Kind::Stream | Kind::End, None) => Ok(Next::End),
            (Kind::Stream, _) => self.take_value(first),
            (Kind::Array, Some(b',')) => {
                self.reader.consume(1);
                let first = self.first_byte()?;
                self.take_value(first)
            }
            (Kind::Array, Some(b']')) => {
                self.reader.consume(1);
                self.kind = Kind::End;
                self.next_value()
            }
            (Kind::Array, None) => Ok(Next::Bad("the array ends too early")),
            (Kind::Array, _) => Ok(Next::Bad("a comma or the end of the array was expected")),
            _ => Ok(Next::Bad("something follows the array")),
        }
    }

    /// Passes over spaces; the byte behind them stays.
    fn first_byte(&mut self) -> io::Result<Option<u8>> {
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                self.line = self.passed + 1;
                return Ok(None);
            }
            let spaces = bytes.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(bytes.len());
            self.passed += bytes[..spaces].iter().filter(|b| **b == b'\n').count() as u64;
            let first = bytes.get(spaces).copied();
            self.reader.consume(spaces);
            if first.is_some() {
                self.line = self.passed + 1;
                return Ok(first);
            }
        }
    }

    /// The value that begins here, to the bracket or quote that closes it.
    fn take_value(&mut self, first: Option<u8>) -> io::Result<Next> {
        self.value.clear();
        // A number or a word ends before what cannot be part of it.
        let scalar = match first {
            Some(b',' | b']' | b'}') | None => return Ok(Next::Bad("a value was expected")),
            Some(b'{' | b'[' | b'"') => false,
            Some(_) => true,
        };
        let mut end = End::default();
        loop {
            let bytes = self.reader.fill_buf()?;
            if bytes.is_empty() {
                return Ok(if scalar {
                    Next::Value
                } else {
                    Next::Bad("the value that begins here has no end")
                });
            }
            let over = |b: &u8| b.is_ascii_whitespace() || matches!(b, b',' | b']' | b'}');
            let found = bytes.iter().position(|b| if scalar { over(b) } else { end.is_at(*b) });
            let taken = found.map_or(bytes.len(), |at| at + usize::from(!scalar));
            self.value.extend_from_slice(&bytes[..taken]);
            self.passed += bytes[..taken].iter().filter(|b| **b == b'\n').count() as u64;
            self.reader.consume(taken);
            if found.is_some() {
                return Ok(Next::Value);
            }
        }
    }
}

/// Follows a value to its end.
#[derive(Default)]
struct End {
    depth: u64,
    string: bool,
    escape: bool,
}

impl End {
    /// Whether the value ends with this byte, the next one.
    fn is_at(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.escape) {
            return false;
        }
        match byte {
            b'\\' => self.escape = self.string,
            b'"' => {
                self.string = !self.string;
                return !self.string && self.depth == 0;
            }
            b'{' | b'[' if !self.string => self.depth += 1,
            b'}' | b']' if !self.string => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}
