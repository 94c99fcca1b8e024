//! Views of flat buffers that parallel tasks may read and write. All pointer arithmetic of the backend's
//! elementwise code is here; what leaves this file are slices that cannot overlap.
use crate::ops::{Act, Matrix};
use crate::stop;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows `[rows, cols]` at stride `ld` that are only read.
#[derive(Clone, Copy)]
pub struct Rows<'a, E = f32> {
    ptr: *const E,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
    life: PhantomData<&'a [E]>,
}

/// Rows that are written by tasks, each element by one task only.
pub struct RowsMut<'a, E = f32> {
    ptr: *mut E,
    /// Number of rows.
    pub rows: usize,
    /// Elements of a row.
    pub cols: usize,
    /// Elements between the starts of two rows.
    pub ld: usize,
    life: PhantomData<&'a mut [E]>,
}

// SAFETY: a shared borrow of numbers, whose lifetime the type carries.
unsafe impl<E: Sync> Send for Rows<'_, E> {}
// SAFETY: as above; there is no interior mutability.
unsafe impl<E: Sync> Sync for Rows<'_, E> {}
// SAFETY: an exclusive borrow of numbers, whose lifetime the type carries.
unsafe impl<E: Send> Send for RowsMut<'_, E> {}
// SAFETY: through `&RowsMut` nothing can be read or written; see `part`, which is private to this module's
// drivers and hands out each element once.
unsafe impl<E: Sync> Sync for RowsMut<'_, E> {}

/// Checks that `rows` rows at these strides end inside `len` elements.
fn check(len: usize, offset: usize, rows: usize, cols: usize, ld: usize) {
    assert!(rows == 0 || offset + (rows - 1) * ld + cols <= len, "view ends outside of its buffer");
    assert!(rows <= 1 || cols <= ld, "rows overlap");
}

impl<'a, E> Rows<'a, E> {
    /// A view of `rows` rows of `buffer`.
    pub fn new(buffer: &'a [E], act: Act, rows: usize) -> Self {
        check(buffer.len(), act.offset, rows, act.cols, act.ld);
        Self { ptr: buffer[act.offset..].as_ptr(), rows, cols: act.cols, ld: act.ld, life: PhantomData }
    }

    /// The weight `m` of a flat buffer.
    pub fn matrix(buffer: &'a [E], m: Matrix) -> Self {
        Self::new(buffer, Act { offset: m.offset, cols: m.cols, ld: m.ld }, m.rows)
    }

    /// Row `i`, all of its columns.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [E] {
        assert!(i < self.rows);
        // SAFETY: `check` at construction; nobody writes here while `'a` lasts.
        unsafe { std::slice::from_raw_parts(self.ptr.add(i * self.ld), self.cols) }
    }

    /// Rows `r` and columns `c` of it.
    pub fn part(&self, r: Range<usize>, c: Range<usize>) -> Rows<'a, E> {
        assert!(r.start <= r.end && r.end <= self.rows && c.start <= c.end && c.end <= self.cols);
        // SAFETY: inside the view, by the assertion.
        let ptr = unsafe { self.ptr.add(if r.is_empty() { 0 } else { r.start * self.ld + c.start }) };
        Rows { ptr, rows: r.len(), cols: c.len(), ld: self.ld, life: PhantomData }
    }

    /// Address of the first element, for a matrix product.
    pub(super) fn as_ptr(&self) -> *const E {
        self.ptr
    }
}

impl<'a, E> RowsMut<'a, E> {
    /// A view of `rows` rows of `buffer`.
    pub fn new(buffer: &'a mut [E], act: Act, rows: usize) -> Self {
        check(buffer.len(), act.offset, rows, act.cols, act.ld);
        Self { ptr: buffer[act.offset..].as_mut_ptr(), rows, cols: act.cols, ld: act.ld, life: PhantomData }
    }

    /// The gradient `m` of a flat buffer.
    pub fn matrix(buffer: &'a mut [E], m: Matrix) -> Self {
        Self::new(buffer, Act { offset: m.offset, cols: m.cols, ld: m.ld }, m.rows)
    }

