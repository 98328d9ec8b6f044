//! Filters of bytes as tiles of products take them: panels of columns, laid out once where the filter stays in memory.

use super::dot::{COLUMNS, STEP};
use super::filter::{AffineFilter, FilterType};
use crate::base::error::{KernelError, check_exact, product};

/// Integers of a filter that are read at once.
const PIECE: usize = 64;

/// The rows of a filter, `[columns, depth]`, in panels of 16: 4 bytes of each stand together, and the sums of all after them.
#[derive(Debug, Clone, Copy)]
pub struct BytePanels {
    columns: usize,
    depth: usize,
}

impl BytePanels {
    /// Columns of a panel.
    pub const WIDTH: usize = COLUMNS;

    /// Panels of a filter of this size.
    ///
    /// # Errors
    /// [`KernelError`] for sizes that overflow.
    pub fn new(columns: usize, depth: usize) -> Result<BytePanels, KernelError> {
        product(&[columns.saturating_add(COLUMNS), depth.saturating_add(STEP + COLUMNS)])?;
        Ok(BytePanels { columns, depth })
    }

    /// Bytes of a row of the left-hand side: whole steps of them.
    pub(crate) fn row_bytes(&self) -> usize {
        self.depth.next_multiple_of(STEP)
    }

    /// Bytes of a panel.
    pub fn panel_bytes(&self) -> usize {
        self.row_bytes() * COLUMNS + COLUMNS * 4
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.columns.div_ceil(COLUMNS)
    }

    /// Bytes of all.
    pub fn bytes(&self) -> usize {
        self.count() * self.panel_bytes()
    }

    /// The filter that these bytes are.
    ///
    /// # Errors
    /// [`KernelError`] when they are not as many.
    pub fn filter<'a>(
        &self,
        bytes: &'a [u8],
        kind: FilterType,
        zero: i32,
    ) -> Result<AffineFilter<'a>, KernelError> {
        check_exact("the filter's panels", self.bytes(), bytes.len())?;
        Ok(AffineFilter::of_panels(bytes, (self.columns, self.depth), kind, zero))
    }

    /// Lays out the columns from `first` on, with which a panel begins, as they stand in a file; the last ones end a panel, or the
    /// filter.
    ///
    /// # Errors
    /// [`KernelError`] for columns that are no panels, and too little room for them.
    pub fn pack(
        &self,
        panels: &mut [u8],
        first: usize,
        kind: FilterType,
        bytes: &[u8],
    ) -> Result<(), KernelError> {
        let columns = bytes.len().checked_div(self.depth).unwrap_or(self.columns - first.min(self.columns));
        let filter = AffineFilter::new(bytes, (columns, self.depth), kind, 0)?;
        let end = first + columns;
        if !first.is_multiple_of(COLUMNS) || !(end.is_multiple_of(COLUMNS) || end == self.columns) {
            return Err(KernelError::Attribute("columns that do not begin and end with a panel"));
        }
        check_exact("the panels", self.bytes(), panels.len())?;
        let own = &mut panels[first / COLUMNS * self.panel_bytes()..];
        for (p, panel) in own.chunks_exact_mut(self.panel_bytes()).enumerate().take(columns.div_ceil(COLUMNS))
        {
            pack(filter, p * COLUMNS, panel);
        }
        Ok(())
    }
}

/// Lays out the columns of a filter from `first` on that a panel takes.
pub(crate) fn pack(filter: AffineFilter<'_>, first: usize, panel: &mut [u8]) {
    let (bytes, sums) = panel.split_at_mut(panel.len() - COLUMNS * 4);
    let count = COLUMNS.min(filter.columns - first);
    if count < COLUMNS || !filter.depth.is_multiple_of(STEP) {
        bytes.fill(0);
    }
    let mut piece = [0; PIECE];
    for c in 0..COLUMNS {
        let mut sum = 0i32;
        for from in (0..filter.depth).step_by(PIECE).take_while(|_| c < count) {
            let own = &mut piece[..PIECE.min(filter.depth - from)];
            filter.read(first + c, from, own);
            sum = own.iter().map(|byte| *byte as i8 as i32).fold(sum, i32::wrapping_add);
            let blocks = bytes[from * COLUMNS..].chunks_mut(STEP * COLUMNS);
            for (four, block) in own.chunks(STEP).zip(blocks) {
                block[c * STEP..][..four.len()].copy_from_slice(four);
            }
        }
        sums[c * 4..c * 4 + 4].copy_from_slice(&sum.to_ne_bytes());
    }
}

/// The sums of a panel's columns.
pub(crate) fn column_sums(panel: &[u8]) -> [i32; COLUMNS] {
    let sums = &panel[panel.len() - COLUMNS * 4..];
    std::array::from_fn(|c| {
        i32::from_ne_bytes([sums[c * 4], sums[c * 4 + 1], sums[c * 4 + 2], sums[c * 4 + 3]])
    })
}
