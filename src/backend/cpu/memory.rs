//! Views of flat buffers that parallel tasks may read and write. All pointer arithmetic of the backend's
//! elementwise code is here; what leaves this file are slices that cannot overlap.
use crate::ops::{Act, Matrix};
use crate::stop;
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;

/// Rows and columns of a block, in which products of bf16 are made.
pub const BLOCK: usize = 32;

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
pub(super) fn check(len: usize, offset: usize, rows: usize, cols: usize, ld: usize) {
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

    /// Rows of the buffer at `base`.
    ///
    /// # Safety
    /// They are inside of it, and nobody writes them while `'a` lasts.
    pub(super) unsafe fn at(base: *mut E, act: Act, rows: usize) -> Self {
        // SAFETY: the caller's.
        Self { ptr: unsafe { base.add(act.offset) }, rows, cols: act.cols, ld: act.ld, life: PhantomData }
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

    /// Rows of the buffer at `base`.
    ///
    /// # Safety
    /// They are inside of it, and belong to nobody else while `'a` lasts.
    pub(super) unsafe fn at(base: *mut E, act: Act, rows: usize) -> Self {
        // SAFETY: the caller's.
        Self { ptr: unsafe { base.add(act.offset) }, rows, cols: act.cols, ld: act.ld, life: PhantomData }
    }

    /// Row `i`, all of its columns.
    #[inline(always)]
    pub fn row(&mut self, i: usize) -> &mut [E] {
        assert!(i < self.rows);
        // SAFETY: `check` at construction; the exclusive borrow of self is that of the row.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.ld), self.cols) }
    }

    /// Asks for its cache lines while something else is computed, for they are about to be written. Does nothing where there
    /// is no such instruction.
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        for row in 0..self.rows {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            for at in (0..self.cols).step_by(64 / size_of::<E>()) {
                // SAFETY: a hint, for any address.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(self.ptr.wrapping_add(row * self.ld + at).cast()) };
            }
        }
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
    let run = |task| {
        if stop::requested() {
            return;
        }
        // SAFETY: the callers' splits are partitions (checked above in debug builds), so no two tasks hold
        // views of one element, and `outs` is borrowed exclusively until all tasks are done.
        let parts = unsafe { outs.parts(split(task)) };
        f(task, parts);
    };
    in_parallel(tasks, &run);
}

/// Not generic: what rayon makes of it is compiled once and not once for each operation.
fn in_parallel(tasks: usize, run: &(dyn Fn(usize) + Sync)) {
    (0..tasks).into_par_iter().with_max_len(1).for_each(run);
}

/// Runs `f(first_row, parts)` over blocks of at most `block` rows in parallel.
pub fn for_row_blocks<O: Outs>(outs: O, block: usize, f: impl Fn(usize, O) + Sync) {
    let (rows, cols) = outs.extent();
    let range = |task: usize| task * block..((task + 1) * block).min(rows);
    let places = |task: usize| O::all_columns(range(task), &cols);
    for_parts(outs, rows.div_ceil(block), places, |task, parts| f(task * block, parts));
}
