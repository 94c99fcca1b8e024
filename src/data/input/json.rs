//! Finds one text in one JSON value without building the rest of it.
//!
//! Accepted is what RFC 8259 allows and what Python's `json.dumps` writes beyond it: `NaN`, `Infinity`, numbers of any
//! size, lone surrogates. Nesting may be of any depth. Of a repeated key the last one counts, as in Python.

/// What a value holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TextField {
    /// The text, and how many lone surrogates became U+FFFD.
    Text(String, usize),
    /// No text where it was looked for.
    None,
}

/// Where and why a value is not JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bad {
    pub(super) what: &'static str,
    /// Byte of the value.
    pub(super) at: usize,
}

/// The text of a value that fills `bytes`: a string's own, or the string in the field `field` of an object, which may be a
/// field of a field: `meta.text`.
pub(super) fn text_of(bytes: &[u8], field: &str) -> Result<TextField, Bad> {
    let mut scan = Scan { bytes, at: 0 };
    scan.space();
    let found = match scan.peek() {
        Some(b'"') => Some(scan.string()?),
        Some(b'{') => scan.field(field)?,
        _ => {
            scan.skip()?;
            None
        }
    };
    scan.space();
    if scan.at < bytes.len() {
        return Err(scan.bad("something follows the value"));
    }
    found.map_or(Ok(TextField::None), |string| scan.text(&string))
}

/// The value in the field `field` of an object that fills `bytes`, as it lies there; of a repeated key the last one.
pub(super) fn value_of<'a>(bytes: &'a [u8], field: &str) -> Result<Option<&'a [u8]>, Bad> {
    let mut scan = Scan { bytes, at: 0 };
    scan.space();
    let found = if scan.peek() == Some(b'{') { scan.value(field)? } else { scan.skip().map(|()| None)? };
    scan.space();
    if scan.at < bytes.len() {
        return Err(scan.bad("something follows the value"));
    }
    Ok(found.and_then(|(start, end)| bytes.get(start..end)))
}

/// The number that fills `bytes`; none where they are anything else, such as `NaN`.
pub(super) fn number(bytes: &[u8]) -> Option<f64> {
    str::from_utf8(bytes).ok().filter(|_| is_number(bytes)).and_then(|text| text.parse().ok())
}

/// The first keys of an object; none of anything else.
pub(super) fn keys(bytes: &[u8], most: usize) -> Vec<String> {
    let mut scan = Scan { bytes, at: 0 };
    let mut keys = Vec::new();
    scan.space();
    // Whoever asks has scanned it before; where it is no object after all, there is nothing to say.
    let _ = scan.members(|scan, key| {
        if let (true, Ok(TextField::Text(key, _))) = (keys.len() < most, scan.text(key)) {
            keys.push(key);
        }
        scan.skip()
    });
    keys
}

/// Whether what begins here may go on as an object with a value in `field` that begins with `opening`: it has begun.
pub(super) fn begins_with(bytes: &[u8], field: &str, opening: u8) -> bool {
    let mut begun = false;
    // It ends somewhere: what matters is how far it came.
    let _ = Scan { bytes, at: 0 }.begins(field, opening, &mut begun);
    begun
}

/// A string between its quotes.
struct Span {
    start: usize,
    end: usize,
    escaped: bool,
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn bad(&self, what: &'static str) -> Bad {
        Bad { what, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Calls `member` behind each `key:` of the object that begins here.
    fn members(&mut self, mut member: impl FnMut(&mut Self, &Span) -> Result<(), Bad>) -> Result<(), Bad> {
        if !self.eat(b'{') {
            return Err(self.bad("an object was expected"));
        }
        self.space();
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            member(self, &key)?;
            self.space();
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Err(self.bad("a comma or the end of the object was expected"));
            }
            self.space();
        }
    }

