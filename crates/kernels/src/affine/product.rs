//! Products of rows of bytes with a filter of int8, each sum handed on as soon as it is whole.
//!
//! Panels of a filter are multiplied a group at a time, as many as a second-level cache holds: of a few rows at a time the bytes
//! are gathered, and multiplied with every panel of the group. A filter that is not laid out in panels is laid out group by group
//! in scratch; where there are only a few rows at all, its own rows are read instead, each once.

use tightfit_core::Shared;

use super::dot::{COLUMNS, Dot, PANELS, ROWS, STEP, Sums, Tile};
use super::filter::AffineFilter;
use super::panels::{BytePanels, column_sums, pack};
use crate::base::cpu::Isa;
use crate::base::error::KernelError;
use crate::base::simd::{Kernel, Simd, dispatch};
use crate::base::threads::ThreadPool;

/// Bytes of panels that are multiplied by one set of rows after the other.
const GROUP_BYTES: usize = 192 << 10;
/// Products below which a call stays on its thread.
const INLINE_PRODUCTS: usize = 1 << 18;
/// The most tiles of rows that are gathered at once, and the bytes of rows that they are fewer for.
const TILES: usize = 8;
const BLOCK_BYTES: usize = 8 << 10;
/// The most pairs of panels whose channels are held while all rows are multiplied.
const HELD_PAIRS: usize = 16;
/// Columns that a task takes where there are only a few rows.
const TASK_COLUMNS: usize = PANELS * COLUMNS;

/// The left-hand side.
pub(crate) trait Rows: Sync {
    /// Writes the bytes of a row, as uint8.
    fn read(&self, row: usize, to: &mut Row<'_>);
}

/// A row that is written from front to back, as a tile takes it.
pub(crate) struct Row<'a> {
    dot: Dot,
    left: &'a mut [u8],
}

impl Row<'_> {
    /// The first `count` of these bytes, each with the bits of `flip` turned. Those behind them may be read.
    pub fn put(&mut self, bytes: &[u8], count: usize, flip: u8) {
        self.dot.put(bytes, count, flip, self.left);
        self.skip(count);
    }

    /// So many of one byte.
    pub fn fill(&mut self, byte: u8, count: usize) {
        self.dot.fill(byte, &mut self.left[..count * self.dot.row_width()]);
        self.skip(count);
    }

    fn skip(&mut self, count: usize) {
        self.left = &mut std::mem::take(&mut self.left)[count * self.dot.row_width()..];
    }
}

/// What becomes of sums.
pub(crate) trait Finish: Sync {
    /// What sums of some channels are finished by.
    type Channels: Default;

    /// Makes it that of `count` channels from `first` on, to each of whose sums, no further from 0 than the second number,
    /// `added` is added first.
    fn channels(&self, first: usize, count: usize, added: (&[i32; COLUMNS], i64), to: &mut Self::Channels);

    /// Takes the sums of a row, of `count` columns from `first` on. Must be `#[inline(always)]`.
    fn finish<S: Simd>(
        &self,
        simd: S,
        channels: &Self::Channels,
        row: usize,
        first: usize,
        sums: &[i32; COLUMNS],
        count: usize,
    );
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

/// What a product's scratch holds, in this order: panels, and for each thread some rows, and a row of bytes.
struct Layout {
    panels: BytePanels,
    dot: Dot,
    /// Panels that are multiplied at once.
    group: usize,
    /// Tiles of rows that are gathered at once.
    tiles: usize,
    is_packed: bool,
}

impl Layout {
    fn new(isa: Isa, (depth, columns): (usize, usize), is_packed: bool) -> Result<Layout, KernelError> {
        let panels = BytePanels::new(columns, depth)?;
        let mut layout = Layout { panels, dot: Dot::of(isa), group: 0, tiles: 0, is_packed };
        layout.tiles = (BLOCK_BYTES / (ROWS * layout.row_stride()).max(1)).clamp(1, TILES);
        // What rows take more than bytes comes off the panels in scratch.
        let more = if is_packed { 0 } else { layout.thread_bytes() - ROWS * panels.row_bytes() };
        let fitting = GROUP_BYTES.saturating_sub(more) / panels.panel_bytes();
        layout.group = fitting.max(PANELS).min(panels.count());
        Ok(layout)
    }

