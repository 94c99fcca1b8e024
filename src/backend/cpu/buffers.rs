//! What views are of: flat buffers, and scratch.
use super::memory::{Rows, RowsMut, check};
use crate::ops::Act;
use rayon::prelude::*;
use std::ops::Range;

/// Room that grows with what is asked of it, from the start of a cache line: an allocation starts 16 bytes past one, and
/// every vector would be in two.
#[derive(Default)]
pub struct Scratch<E>(Vec<E>);

impl<E: Copy + Default> Scratch<E> {
    /// Without any yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// `len` elements of any contents.
    pub fn room(&mut self, len: usize) -> &mut [E] {
        let spare = LINE / size_of::<E>();
        if self.0.len() < len + spare {
            // The old contents are not worth a copy.
            self.0 = Vec::new();
            self.0 = vec![E::default(); len + spare];
        }
        let start = self.0.as_ptr().align_offset(LINE);
        &mut self.0[start..start + len]
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// `len` zeros that are in memory, brought there by the threads that will use them, in pages of 2 MiB where the system has
/// such. A page that is read before it is written is first the system's page of zeros, and the write that replaces it
/// interrupts every other processor: of the moments of a first update that was half of its time.
pub fn zeros<E: Copy + Default + Send>(len: usize) -> Vec<E> {
    let mut all = Vec::with_capacity(len);
    let room = &mut all.spare_capacity_mut()[..len];
    want_huge_pages(room);
    room.par_chunks_mut(1 << 20).for_each(|part| {
        part.iter_mut().for_each(|x| {
            x.write(E::default());
        });
    });
    // SAFETY: all of them were written.
    unsafe { all.set_len(len) };
    all
}

/// Asks for pages of 2 MiB; where there are none the program runs as well, if more slowly.
#[cfg(target_os = "linux")]
fn want_huge_pages<T>(room: &mut [T]) {
    const HUGE: usize = 2 << 20;
    let bytes = size_of_val(room);
    let start = room.as_mut_ptr().cast::<u8>();
    let skip = start.align_offset(HUGE);
    if bytes >= skip.saturating_add(HUGE) {
        let len = (bytes - skip) / HUGE * HUGE;
        // SAFETY: whole pages inside of `room`; the advice changes no contents.
        let _ =
            unsafe { rustix::mm::madvise(start.add(skip).cast(), len, rustix::mm::Advice::LinuxHugepage) };
    }
}

/// Other systems decide by themselves.
#[cfg(not(target_os = "linux"))]
fn want_huge_pages<T>(_: &mut [T]) {}

/// A flat buffer, all of it allocated before the first step; tensors are ranges of it.
pub struct FlatBuffer<E = f32> {
    buffer: Vec<E>,
    /// What is used of it: from the start of a cache line, as [`Scratch`].
    used: Range<usize>,
}

impl<E: Copy + Default + Send> FlatBuffer<E> {
    /// `len` [`zeros`].
    pub fn new(len: usize) -> Self {
        let buffer: Vec<E> = zeros(len + LINE / size_of::<E>());
        let start = buffer.as_ptr().align_offset(LINE);
        Self { buffer, used: start..start + len }
    }

    fn values(&self) -> &[E] {
        &self.buffer[self.used.clone()]
    }

    /// Number of elements.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Borrows `rows` rows of several tensors at once: `reads` shared, `writes` exclusively.
    /// Panics if a written tensor overlaps another one.
    pub fn borrow<const R: usize, const W: usize>(
        &mut self,
        rows: usize,
        reads: [Act; R],
        writes: [Act; W],
    ) -> ([Rows<'_, E>; R], [RowsMut<'_, E>; W]) {
        for (i, w) in writes.iter().enumerate() {
            assert!(
                reads.iter().chain(&writes[..i]).all(|o| disjoint(*w, *o, rows)),
                "tensors overlap: {w:?}"
            );
        }
        for a in reads.iter().chain(&writes) {
            check(self.values().len(), a.offset, rows, a.cols, a.ld);
        }
        let base = self.buffer[self.used.clone()].as_mut_ptr();
        // SAFETY: inside the buffer (`check`), written views are disjoint from all others (above), and all of
        // them borrow the buffer exclusively.
        unsafe { (reads.map(|a| Rows::at(base, a, rows)), writes.map(|a| RowsMut::at(base, a, rows))) }
    }

    /// Borrows a tensor to read and one to write that differ in their number of rows.
    pub fn borrow_rows(&mut self, read: (Act, usize), write: (Act, usize)) -> (Rows<'_, E>, RowsMut<'_, E>) {
        let end = |(a, rows): (Act, usize)| a.offset + rows.saturating_sub(1) * a.ld + a.cols;
        assert!(end(read) <= write.0.offset || end(write) <= read.0.offset, "tensors overlap: {write:?}");
        check(self.values().len(), read.0.offset, read.1, read.0.cols, read.0.ld);
        check(self.values().len(), write.0.offset, write.1, write.0.cols, write.0.ld);
        let base = self.buffer[self.used.clone()].as_mut_ptr();
        // SAFETY: inside the buffer and disjoint (above); both borrow the buffer exclusively.
        unsafe { (Rows::at(base, read.0, read.1), RowsMut::at(base, write.0, write.1)) }
    }

    /// `rows` rows of one tensor.
    pub fn read(&self, act: Act, rows: usize) -> Rows<'_, E> {
        Rows::new(self.values(), act, rows)
    }
}

/// Whether no element belongs to both: different spans, or different columns of rows at the same stride.
fn disjoint(a: Act, b: Act, rows: usize) -> bool {
    let end = |x: Act| x.offset + rows.saturating_sub(1) * x.ld + x.cols;
    if rows == 0 || end(a) <= b.offset || end(b) <= a.offset {
        return true;
    }
    let (first, second) = if a.offset <= b.offset { (a, b) } else { (b, a) };
    let shift = second.offset - first.offset;
    a.ld == b.ld && shift >= first.cols && shift + second.cols <= a.ld
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_ranges_of_one_buffer_are_disjoint() {
        let all = Act { offset: 10, cols: 12, ld: 12 };
        let (left, right) = (all.columns(0, 4), all.columns(4, 8));
        assert!(disjoint(left, right, 3) && disjoint(right, left, 3));
        assert!(!disjoint(left, all, 3) && !disjoint(all.columns(3, 2), left, 3));
        assert!(disjoint(all, Act { offset: 46, cols: 1, ld: 1 }, 3));
        assert!(!disjoint(all, Act { offset: 45, cols: 1, ld: 1 }, 3));
    }

    #[test]
    #[should_panic(expected = "tensors overlap")]
    fn overlapping_borrows_are_refused() {
        let mut buffer = FlatBuffer::<f32>::new(16);
        let x = Act { offset: 0, cols: 4, ld: 4 };
        buffer.borrow(2, [x], [x.from_row(1)]);
    }
}
