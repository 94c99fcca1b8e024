//! The factors of a product as a micro-kernel takes them: the right one in panels, the left one too or as it is stored.
use super::super::buffers::Scratch;
use super::super::gemm::Operand;
use super::micro::MicroKernel;
use super::pack::pack;
use super::panels::{A_ROWS, B_COLS, Depth, Left, Panels, UNITS, units};
use half::bf16;
use std::ops::Range;

/// Panels of the right factor, `[panels][units][B_COLS]`.
pub struct Right<'a> {
    panels: &'a [u32],
    units: usize,
}

impl<'a> Right<'a> {
    /// Panels of so many units.
    pub fn new(panels: &'a [u32], units: usize) -> Self {
        Self { panels, units }
    }

    /// A factor `[inner, columns]`, rearranged in `scratch` by this thread alone.
    pub fn whole(micro: MicroKernel, factor: Operand<'_, bf16>, scratch: &'a mut Scratch<u32>) -> Self {
        let (Operand::N(lines) | Operand::T(lines)) = factor;
        let [inner, columns] = match factor {
            Operand::N(_) => [lines.rows, lines.cols],
            Operand::T(_) => [lines.cols, lines.rows],
        };
        let depth = Depth::new(0..inner, micro.unit());
        let panels = scratch.room(columns.next_multiple_of(B_COLS) * depth.units);
        pack(micro, Panels::Right, factor.turned(), 0..columns, &depth, panels);
        Self { panels, units: depth.units }
    }

    /// Some units of a panel of 32 columns.
    pub fn panel(&self, panel: usize, units: Range<usize>) -> &'a [u32] {
        &self.panels[panel * self.units * B_COLS..][units.start * B_COLS..units.end * B_COLS]
    }
}

/// The left factor of a tile at some stretches, 32 rows at a time.
pub struct Lefts<'a> {
    factor: Operand<'a, bf16>,
    rows: Range<usize>,
    depths: &'a [Depth],
    /// `[stretches][panels][units][A_ROWS]`; empty where rows are read as they are stored.
    panels: &'a [u32],
}

impl<'a> Lefts<'a> {
    /// Rearranges it in `scratch` if it must be.
    pub fn new(
        micro: MicroKernel,
        factor: Operand<'a, bf16>,
        rows: Range<usize>,
        depths: &'a [Depth],
        scratch: &'a mut Scratch<u32>,
    ) -> Self {
        if micro.left_in_rows() && is_read_as_stored(factor, &rows, depths) {
            return Self { factor, rows, depths, panels: &[] };
        }
        let height = rows.len().next_multiple_of(A_ROWS);
        let panels = scratch.room(height * units(depths));
        let mut rest = &mut *panels;
        for depth in depths {
            let part;
            (part, rest) = rest.split_at_mut(height * depth.units);
            pack(micro, Panels::Left, factor, rows.clone(), depth, part);
        }
        Self { factor, rows, depths, panels }
    }

    /// Rows `32·panel..` of it at a stretch.
    pub fn get(&self, stretch: usize, panel: usize) -> Left<'a> {
        let depth = &self.depths[stretch];
        match self.factor {
            Operand::N(factor) if self.panels.is_empty() => {
                let start = self.rows.start + panel * A_ROWS;
                Left::Rows(factor.part(start..start + A_ROWS, depth.elements.clone()))
            }
            _ => {
                let height = self.rows.len().next_multiple_of(A_ROWS);
                let start = height * units(&self.depths[..stretch]) + panel * A_ROWS * depth.units;
                Left::Panel(&self.panels[start..start + A_ROWS * depth.units])
            }
        }
    }
}

/// Whether a micro-kernel of rows takes these as they are: whole blocks, and each 64 bytes of a row in one cache line (in two,
/// they were read at 0.4 of the rate).
fn is_read_as_stored(factor: Operand<'_, bf16>, rows: &Range<usize>, depths: &[Depth]) -> bool {
    const BLOCK: usize = 2 * UNITS;
    let Operand::N(factor) = factor else { return false };
    let whole = |elements: usize| elements.is_multiple_of(BLOCK);
    rows.len().is_multiple_of(A_ROWS)
        && depths.iter().all(|depth| whole(depth.elements.start) && whole(depth.elements.len()))
        && whole(factor.ld)
        && (factor.as_ptr() as usize).is_multiple_of(BLOCK * size_of::<bf16>())
}