    /// Bytes of a row, as a tile takes it.
    fn row_stride(&self) -> usize {
        self.panels.row_bytes() * self.dot.row_width()
    }

    fn panel_bytes(&self) -> usize {
        self.group * self.panels.panel_bytes()
    }

    fn thread_bytes(&self) -> usize {
        self.tiles * ROWS * self.row_stride() + self.panels.row_bytes()
    }
}

/// One tile's sums, on their way to [`Finish`].
struct Finishing<'a, F: Finish> {
    finish: &'a F,
    channels: &'a [F::Channels; PANELS],
    sums: &'a Sums,
    rows: (usize, usize),
    columns: (usize, usize),
    uneven: Option<Uneven<'a>>,
}

/// What is subtracted of each sum, where rows differ in that.
#[derive(Clone, Copy)]
struct Uneven<'a> {
    /// The sum of each column of the filter.
    column_sums: &'a [[i32; COLUMNS]; PANELS],
    /// What of each row is subtracted: this times the column's sum, and this alone.
    row_zeros: [i32; ROWS],
    row_offsets: [i32; ROWS],
}

impl<F: Finish> Kernel for Finishing<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (first, count) = self.columns;
        let mut p = 0;
        while p * COLUMNS < count {
            let left = count - p * COLUMNS;
            let left = if left < COLUMNS { left } else { COLUMNS };
            let from = first + p * COLUMNS;
            let channels = &self.channels[p];
            let mut r = 0;
            while r < self.rows.1 {
                match &self.uneven {
                    None => {
                        self.finish.finish(simd, channels, self.rows.0 + r, from, &self.sums[r][p], left);
                    }
                    Some(uneven) => {
                        let mut sums = self.sums[r][p];
                        let mut c = 0;
                        while c < COLUMNS {
                            let of_zero = uneven.row_zeros[r].wrapping_mul(uneven.column_sums[p][c]);
                            sums[c] = sums[c].wrapping_sub(of_zero).wrapping_sub(uneven.row_offsets[r]);
                            c += 1;
                        }
                        self.finish.finish(simd, channels, self.rows.0 + r, from, &sums, left);
                    }
                }
                r += 1;
            }
            p += 1;
        }
    }
}

/// The furthest from 0 that a sum of so many products of bytes is.
pub(crate) fn most_sum(depth: usize) -> i64 {
    (depth as i64).saturating_mul(255 * 128)
}

