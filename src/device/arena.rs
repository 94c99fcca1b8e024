//! The memory of a device: one arena, laid out by sizes alone.

/// Tensors start at multiples of this, and as much behind each belongs to nobody.
pub const RED_ZONE: usize = 256;

/// Bytes of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// First byte, from the start of the arena.
    pub offset: usize,
    /// How many.
    pub bytes: usize,
}

impl Span {
    /// `bytes` from byte `offset` of it on.
    pub fn part(self, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= self.bytes, "{bytes} bytes at {offset} of {self:?}");
        Self { offset: self.offset + offset, bytes }
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
