//! Gradients that are sums over rows: of biases and norms. Their first stages leave partial sums; the second stages
//! of a whole block are one launch, and so are the first stages of biases that no other kernel sums on its way.
use super::held::{Columns, Sum, Summed};
use super::layout::BIAS_ROWS;
use super::{Gpu, int};
use crate::Result;
use crate::device::{Arg, ColumnTable, GemmShape, Launch, MATRICES, SUMS, Span, SumTable};
use crate::ops::{Act, Shape};

/// Shared memory of the kernels that sum columns.
pub(super) const COLUMN_SHARED: usize = 9216;

/// Grid of the kernels that give 128 rows and 256 columns to a block.
pub(super) fn column_grid(rows: usize, cols: usize) -> [usize; 3] {
    [rows.div_ceil(BIAS_ROWS), cols.div_ceil(256), 1]
}

impl Gpu {
    /// Room for partial sums `[chunks, cols]` until they are summed.
    pub(super) fn partials(&mut self, chunks: usize, cols: usize) -> Span {
        let bytes = 4 * chunks * cols;
        if self.pending.used + bytes > self.layout.partials.bytes {
            self.finish_sums();
        }
        let span = self.layout.partials.part(self.pending.used, bytes);
        self.pending.used += bytes.next_multiple_of(256);
        span
    }

    /// Something has left column sums of `dy` there, in so many rows.
    pub(super) fn columns_summed(&mut self, dy: Act, partials: Span, chunks: usize) {
        self.pending.summed = Some(Summed { dy, partials, chunks });
    }

    /// Whether something has.
    pub(super) fn has_column_sums(&self, dy: Act) -> bool {
        self.pending.summed.as_ref().is_some_and(|s| s.dy == dy)
    }

    /// The gradient of biases: column sums of `dy`, which must not change before they are made.
    pub(super) fn bias_gradients(&mut self, s: Shape, dy: Act, offsets: &[usize], accumulate: bool) {
        let rows = s.rows();
        let (partials, chunks) = match self.pending.summed.take() {
            Some(summed) if summed.dy == dy => (summed.partials, summed.chunks),
            _ if offsets.is_empty() => return,
            _ => {
                let chunks = rows.div_ceil(BIAS_ROWS);
                let partials = self.partials(chunks, dy.cols);
                if self.pending.columns.len() == MATRICES
                    || self.pending.columns.iter().any(|c| c.rows != rows)
                {
                    self.sum_columns();
                }
                self.pending.columns.push(Columns { dy, rows, partials });
                (partials, chunks)
            }
        };
        for &offset in offsets {
            self.leave_sum(partials, 0, offset, [chunks, dy.cols, dy.cols], accumulate);
        }
    }

    /// A sum for later: of `partials` from value `first` on, to the gradients from `to` on.
    pub(super) fn leave_sum(
        &mut self,
        partials: Span,
        first: usize,
        to: usize,
        sizes: [usize; 3],
        accumulate: bool,
    ) {
        let full = self.pending.sums.len() == SUMS;
        if full || self.pending.sums.first().is_some_and(|s| s.accumulate != accumulate) {
            self.sum_columns();
            self.sum_chunks();
        }
        let (from, to) = (self.at(partials, 4, first), self.at(self.layout.g, 4, to));
        self.pending.sums.push(Sum { from, to, sizes, accumulate });
    }

    /// Before something overwrites `act`: column sums of it that are still to be made are made.
    pub(super) fn before_write(&mut self, act: Act) {
        let meet = |a: Act, b: Act| a.offset < b.offset + b.cols && b.offset < a.offset + a.cols;
        if self.pending.columns.iter().any(|c| meet(c.dy, act)) {
            self.sum_columns();
        }
    }

    /// Makes all sums that were left for later.
    pub(super) fn finish_sums(&mut self) {
        self.sum_columns();
        self.sum_chunks();
        self.pending.used = 0;
        self.pending.summed = None;
    }

    /// The column sums that were left for later.
    pub(super) fn sum_columns(&mut self) {
        let columns = std::mem::take(&mut self.pending.columns);
        let Some(widest) = columns.iter().map(|c| c.dy.cols).max() else { return };
        let (mut table, rows) = (ColumnTable::default(), columns[0].rows);
        for (i, c) in columns.iter().enumerate() {
            let dy = self.at(self.layout.acts, 2, c.dy.offset);
            table.set(i, dy, c.dy.ld, self.at(c.partials, 1, 0), c.dy.cols);
        }
        let [x, y, _] = column_grid(rows, widest);
        let args = vec![Arg::bytes(&table), int(rows)];
        self.launch("bias_grad", [x, y, columns.len()], 256, COLUMN_SHARED, args);
    }

    /// The launch without which a product that sums a bias gradient can do: the sums of its B, in the memory that
    /// such products are timed on.
    pub(super) fn column_sums_of(&self, shape: &GemmShape, operands: Span) -> Result<Launch> {
        let [_, b, ..] = shape.operand_offsets();
        let partials = self.layout.partials;
        let mut table = ColumnTable::default();
        table.set(0, self.at(operands, 1, b), shape.ldb, self.at(partials, 1, 0), shape.n);
        Ok(Launch {
            kernel: self.device.kernel("bias_grad")?,
            grid: column_grid(shape.k, shape.n).map(|blocks| blocks as u32),
            threads: 256,
            shared_bytes: COLUMN_SHARED,
            args: vec![Arg::bytes(&table), int(shape.k)],
        })
    }

    fn sum_chunks(&mut self) {
        let sums = std::mem::take(&mut self.pending.sums);
        let Some(widest) = sums.iter().map(|s| s.sizes[1]).max() else { return };
        let mut table = SumTable::default();
        sums.iter().enumerate().for_each(|(i, s)| table.set(i, s.from, s.to, s.sizes));
        let args = vec![Arg::bytes(&table), i32::from(sums[0].accumulate).into()];
        self.launch("sum_partials", [widest.div_ceil(128), sums.len(), 1], 256, 4096, args);
    }

    /// Adds f32 values to the gradients from `to` on: a sum of one chunk.
    pub(super) fn add_f32(&mut self, from: Span, to: usize) {
        self.finish_sums();
        let cols = from.bytes / 4;
        self.leave_sum(from, 0, to, [1, cols, cols], true);
        self.finish_sums();
    }
}