impl Product<'_> {
    /// True where the same is subtracted of all rows' sums.
    fn is_even(&self, filter_zero: i32) -> bool {
        self.zeros.len() <= 1 && filter_zero == 0
    }

    /// Makes of some panels' sums what their channels are finished by.
    fn channels<F: Finish>(
        &self,
        finish: &F,
        filter_zero: i32,
        (first, count): (usize, usize),
        column_sums: &[[i32; COLUMNS]; PANELS],
        to: &mut [F::Channels; PANELS],
    ) {
        let (zero, most) =
            if self.is_even(filter_zero) { (self.zero(0), most_sum(self.depth)) } else { (0, i64::MAX) };
        for (p, (to, sums)) in to.iter_mut().zip(column_sums).enumerate() {
            let added = sums.map(|sum| zero.wrapping_mul(sum).wrapping_neg());
            let count = count.saturating_sub(p * COLUMNS).min(COLUMNS);
            if count > 0 {
                finish.channels(first + p * COLUMNS, count, (&added, most), to);
            }
        }
    }

    /// What stands for 0 in the bytes of a row.
    fn zero(&self, row: usize) -> i32 {
        let at = if self.zeros.len() == 1 { 0 } else { row / self.rows_each.max(1) };
        self.zeros.get(at).map_or(self.offset, |zero| zero + self.offset)
    }

    /// The same of `count` rows, and of those that are not there that of the first.
    fn row_zeros(&self, (first, count): (usize, usize)) -> [i32; ROWS] {
        std::array::from_fn(|r| self.zero(if r < count { first + r } else { first }))
    }

    /// Bytes of scratch that [`Product::run`] needs, of a filter that is laid out in panels or not.
    pub fn scratch_bytes(&self, isa: Isa, columns: usize, threads: usize, is_packed: bool) -> usize {
        let Ok(layout) = Layout::new(isa, (self.depth, columns), is_packed) else { return usize::MAX };
        let panels = if is_packed || self.rows <= ROWS { 0 } else { layout.panel_bytes() };
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
        let is_packed = filter.panels().is_some();
        let needed_bytes = self.scratch_bytes(pool.isa(), filter.columns, pool.threads(), is_packed);
        if scratch.len() < needed_bytes {
            return Err(KernelError::Scratch { needed_bytes, given_bytes: scratch.len() });
        }
        if self.rows == 0 || filter.columns == 0 {
            return Ok(());
        }
        let layout = Layout::new(pool.isa(), (self.depth, filter.columns), is_packed)?;
        if self.rows <= ROWS {
            self.run_few(pool, left, filter, (first_column, &layout), finish, scratch);
        } else {
            self.run_panels(pool, left, filter, (first_column, &layout), finish, scratch);
        }
        Ok(())
    }

    fn run_panels(
        &self,
        pool: &ThreadPool,
        left: &impl Rows,
        filter: AffineFilter<'_>,
        (first_column, layout): (usize, &Layout),
        finish: &impl Finish,
        scratch: &mut [u8],
    ) {
        let panel_bytes = layout.panels.panel_bytes();
        let own = if layout.is_packed { 0 } else { layout.panel_bytes() };
        let (packed, rest) = scratch.split_at_mut(own);
        let threads = Shared::new(rest);
        for first in (0..filter.columns).step_by(layout.group * COLUMNS) {
            let columns = (layout.group * COLUMNS).min(filter.columns - first);
            let count = columns.div_ceil(COLUMNS);
            let is_inline = self.is_small(columns);
            let panels = match filter.panels() {
                Some(panels) => &panels[first / COLUMNS * panel_bytes..][..count * panel_bytes],
                None => {
                    let panels = Shared::new(&mut *packed);
                    let tasks = if is_inline { 1 } else { count.min(pool.threads()) };
                    pool.run(tasks, &|task, _| {
                        for p in count * task / tasks..count * (task + 1) / tasks {
                            // SAFETY: each task has panels of its own.
                            let mut panel = unsafe { panels.part(p * panel_bytes, panel_bytes) };
                            pack(filter, first + p * COLUMNS, &mut panel);
                        }
                    });
                    &packed[..count * panel_bytes]
                }
            };
            let group = Group {
                product: self,
                layout,
                panels,
                columns,
                first_column: first_column + first,
                filter_zero: filter.zero(),
            };
            let tiles = self.rows.div_ceil(ROWS);
            let tasks = if is_inline { 1 } else { tiles.min(pool.threads() * 4) };
            let block = layout.tiles;
            pool.run(tasks, &|task, worker| {
                // SAFETY: each worker has its own scratch.
                let mut rows = unsafe { threads.part(worker * layout.thread_bytes(), layout.thread_bytes()) };
                let end = (tiles * (task + 1) / tasks * ROWS).min(self.rows);
                let pairs = count.div_ceil(PANELS);
                let mut held = [const { None }; HELD_PAIRS];
                for (pair, to) in held.iter_mut().enumerate().take(pairs).filter(|_| pairs <= HELD_PAIRS) {
                    *to = Some(group.pair(finish, pair * PANELS));
                }
                for first in (tiles * task / tasks * ROWS..end).step_by(block * ROWS) {
                    let own_rows = (first, (block * ROWS).min(end - first));
                    group.rows(pool.isa(), left, own_rows, (finish, &held), &mut rows);
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
        (dot, stride): (Dot, usize),
        rows: &mut [u8],
    ) -> [i32; ROWS] {
        let mut offsets = [0; ROWS];
        for (r, to) in rows.chunks_exact_mut(stride.max(1)).enumerate().take(count) {
            let mut row = Row { dot, left: &mut *to };
            left.read(first + r, &mut row);
            row.left.fill(0);
            if filter_zero != 0 {
                let sum = dot.sum(to);
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
        (first_column, layout): (usize, &Layout),
        finish: &impl Finish,
        scratch: &mut [u8],
    ) {
        let own_rows = (0, self.rows);
        // Rows of a filter are multiplied with bytes.
        let dot = if layout.is_packed { layout.dot } else { Dot::Portable };
        let stride = layout.panels.row_bytes() * dot.row_width();
        let (rows, rest) = scratch.split_at_mut(ROWS * stride);
        let row_offsets = [self.gather(left, own_rows, filter.zero(), (dot, stride), rows)];
        let is_inline = self.is_small(filter.columns);
        let tasks = filter.columns.div_ceil(TASK_COLUMNS);
        if let Some(panels) = filter.panels() {
            let group = Group {
                product: self,
                layout,
                panels,
                columns: filter.columns,
                first_column,
                filter_zero: filter.zero(),
            };
            let each = |task: usize, _: usize| {
                group.multiply(
                    pool.isa(),
                    own_rows,
                    rows,
                    &row_offsets,
                    task * PANELS..task * PANELS + 1,
                    (finish, &[]),
                );
            };
            return if is_inline {
                (0..tasks).for_each(|task| each(task, 0))
            } else {
                pool.run(tasks, &each)
            };
        }
        let rows = &*rows;
        let threads = Shared::new(rest);
        let row_bytes = layout.panels.row_bytes();
        let each = |task: usize, worker: usize| {
            // SAFETY: each worker has its own scratch: that of all but the first row's is more than a row for each.
            let mut row = unsafe { threads.part(worker * row_bytes, row_bytes) };
            let first = task * TASK_COLUMNS;
            let count = TASK_COLUMNS.min(filter.columns - first);
            let mut sums: Sums = [[[0; COLUMNS]; PANELS]; ROWS];
            let mut column_sums = [[0; COLUMNS]; PANELS];
            for c in 0..count {
                let mut each = [0; ROWS];
                let bytes = match filter.row(first + c) {
                    Some(bytes) => bytes,
                    None => {
                        filter.read(first + c, 0, &mut row[..self.depth]);
                        &row[..self.depth]
                    }
                };
                let total = layout.dot.rows(rows, row_bytes, self.rows, bytes, &mut each);
                column_sums[c / COLUMNS][c % COLUMNS] = total;
                for (sums, sum) in sums.iter_mut().zip(each) {
                    sums[c / COLUMNS][c % COLUMNS] = sum;
                }
            }
            let (columns, mut channels) = ((first_column + first, count), Default::default());
            self.channels(finish, filter.zero(), columns, &column_sums, &mut channels);
            let uneven = (!self.is_even(filter.zero())).then(|| Uneven {
                column_sums: &column_sums,
                row_zeros: self.row_zeros(own_rows),
                row_offsets: row_offsets[0],
            });
            let finishing =
                Finishing { finish, channels: &channels, sums: &sums, rows: own_rows, columns, uneven };
            dispatch(pool.isa(), finishing);
        };
        if is_inline { (0..tasks).for_each(|task| each(task, 0)) } else { pool.run(tasks, &each) }
    }
}

/// Panels of a filter.
struct Group<'a> {
    product: &'a Product<'a>,
    layout: &'a Layout,
    panels: &'a [u8],
    columns: usize,
    first_column: usize,
    filter_zero: i32,
}

/// What the sums of two panels are finished by.
struct Pair<F: Finish> {
    column_sums: [[i32; COLUMNS]; PANELS],
    channels: [F::Channels; PANELS],
}

impl Group<'_> {
    /// Of the panels from this one on.
    fn pair<F: Finish>(&self, finish: &F, panel: usize) -> Pair<F> {
        let panel_bytes = self.layout.panels.panel_bytes();
        let mut pair = Pair { column_sums: [[0; COLUMNS]; PANELS], channels: Default::default() };
        let own = self.panels[panel * panel_bytes..].chunks_exact(panel_bytes);
        pair.column_sums.iter_mut().zip(own).for_each(|(to, panel)| *to = column_sums(panel));
        let columns = (PANELS * COLUMNS).min(self.columns - panel * COLUMNS);
        let columns = (self.first_column + panel * COLUMNS, columns);
        self.product.channels(finish, self.filter_zero, columns, &pair.column_sums, &mut pair.channels);
        pair
    }

    /// Multiplies some rows, a few tiles of them, with all panels.
    fn rows<F: Finish>(
        &self,
        isa: Isa,
        left: &impl Rows,
        own_rows: (usize, usize),
        finish: (&F, &[Option<Pair<F>>]),
        scratch: &mut [u8],
    ) {
        let Layout { dot, tiles, .. } = *self.layout;
        let tile_bytes = ROWS * self.layout.row_stride();
        let rows = &mut scratch[..tiles * tile_bytes];
        let mut offsets = [[0; ROWS]; TILES];
        let each = rows.chunks_exact_mut(tile_bytes.max(1)).zip(&mut offsets).enumerate();
        for (tile, (rows, offsets)) in each.take(own_rows.1.div_ceil(ROWS)) {
            let own = (own_rows.0 + tile * ROWS, ROWS.min(own_rows.1 - tile * ROWS));
            let stride = self.layout.row_stride();
            *offsets = self.product.gather(left, own, self.filter_zero, (dot, stride), rows);
        }
        self.multiply(isa, own_rows, rows, &offsets, 0..self.columns.div_ceil(COLUMNS), finish);
    }

    /// Multiplies tiles of rows that are gathered with panels: those of each pair whose first is among `panels`.
    fn multiply<F: Finish>(
        &self,
        isa: Isa,
        (first_row, row_count): (usize, usize),
        rows: &[u8],
        row_offsets: &[[i32; ROWS]],
        panels: std::ops::Range<usize>,
        (finish, held): (&F, &[Option<Pair<F>>]),
    ) {
        let (panel_bytes, left_stride) = (self.layout.panels.panel_bytes(), self.layout.row_stride());
        let mut sums: Sums = [[[0; COLUMNS]; PANELS]; ROWS];
        let all = self.columns.div_ceil(COLUMNS);
        for panel in panels.step_by(PANELS) {
            let count = PANELS.min(all - panel);
            let right = &self.panels[panel * panel_bytes..][..count * panel_bytes];
            let own;
            let pair = match held.get(panel / PANELS) {
                Some(Some(pair)) => pair,
                _ => {
                    own = self.pair(finish, panel);
                    &own
                }
            };
            let columns = (count * COLUMNS).min(self.columns - panel * COLUMNS);
            let columns = (self.first_column + panel * COLUMNS, columns);
            for (tile, row_offsets) in (0..row_count.div_ceil(ROWS)).zip(row_offsets) {
                let own_rows = (first_row + tile * ROWS, ROWS.min(row_count - tile * ROWS));
                let tile = Tile {
                    left: &rows[tile * ROWS * left_stride..],
                    left_stride,
                    rows: own_rows.1,
                    right,
                    panel_stride: panel_bytes,
                    panels: count,
                    columns: columns.1,
                    steps: self.layout.panels.row_bytes() / STEP,
                };
                self.layout.dot.tile(tile, &mut sums);
                let uneven = (!self.product.is_even(self.filter_zero)).then(|| Uneven {
                    column_sums: &pair.column_sums,
                    row_zeros: self.product.row_zeros(own_rows),
                    row_offsets: *row_offsets,
                });
                let finishing = Finishing {
                    finish,
                    channels: &pair.channels,
                    sums: &sums,
                    rows: own_rows,
                    columns,
                    uneven,
                };
                dispatch(isa, finishing);
            }
        }
    }
}
