//! Products of rows of bytes with a filter of int8, each sum handed on as soon as it is whole.
//!
//! The filter stays as the file has it. Of as many columns as a second-level cache holds, panels are laid out in scratch;
//! of a few rows at a time the bytes are gathered, and multiplied with every panel. Where there are only a few rows at all,
//! the filter's own rows are read instead, each once.

use tightfit_core::Shared;

use super::dot::{COLUMNS, Dot, PANELS, ROWS, STEP, Sums, Tile};
use super::filter::AffineFilter;
use crate::base::cpu::Isa;
use crate::base::error::KernelError;
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Bytes of panels that are laid out at once.
const GROUP_BYTES: usize = 192 << 10;
/// Products below which a call stays on its thread.
const INLINE_PRODUCTS: usize = 1 << 18;
/// Columns that a task takes where the filter's rows are read as they stand.
const TASK_COLUMNS: usize = 2 * COLUMNS;

/// The left-hand side.
pub(crate) trait Rows: Sync {
    /// Writes the bytes of a row, as uint8.
    fn read(&self, row: usize, to: &mut [u8]);
}

/// What becomes of sums.
pub(crate) trait Finish: Sync {
    /// Takes the sums of a row, of `count` columns from `first` on. Must be `#[inline(always)]`.
    fn finish<S: Simd>(&self, simd: S, row: usize, first: usize, sums: &[i32; COLUMNS], count: usize);
}

/// How large a product is, and what stands for 0 on its left-hand side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product<'a> {
    pub rows: usize,
    pub depth: usize,
    /// What stands for 0 in all rows, or in as many each as `rows_each` says.
    pub zeros: &'a [i32],
    pub rows_each: usize,
    /// What the bytes are more than the integers: 128 where int8 became uint8.
    pub offset: i32,
}

/// What a product's scratch holds, in this order: panels, and for each thread some rows, their sums, and a filter's row.
struct Layout {
    /// Bytes of a row, whole steps of them.
    row_bytes: usize,
    /// Bytes of a panel, with the sums of its columns after it.
    panel_bytes: usize,
    /// Panels that are there at once.
    panels: usize,
}

impl Layout {
    fn new(depth: usize, columns: usize) -> Layout {
        let row_bytes = depth.next_multiple_of(STEP);
        let panel_bytes = row_bytes * COLUMNS + COLUMNS * 4;
        let fitting = (GROUP_BYTES / panel_bytes).max(PANELS);
        Layout { row_bytes, panel_bytes, panels: fitting.min(columns.div_ceil(COLUMNS)) }
    }

    fn thread_bytes(&self) -> usize {
        (ROWS + 1) * self.row_bytes
    }
}

/// One tile's sums, on their way to [`Finish`].
struct Finishing<'a, F> {
    finish: &'a F,
    sums: &'a Sums,
    rows: (usize, usize),
    columns: (usize, usize),
    /// The sum of each column of the filter.
    column_sums: &'a [[i32; COLUMNS]; PANELS],
    /// What of each row is subtracted: this times the column's sum, and this alone.
    row_zeros: &'a [i32; ROWS],
    row_offsets: &'a [i32; ROWS],
}

impl<F: Finish> Kernel for Finishing<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (first, count) = self.columns;
        let mut r = 0;
        while r < self.rows.1 {
            let mut p = 0;
            while p * COLUMNS < count {
                let mut sums = self.sums[r][p];
                let mut c = 0;
                while c < COLUMNS {
                    let of_zero = self.row_zeros[r].wrapping_mul(self.column_sums[p][c]);
                    sums[c] = sums[c].wrapping_sub(of_zero).wrapping_sub(self.row_offsets[r]);
                    c += 1;
                }
                let left = count - p * COLUMNS;
                let left = if left < COLUMNS { left } else { COLUMNS };
                self.finish.finish(simd, self.rows.0 + r, first + p * COLUMNS, &sums, left);
                p += 1;
            }
            r += 1;
        }
    }
}

