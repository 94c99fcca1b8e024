//! What activations are kept in: f32, or bf16 that is computed with in f32. An operation is written once, on views of
//! f32, and borrows its part of the activations as such: f32 lends itself, bf16 a copy in this thread's scratch.
use super::buffers::Scratch;
use super::math::vectorize;
use super::memory::{BLOCK, Rows, RowsMut};
use crate::ops::Act;
use half::bf16;
use std::borrow::Cow;
use std::cell::RefCell;

/// A format of activations and of the weights that products read.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Whether GELU's backward is left the slope. Else it is left the pre-activation, and the slope is that of the rounded
    /// one, as on a GPU.
    const SLOPE: bool;
    /// Whether values are rounded where they are stored, and products read rounded copies of the weights.
    const ROUNDS: bool;

    /// Copies values into a view of the same shape.
    fn widen(from: Rows<Self>, to: &mut RowsMut);

    /// Rounds values into a view of the same shape.
    fn narrow(from: Rows, to: &mut RowsMut<Self>);

    /// Runs `f` on the values.
    fn read<R>(view: Rows<'_, Self>, f: impl FnOnce(Rows) -> R) -> R;

    /// Runs `f` on room for values of which each is written; then rounds them.
    fn write<R>(view: RowsMut<'_, Self>, f: impl FnOnce(RowsMut) -> R) -> R;

    /// Runs `f` on the values and rounds what it leaves.
    fn edit<R>(view: RowsMut<'_, Self>, f: impl FnOnce(RowsMut) -> R) -> R;

    /// Biases as a product adds them, one after the other: two that are rounded are so as one sum.
    fn biases(masters: [Option<&[f32]>; 2]) -> [Option<Cow<'_, [f32]>>; 2];

    /// The weights that products read, of those in f32 and those in bf16.
    fn weights<'a>(w32: &'a [f32], w16: &'a [bf16]) -> &'a [Self];
}

impl Element for f32 {
    const SLOPE: bool = true;
    const ROUNDS: bool = false;

    fn widen(from: Rows, to: &mut RowsMut) {
        vectorize(
            #[inline(always)]
            || row_by_row(from, to, |from, to| to.copy_from_slice(from)),
        );
    }

    fn narrow(from: Rows, to: &mut RowsMut) {
        Self::widen(from, to);
    }

    fn read<R>(view: Rows, f: impl FnOnce(Rows) -> R) -> R {
        f(view)
    }

    fn write<R>(view: RowsMut, f: impl FnOnce(RowsMut) -> R) -> R {
        f(view)
    }

    fn edit<R>(view: RowsMut, f: impl FnOnce(RowsMut) -> R) -> R {
        f(view)
    }

    fn biases(masters: [Option<&[f32]>; 2]) -> [Option<Cow<'_, [f32]>>; 2] {
        masters.map(|bias| bias.map(Cow::Borrowed))
    }

    fn weights<'a>(w32: &'a [f32], _: &'a [bf16]) -> &'a [f32] {
        w32
    }
}

impl Element for bf16 {
    const SLOPE: bool = false;
    const ROUNDS: bool = true;

    fn widen(from: Rows<bf16>, to: &mut RowsMut) {
        vectorize(
            #[inline(always)]
            || row_by_row(from, to, widen),
        );
    }

    fn narrow(from: Rows, to: &mut RowsMut<bf16>) {
        vectorize(
            #[inline(always)]
            || row_by_row(from, to, narrow),
        );
    }

    fn read<R>(view: Rows<bf16>, f: impl FnOnce(Rows) -> R) -> R {
        with_scratch(view.rows, view.cols, |mut values| {
            Self::widen(view, &mut values);
            f(values.read())
        })
    }

    fn write<R>(mut view: RowsMut<bf16>, f: impl FnOnce(RowsMut) -> R) -> R {
        with_scratch(view.rows, view.cols, |mut values| {
            let result = f(values.part_mut(0..view.rows, 0..view.cols));
            Self::narrow(values.read(), &mut view);
            result
        })
    }

    fn edit<R>(mut view: RowsMut<bf16>, f: impl FnOnce(RowsMut) -> R) -> R {
        with_scratch(view.rows, view.cols, |mut values| {
            Self::widen(view.read(), &mut values);
            let result = f(values.part_mut(0..view.rows, 0..view.cols));
            Self::narrow(values.read(), &mut view);
            result
        })
    }

    fn biases(masters: [Option<&[f32]>; 2]) -> [Option<Cow<'_, [f32]>>; 2] {
        let mut given = masters.into_iter().flatten();
        let sum = given.next().map(|first| {
            let mut sum = first.to_vec();
            given.for_each(|second| sum.iter_mut().zip(second).for_each(|(sum, b)| *sum += b));
            sum.iter_mut().for_each(|x| *x = bf16::from_bits(nearest(*x)).to_f32());
            Cow::Owned(sum)
        });
        [sum, None]
    }

    fn weights<'a>(_: &'a [f32], w16: &'a [bf16]) -> &'a [bf16] {
        w16
    }
}

thread_local! {
    /// Scratch that is not in use: as many buffers as were ever borrowed at once.
    static FREE: RefCell<Vec<Scratch<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` on room for `[rows, cols]`, of any contents.
fn with_scratch<R>(rows: usize, cols: usize, f: impl FnOnce(RowsMut) -> R) -> R {
    let mut scratch = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = f(RowsMut::new(scratch.room(rows * cols), Act { offset: 0, cols, ld: cols }, rows));
    FREE.with_borrow_mut(|free| free.push(scratch));
    result
}

/// Runs `f` on rows of the same length; a row of a block of a product is known as such when the program is compiled.
#[inline(always)]
fn row_by_row<A, B>(from: Rows<A>, to: &mut RowsMut<B>, f: impl Fn(&[A], &mut [B])) {
    for i in 0..from.rows {
        let (from, to) = (from.row(i), to.row(i));
        match (<&[A; BLOCK]>::try_from(from), <&mut [B; BLOCK]>::try_from(&mut *to)) {
            (Ok(from), Ok(to)) => f(from, to),
            (_, _) => f(from, to),
        }
    }
}

/// bf16 to f32, which is exact.
#[inline(always)]
pub fn widen(from: &[bf16], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t = f32::from_bits(u32::from(f.to_bits()) << 16));
}

/// f32 to the nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub fn narrow(from: &[f32], to: &mut [bf16]) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t = bf16::from_bits(nearest(*f)));
}

#[inline(always)]
fn nearest(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    // A quiet NaN of the same sign: rounding could carry a NaN's bits into infinity.
    let rounded = if x.is_nan() { bits | 0x40_0000 } else { rounded };
    (rounded >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_that_of_the_half_crate() {
        let at = |i: u32| f32::from_bits(i.wrapping_mul(0x9e37_79b9));
        let special =
            [0.0, -0.0, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, 1e-45];
        let halfway = [1.003_906_2f32, 1.011_718_8, -1.003_906_2, f32::from_bits(0x7f80_0001)];
        let values: Vec<f32> = (0..1 << 20).map(at).chain(special).chain(halfway).collect();
        let mut rounded = vec![bf16::ZERO; values.len()];
        narrow(&values, &mut rounded);
        for (x, y) in values.iter().zip(&rounded) {
            assert_eq!(y.to_bits(), bf16::from_f32(*x).to_bits(), "{x:?}");
        }
        let mut wide = vec![0.0; rounded.len()];
        widen(&rounded, &mut wide);
        assert!(wide.iter().zip(&rounded).all(|(x, y)| x.to_bits() == y.to_f32().to_bits()));
    }

    #[test]
    fn views_are_borrowed_as_values_within_each_other() {
        let mut x: Vec<bf16> = (0..12).map(|i| bf16::from_f32(i as f32)).collect();
        let place = Act { offset: 1, cols: 2, ld: 4 };
        bf16::edit(RowsMut::new(&mut x, place, 3), |mut outer| {
            let mut y = [bf16::ZERO; 2];
            bf16::write(RowsMut::new(&mut y, Act { offset: 0, cols: 2, ld: 2 }, 1), |mut inner| {
                inner.row(0).copy_from_slice(outer.row(1));
            });
            bf16::read(Rows::new(&y, Act { offset: 0, cols: 2, ld: 2 }, 1), |y| {
                outer.row(2).copy_from_slice(y.row(0));
            });
        });
        let values: Vec<f32> = x.iter().map(|x| x.to_f32()).collect();
        assert_eq!(values, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 5.0, 6.0, 11.0]);
    }
}
