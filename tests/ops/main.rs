//! Every operation of the cpu backend against its definition in f64, over awkward shapes: one row, one more and one
//! less than a tile, widths of no round number, views into wider buffers, extreme scores, constant rows.
//!
//! Everything that an operation may not read is NaN, and what it may not write must keep its bits. An error may
//! be twice that of naive f32 code plus one rounding (`reference::measure`); copies and ordered sums: equal bits.
mod attention;
mod book;
mod documents;
mod linear;
mod norms;
mod optimizer;
mod rig;
mod subnormal;
mod tokens;
mod weights;

use rewarm::reference;

/// Sequence lengths around the tiles: 64 queries of attention and rows of LayerNorm's sums, 512 rows of a product.
const TIMES: [usize; 7] = [1, 2, 63, 64, 65, 130, 513];
