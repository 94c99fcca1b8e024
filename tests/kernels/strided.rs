//! Matrices whose rows lie apart, with something between them that a kernel must not touch.

/// Between the rows of inputs; outputs have poison there.
const GUARD: f32 = 77.0;

/// `[rows, cols]` with rows `ld` apart.
pub fn spread(values: &[f32], cols: usize, ld: usize) -> Vec<f32> {
    values.chunks(cols).flat_map(|r| r.iter().copied().chain(std::iter::repeat_n(GUARD, ld - cols))).collect()
}

/// The reverse of [`spread`], for what a kernel left.
pub fn gather(values: &[f32], cols: usize, ld: usize) -> Vec<f32> {
    let between = values.chunks(ld).flat_map(|r| &r[cols..]);
    assert!(between.into_iter().all(|x| *x == GUARD || x.is_nan()), "wrote between the rows");
    values.chunks(ld).flat_map(|r| r[..cols].iter().copied()).collect()
}

/// Leading dimensions of the `N` matrices of a kernel, all different where `ld` leaves a gap: one in the place of
/// another shows.
pub fn apart<const N: usize>(cols: usize, ld: usize) -> [usize; N] {
    std::array::from_fn(|i| if ld == cols { ld } else { ld + 8 * i })
}

/// Rows of one block in every sum over columns (`COLUMN_ROWS` of columns.h).
pub const COLUMN_ROWS: usize = 128;
/// Columns of one block there.
pub const COLUMN_TILE: usize = 256;
/// `sizeof(ColumnSmem)`.
pub const COLUMN_SMEM: usize = 9216;

/// The grid of the elementwise kernels that walk columns.
pub fn column_grid(rows: usize, cols: usize) -> [usize; 3] {
    [rows.div_ceil(COLUMN_ROWS), cols.div_ceil(COLUMN_TILE), 1]
}
