//! How B lies in memory when it is packed.

use crate::base::cpu::Isa;
use crate::base::error::{KernelError, check_exact, product};
use crate::base::simd::{Kernel, Simd, dispatch};

use super::tile;

/// The layout of a packed right-hand side. Columns are cut into panels as wide as a tile; a panel holds its `k` rows
/// one after the other. The last panel of a group may be narrower, and is padded with zeros to whole vectors.
///
/// Bytes packed for one [`Isa`] mean nothing to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedLayout {
    isa: Isa,
    k: usize,
    /// Columns of one group.
    n: usize,
    groups: usize,
}

/// Some columns of one group.
#[derive(Clone, Copy)]
pub(crate) struct Panel {
    /// The first column, counted in its group.
    pub first: usize,
    /// How many are meant.
    pub columns: usize,
    /// How many are stored: whole vectors.
    pub width: usize,
    /// Where the panel starts within its group, in floats.
    pub offset: usize,
}

impl PackedLayout {
    /// The layout of `groups` matrices `[k, n]` that stand side by side as `[k, groups · n]`.
    ///
    /// # Errors
    /// [`KernelError`] when the processor lacks `isa` or the sizes overflow.
    pub fn new(isa: Isa, k: usize, n: usize, groups: usize) -> Result<PackedLayout, KernelError> {
        if !isa.is_available() {
            return Err(KernelError::Isa(isa));
        }
        let padded =
            n.checked_next_multiple_of(isa.lanes()).ok_or(KernelError::Attribute("n is too large"))?;
        product(&[k, padded, groups])?;
        Ok(PackedLayout { isa, k, n, groups })
    }