    /// Row `i`, all of its columns.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [E] {
        assert!(i < self.rows);
        // SAFETY: `check` at construction; the exclusive borrow of self is that of the row.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.ld), self.cols) }
    }

    /// The same rows, read only.
    pub fn read(&self) -> Rows<'_, E> {
        Rows { ptr: self.ptr, rows: self.rows, cols: self.cols, ld: self.ld, life: PhantomData }
    }

    /// Rows `r` and columns `c` of it, as a view of its own.
    ///
    /// # Safety
    /// While it lives, no other view of these elements may exist.
    unsafe fn part(&self, r: Range<usize>, c: Range<usize>) -> RowsMut<'a, E> {
        assert!(r.start <= r.end && r.end <= self.rows && c.start <= c.end && c.end <= self.cols);
        // SAFETY: inside the view, by the assertion.
        let ptr = unsafe { self.ptr.add(if r.is_empty() { 0 } else { r.start * self.ld + c.start }) };
        RowsMut { ptr, rows: r.len(), cols: c.len(), ld: self.ld, life: PhantomData }
    }

    /// Rows `r` and columns `c` of it, borrowed from it.
    pub fn part_mut(&mut self, r: Range<usize>, c: Range<usize>) -> RowsMut<'_, E> {
        // SAFETY: the exclusive borrow of self lasts as long as the part.
        unsafe { self.part(r, c) }
    }

    /// Address of the first element, for a matrix product.
    pub(super) fn as_mut_ptr(&mut self) -> *mut E {
        self.ptr
    }
}

/// A part of a view: rows and columns of it.
pub type Place = (Range<usize>, Range<usize>);

/// Views that tasks write parts of: an array of one element's, or a pair of such.
pub trait Outs: Sized + Sync {
    /// A place in each view.
    type Places;
    /// Columns of each view.
    type Cols: Sync;
    /// Rows of the first view, and the columns of each.
    fn extent(&self) -> (usize, Self::Cols);
    /// All columns of some rows of each.
    fn all_columns(rows: Range<usize>, cols: &Self::Cols) -> Self::Places;
    /// Whether any view has elements in both.
    fn overlap(a: &Self::Places, b: &Self::Places) -> bool;
    /// The parts at these places.
    ///
    /// # Safety
    /// While they live, no other view of their elements may exist.
    unsafe fn parts(&self, places: Self::Places) -> Self;
}

impl<E: Send + Sync, const N: usize> Outs for [RowsMut<'_, E>; N] {
    type Places = [Place; N];
    type Cols = [usize; N];

    fn extent(&self) -> (usize, Self::Cols) {
        (self[0].rows, std::array::from_fn(|i| self[i].cols))
    }

    fn all_columns(rows: Range<usize>, cols: &Self::Cols) -> Self::Places {
        cols.map(|cols| (rows.clone(), 0..cols))
    }

    fn overlap(a: &Self::Places, b: &Self::Places) -> bool {
        let meet = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
        a.iter().zip(b).any(|(a, b)| meet(&a.0, &b.0) && meet(&a.1, &b.1))
    }

    unsafe fn parts(&self, places: Self::Places) -> Self {
        let mut views = self.iter();
        // SAFETY: the caller's.
        places.map(|(r, c)| unsafe { views.next().expect("a view for each place").part(r, c) })
    }
}

impl<A: Outs, B: Outs> Outs for (A, B) {
    type Places = (A::Places, B::Places);
    type Cols = (A::Cols, B::Cols);

    fn extent(&self) -> (usize, Self::Cols) {
        let ((rows, a), (_, b)) = (self.0.extent(), self.1.extent());
        (rows, (a, b))
    }

    fn all_columns(rows: Range<usize>, (a, b): &Self::Cols) -> Self::Places {
        (A::all_columns(rows.clone(), a), B::all_columns(rows, b))
    }

    fn overlap(a: &Self::Places, b: &Self::Places) -> bool {
        A::overlap(&a.0, &b.0) || B::overlap(&a.1, &b.1)
    }

