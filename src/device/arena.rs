//! The memory of a device: one arena, laid out by sizes alone.
use crate::{Error, Result};

/// Tensors start at multiples of this, and as much behind each belongs to nobody.
pub const RED_ZONE: usize = 256;

/// Most bytes between the starts of two rows that are copied together: `CU_DEVICE_ATTRIBUTE_MAX_PITCH` of every GPU.
const PITCH_MAX: usize = i32::MAX as usize;

/// Bytes of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte, from the start of the arena.
    pub offset: usize,
    /// Bytes that it takes.
    pub bytes: usize,
}

impl Span {
    /// `bytes` from byte `offset` of it on.
    pub fn part(self, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= self.bytes, "{bytes} bytes at {offset} of {self:?}");
        Self { offset: self.offset + offset, bytes }
    }
}

/// Rows of equal length in the arena, which are copied together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    /// The first of them.
    pub first: Span,
    /// How many, at least one.
    pub count: usize,
    /// Bytes between the starts of two.
    pub pitch: usize,
}

impl Rows {
    /// One after the other.
    pub fn each(self) -> impl Iterator<Item = Span> {
        let Self { first: Span { offset, bytes }, count, pitch } = self;
        (0..count).map(move |row| Span { offset: offset + row * pitch, bytes })
    }

    /// Bytes of all of them.
    pub fn bytes(self) -> usize {
        self.count * self.first.bytes
    }

    /// From the first byte of the first to the last of the last. Refused where they overlap, there are none, or no GPU
    /// copies rows so far apart.
    pub fn extent(self) -> Result<Span> {
        let Self { first, count, pitch } = self;
        let fits = pitch >= first.bytes && (count == 1 || pitch <= PITCH_MAX);
        let before_last = count.checked_sub(1).filter(|_| fits).and_then(|rows| rows.checked_mul(pitch));
        let bytes = before_last.and_then(|before| before.checked_add(first.bytes));
        let bytes = bytes.ok_or_else(|| {
            Error::refused(format!("{count} rows of {} bytes cannot begin every {pitch} bytes", first.bytes))
        })?;
        Ok(Span { offset: first.offset, bytes })
    }
}

impl From<Span> for Rows {
    fn from(first: Span) -> Self {
        Self { first, count: 1, pitch: first.bytes }
    }
}

/// Where everything lies in device memory: decided before anything is allocated, by sizes alone.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    /// What the device may touch, ascending, red zones between.
    pub spans: Vec<Span>,
    bytes: usize,
}

impl Arena {
    /// Room for `bytes` more.
    pub fn add(&mut self, bytes: usize) -> Span {
        let span = Span { offset: self.bytes, bytes };
        self.bytes += bytes.next_multiple_of(RED_ZONE) + RED_ZONE;
        self.spans.push(span);
        span
    }

    /// Room for `bytes`, of which the device may touch the tensors: (first byte, bytes), ascending, at multiples of
    /// [`RED_ZONE`] with as much between.
    pub fn add_tensors(&mut self, bytes: usize, tensors: impl Iterator<Item = (usize, usize)>) -> Span {
        let span = Span { offset: self.bytes, bytes };
        self.spans.extend(tensors.map(|(offset, bytes)| span.part(offset, bytes)));
        self.bytes += bytes.next_multiple_of(RED_ZONE) + RED_ZONE;
        span
    }

    /// What is allocated, red zones included.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