impl Product<'_> {
    /// What stands for 0 in the bytes of a row.
    fn zero(&self, row: usize) -> i32 {
        let at = if self.zeros.len() == 1 { 0 } else { row / self.rows_each.max(1) };
        self.zeros.get(at).map_or(self.offset, |zero| zero + self.offset)
    }

    /// The same of some rows.
    fn row_zeros(&self, first: usize) -> [i32; ROWS] {
        std::array::from_fn(|r| self.zero(first + r))
    }

    /// Bytes of scratch that [`Product::run`] needs.
    pub fn scratch_bytes(&self, columns: usize, threads: usize) -> usize {
        let layout = Layout::new(self.depth, columns);
        let panels = if self.rows <= ROWS { 0 } else { layout.panels * layout.panel_bytes };
        panels + threads.max(1) * layout.thread_bytes()
    }

    /// True where waking another thread costs more than it helps.
    fn is_small(&self, columns: usize) -> bool {
        self.depth.saturating_mul(columns).saturating_mul(self.rows) < INLINE_PRODUCTS
    }

    /// Multiplies. Columns of `filter` are counted from `first_column` on for `finish`.
    ///
    /// # Errors
    /// [`KernelError::Scratch`] when there is too little of it.
    pub fn run(
        &self,
        pool: &ThreadPool,
        left: &impl Rows,
        filter: AffineFilter<'_>,
        first_column: usize,
        finish: &impl Finish,
        scratch: &mut [u8],
    ) -> Result<(), KernelError> {
        let needed_bytes = self.scratch_bytes(filter.columns, pool.threads());
        if scratch.len() < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes: scratch.len() });
        }
        if self.rows == 0 || filter.columns == 0 {
            return Ok(());
        }
        if self.rows <= ROWS {
            self.run_few(pool, left, filter, first_column, finish, scratch);
        } else {
            self.run_panels(pool, left, filter, first_column, finish, scratch);
        }
        Ok(())
    }

    fn run_panels(
        &self,
        pool: &ThreadPool,
        left: &impl Rows,
        filter: AffineFilter<'_>,
        first_column: usize,
        finish: &impl Finish,
        scratch: &mut [u8],
    ) {
        let layout = Layout::new(self.depth, filter.columns);
        let (panels, rest) = scratch.split_at_mut(layout.panels * layout.panel_bytes);
        let threads = Shared::new(rest);
        for first in (0..filter.columns).step_by(layout.panels * COLUMNS) {
            let columns = (layout.panels * COLUMNS).min(filter.columns - first);
            let count = columns.div_ceil(COLUMNS);
            let is_inline = self.is_small(columns);
            {
                let panels = Shared::new(&mut *panels);
                let tasks = if is_inline { 1 } else { count.min(pool.threads()) };
                pool.run(tasks, &|task, worker| {
                    // SAFETY: each worker has its own scratch, and each task panels of its own.
                    let mut row = unsafe { threads.part(worker * layout.thread_bytes(), layout.row_bytes) };
                    for p in count * task / tasks..count * (task + 1) / tasks {
                        // SAFETY: as above.
                        let mut panel = unsafe { panels.part(p * layout.panel_bytes, layout.panel_bytes) };
                        let from = first + p * COLUMNS;
                        pack(filter, from, COLUMNS.min(filter.columns - from), &mut panel, &mut row);
                    }
                });
            }
            let group = Group {
                product: self,
                layout: &layout,
                panels,
                columns,
                first_column: first_column + first,
                filter_zero: filter.zero(),
            };
            let tiles = self.rows.div_ceil(ROWS);
            let tasks = if is_inline { 1 } else { tiles.min(pool.threads() * 4) };
            pool.run(tasks, &|task, worker| {
                // SAFETY: each worker has its own scratch.
                let mut rows = unsafe { threads.part(worker * layout.thread_bytes(), layout.thread_bytes()) };
                for tile in tiles * task / tasks..tiles * (task + 1) / tasks {
                    let first = tile * ROWS;
                    group.rows(pool.isa(), left, (first, ROWS.min(self.rows - first)), finish, &mut rows);
                }
            });
        }
    }

    /// Gathers some rows, and tells of each what the filter's zero makes of it.
    fn gather(
        &self,
        left: &impl Rows,
        (first, count): (usize, usize),
        filter_zero: i32,
        row_bytes: usize,
        to: &mut [u8],
    ) -> [i32; ROWS] {
        let mut offsets = [0; ROWS];
        for (r, row) in to.chunks_exact_mut(row_bytes.max(1)).enumerate().take(count) {
            let (bytes, padding) = row.split_at_mut(self.depth);
            left.read(first + r, bytes);
            padding.fill(0);
            if filter_zero != 0 {
                let sum = bytes.iter().map(|b| *b as i32).fold(0, i32::wrapping_add);
                let sum = sum.wrapping_sub(self.zero(first + r).wrapping_mul(self.depth as i32));
                offsets[r] = sum.wrapping_mul(filter_zero);
            }
        }
        offsets
    }

    fn run_few(
        &self,
        pool: &ThreadPool,
        left: &impl Rows,
        filter: AffineFilter<'_>,
        first_column: usize,
        finish: &impl Finish,
        scratch: &mut [u8],
    ) {
        let layout = Layout::new(self.depth, filter.columns);
        let (rows, rest) = scratch.split_at_mut(ROWS * layout.row_bytes);
        let row_offsets = self.gather(left, (0, self.rows), filter.zero(), layout.row_bytes, rows);
        let (rows, row_zeros) = (&*rows, self.row_zeros(0));
        let dot = Dot::of(pool.isa());
        let threads = Shared::new(rest);
        let tasks = filter.columns.div_ceil(TASK_COLUMNS);
        let is_inline = self.is_small(filter.columns);
        let each = |task: usize, worker: usize| {
            // SAFETY: each worker has its own scratch: that of all but the first row's is more than a row for each.
            let mut row = unsafe { threads.part(worker * layout.row_bytes, layout.row_bytes) };
            let first = task * TASK_COLUMNS;
            let count = TASK_COLUMNS.min(filter.columns - first);
            let mut sums: Sums = [[[0; COLUMNS]; PANELS]; ROWS];
            let mut column_sums = [[0; COLUMNS]; PANELS];
            for c in 0..count {
                let mut each = [0; ROWS];
                let total = match filter.row(first + c) {
                    Some(bytes) => dot.rows(rows, layout.row_bytes, self.rows, bytes, &mut each),
                    None => {
                        let bytes = &mut row[..self.depth];
                        filter.read(first + c, 0, bytes);
                        dot.rows(rows, layout.row_bytes, self.rows, bytes, &mut each)
                    }
                };
                column_sums[c / COLUMNS][c % COLUMNS] = total;
                for (sums, sum) in sums.iter_mut().zip(each) {
                    sums[c / COLUMNS][c % COLUMNS] = sum;
                }
            }
            let finishing = Finishing {
                finish,
                sums: &sums,
                rows: (0, self.rows),
                columns: (first_column + first, count),
                column_sums: &column_sums,
                row_zeros: &row_zeros,
                row_offsets: &row_offsets,
            };
            dispatch(pool.isa(), finishing);
        };
        if is_inline { (0..tasks).for_each(|task| each(task, 0)) } else { pool.run(tasks, &each) }
    }
}