    /// How many bytes the packed matrix takes.
    pub fn packed_bytes(&self) -> usize {
        4 * self.groups * self.group_floats()
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn n(&self) -> usize {
        self.n
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Floats from one group's packed matrix to the next.
    pub(crate) fn group_floats(&self) -> usize {
        self.k * self.n.next_multiple_of(self.isa.lanes())
    }

    /// How many panels a group has.
    pub(crate) fn panels(&self) -> usize {
        self.n.div_ceil(tile::width(self.isa))
    }

    /// The panel with this number.
    pub(crate) fn panel(&self, number: usize) -> Panel {
        let full = tile::width(self.isa);
        let first = number * full;
        let columns = full.min(self.n - first);
        Panel { first, columns, width: columns.next_multiple_of(self.isa.lanes()), offset: first * self.k }
    }

    /// Packs rows as they come from a file: `bytes` holds whole rows of `groups · n` little-endian floats at any
    /// alignment, the first of them row `first_row` of the matrix.
    ///
    /// # Errors
    /// [`KernelError::Length`] when `packed` has not [`Self::packed_bytes`] or the rows are not whole or too many.
    pub fn pack_rows(&self, packed: &mut [u8], first_row: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let row_bytes = 4 * self.groups * self.n;
        let count = self.check(packed, row_bytes, self.k, first_row, bytes)?;
        for group in 0..self.groups {
            for number in 0..self.panels() {
                let panel = self.panel(number);
                let to = group * self.group_floats() + panel.offset + first_row * panel.width;
                // SAFETY: `check` saw that the panel's rows lie within `packed`, and `count` whole rows in `bytes`.
                unsafe {
                    pack(
                        self.isa,
                        PackPanel {
                            to: packed.as_mut_ptr().cast::<f32>().add(to),
                            width: panel.width,
                            columns: panel.columns,
                            from: bytes.as_ptr().cast::<f32>().wrapping_add(group * self.n + panel.first),
                            rows: count,
                            row_stride: self.groups * self.n,
                            column_stride: 1,
                            padded: true,
                        },
                    );
                }
            }
        }
        Ok(())
    }

    /// Packs a matrix that the file holds transposed, `[groups · n, k]`: `bytes` holds whole rows of `k`
    /// little-endian floats at any alignment, the first of them column `first_column` of the matrix.
    ///
    /// # Errors
    /// As [`Self::pack_rows`].
    pub fn pack_columns(
        &self,
        packed: &mut [u8],
        first_column: usize,
        bytes: &[u8],
    ) -> Result<(), KernelError> {
        let count = self.check(packed, 4 * self.k, self.groups * self.n, first_column, bytes)?;
        let (mut column, end) = (first_column, first_column + count);
        let full = tile::width(self.isa);
        while column < end {
            let (group, within) = (column / self.n, column % self.n);
            let panel = self.panel(within / full);
            let skipped = within - panel.first;
            let columns = (panel.columns - skipped).min(end - column);
            let to = group * self.group_floats() + panel.offset + skipped;
            // The panel's padding is written together with its last column.
            let padding = if skipped + columns == panel.columns { panel.width - panel.columns } else { 0 };
            // SAFETY: as in `pack_rows`; the columns and the padding lie within the panel.
            unsafe {
                pack(
                    self.isa,
                    PackPanel {
                        to: packed.as_mut_ptr().cast::<f32>().add(to),
                        width: panel.width,
                        columns,
                        from: bytes.as_ptr().cast::<f32>().wrapping_add((column - first_column) * self.k),
                        rows: self.k,
                        row_stride: 1,
                        column_stride: self.k,
                        padded: false,
                    },
                );
                for row in 0..if padding == 0 { 0 } else { self.k } {
                    let end = packed.as_mut_ptr().cast::<f32>().add(to + row * panel.width + columns);
                    std::ptr::write_bytes(end.cast::<u8>(), 0, 4 * padding);
                }
            }
            column += columns;
        }
        Ok(())
    }

    /// How many source rows `bytes` holds, if they fit.
    fn check(
        &self,
        packed: &[u8],
        row_bytes: usize,
        rows: usize,
        first: usize,
        bytes: &[u8],
    ) -> Result<usize, KernelError> {
        check_exact("the packed matrix", self.packed_bytes(), packed.len())?;
        if row_bytes == 0 {
            return Ok(0);
        }
        let count = bytes.len() / row_bytes;
        check_exact("the source rows", count * row_bytes, bytes.len())?;
        if first > rows || count > rows - first {
            return Err(KernelError::Length {
                what: "the matrix",
                needed: first.saturating_add(count),
                given: rows,
            });
        }
        Ok(count)
    }
}

/// Copies a part of a matrix with any strides to rows of `width`: `to[r·width + c] = from[r·row_stride +
/// c·column_stride]` for `c < columns`. With a column stride of 1, zeros up to `width`.
pub(crate) struct PackPanel {
    pub to: *mut f32,
    pub width: usize,
    pub columns: usize,
    /// At any alignment.
    pub from: *const f32,
    pub rows: usize,
    /// In floats.
    pub row_stride: usize,
    /// In floats.
    pub column_stride: usize,
    /// Whether anything may be written from `columns` up to `width`.
    pub padded: bool,
}

/// # Safety
/// All elements of the source can be read and all of the destination written; neither needs any alignment.
pub(crate) unsafe fn pack(isa: Isa, job: PackPanel) {
    dispatch(isa, job);
}

impl Kernel for PackPanel {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        if self.column_stride == 1 && self.padded {
            self.copy_rows(s);
        } else {
            self.transpose();
        }
    }
}

impl PackPanel {
    #[inline(always)]
    fn copy_rows<S: Simd>(&self, s: S) {
        let whole = self.columns / S::LANES;
        let tail = self.columns % S::LANES;
        // SAFETY: `pack`'s caller vouches for the memory; a partial vector ends at `columns` in the source and at
        // `width` (whole vectors) in the destination.
        unsafe {
            for row in 0..self.rows {
                let from = self.from.wrapping_add(row * self.row_stride);
                let to = self.to.add(row * self.width);
                // The rows are far apart, which no hardware prefetcher follows.
                for line in (0..self.columns).step_by(16) {
                    s.prefetch(from.wrapping_add(tile::PREFETCHED_ROWS * self.row_stride + line));
                }
                for v in 0..whole {
                    s.store(to.add(v * S::LANES), s.load(from.wrapping_add(v * S::LANES)));
                }
                if tail > 0 {
                    s.store(
                        to.add(whole * S::LANES),
                        s.load_partial(from.wrapping_add(whole * S::LANES), tail),
                    );
                }
            }
        }
    }

    #[inline(always)]
    fn transpose(&self) {
        const BLOCK: usize = 8;
        for first in (0..self.rows).step_by(BLOCK) {
            let rows = BLOCK.min(self.rows - first);
            for column in 0..self.columns {
                let from = self.from.wrapping_add(column * self.column_stride + first * self.row_stride);
                for row in 0..rows {
                    // SAFETY: `pack`'s caller vouches for the memory.
                    unsafe {
                        let value = from.wrapping_add(row * self.row_stride).read_unaligned();
                        self.to.add((first + row) * self.width + column).write_unaligned(value);
                    }
                }
            }
        }
    }
}