    /// The last string in the field, if its last value is a string.
    fn field(&mut self, field: &str) -> Result<Option<Span>, Bad> {
        self.last(field, &mut |scan| match scan.peek() {
            Some(b'"') => scan.string().map(Some),
            _ => scan.skip().map(|()| None),
        })
    }

    /// From where to where the last value in the field reaches.
    fn value(&mut self, field: &str) -> Result<Option<(usize, usize)>, Bad> {
        self.last(field, &mut |scan| {
            let start = scan.at;
            scan.skip()?;
            Ok(Some((start, scan.at)))
        })
    }

    /// What `read`, which passes over the value that begins here, makes of the last one in the field.
    fn last<T>(
        &mut self,
        field: &str,
        read: &mut dyn FnMut(&mut Self) -> Result<Option<T>, Bad>,
    ) -> Result<Option<T>, Bad> {
        let mut found = None;
        self.members(|scan, key| {
            scan.space();
            match scan.below(key, field) {
                _ if scan.is(key, field) => found = read(scan)?,
                Some(inner) if scan.peek() == Some(b'{') => found = scan.last(inner, read)?,
                Some(_) => {
                    found = None;
                    scan.skip()?;
                }
                None => scan.skip()?,
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Follows an object for as long as it lasts; `begun` becomes true where the value in the field begins with `opening`.
    fn begins(&mut self, field: &str, opening: u8, begun: &mut bool) -> Result<(), Bad> {
        self.members(|scan, key| {
            scan.space();
            *begun |= scan.is(key, field) && scan.peek() == Some(opening);
            match scan.below(key, field) {
                Some(inner) if scan.peek() == Some(b'{') => scan.begins(inner, opening, begun),
                _ => scan.skip(),
            }
        })
    }

    /// What of `field` is left below a key that is its first part.
    fn below<'f>(&self, key: &Span, field: &'f str) -> Option<&'f str> {
        let (first, rest) = field.split_at_checked(field.find('.')?)?;
        self.is(key, first).then(|| &rest[1..])
    }

    fn is(&self, key: &Span, field: &str) -> bool {
        if !key.escaped {
            return &self.bytes[key.start..key.end] == field.as_bytes();
        }
        matches!(self.text(key), Ok(TextField::Text(key, _)) if key == field)
    }

    fn key(&mut self) -> Result<Span, Bad> {
        if self.peek() != Some(b'"') {
            return Err(self.bad("a key in quotes was expected"));
        }
        let key = self.string()?;
        self.space();
        if self.eat(b':') { Ok(key) } else { Err(self.bad("a colon was expected")) }
    }

    /// Passes over the value that begins here, of any depth.
    fn skip(&mut self) -> Result<(), Bad> {
        // What closes each array and object that is open.
        let mut open = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(b'"') => {
                    self.string()?;
                }
                Some(start @ (b'{' | b'[')) => {
                    let close = start + 2;
                    self.at += 1;
                    self.space();
                    if !self.eat(close) {
                        open.push(close);
                        if close == b'}' {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => self.scalar()?,
            }
            // A value has ended, and with it perhaps what it is in.
            loop {
                let Some(&close) = open.last() else { return Ok(()) };
                self.space();
                if self.eat(close) {
                    open.pop();
                    continue;
                }
                if !self.eat(b',') {
                    return Err(self.bad("a comma or a closing bracket was expected"));
                }
                if close == b'}' {
                    self.space();
                    self.key()?;
                }
                break;
            }
        }
    }

    /// The string that begins here.
    fn string(&mut self) -> Result<Span, Bad> {
        self.at += 1;
        let (start, mut escaped) = (self.at, false);
        loop {
            self.at += plain(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Span { start, end: self.at - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += match self.bytes.get(self.at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if unit(self.bytes, self.at + 2).is_some() => 6,
                        _ => return Err(self.bad("an escape that JSON does not have")),
                    };
                }
                Some(_) => return Err(self.bad("a control character in a string")),
                None => return Err(self.bad("it ends inside of a string")),
            }
        }
    }

    /// A number, a word, or one of those that Python adds.
    fn scalar(&mut self) -> Result<(), Bad> {
        let rest = &self.bytes[self.at..];
        let word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        let len = rest.iter().position(|b| !word(b)).unwrap_or(rest.len());
        let known =
            matches!(&rest[..len], b"true" | b"false" | b"null" | b"NaN" | b"Infinity" | b"-Infinity");
        if !known && !is_number(&rest[..len]) {
            return Err(self.bad(if rest.is_empty() { "it ends too early" } else { "a value was expected" }));
        }
        self.at += len;
        Ok(())
    }

    /// A string without its escapes.
    fn text(&self, span: &Span) -> Result<TextField, Bad> {
        let raw = &self.bytes[span.start..span.end];
        let utf8 = |bytes: Vec<u8>| {
            String::from_utf8(bytes).map_err(|_| Bad { what: "the text is not UTF-8", at: span.start })
        };
        if !span.escaped {
            return Ok(TextField::Text(utf8(raw.to_vec())?, 0));
        }
        let (mut out, mut lone, mut at) = (Vec::with_capacity(raw.len()), 0, 0);
        loop {
            let ahead = plain(&raw[at..]);
            out.extend_from_slice(&raw[at..at + ahead]);
            at += ahead;
            if at == raw.len() {
                break;
            }
            let byte = match raw[at + 1] {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'u' => {
                    let (c, len) = character(raw, at);
                    lone += usize::from(c.is_none());
                    let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                    at += len;
                    continue;
                }
                other => other,
            };
            out.push(byte);
            at += 2;
        }
        Ok(TextField::Text(utf8(out)?, lone))
    }
}

/// How many bytes of a string come before one that is not plain: a quote, a backslash, a control character.
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // In each byte, the highest bit says whether it is below a bound of at most 128; the lowest that is set is right.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & (ONES << 7);
    let mut at = 0;
    for eight in bytes.chunks_exact(8) {
        let word = u64::from_le_bytes(eight.try_into().expect("chunks of eight bytes"));
        let quote = below(word ^ (ONES * u64::from(b'"')), 1);
        let found = below(word, 0x20) | quote | below(word ^ (ONES * u64::from(b'\\')), 1);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = bytes[at..].iter().position(|b| *b < 0x20 || matches!(*b, b'"' | b'\\'));
    rest.map_or(bytes.len(), |ahead| at + ahead)
}

/// The four hexadecimal digits at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.iter().try_fold(0, |sum, b| Some(sum * 16 + char::from(*b).to_digit(16)?))
}

/// The character of the `\uXXXX` at `at`, or of the two that are a pair, and their length in bytes. `None`: a lone
/// surrogate.
fn character(raw: &[u8], at: usize) -> (Option<char>, usize) {
    let high = unit(raw, at + 2).unwrap_or(0xd800);
    if !(0xd800..0xdc00).contains(&high) || raw.get(at + 6..at + 8) != Some(br"\u") {
        return (char::from_u32(high), 6);
    }
    match unit(raw, at + 8).filter(|low| (0xdc00..0xe000).contains(low)) {
        Some(low) => (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 12),
        None => (None, 6),
    }
}

/// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`
fn is_number(bytes: &[u8]) -> bool {
    let digits = |b: &[u8]| !b.is_empty() && b.iter().all(u8::is_ascii_digit);
    let bytes = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(e) => (&bytes[..e], Some(&bytes[e + 1..])),
        None => (bytes, None),
    };
    let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(dot) => (&mantissa[..dot], Some(&mantissa[dot + 1..])),
        None => (mantissa, None),
    };
    let unsigned = |e: &[u8]| digits(e.strip_prefix(b"-").or(e.strip_prefix(b"+")).unwrap_or(e));
    digits(whole)
        && (whole.len() == 1 || whole[0] != b'0')
        && fraction.is_none_or(digits)
        && exponent.is_none_or(unsigned)
}

#[cfg(test)]
mod tests;