/// Lays out some columns of a filter side by side, 4 bytes of each at a time, and after them the sum of each.
fn pack(filter: AffineFilter<'_>, first: usize, count: usize, panel: &mut [u8], row: &mut [u8]) {
    let (bytes, sums) = panel.split_at_mut(panel.len() - COLUMNS * 4);
    for c in 0..COLUMNS {
        let (own, padding) = row.split_at_mut(filter.depth);
        padding.fill(0);
        if c < count {
            filter.read(first + c, 0, own);
        } else {
            own.fill(0);
        }
        let sum = own.iter().map(|b| *b as i8 as i32).fold(0, i32::wrapping_add);
        sums[c * 4..c * 4 + 4].copy_from_slice(&sum.to_ne_bytes());
        for (four, block) in row.chunks_exact(STEP).zip(bytes.chunks_exact_mut(STEP * COLUMNS)) {
            block[c * STEP..(c + 1) * STEP].copy_from_slice(four);
        }
    }
}

/// The panels that are laid out.
struct Group<'a> {
    product: &'a Product<'a>,
    layout: &'a Layout,
    panels: &'a [u8],
    columns: usize,
    first_column: usize,
    filter_zero: i32,
}

impl Group<'_> {
    /// The sums of a panel's columns.
    fn column_sums(&self, panel: usize) -> [i32; COLUMNS] {
        let end = (panel + 1) * self.layout.panel_bytes;
        let sums = &self.panels[end - COLUMNS * 4..end];
        std::array::from_fn(|c| {
            i32::from_ne_bytes([sums[c * 4], sums[c * 4 + 1], sums[c * 4 + 2], sums[c * 4 + 3]])
        })
    }

    /// Multiplies some rows with all panels.
    fn rows(
        &self,
        isa: Isa,
        left: &impl Rows,
        (first, count): (usize, usize),
        finish: &impl Finish,
        scratch: &mut [u8],
    ) {
        let Layout { row_bytes, panel_bytes, .. } = *self.layout;
        let row_offsets = self.product.gather(left, (first, count), self.filter_zero, row_bytes, scratch);
        let row_zeros = self.product.row_zeros(first);
        let dot = Dot::of(isa);
        let mut sums: Sums = [[[0; COLUMNS]; PANELS]; ROWS];
        let all = self.columns.div_ceil(COLUMNS);
        for panel in (0..all).step_by(PANELS) {
            let panels = PANELS.min(all - panel);
            let tile = Tile {
                left: scratch,
                left_stride: row_bytes,
                rows: count,
                right: &self.panels[panel * panel_bytes..(panel + panels) * panel_bytes],
                panel_stride: panel_bytes,
                panels,
                steps: row_bytes / STEP,
            };
            dot.tile(tile, &mut sums);
            let mut column_sums = [[0; COLUMNS]; PANELS];
            for (p, sums) in column_sums.iter_mut().enumerate().take(panels) {
                *sums = self.column_sums(panel + p);
            }
            let from = panel * COLUMNS;
            let finishing = Finishing {
                finish,
                sums: &sums,
                rows: (first, count),
                columns: (self.first_column + from, (panels * COLUMNS).min(self.columns - from)),
                column_sums: &column_sums,
                row_zeros: &row_zeros,
                row_offsets: &row_offsets,
            };
            dispatch(isa, finishing);
        }
    }
}
