//! Values on their way into buffers: drawn from a source by all threads, in pieces that a cache holds.
use super::handles::{Matrix, Source};
use crate::Result;
use rayon::prelude::*;

/// Elements that a thread draws at a time.
const PIECE: usize = 1 << 16;
/// Elements that are drawn before they are taken.
const BUFFER: usize = 1 << 20;

/// Fills `values` with those of a source from index `first` on. Of several errors, that of the first piece comes back.
fn draw(source: Source<'_>, first: usize, values: &mut [f32]) -> Result<()> {
    let pieces = values.par_chunks_mut(PIECE).enumerate();
    first_error(pieces.map(|(i, piece)| source(first + i * PIECE, piece)))
}

/// Hands the first `elements` values of a source to `take` in order, a buffer at a time, each with the index of its first.
pub fn draw_in_order(
    source: Source<'_>,
    elements: usize,
    mut take: impl FnMut(usize, &[f32]) -> Result<()>,
) -> Result<()> {
    let mut buffer = vec![0.0; BUFFER.min(elements)];
    for first in (0..elements).step_by(BUFFER) {
        let values = &mut buffer[..BUFFER.min(elements - first)];
        draw(source, first, values)?;
        take(first, values)?;
    }
    Ok(())
}

impl Matrix {
    /// Overwrites the elements of it in a flat buffer with those of a source: in place, or through a piece per thread
    /// where something lies between its rows.
    pub fn draw(self, source: Source<'_>, flat: &mut [f32]) -> Result<()> {
        if self.ld == self.cols {
            return draw(source, 0, &mut flat[self.offset..][..self.elements()]);
        }
        let rows = PIECE.div_ceil(self.cols);
        let blocks = flat[self.extent()].par_chunks_mut(rows * self.ld).enumerate();
        first_error(blocks.map_init(Vec::new, |values, (i, block)| {
            values.resize(block.len().div_ceil(self.ld) * self.cols, 0.0);
            source(i * rows * self.cols, values)?;
            for (row, values) in block.chunks_mut(self.ld).zip(values.chunks(self.cols)) {
                row[..self.cols].copy_from_slice(values);
            }
            Ok(())
        }))
    }
}

fn first_error(done: impl ParallelIterator<Item = Result<()>>) -> Result<()> {
    done.find_map_first(Result::err).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn source(first: usize, values: &mut [f32]) -> Result<()> {
        values.iter_mut().zip(first..).for_each(|(value, i)| *value = (i + 1) as f32);
        Ok(())
    }

    #[test]
    fn every_element_gets_its_value_and_nothing_else_changes() {
        for (rows, cols, ld) in [(1, 7, 7), (700, 300, 300), (700, 300, 1000), (3, 70_000, 70_001), (5, 1, 9)]
        {
            let matrix = Matrix { offset: 5, rows, cols, ld };
            let mut flat = vec![0.0; 5 + rows * ld];
            let mut expected = flat.clone();
            let values: Vec<f32> = (1..=rows * cols).map(|i| i as f32).collect();
            matrix.scatter(0, &values, &mut expected);
            matrix.draw(&source, &mut flat).unwrap();
            assert!(flat == expected, "{matrix:?}");
        }
    }

    #[test]
    fn buffers_come_in_order() {
        let (elements, mut seen) = (2 * BUFFER + 3, 0);
        draw_in_order(&source, elements, |first, values| {
            assert_eq!((first, values[0]), (seen, (seen + 1) as f32));
            seen += values.len();
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, elements);
    }

    /// Whatever thread is the first to meet one.
    #[test]
    fn the_first_of_several_errors_is_told() {
        let bad = |first: usize, _: &mut [f32]| match first / PIECE {
            0..3 => Ok(()),
            piece => Err(Error::refused(format!("piece {piece}"))),
        };
        for _ in 0..20 {
            let error = draw(&bad, 0, &mut vec![0.0; 16 * PIECE]).unwrap_err();
            assert_eq!(error.to_string(), "piece 3");
        }
    }
}