    unsafe fn parts(&self, places: Self::Places) -> Self {
        // SAFETY: the caller's.
        unsafe { (self.0.parts(places.0), self.1.parts(places.1)) }
    }
}

/// Runs `f(task, parts)` for each task in parallel on the parts of `outs` that `split(task)` names.
/// Panics if two tasks of a debug build name the same elements.
pub fn for_parts<O: Outs>(
    outs: O,
    tasks: usize,
    split: impl Fn(usize) -> O::Places + Sync,
    f: impl Fn(usize, O) + Sync,
) {
    // What is left out here and below is seen by whoever asks for a result.
    if stop::requested() {
        return;
    }
    if cfg!(debug_assertions) {
        let all: Vec<_> = (0..tasks).map(&split).collect();
        for (i, a) in all.iter().enumerate() {
            assert!(!all[..i].iter().any(|b| O::overlap(a, b)), "tasks share elements");
        }
    }
    (0..tasks).into_par_iter().with_max_len(1).for_each(|task| {
        if stop::requested() {
            return;
        }
        // SAFETY: the callers' splits are partitions (checked above in debug builds), so no two tasks hold
        // views of one element, and `outs` is borrowed exclusively until all tasks are done.
        let parts = unsafe { outs.parts(split(task)) };
        f(task, parts);
    });
}

/// Runs `f(first_row, parts)` over blocks of at most `block` rows in parallel.
pub fn for_row_blocks<O: Outs>(outs: O, block: usize, f: impl Fn(usize, O) + Sync) {
    let (rows, cols) = outs.extent();
    let range = |task: usize| task * block..((task + 1) * block).min(rows);
    let places = |task: usize| O::all_columns(range(task), &cols);
    for_parts(outs, rows.div_ceil(block), places, |task, parts| f(task * block, parts));
}

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

/// Asks for pages of 2 MiB, on Linux; where there are none the program runs as well, if more slowly.
fn want_huge_pages<T>(room: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        const HUGE: usize = 2 << 20;
        let bytes = size_of_val(room);
        let start = room.as_mut_ptr().cast::<u8>();
        let skip = start.align_offset(HUGE);
        if bytes >= skip.saturating_add(HUGE) {
            let len = (bytes - skip) / HUGE * HUGE;
            // SAFETY: whole pages inside of `room`; the advice changes no contents.
            let _ = unsafe {
                rustix::mm::madvise(start.add(skip).cast(), len, rustix::mm::Advice::LinuxHugepage)
            };
        }
    }
}

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
        let view = |a: Act| unsafe { base.add(a.offset) };
        let read = |a: Act| Rows { ptr: view(a), rows, cols: a.cols, ld: a.ld, life: PhantomData };
        let write = |a: Act| RowsMut { ptr: view(a), rows, cols: a.cols, ld: a.ld, life: PhantomData };
        (reads.map(read), writes.map(write))
    }

    /// Borrows a tensor to read and one to write that differ in their number of rows.
    pub fn borrow_rows(&mut self, read: (Act, usize), write: (Act, usize)) -> (Rows<'_, E>, RowsMut<'_, E>) {
        let end = |(a, rows): (Act, usize)| a.offset + rows.saturating_sub(1) * a.ld + a.cols;
        assert!(end(read) <= write.0.offset || end(write) <= read.0.offset, "tensors overlap: {write:?}");
        check(self.values().len(), read.0.offset, read.1, read.0.cols, read.0.ld);
        check(self.values().len(), write.0.offset, write.1, write.0.cols, write.0.ld);
        let base = self.buffer[self.used.clone()].as_mut_ptr();
        // SAFETY: inside the buffer and disjoint (above); both borrow the buffer exclusively.
        let (r, w) = unsafe { (base.add(read.0.offset), base.add(write.0.offset)) };
        (
            Rows { ptr: r, rows: read.1, cols: read.0.cols, ld: read.0.ld, life: PhantomData },
            RowsMut { ptr: w, rows: write.1, cols: write.0.cols, ld: write.0.ld, life: PhantomData },
        )
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
